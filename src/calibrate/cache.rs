//! Cache of artifacts quantized at start-up, in the state directory.
//!
//! In: the inputs of [`super::quantize`], and the state directory. Out: the bytes of the artifact, the same as from an
//! offline quantization. The file name is a hash of all inputs that decide the bytes, so every change of an input gives
//! a new file. A damaged file is quantized again.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::options::{Progress, QuantizeOptions};
use super::pictures::{PictureSelection, select};
use super::pipeline::quantize_selected;
use crate::detector::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::kernel::isa::Isa;
use crate::quant::artifact::{Artifact, FORMAT, save};
use crate::tensor::digest::hexadecimal;

/// Folder below the state directory.
const FOLDER: &str = "quantized";

/// An artifact from the cache.
#[derive(Debug, Clone)]
pub struct CachedArtifact {
    /// Path of the file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// True if the file existed already.
    pub found: bool,
    /// Warnings about the pictures.
    pub warnings: Vec<String>,
}

/// Returns the artifact of `checkpoint` and the pictures of `folder` from `state_dir`. Where it does not exist, it is
/// quantized on the current rayon pool and saved together with its calibration record. Files of other inputs stay.
///
/// # Errors
/// As [`super::quantize`]; as [`Error::writing`] where the state directory is not writable.
pub fn quantize_cached(
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &QuantizeOptions,
    isa: Isa,
    state_dir: &Path,
    progress: Progress<'_>,
) -> Result<CachedArtifact> {
    let selection = select(folder, options.observed_pictures(), options.seed, options.allow_unfit)?;
    let warnings = selection.warnings.clone();
    let models = state_dir.join(FOLDER);
    let path = models.join(format!("{}.lookout", key(checkpoint, &selection, options, isa)?));
    if let Ok(bytes) = fs::read(&path)
        && Artifact::parse(&bytes).is_ok()
    {
        return Ok(CachedArtifact { path, bytes, found: true, warnings });
    }
    let outcome = quantize_selected(checkpoint, selection, options, isa, progress)?;
    let warnings = warnings.into_iter().chain(outcome.warning()).collect();
    fs::create_dir_all(&models).map_err(|source| Error::writing(&models, source))?;
    // The artifact is written last: where it exists, its record exists.
    let mut record = path.clone().into_os_string();
    record.push(".calib");
    outcome.record.save(Path::new(&record))?;
    save(&path, &outcome.bytes)?;
    Ok(CachedArtifact { path, bytes: outcome.bytes, found: false, warnings })
}

/// SHA-256 over all inputs that decide the artifact's bytes. The instruction set is one of them: f32 sums may differ in
/// the last digit between two instruction sets.
fn key(checkpoint: &Checkpoint, selection: &PictureSelection, options: &QuantizeOptions, isa: Isa) -> Result<String> {
    let mut hash = Sha256::new();
    // Each input is preceded by its length, so that no two lists of inputs give the same bytes.
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    for part in [FORMAT, env!("CARGO_PKG_VERSION"), isa.name().name(), &checkpoint.sha256()?, &options.cache_key()] {
        add(part.as_bytes());
    }
    for picture in &selection.pictures {
        add(picture.name.as_bytes());
        add(&picture.sha256);
    }
    Ok(hexadecimal(&hash.finalize()))
}
