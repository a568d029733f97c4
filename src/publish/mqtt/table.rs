//! Table of retained topics: one payload a topic, and the set of topics not published yet.
//!
//! In: new values from any thread. Out: topics to publish. After a new connection all topics are pending, since the broker
//! may have lost them or be another one.

use std::collections::BTreeMap;

/// Retained payloads by topic.
#[derive(Debug, Default)]
pub struct RetainedTable {
    values: BTreeMap<String, RetainedValue>,
}

#[derive(Debug)]
struct RetainedValue {
    payload: Vec<u8>,
    is_pending: bool,
}

impl RetainedTable {
    /// Sets the payload of `topic`. Returns true if it changed.
    pub fn set(&mut self, topic: String, payload: Vec<u8>) -> bool {
        match self.values.get_mut(&topic) {
            Some(value) if value.payload == payload => false,
            Some(value) => {
                *value = RetainedValue { payload, is_pending: true };
                true
            }
            None => {
                self.values.insert(topic, RetainedValue { payload, is_pending: true });
                true
            }
        }
    }

    /// Marks all topics as pending.
    pub fn mark_all_pending(&mut self) {
        self.values.values_mut().for_each(|value| value.is_pending = true);
    }

    /// Passes each pending topic to `publish` until that returns false. Accepted topics count as published.
    pub fn publish(&mut self, mut publish: impl FnMut(&str, &[u8]) -> bool) {
        for (topic, value) in self.values.iter_mut().filter(|(_, value)| value.is_pending) {
            if !publish(topic, &value.payload) {
                break;
            }
            value.is_pending = false;
        }
    }

    /// True if no topic is pending.
    pub fn is_published(&self) -> bool {
        self.values.values().all(|value| !value.is_pending)
    }

    /// Payload of `topic`.
    #[cfg(test)]
    pub fn get(&self, topic: &str) -> Option<&[u8]> {
        self.values.get(topic).map(|value| value.payload.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(table: &mut RetainedTable, room: usize) -> Vec<String> {
        let mut topics = Vec::new();
        table.publish(|topic, _| {
            let taken = topics.len() < room;
            if taken {
                topics.push(topic.to_owned());
            }
            taken
        });
        topics
    }

    #[test]
    fn values_are_published_once_and_all_again_after_a_new_connection() {
        let mut table = RetainedTable::default();
        assert!(table.set("a".into(), b"1".to_vec()) && table.set("b".into(), b"1".to_vec()));
        assert_eq!(published(&mut table, 1), ["a"]);
        assert!(!table.is_published());
        assert_eq!(published(&mut table, 9), ["b"]);
        assert!(!table.set("a".into(), b"1".to_vec()) && table.is_published());
        assert!(table.set("a".into(), b"2".to_vec()));
        assert_eq!(published(&mut table, 9), ["a"]);
        table.mark_all_pending();
        assert_eq!(published(&mut table, 9), ["a", "b"]);
        assert_eq!(table.get("a"), Some(&b"2"[..]));
    }
}
