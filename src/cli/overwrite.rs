//! Protection of files that are not ours: a command replaces an earlier output of its own, nothing else.

use std::path::Path;

use crate::detector::checkpoint::stored_format;
use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file::RegularFile;

/// Kind of a file that a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// A checkpoint.
    Checkpoint,
    /// An artifact.
    Artifact,
    /// A calibration record.
    Record,
    /// The sidecar of an artifact.
    Sidecar,
}

impl Output {
    const fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "a checkpoint",
            Self::Artifact => "an artifact",
            Self::Record => "a calibration record",
            Self::Sidecar => "an artifact's sidecar",
        }
    }

    /// True if a file is of this kind, whole or damaged behind the header.
    ///
    /// # Errors
    /// As [`RegularFile::read`].
    fn is(self, file: &RegularFile) -> Result<bool> {
        let format = match self {
            Self::Checkpoint => "checkpoint/",
            Self::Artifact => "artifact/",
            Self::Record => "calibration/",
            Self::Sidecar => {
                let bytes = file.read()?;
                return Ok(serde_json::from_slice::<crate::quant::artifact::Sidecar>(&bytes).is_ok());
            }
        };
        Ok(stored_format(file).is_some_and(|found| found.starts_with(format)))
    }
}

/// Refuses to replace the file at `path` if it exists and is not `output`, unless `force` is given.
///
/// # Errors
/// [`Kind::CannotCreate`] for such a file or a folder; as [`Error::reading`] if the file cannot be read.
pub(super) fn check(path: &Path, output: Output, force: bool) -> Result<()> {
    if force || !path.exists() {
        return Ok(());
    }
    let refuse = |text: &str| Err(Error::new(Kind::CannotCreate, format!("{} {text}", path.display())));
    if !path.is_file() {
        return refuse("exists and is no regular file; give another name");
    }
    if output.is(&RegularFile::open(path)?)? {
        return Ok(());
    }
    refuse(&format!("exists and is not {}; give another name, or --force to replace it", output.name()))
}
