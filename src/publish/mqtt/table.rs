//! Table of retained topics: one payload a topic, and the set of topics not published yet.
//!
//! In: new values from any thread. Out: topics to publish, in a circle. After a new connection all topics are pending,
//! since the broker may have lost them or be another one. The circle continues where the last connection broke: a link
//! that always breaks after half of the topics carries each of them every second time.

use std::collections::{BTreeMap, BTreeSet};

/// Retained payloads by topic.
#[derive(Debug, Default)]
pub struct RetainedTable {
    values: BTreeMap<String, Vec<u8>>,
    pending: BTreeSet<String>,
    /// Topic with which the circle continues.
    position: String,
}

impl RetainedTable {
    /// Sets the payload of `topic`. Returns true if it changed.
    pub fn set(&mut self, topic: String, payload: Vec<u8>) -> bool {
        if self.values.get(&topic) == Some(&payload) {
            return false;
        }
        self.pending.insert(topic.clone());
        self.values.insert(topic, payload);
        true
    }

    /// Marks all topics as pending.
    pub fn mark_all_pending(&mut self) {
        self.pending = self.values.keys().cloned().collect();
    }

    /// The next pending topic of the circle with its payload. It counts as published.
    pub fn take_next(&mut self) -> Option<(String, Vec<u8>)> {
        let mut after = self.pending.range(self.position.clone()..);
        let topic = after.next().or_else(|| self.pending.first())?.clone();
        // The smallest text that follows this topic.
        self.position = format!("{topic}\0");
        self.take(&topic).map(|payload| (topic, payload))
    }

    /// The payload of `topic` if it is pending. It counts as published.
    pub fn take(&mut self, topic: &str) -> Option<Vec<u8>> {
        self.pending.remove(topic).then(|| self.values.get(topic).cloned()).flatten()
    }

    /// Makes `topic` pending again and the next one of the circle: it was not delivered.
    pub fn put_back(&mut self, topic: String) {
        if self.values.contains_key(&topic) {
            self.pending.insert(topic.clone());
            self.position = topic;
        }
    }

    /// True if no topic is pending.
    pub fn is_published(&self) -> bool {
        self.pending.is_empty()
    }

    /// Payload of `topic`.
    #[cfg(test)]
    pub fn get(&self, topic: &str) -> Option<&[u8]> {
        self.values.get(topic).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(table: &mut RetainedTable, count: usize) -> Vec<String> {
        std::iter::from_fn(|| table.take_next()).map(|(topic, _)| topic).take(count).collect()
    }

    #[test]
    fn values_are_published_once_and_all_again_after_a_new_connection() {
        let mut table = RetainedTable::default();
        assert!(table.set("a".into(), b"1".to_vec()) && table.set("b".into(), b"1".to_vec()));
        assert_eq!(taken(&mut table, 1), ["a"]);
        assert!(!table.is_published());
        assert_eq!(taken(&mut table, 9), ["b"]);
        assert!(!table.set("a".into(), b"1".to_vec()) && table.is_published());
        assert!(table.set("a".into(), b"2".to_vec()));
        assert_eq!(table.take_next(), Some(("a".into(), b"2".to_vec())));
        table.mark_all_pending();
        assert_eq!(table.take("b"), Some(b"1".to_vec()));
        assert_eq!(table.take("b"), None, "it is published");
        assert_eq!(taken(&mut table, 9), ["a"]);
        assert_eq!(table.get("a"), Some(&b"2"[..]));
    }

    #[test]
    fn a_link_that_breaks_after_half_of_the_topics_carries_all_of_them_in_turn() {
        let mut table = RetainedTable::default();
        for topic in ["a", "b", "c", "d", "e"] {
            table.set(topic.into(), b"1".to_vec());
        }
        assert_eq!(taken(&mut table, 4), ["a", "b", "c", "d"]);
        // The last two were not delivered.
        table.mark_all_pending();
        table.put_back("c".into());
        assert_eq!(taken(&mut table, 3), ["c", "d", "e"]);
        table.mark_all_pending();
        assert_eq!(taken(&mut table, 9), ["a", "b", "c", "d", "e"]);
        table.put_back("unknown".into());
        assert!(table.is_published());
    }
}
