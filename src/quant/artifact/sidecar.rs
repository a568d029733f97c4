//! What must not stand in an artifact: when, where and from what it was made.
//!
//! In and out: `<artifact>.json`, for people and scripts. Nothing reads it back to decide anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;

/// The story of one quantization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sidecar {
    /// When it was finished, RFC 3339, UTC.
    pub created_at: String,
    /// Version of this program.
    pub version: String,
    /// SHA-256 of the artifact, in hexadecimal.
    pub sha256: String,
    /// Path of the checkpoint as it was given.
    pub checkpoint: String,
    /// Paths of the pictures as they were found, in name order.
    pub pictures: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Sidecar {
    /// Where the sidecar of `artifact` lies: its whole name and `.json`.
    pub fn path(artifact: &Path) -> PathBuf {
        let mut name = artifact.as_os_str().to_owned();
        name.push(".json");
        PathBuf::from(name)
    }

    /// Writes it beside `artifact`.
    ///
    /// # Errors
    /// As [`atomic_file::write`].
    pub fn save(&self, artifact: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Internal, "the sidecar is no JSON").because(e))?;
        atomic_file::write(&Self::path(artifact), |out| writeln!(out, "{text}"))
    }
}
