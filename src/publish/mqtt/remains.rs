//! Remains on the broker: retained topics and Home Assistant's entities of earlier runs that no longer belong to the
//! device.
//!
//! A broker keeps retained messages for ever. The list of what was published is therefore kept in a file, and a later
//! run clears what it does not publish any more: a renamed camera, a label that is gone, another prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::tensor::atomic_file;

/// Most topics in a file that are believed: a damaged file must not fill the memory.
const MOST: usize = 100_000;

/// Topics and components that a broker retains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// Topics.
    pub topics: BTreeSet<String>,
    /// Components of the discovery message with their platforms, by key.
    pub components: BTreeMap<String, String>,
}

/// The list of what a broker retains, and its file.
#[derive(Debug)]
pub struct Remains {
    file: PathBuf,
    current: Retained,
    /// Topics that earlier runs have left.
    gone: Retained,
}

impl Remains {
    /// Reads the list of earlier runs from `file` and adds what this run retains.
    pub fn open(file: PathBuf, current: Retained) -> Self {
        let read = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Retained::default()),
            Err(error) => Err(error.to_string()),
        };
        let mut gone = read.unwrap_or_else(|error| {
            let file = file.display().to_string();
            tracing::warn!(
                file,
                error,
                "the list of retained topics cannot be read; old topics may stay on the broker"
            );
            Retained::default()
        });
        if gone.topics.len() > MOST || gone.components.len() > MOST {
            gone = Retained::default();
        }
        gone.topics.retain(|topic| !current.topics.contains(topic));
        gone.components.retain(|key, platform| current.components.get(key) != Some(platform));
        let remains = Self { file, current, gone };
        // Before anything is published: a run that is killed has left its topics, too.
        remains.save();
        remains
    }

    /// Topics that must be cleared.
    pub fn obsolete(&self) -> &Retained {
        &self.gone
    }

    /// Records that the broker has cleared everything of earlier runs.
    pub fn cleared(&mut self) {
        self.gone = Retained::default();
        self.save();
    }

    fn save(&self) {
        let mut all = self.current.clone();
        all.topics.extend(self.gone.topics.iter().cloned());
        for (key, platform) in &self.gone.components {
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

    fn retained(names: &[&str]) -> Retained {
        Retained {
            topics: names.iter().map(|name| format!("lookout/d/{name}/state")).collect(),
            components: names.iter().map(|name| (format!("{name}_fps"), "sensor".to_owned())).collect(),
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_known_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spool/broker.json");
        assert_eq!(*Remains::open(file.clone(), retained(&["front", "yard"])).obsolete(), Retained::default());
        // Killed before a broker was there, twice.
        for _ in 0..2 {
            assert_eq!(*Remains::open(file.clone(), retained(&["yard"])).obsolete(), retained(&["front"]));
        }
        let mut remains = Remains::open(file.clone(), retained(&["yard", "side"]));
        assert_eq!(*remains.obsolete(), retained(&["front"]));
        remains.cleared();
        assert_eq!(*Remains::open(file.clone(), retained(&["front"])).obsolete(), retained(&["side", "yard"]));
        std::fs::write(&file, "damaged").unwrap();
        assert_eq!(*Remains::open(file, retained(&["front"])).obsolete(), Retained::default());
    }
}
