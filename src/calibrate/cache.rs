//! Quantizing at start-up, once.
//!
//! In: what [`super::quantize`] takes, and the state directory. Out: an artifact's bytes, the same that quantizing
//! beforehand gives; from a file of the state directory where the same inputs were quantized before. The file is called
//! by a hash of all that decides its bytes, so no input can change without a new name, and a damaged one is made anew.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::options::{Options, Progress};
use super::pictures::{Selection, select};
use super::pipeline::quantize_selected;
use crate::detector::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::kernel::isa::Isa;
use crate::quant::artifact::{Artifact, FORMAT, save};

/// Folder below the state directory.
const FOLDER: &str = "quantized";

/// A model quantized now or before.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The artifact.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it was there already.
    pub found: bool,
    /// What the owner should know of the pictures.
    pub warnings: Vec<String>,
}

/// The artifact of `checkpoint` and the pictures of `folder`, from `state_dir` if it is there, else made, on the current
/// rayon pool, and put there with its calibration record beside it. Files of other inputs stay.
///
/// # Errors
/// As [`super::quantize`]; as [`Error::writing`] where the state directory takes no file.
pub fn quantize_cached(
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &Options,
    isa: Isa,
    state_dir: &Path,
    progress: Progress<'_>,
) -> Result<Cached> {
    let selection = select(folder, options.count, options.seed, options.allow_unfit)?;
    let warnings = selection.warnings.clone();
    let models = state_dir.join(FOLDER);
    let path = models.join(format!("{}.lookout", key(checkpoint, &selection, options, isa)));
    if let Ok(bytes) = fs::read(&path)
        && Artifact::parse(&bytes).is_ok()
    {
        return Ok(Cached { path, bytes, found: true, warnings });
    }
    let outcome = quantize_selected(checkpoint, selection, options, isa, progress)?;
    fs::create_dir_all(&models).map_err(|source| Error::writing(&models, source))?;
    // The artifact last: where it is, the record is.
    let mut record = path.clone().into_os_string();
    record.push(".calib");
    outcome.record.save(Path::new(&record))?;
    save(&path, &outcome.bytes)?;
    Ok(Cached { path, bytes: outcome.bytes, found: false, warnings })
}

/// SHA-256 over everything that the artifact's bytes follow from. The instruction set is part of it: sums in f32 may
/// differ between two of them in the last digit.
fn key(checkpoint: &Checkpoint, selection: &Selection, options: &Options, isa: Isa) -> String {
    let mut hash = Sha256::new();
    // Lengths go first, so that no two inputs run together.
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for part in [FORMAT, env!("CARGO_PKG_VERSION"), isa.name().name(), &checkpoint.sha256(), &format!("{options:?}")] {
        add(part.as_bytes());
    }
    for picture in &selection.pictures {
        add(picture.name.as_bytes());
        add(&picture.sha256);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
