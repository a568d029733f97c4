//! Which pictures calibrate, and what they look like decoded.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::fitness::{Candidate, judge};
use super::record::Record;
use crate::error::{Error, Kind, Result};
use crate::frame::{Picture, pictures_in};

/// A picture chosen for calibration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its path below the folder, with `/`: the same wherever the folder lies.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
}

/// The pictures of a calibration and what was found about them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// In the order of their names.
    pub pictures: Vec<Chosen>,
    /// What the owner should know.
    pub warnings: Vec<String>,
    /// Why the pictures are unfit, where the owner went on all the same.
    pub unfit: Vec<String>,
}

/// Chooses `count` pictures of `folder` (all, if there are fewer) by a hash of `seed` and name, so that the choice does
/// not depend on the machine, and checks that ranges can be learned from them. With `allow_unfit` unfit ones are taken
/// all the same.
///
/// # Errors
/// [`Kind::NoInput`] without pictures; what decoding gives, naming the picture; [`Kind::Data`] with the reason if they
/// are unfit.
pub fn select(folder: &Path, count: usize, seed: u64, allow_unfit: bool) -> Result<Selection> {
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for path in pictures_in(folder)? {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        named.push((parts.join("/"), path));
    }
    named.sort_by_cached_key(|(name, _)| rank(seed, name));
    named.truncate(count);
    named.sort();
    let mut candidates = Vec::with_capacity(named.len());
    for (name, path) in &named {
        candidates.push(Candidate::new(name, &Picture::open(path)?));
    }
    let verdict = judge(&candidates);
    if verdict.refused && !allow_unfit {
        let reasons = verdict.reasons.join("; ");
        let text = format!("the pictures of {} cannot calibrate: {reasons}", folder.display());
        return Err(Error::new(Kind::Data, text));
    }
    let left_out = |at: usize| !allow_unfit && verdict.unfit.contains(&at);
    let pictures = named
        .into_iter()
        .zip(&candidates)
        .enumerate()
        .filter(|(at, _)| !left_out(*at))
        .map(|(_, ((name, path), candidate))| Chosen { name, path, sha256: candidate.sha256 })
        .collect();
    let mut warnings = verdict.warnings;
    if allow_unfit {
        // They are used, and the artifact says so.
        warnings.retain(|warning| !warning.starts_with("left out: "));
        warnings.extend(verdict.reasons.iter().map(|reason| format!("used all the same: {reason}")));
    }
    Ok(Selection { pictures, warnings, unfit: if allow_unfit { verdict.reasons } else { Vec::new() } })
}

/// Chooses as [`select`] does among the pictures of `record`; they were judged when they were recorded.
///
/// # Errors
/// [`Kind::Data`] if the record is of no picture.
pub fn select_recorded(record: &Record, count: usize, seed: u64) -> Result<Selection> {
    let mut names: Vec<&str> = record.pictures().collect();
    names.sort_by_cached_key(|name| rank(seed, name));
    names.truncate(count);
    names.sort_unstable();
    if names.is_empty() {
        return Err(Error::new(Kind::Data, "the calibration record is of no picture"));
    }
    let mut pictures = Vec::with_capacity(names.len());
    for name in names {
        pictures.push(Chosen { name: name.to_owned(), path: name.into(), sha256: record.sha256(name)? });
    }
    Ok(Selection { pictures, ..Selection::default() })
}

/// What pictures are chosen by, least first.
fn rank(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}
