//! Sidecar of an artifact: date, paths and duration of a quantization, which the artifact itself must not contain.
//!
//! The file `<artifact>.json` is for people and scripts. The program never reads it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;

/// Record of one quantization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// End of the quantization, RFC 3339, UTC.
    pub created_at: String,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of the artifact, in hexadecimal.
    pub sha256: String,
    /// Path of the checkpoint as it was given.
    pub checkpoint: String,
    /// Paths of the pictures as they were found, in name order.
    pub pictures: Vec<String>,
    /// Duration in seconds.
    pub seconds: f64,
}

impl Sidecar {
    /// Path of the sidecar of `artifact`: its full name and `.json`.
    pub fn path(artifact: &Path) -> PathBuf {
        let mut name = artifact.as_os_str().to_owned();
        name.push(".json");
        PathBuf::from(name)
    }

    /// Writes the sidecar next to `artifact`.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn save(&self, artifact: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Internal, "the sidecar cannot be written as JSON").because(e))?;
        atomic_file::write(&Self::path(artifact), |out| writeln!(out, "{text}"))
    }
}
