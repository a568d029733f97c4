//! Calibration pictures: choice of the files, and their decoding onto the network's canvases.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::record::CalibrationRecord;
use super::usability::{CheckedPicture, check_pictures};
use crate::error::{Error, Kind, Result};
use crate::frame::{Picture, pictures_in};
use crate::preprocess::Transform;
use crate::tensor::Canvas;

/// A picture chosen for calibration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationPicture {
    /// Path below the folder, separated by `/`: the same wherever the folder is.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
}

/// Pictures of a calibration, and findings about them.
#[derive(Debug, Clone, Default)]
pub struct PictureSelection {
    /// Pictures in the order of their names.
    pub pictures: Vec<CalibrationPicture>,
    /// Warnings for the owner.
    pub warnings: Vec<String>,
    /// Reasons why pictures are unusable, where the owner uses them nevertheless.
    pub unusable_reasons: Vec<String>,
}

impl PictureSelection {
    /// True if the picture called `name` is one of the selection.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.pictures.iter().any(|picture| picture.name == name)
    }

    /// At most `count` of the pictures, evenly spaced in the order of their names.
    pub(super) fn evenly_spaced(&self, count: usize) -> Vec<CalibrationPicture> {
        let count = count.min(self.pictures.len());
        (0..count).map(|i| self.pictures[i * self.pictures.len() / count].clone()).collect()
    }
}

/// Chooses `count` pictures of `folder` (all, if there are fewer) and checks that they are usable for calibration. The
/// choice follows a hash of `seed` and name, so it does not depend on the machine. With `allow_unfit` unusable pictures
/// are used nevertheless.
///
/// # Errors
/// [`Kind::NoInput`] without pictures; errors of decoding, naming the picture; [`Kind::Data`] with the reason if the
/// pictures are unusable.
pub fn select(folder: &Path, count: usize, seed: u64, allow_unfit: bool) -> Result<PictureSelection> {
    // Choose by the hash of the name, then restore the order of the names.
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for path in pictures_in(folder)? {
        let below = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        named.push((parts.join("/"), path));
    }
    named.sort_by_cached_key(|(name, _)| rank(seed, name));
    named.truncate(count);
    named.sort();

    // Check the chosen pictures, and refuse the set or leave out single ones.
    let mut checked = Vec::with_capacity(named.len());
    for (name, path) in &named {
        checked.push(CheckedPicture::new(name, &Picture::open(path)?));
    }
    let report = check_pictures(&checked);
    if report.refused && !allow_unfit {
        let reasons = report.reasons.join("; ");
        let text = format!("the pictures of {} cannot calibrate: {reasons}", folder.display());
        return Err(Error::new(Kind::Data, text));
    }
    let left_out = |at: usize| !allow_unfit && report.unusable.contains(&at);
    let pictures = named
        .into_iter()
        .zip(&checked)
        .enumerate()
        .filter(|(at, _)| !left_out(*at))
        .map(|(_, ((name, path), picture))| CalibrationPicture { name, path, sha256: picture.sha256 })
        .collect();

    let mut warnings = report.warnings;
    if allow_unfit {
        // The pictures are used, and the artifact records why they should not be.
        warnings.retain(|warning| !warning.starts_with("left out: "));
        warnings.extend(report.reasons.iter().map(|reason| format!("used all the same: {reason}")));
    }
    let unusable_reasons = if allow_unfit { report.reasons } else { Vec::new() };
    Ok(PictureSelection { pictures, warnings, unusable_reasons })
}

/// Chooses among the pictures of `record` as [`select`] does. They were checked when they were recorded.
///
/// # Errors
/// [`Kind::Data`] if the record has no picture.
pub fn select_recorded(record: &CalibrationRecord, count: usize, seed: u64) -> Result<PictureSelection> {
    let mut names: Vec<&str> = record.pictures().collect();
    names.sort_by_cached_key(|name| rank(seed, name));
    names.truncate(count);
    names.sort_unstable();
    if names.is_empty() {
        return Err(Error::new(Kind::Data, "the calibration record has no pictures"));
    }
    let mut pictures = Vec::with_capacity(names.len());
    for name in names {
        pictures.push(CalibrationPicture { name: name.to_owned(), path: name.into(), sha256: record.sha256(name)? });
    }
    Ok(PictureSelection { pictures, ..PictureSelection::default() })
}

/// Sort key of the choice: the pictures with the least keys are chosen.
fn rank(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    hash.finalize().into()
}

/// Decodes calibration pictures onto the canvases of both networks.
pub(super) struct PictureLoader<'a> {
    /// Opens a picture.
    pub(super) open: &'a dyn Fn(&CalibrationPicture) -> Result<Picture>,
    /// Resize and normalization.
    pub(super) transform: Transform,
    /// Canvas of the fp32 network: normalized, 3 channels.
    pub(super) normalized: Canvas<f32>,
    /// Canvas of the int8 network: bytes, 4 channels (RGBx).
    pub(super) pixels: Canvas<u8>,
}

impl<'a> PictureLoader<'a> {
    /// A loader with empty canvases.
    pub(super) fn new(open: &'a dyn Fn(&CalibrationPicture) -> Result<Picture>, transform: Transform) -> Self {
        let normalized = Canvas::empty(3);
        let pixels = Canvas::empty(4);
        Self { open, transform, normalized, pixels }
    }

    /// Decodes a picture onto both canvases.
    pub(super) fn load(&mut self, picture: &CalibrationPicture) -> Result<()> {
        let picture = (self.open)(picture)?;
        self.transform.to_f32(&picture, &mut self.normalized)?;
        self.transform.to_u8(&picture, &mut self.pixels)
    }
}
