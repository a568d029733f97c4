//! Calibration pictures: choice of the files, and their decoding onto the network's canvases.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::record::CalibrationRecord;
use super::usability::{CheckedPicture, check_pictures, pixel_sha256};
use crate::error::{Error, Kind, Result};
use crate::frame::{Picture, PictureFolder};
use crate::preprocess::Transform;
use crate::tensor::Canvas;

/// Names that an error lists at most.
const LISTED: usize = 5;

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
/// choice follows a hash of `seed` and name, so it does not depend on the machine. Pictures that cannot be decoded are left
/// out with a warning each. With `allow_unfit` unusable pictures are used nevertheless.
///
/// # Errors
/// [`Kind::NoInput`] without pictures; [`Kind::Data`] with the reason if the pictures are unusable, or none can be decoded.
pub fn select(folder: &Path, count: usize, seed: u64, allow_unfit: bool) -> Result<PictureSelection> {
    let found = PictureFolder::with_subfolders(folder)?;
    let note = found.note().map(|note| format!("{}: {note}", folder.display()));
    let mut named = named(found.pictures, folder);
    let chosen = seeded(named.iter().map(|(name, _)| name.as_str()), count, seed);
    named.retain(|(name, _)| chosen.binary_search(name).is_ok());
    named.sort();
    let mut selection = check(named, folder, allow_unfit)?;
    selection.warnings.extend(note);
    Ok(selection)
}

/// The `pictures` of `folder` with their names: paths below the folder, separated by `/`.
fn named(pictures: Vec<PathBuf>, folder: &Path) -> Vec<(String, PathBuf)> {
    let name = |path: &PathBuf| {
        let below = path.strip_prefix(folder).unwrap_or(path);
        let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        parts.join("/")
    };
    pictures.into_iter().map(|path| (name(&path), path)).collect()
}

/// Checks the chosen pictures, and refuses the set or leaves out single ones.
fn check(named: Vec<(String, PathBuf)>, folder: &Path, allow_unfit: bool) -> Result<PictureSelection> {
    let (mut readable, mut checked, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for (name, path) in named {
        match Picture::open(&path) {
            Ok(picture) => {
                checked.push(CheckedPicture::new(&name, &picture));
                readable.push((name, path));
            }
            Err(error) => damaged.push(format!("left out: {}", error.chain())),
        }
    }
    let report = check_pictures(&checked);
    if checked.is_empty() {
        let text = format!("none of the pictures of {} can be used: {}", folder.display(), damaged.join("; "));
        return Err(Error::new(Kind::Data, text));
    }
    if report.refused && !allow_unfit {
        let reasons: Vec<String> = report.reasons.into_iter().chain(damaged).collect();
        let reasons = reasons.join("; ");
        let text = format!("the pictures of {} cannot calibrate: {reasons}", folder.display());
        return Err(Error::new(Kind::Data, text));
    }
    let left_out = |at: usize| !allow_unfit && report.unusable.contains(&at);
    let pictures = readable
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
    warnings.splice(0..0, damaged);
    let unusable_reasons = if allow_unfit { report.reasons } else { Vec::new() };
    Ok(PictureSelection { pictures, warnings, unusable_reasons })
}

/// The `count` of `names` that [`select`] chooses, in the order of the names.
pub fn seeded<'n>(names: impl Iterator<Item = &'n str>, count: usize, seed: u64) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_by_cached_key(|name| rank(seed, name));
    names.truncate(count);
    names.sort_unstable();
    names
}

/// The pictures of `record` called `names`. They were checked when they were recorded.
///
/// # Errors
/// [`Kind::Data`] if there are none, or the record has no such picture.
pub fn select_recorded(record: &CalibrationRecord, names: &[String]) -> Result<PictureSelection> {
    if names.is_empty() {
        return Err(Error::new(Kind::Data, "the calibration record has no pictures"));
    }
    let mut pictures = Vec::with_capacity(names.len());
    for name in names {
        pictures.push(CalibrationPicture { name: name.clone(), path: name.into(), sha256: record.sha256(name)? });
    }
    Ok(PictureSelection { pictures, ..PictureSelection::default() })
}

/// The pictures of `record` called `names`, found in `folder` by their content. They keep the names of
/// the record.
///
/// # Errors
/// As [`select`]; [`Kind::Data`] if pictures of the record are not in the folder, with the names that the record has.
pub fn select_recorded_in(
    folder: &Path,
    record: &CalibrationRecord,
    names: &[String],
    allow_unfit: bool,
) -> Result<PictureSelection> {
    let mut wanted = select_recorded(record, names)?.pictures;
    let files = named(PictureFolder::with_subfolders(folder)?.pictures, folder);
    // A file of the same name is probably the picture: nothing else has to be decoded then.
    let file_name = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let known: std::collections::HashSet<String> = wanted.iter().map(|picture| file_name(&picture.name)).collect();
    let (likely, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| known.contains(&file_name(name)));
    let mut found: std::collections::HashMap<[u8; 32], PathBuf> = std::collections::HashMap::new();
    for (_, path) in likely.into_iter().chain(others) {
        if wanted.iter().all(|picture| found.contains_key(&picture.sha256)) {
            break;
        }
        // A damaged file is not the picture that was recorded.
        if let Ok(picture) = Picture::open(&path) {
            found.entry(pixel_sha256(&picture)).or_insert(path);
        }
    }
    let missing: Vec<&str> = (wanted.iter())
        .filter(|picture| !found.contains_key(&picture.sha256))
        .map(|picture| picture.name.as_str())
        .collect();
    if !missing.is_empty() {
        let more = if missing.len() > LISTED { ", …" } else { "" };
        let text = format!(
            "{} of {} pictures of the calibration record are not in {}, whatever their names there; the record calls them \
             {}{more}",
            missing.len(),
            wanted.len(),
            folder.display(),
            missing.get(..LISTED).unwrap_or(&missing).join(", ")
        );
        return Err(Error::new(Kind::Data, text));
    }
    for picture in &mut wanted {
        picture.path = found[&picture.sha256].clone();
    }
    check(wanted.into_iter().map(|picture| (picture.name, picture.path)).collect(), folder, allow_unfit)
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
