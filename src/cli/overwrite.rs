//! Protection of files that are not ours: a command replaces an earlier output of its own, nothing else.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::tensor::mapped::Mapped;

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

    /// True if the bytes of a file are of this kind, whole or damaged behind the header.
    fn is(self, bytes: &[u8]) -> bool {
        let format = match self {
            Self::Checkpoint => "checkpoint/",
            Self::Artifact => "artifact/",
            Self::Record => "calibration/",
            Self::Sidecar => return is_sidecar(bytes),
        };
        header_format(bytes).is_some_and(|found| found.starts_with(format))
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
    let is_empty = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
    if !is_empty && output.is(&Mapped::open(path)?) {
        return Ok(());
    }
    refuse(&format!("exists and is not {}; give another name, or --force to replace it", output.name()))
}

/// The format that the header of a safetensors file of ours names.
fn header_format(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let ours: serde_json::Value = serde_json::from_str(header["__metadata__"]["lookout"].as_str()?).ok()?;
    Some(ours["format"].as_str()?.to_owned())
}

fn is_sidecar(bytes: &[u8]) -> bool {
    serde_json::from_slice::<crate::quant::artifact::Sidecar>(bytes).is_ok()
}
