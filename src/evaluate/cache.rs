//! Result cache: detections of a model on a picture, keyed by content.
//!
//! An interrupted evaluation continues where it stopped, and a repeated one runs nothing. In: a folder. There is one
//! file for each model and its options, named by their digest. It has one JSON line for each picture, keyed by the
//! digest of its bytes. A line that cannot be parsed, such as the last line of an interrupted run, is skipped.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::detector::detection::Detection;
use crate::error::{Error, Result};

/// Version of the line format.
const FORMAT: u32 = 1;

/// Machine on which a time was measured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimingMachine {
    /// Processor name.
    pub cpu: String,
    /// Threads of the detector.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub kernel: String,
}

/// Result of one picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CachedResult {
    /// SHA-256 of the picture's file.
    picture: String,
    /// Width and height of the upright picture.
    pub size: [usize; 2],
    /// Wall time from decoded picture to boxes, in milliseconds.
    pub wall_ms: f64,
    /// CPU time of the process, in milliseconds.
    pub cpu_ms: f64,
    /// Machine on which the times were measured.
    pub machine: TimingMachine,
    /// Class, score, and x0, y0, x1, y1 in pixels of the picture, by descending score.
    #[serde(rename = "found")]
    detections: Vec<(u32, f32, [f32; 4])>,
}

/// Wall and CPU time of a detection, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct DetectionTime {
    /// Wall time.
    pub wall_ms: f64,
    /// CPU time of the process.
    pub cpu_ms: f64,
}

impl CachedResult {
    /// The result of the picture with the digest `picture`.
    pub fn new(
        picture: &str,
        size: [usize; 2],
        time: DetectionTime,
        machine: TimingMachine,
        detections: &[Detection],
    ) -> Self {
        let detections = detections.iter().map(|one| (one.class_id, one.score, one.bbox)).collect();
        let DetectionTime { wall_ms, cpu_ms } = time;
        Self { picture: picture.to_owned(), size, wall_ms, cpu_ms, machine, detections }
    }

    /// The detections, in pixels of the picture, by descending score.
    pub fn detections(&self) -> impl Iterator<Item = Detection> + '_ {
        self.detections.iter().map(|&(class_id, score, bbox)| Detection { class_id, score, bbox })
    }
}

/// Cached results of one model.
#[derive(Debug)]
pub struct ResultCache {
    path: PathBuf,
    file: File,
    results: HashMap<String, CachedResult>,
}

impl ResultCache {
    /// Opens the results in `folder` for `key`, which must contain everything that results depend on. With `fresh`,
    /// existing results are not used.
    ///
    /// # Errors
    /// As [`Error::writing`] and [`Error::reading`].
    pub fn open(folder: &Path, key: &str, fresh: bool) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        let name = crate::tensor::digest::sha256(format!("{FORMAT} {} {key}", env!("CARGO_PKG_VERSION")).as_bytes());
        let path = folder.join(format!("{name}.jsonl"));
        let mut results = HashMap::new();
        match std::fs::read_to_string(&path) {
            Ok(text) if !fresh => {
                for line in text.lines() {
                    if let Ok(result) = serde_json::from_str::<CachedResult>(line) {
                        results.insert(result.picture.clone(), result);
                    }
                }
            }
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::reading(&path, source)),
        }
        let open = OpenOptions::new().append(true).create(true).open(&path);
        let mut file = open.map_err(|source| Error::writing(&path, source))?;
        // Ends an incomplete last line of an interrupted run.
        file.write_all(b"\n").map_err(|source| Error::writing(&path, source))?;
        Ok(Self { path, file, results })
    }

    /// The result of the picture with this digest.
    pub fn get(&self, picture: &str) -> Option<&CachedResult> {
        self.results.get(picture)
    }

    /// Stores a result.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn put(&mut self, result: CachedResult) -> Result<&CachedResult> {
        let fault = |source: std::io::Error| Error::writing(&self.path, source);
        let mut line = serde_json::to_vec(&result).map_err(|source| fault(source.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(fault)?;
        let key = result.picture.clone();
        Ok(self.results.entry(key).insert_entry(result).into_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_restored_exactly_and_an_incomplete_line_is_skipped() {
        let root = tempfile::tempdir().unwrap();
        let machine = TimingMachine { cpu: "c".into(), threads: 1, kernel: "scalar".into() };
        let detections = [Detection { class_id: 2, score: 0.1 + 0.2, bbox: [1.0 / 3.0, 2.5e-8, 1e7, 4.0] }];
        let time = DetectionTime { wall_ms: 1.5, cpu_ms: 1.25 };
        let result = CachedResult::new("aa", [3, 4], time, machine, &detections);
        let mut cache = ResultCache::open(root.path(), "key", false).unwrap();
        cache.put(result.clone()).unwrap();
        let file = std::fs::read_dir(root.path()).unwrap().next().unwrap().unwrap().path();
        let mut torn = OpenOptions::new().append(true).open(&file).unwrap();
        torn.write_all(b"{\"picture\": \"bb\", \"si").unwrap();

        let mut cache = ResultCache::open(root.path(), "key", false).unwrap();
        assert_eq!(cache.get("aa"), Some(&result));
        assert!(cache.get("aa").unwrap().detections().eq(detections));
        assert!(cache.get("bb").is_none());
        cache.put(CachedResult { picture: "cc".into(), ..result }).unwrap();
        assert!(ResultCache::open(root.path(), "key", false).unwrap().get("cc").is_some());
        assert!(ResultCache::open(root.path(), "key", true).unwrap().get("cc").is_none());
        assert!(ResultCache::open(root.path(), "other", false).unwrap().get("cc").is_none());
    }
}
