//! Helpers for reading label files: file lists, stems and byte order marks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::problem::{ProblemKind, Problems};
use crate::error::{Error, Result};

/// The files of `folder` with one of `extensions`, sorted by name.
///
/// # Errors
/// As [`Error::reading`].
pub(super) fn files_in(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
        let path = entry.map_err(|source| Error::reading(folder, source))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|found| extensions.iter().any(|wanted| found.eq_ignore_ascii_case(wanted))) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// `text` without a byte order mark.
pub(super) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The pictures of `folder` by their names without extension; empty if the folder does not exist.
///
/// # Errors
/// As [`Error::reading`].
pub(super) fn pictures_by_stem(folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    if folder.is_dir() {
        for path in files_in(folder, &["png", "jpg", "jpeg"])? {
            found.entry(stem(&path)).or_insert(path);
        }
    }
    Ok(found)
}

/// Adds a problem for every picture without a label file.
pub(super) fn report_unlabelled(pictures: HashMap<String, PathBuf>, problems: &mut Problems) {
    let mut pictures: Vec<_> = pictures.into_values().collect();
    pictures.sort_unstable();
    for picture in pictures {
        problems.add(ProblemKind::Missing, &picture, 0, "no label file for this picture; skipped");
    }
}

/// File name without extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
