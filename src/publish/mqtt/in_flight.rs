//! Retained messages that wait for their acknowledgement, and what a broken connection tells about their sizes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::Acknowledged;

/// Limit of unacknowledged retained messages. Few, so that an event never waits behind many.
const MAX_MESSAGES: usize = 16;
/// Size of unacknowledged retained messages from which on no further one is sent, in bytes.
const MAX_BYTES: usize = 128 << 10;

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// Topic.
    pub topic: String,
    /// Size of topic and payload, in bytes.
    pub size: usize,
    /// True if it clears what an earlier run has left.
    pub clears: bool,
}

/// Unacknowledged retained messages of a connection.
#[derive(Default)]
pub struct RetainedInFlight {
    acknowledgements: JoinSet<(u64, Result<bool, ()>)>,
    /// By number, in the order of sending.
    messages: BTreeMap<u64, RetainedMessage>,
    next: u64,
    bytes: usize,
}

impl RetainedInFlight {
    /// True if another message may be sent.
    pub fn has_room(&self) -> bool {
        self.messages.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// True if every message was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message that was sent.
    pub fn add(&mut self, message: RetainedMessage, acknowledged: Acknowledged) {
        let number = self.next;
        self.next += 1;
        self.bytes += message.size;
        self.messages.insert(number, message);
        self.acknowledgements.spawn(async move { (number, acknowledged.await) });
    }

    /// The next message whose result is known, with its number: see [`Acknowledged`]. `None` if no message waits.
    pub async fn next(&mut self) -> Option<(u64, RetainedMessage, Result<bool, ()>)> {
        loop {
            // A task that was cancelled has no result. It only awaits a channel, so it does not panic.
            let Ok((number, result)) = self.acknowledgements.join_next().await? else { continue };
            if let Some(message) = self.messages.remove(&number) {
                self.bytes -= message.size;
                return Some((number, message, result));
            }
        }
    }
}

/// Messages below this size are never suspected, in bytes. Every broker takes them.
const UNSUSPECTED: usize = 8 << 10;
/// Time after which a limit that was inferred is tried again.
const LIMIT_VALID: Duration = Duration::from_secs(24 * 3600);

/// Size limit of messages to the broker.
///
/// A broker of MQTT 5 announces its limit. One of MQTT 3.1.1 closes the connection. The limit is therefore inferred:
/// if two connections in succession break while messages of the same topic wait, larger than all that were
/// acknowledged, then such messages are not sent any more.
#[derive(Debug, Default)]
pub struct SizeLimit {
    /// Largest message that was acknowledged.
    acknowledged: usize,
    /// The message that was unacknowledged when the last connection broke.
    suspect: Option<RetainedMessage>,
    /// Smallest message that is not sent, and when that was inferred.
    inferred: Option<(usize, Instant)>,
}

impl SizeLimit {
    /// Records that a message of `size` bytes was acknowledged.
    pub fn acknowledged(&mut self, size: usize) {
        self.acknowledged = self.acknowledged.max(size);
    }

    /// Records that a connection broke, with the messages that waited. Returns the limit if it was inferred now.
    pub fn connection_lost(&mut self, waiting: &[RetainedMessage], now: Instant) -> Option<usize> {
        let largest = waiting.iter().max_by_key(|message| message.size);
        let suspect = largest.filter(|message| message.size > self.acknowledged.max(UNSUSPECTED)).cloned();
        let is_same = |before: &RetainedMessage| suspect.as_ref().is_some_and(|suspect| suspect.topic == before.topic);
        match self.suspect.take().filter(is_same) {
            Some(before) => {
                let size = suspect.map_or(before.size, |suspect| suspect.size.min(before.size));
                self.inferred = Some((size, now));
                Some(size)
            }
            None => {
                self.suspect = suspect;
                None
            }
        }
    }

    /// True if a message of `size` bytes may be sent.
    pub fn allows(&self, size: usize, now: Instant) -> bool {
        self.inferred.is_none_or(|(limit, since)| size < limit || now - since >= LIMIT_VALID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, size: usize) -> RetainedMessage {
        RetainedMessage { topic: topic.into(), size, clears: false }
    }

    #[test]
    fn a_limit_is_inferred_from_two_breaks_and_not_from_small_or_proven_sizes() {
        let now = Instant::now();
        let mut limit = SizeLimit::default();
        let waiting = [message("state", 10), message("front/picture", 90_000)];
        assert_eq!(limit.connection_lost(&waiting, now), None);
        assert!(limit.allows(90_000, now));
        assert_eq!(limit.connection_lost(&[message("front/picture", 95_000)], now), Some(90_000));
        assert!(!limit.allows(90_000, now) && limit.allows(89_999, now));
        assert!(limit.allows(90_000, now + LIMIT_VALID));

        let mut limit = SizeLimit::default();
        limit.acknowledged(90_000);
        for _ in 0..9 {
            assert_eq!(limit.connection_lost(&waiting, now), None, "such a message was acknowledged before");
            assert_eq!(limit.connection_lost(&[message("state", 10)], now), None);
        }
        let mut limit = SizeLimit::default();
        for topic in ["a", "b", "a", "b"] {
            assert_eq!(limit.connection_lost(&[message(topic, 90_000)], now), None, "another message each time");
        }
    }

    #[tokio::test]
    async fn few_messages_are_under_way_and_their_results_are_known() {
        let mut in_flight = RetainedInFlight::default();
        assert!(in_flight.next().await.is_none());
        in_flight.add(message("a", 10), Box::pin(std::future::ready(Ok(true))));
        in_flight.add(message("b", 200_000), Box::pin(std::future::pending()));
        assert!(!in_flight.has_room(), "too many bytes");
        assert_eq!(in_flight.next().await, Some((0, message("a", 10), Ok(true))));
        let mut in_flight = RetainedInFlight::default();
        for _ in 0..MAX_MESSAGES {
            assert!(in_flight.has_room());
            in_flight.add(message("a", 10), Box::pin(std::future::ready(Err(()))));
        }
        assert!(!in_flight.has_room());
        while in_flight.next().await.is_some() {}
        assert!(in_flight.is_empty() && in_flight.has_room());
    }
}
