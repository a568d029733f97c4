//! What a model found in a picture, kept by content, so that an evaluation that was interrupted goes on where it
//! stopped and one that is asked again runs nothing.
//!
//! In: a folder. A file a model and way of running it, named by the digest of both; a line a picture, found by the
//! digest of its bytes. Lines are appended whole as pictures are done; what cannot be read (the last line of a run that
//! was cut off) is passed over and computed again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::detector::detection::Detection;
use crate::error::{Error, Result};

/// Version of the lines.
const FORMAT: u32 = 1;

/// Where a time was taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Threads of the detector.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub kernel: String,
}

/// One picture's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// SHA-256 of the picture's file.
    picture: String,
    /// Columns and rows of the upright picture.
    pub size: [usize; 2],
    /// Wall time from decoded picture to boxes, in ms.
    pub wall_ms: f64,
    /// CPU time of the process for the same, in ms.
    pub cpu_ms: f64,
    /// Where the times were taken.
    pub machine: Machine,
    /// Class, score, x0, y0, x1, y1 in pixels of the picture; best first.
    found: Vec<(u32, f32, [f32; 4])>,
}

impl Entry {
    /// The result of one picture with the digest `picture`.
    pub fn new(picture: &str, size: [usize; 2], ms: [f64; 2], machine: Machine, found: &[Detection]) -> Self {
        let found = found.iter().map(|found| (found.class_id, found.score, found.bbox)).collect();
        Self { picture: picture.to_owned(), size, wall_ms: ms[0], cpu_ms: ms[1], machine, found }
    }

    /// The detections, in pixels of the picture, best first.
    pub fn detections(&self) -> impl Iterator<Item = Detection> + '_ {
        self.found.iter().map(|&(class_id, score, bbox)| Detection { class_id, score, bbox })
    }
}

/// The results of one model.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    file: File,
    entries: HashMap<String, Entry>,
}

impl Cache {
    /// Opens the results kept in `folder` under `key`, which must say everything that results depend on. With `fresh`,
    /// what is there is not used.
    ///
    /// # Errors
    /// As [`Error::writing`] and [`Error::reading`].
    pub fn open(folder: &Path, key: &str, fresh: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        let name = crate::tensor::digest::sha256(format!("{FORMAT} {} {key}", env!("CARGO_PKG_VERSION")).as_bytes());
        let path = folder.join(format!("{name}.jsonl"));
        let mut entries = HashMap::new();
        match std::fs::read_to_string(&path) {
            Ok(text) if !fresh => {
                for line in text.lines() {
                    if let Ok(entry) = serde_json::from_str::<Entry>(line) {
                        entries.insert(entry.picture.clone(), entry);
                    }
                }
            }
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::reading(&path, source)),
        }
        let open = OpenOptions::new().append(true).create(true).open(&path);
        let mut file = open.map_err(|source| Error::writing(&path, source))?;
        // A run that was cut off in a line must not spoil the next one.
        file.write_all(b"\n").map_err(|source| Error::writing(&path, source))?;
        Ok(Self { path, file, entries })
    }

    /// The result of the picture with this digest.
    pub fn get(&self, picture: &str) -> Option<&Entry> {
        self.entries.get(picture)
    }

    /// Keeps a result.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn put(&mut self, entry: Entry) -> Result<&Entry> {
        let fault = |source: std::io::Error| Error::writing(&self.path, source);
        let mut line = serde_json::to_vec(&entry).map_err(|source| fault(source.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fault)?;
        let key = entry.picture.clone();
        Ok(self.entries.entry(key).insert_entry(entry).into_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_exactly_and_a_torn_line_does_no_harm() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine { cpu: "c".into(), threads: 1, kernel: "scalar".into() };
        let found = [Detection { class_id: 2, score: 0.1 + 0.2, bbox: [1.0 / 3.0, 2.5e-8, 1e7, 4.0] }];
        let entry = Entry::new("aa", [3, 4], [1.5, 1.25], machine, &found);
        let mut cache = Cache::open(root.path(), "key", false).unwrap();
        cache.put(entry.clone()).unwrap();
        let file = std::fs::read_dir(root.path()).unwrap().next().unwrap().unwrap().path();
        let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
        torn.write_all(b"{\"picture\": \"bb\", \"si").unwrap();

        let mut cache = Cache::open(root.path(), "key", false).unwrap();
        assert_eq!(cache.get("aa"), Some(&entry));
        assert!(cache.get("aa").unwrap().detections().eq(found));
        assert!(cache.get("bb").is_none());
        cache.put(Entry { picture: "cc".into(), ..entry }).unwrap();
        assert!(Cache::open(root.path(), "key", false).unwrap().get("cc").is_some());
        assert!(Cache::open(root.path(), "key", true).unwrap().get("cc").is_none());
        assert!(Cache::open(root.path(), "other", false).unwrap().get("cc").is_none());
    }
}
