//! Helpers for reading label files: file lists and stems.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::problem::{ProblemKind, Problems};
use crate::error::{Error, Result};
use crate::frame::Picture;

/// The files of `folder` with one of `extensions`, sorted by name. Hidden ones are skipped: archives of macOS have such a
/// file beside each.
///
/// # Errors
/// As [`Error::reading`].
pub(super) fn files_in(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
        let path = entry.map_err(|source| Error::reading(folder, source))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|extension| extension.to_str()).filter(|_| !is_hidden);
        if extension.is_some_and(|found| extensions.iter().any(|wanted| found.eq_ignore_ascii_case(wanted))) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// As [`files_in`], in `folder` and its subfolders; symbolic links to folders are not followed.
///
/// # Errors
/// As [`Error::reading`].
pub(super) fn files_below(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = files_in(folder, extensions)?;
    found.retain(|path| !path.is_dir());
    for entry in std::fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
        let entry = entry.map_err(|source| Error::reading(folder, source))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_below(&entry.path(), extensions)?);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The pictures of `folder` by their names without extension; empty if the folder does not exist.
///
/// # Errors
/// As [`Error::reading`].
pub(super) fn pictures_by_stem(folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    if folder.is_dir() {
        for path in files_in(folder, Picture::EXTENSIONS)? {
            found.entry(stem(&path)).or_insert(path);
        }
    }
    Ok(found)
}

/// Adds a problem for every picture without a label file.
pub(super) fn report_unlabelled(pictures: impl IntoIterator<Item = PathBuf>, problems: &mut Problems) {
    let mut pictures: Vec<_> = pictures.into_iter().collect();
    pictures.sort_unstable();
    for picture in pictures {
        problems.add(ProblemKind::Missing, &picture, 0, "no label file for this picture; skipped");
    }
}

/// File name without extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
