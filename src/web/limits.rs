//! Limits by client address: wrong tokens and streams. A client that exceeds one is refused; others notice nothing.
//!
//! Clients are told apart by their IPv4 address or the first 64 bits of their IPv6 address, since a network hands out those
//! together. Behind a trusted proxy the address is the forwarded one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::rate_limit::{LogLimit, TokenBucket};
use crate::sync::IgnorePoison;

/// Wrong tokens that an address may try at once.
const ATTEMPTS: u32 = 10;
/// Time after which it may try another one.
const REFILL: Duration = Duration::from_secs(1);
/// Addresses that are remembered. Beyond it the one that waits the shortest is forgotten.
const MAX_ADDRESSES: usize = 4096;
/// Shortest time between two log lines about wrong tokens.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Live streams of one address.
const MAX_STREAMS: usize = 32;

/// The part of an address by which clients are told apart.
pub fn client_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Result of an attempt with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The token is right.
    Right,
    /// The token is wrong.
    Wrong,
    /// The token was not compared: the address tried too many wrong ones. It may try again after this time.
    Refused(Duration),
}

/// Wrong tokens by address: a token bucket for each.
#[derive(Debug)]
pub struct TokenAttempts {
    /// Origin of the times.
    begin: Instant,
    table: Mutex<AttemptTable>,
}

#[derive(Debug)]
struct AttemptTable {
    buckets: HashMap<IpAddr, TokenBucket>,
    log: LogLimit,
}

impl Default for TokenAttempts {
    fn default() -> Self {
        let table = AttemptTable { buckets: HashMap::new(), log: LogLimit::new(1, LOG_INTERVAL) };
        Self { begin: Instant::now(), table: Mutex::new(table) }
    }
}

impl TokenAttempts {
    /// An attempt of `client`, for which `is_right` compares the token. A client without an address counts as one.
    pub fn attempt(&self, client: Option<IpAddr>, is_right: impl FnOnce() -> bool) -> Attempt {
        self.attempt_at(Instant::now(), client, is_right)
    }

    fn attempt_at(&self, now: Instant, client: Option<IpAddr>, is_right: impl FnOnce() -> bool) -> Attempt {
        let now_ns = now.saturating_duration_since(self.begin).as_nanos() as u64;
        let key = client.map_or(Ipv6Addr::UNSPECIFIED.into(), client_key);
        let AttemptTable { buckets, log } = &mut *self.table.lock().ignore_poison();
        let mut bucket = buckets.get(&key).copied().unwrap_or_else(|| TokenBucket::new(ATTEMPTS, REFILL));
        if let Some(wait) = bucket.wait(now_ns) {
            return Attempt::Refused(wait);
        }
        if is_right() {
            return Attempt::Right;
        }
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| !bucket.is_full(now_ns));
            let fullest = buckets.iter().max_by_key(|(_, bucket)| bucket.credit_ns(now_ns));
            if let Some(address) = fullest.map(|(address, _)| *address).filter(|_| buckets.len() >= MAX_ADDRESSES) {
                buckets.remove(&address);
            }
        }
        bucket.take(now_ns);
        buckets.insert(key, bucket);
        if let Some(suppressed) = log.allow(now_ns) {
            let client = client.map(|client| client.to_string());
            tracing::warn!(client, attempts = suppressed + 1, "wrong token");
        }
        Attempt::Wrong
    }
}

/// Live streams by address.
#[derive(Debug, Clone, Default)]
pub struct StreamCounts(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Permission for one stream, until it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    counts: StreamCounts,
    client: IpAddr,
}

impl StreamCounts {
    /// Permission for another stream of `client`; `None` if it has as many as are allowed.
    pub fn acquire(&self, client: Option<IpAddr>) -> Option<StreamPermit> {
        let client = client.map_or(Ipv6Addr::UNSPECIFIED.into(), client_key);
        let mut counts = self.0.lock().ignore_poison();
        let count = counts.entry(client).or_default();
        if *count >= MAX_STREAMS {
            return None;
        }
        *count += 1;
        Some(StreamPermit { counts: self.clone(), client })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().ignore_poison();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_guesses_waits_and_others_do_not() {
        let attempts = TokenAttempts::default();
        let now = Instant::now();
        let guess = |after: f64, client| attempts.attempt_at(now + Duration::from_secs_f64(after), client, || false);
        let right = |after: f64, client| attempts.attempt_at(now + Duration::from_secs_f64(after), client, || true);
        for _ in 0..10 {
            assert_eq!(guess(0.0, ip("192.0.2.1")), Attempt::Wrong);
        }
        assert_eq!(right(0.0, ip("192.0.2.1")), Attempt::Refused(Duration::from_secs(1)), "not even compared");
        assert_eq!(right(0.0, ip("::ffff:192.0.2.1")), Attempt::Refused(Duration::from_secs(1)));
        assert_eq!(right(0.0, ip("192.0.2.2")), Attempt::Right);
        assert_eq!(right(1.0, ip("192.0.2.1")), Attempt::Right, "a right token takes nothing");
        assert_eq!(guess(1.0, ip("192.0.2.1")), Attempt::Wrong);
        assert!(matches!(guess(1.5, ip("192.0.2.1")), Attempt::Refused(_)));
        let all = (0..100_000).filter(|n| guess(10.0 + f64::from(*n) / 1000.0, ip("192.0.2.1")) == Attempt::Wrong);
        assert!((108..=110).contains(&all.count()), "one a second");
        for _ in 0..10 {
            assert_eq!(guess(0.0, ip("2001:db8::1")), Attempt::Wrong);
        }
        assert!(matches!(right(0.0, ip("2001:db8::ffff:1")), Attempt::Refused(_)), "of the same network");
        assert_eq!(right(0.0, ip("2001:db8:0:1::1")), Attempt::Right);
    }

    #[test]
    fn the_table_of_addresses_is_bounded_and_forgets_who_waits_the_shortest() {
        let attempts = TokenAttempts::default();
        let now = Instant::now();
        for _ in 0..10 {
            attempts.attempt_at(now, ip("192.0.2.1"), || false);
        }
        for number in 0..20_000u32 {
            let client = Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
            assert_eq!(attempts.attempt_at(now, client, || false), Attempt::Wrong);
        }
        assert_eq!(attempts.table.lock().unwrap().buckets.len(), MAX_ADDRESSES);
        assert!(matches!(attempts.attempt_at(now, ip("192.0.2.1"), || true), Attempt::Refused(_)));
    }

    #[test]
    fn streams_are_counted_by_address_until_they_end() {
        let counts = StreamCounts::default();
        let mut held: Vec<StreamPermit> = (0..MAX_STREAMS).map(|_| counts.acquire(ip("192.0.2.1")).unwrap()).collect();
        assert!(counts.acquire(ip("192.0.2.1")).is_none() && counts.acquire(ip("192.0.2.2")).is_some());
        held.pop();
        assert!(counts.acquire(ip("192.0.2.1")).is_some());
        held.clear();
        assert!(counts.0.lock().unwrap().is_empty());
    }
}
