//! Retained topics and Home Assistant's entities of this run, and those of earlier runs that no longer belong to the
//! device.
//!
//! A broker keeps retained messages for ever. The list of what was published is therefore kept in a file. A later run
//! clears what it does not publish any more: a renamed camera, a removed label, another prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tensor::atomic_file;

/// Most topics in a file. A damaged file must not fill the memory.
const MAX_ENTRIES: usize = 100_000;

/// Topics and components that a broker retains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedSet {
    /// Topics.
    pub topics: BTreeSet<String>,
    /// Components of the discovery message with their platforms, by key.
    pub components: BTreeMap<String, String>,
}

/// The list of what a broker retains, and its file.
#[derive(Debug)]
pub struct RetainedTopics {
    file: PathBuf,
    current: RetainedSet,
    /// Those of earlier runs that this run does not have.
    obsolete: RetainedSet,
}

impl RetainedTopics {
    /// Reads the list of earlier runs from `file` and adds what this run retains.
    pub fn open(file: PathBuf, current: RetainedSet) -> Self {
        let read = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(RetainedSet::default()),
            Err(error) => Err(error.to_string()),
        };
        let mut obsolete = read.unwrap_or_else(|error| {
            let file = file.display().to_string();
            tracing::warn!(
                file,
                error,
                "the list of retained topics cannot be read; obsolete topics may stay on the broker"
            );
            RetainedSet::default()
        });
        if obsolete.topics.len() > MAX_ENTRIES || obsolete.components.len() > MAX_ENTRIES {
            obsolete = RetainedSet::default();
        }
        obsolete.topics.retain(|topic| !current.topics.contains(topic));
        obsolete.components.retain(|key, platform| current.components.get(key) != Some(platform));
        let retained_topics = Self { file, current, obsolete };
        // Before anything is published: a run that is killed has left its topics, too.
        retained_topics.save();
        retained_topics
    }

    /// Topics and components that must be cleared.
    pub fn obsolete(&self) -> &RetainedSet {
        &self.obsolete
    }

    /// Records that the broker has cleared everything of earlier runs.
    pub fn set_cleared(&mut self) {
        self.obsolete = RetainedSet::default();
        self.save();
    }

    fn save(&self) {
        let mut all = self.current.clone();
        all.topics.extend(self.obsolete.topics.iter().cloned());
        for (key, platform) in &self.obsolete.components {
            all.components.entry(key.clone()).or_insert_with(|| platform.clone());
        }
        let text = serde_json::to_vec(&all).unwrap_or_default();
        if std::fs::read(&self.file).is_ok_and(|before| before == text) {
            return;
        }
        let folder = self.file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let file = self.file.display().to_string();
        if let Err(error) = folder {
            tracing::warn!(file, error = error.to_string(), "the list of retained topics cannot be written");
        } else if let Err(error) = atomic_file::write_private(&self.file, |out| out.write_all(&text)) {
            tracing::warn!(file, error = error.chain(), "the list of retained topics cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retained(names: &[&str]) -> RetainedSet {
        RetainedSet {
            topics: names.iter().map(|name| format!("lookout/d/{name}/state")).collect(),
            components: names.iter().map(|name| (format!("{name}_fps"), "sensor".to_owned())).collect(),
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_known_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool/broker.json");
        assert_eq!(
            *RetainedTopics::open(file.clone(), retained(&["front", "yard"])).obsolete(),
            RetainedSet::default()
        );
        // Killed before a broker was there, twice.
        for _ in 0..2 {
            assert_eq!(*RetainedTopics::open(file.clone(), retained(&["yard"])).obsolete(), retained(&["front"]));
        }
        let mut retained_topics = RetainedTopics::open(file.clone(), retained(&["yard", "side"]));
        assert_eq!(*retained_topics.obsolete(), retained(&["front"]));
        retained_topics.set_cleared();
        assert_eq!(*RetainedTopics::open(file.clone(), retained(&["front"])).obsolete(), retained(&["side", "yard"]));
        std::fs::write(&file, "damaged").unwrap();
        assert_eq!(*RetainedTopics::open(file, retained(&["front"])).obsolete(), RetainedSet::default());
    }
}
