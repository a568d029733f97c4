//! Listing of the pictures in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::Picture;
use crate::error::{Error, Kind, Result};

/// Depth limit of nested folders. It stops on damaged file systems and exceeds any real arrangement.
const MAX_DEPTH: usize = 32;

/// Files with a picture's extension in `folder` and its subfolders, sorted by path, so that the order is the same on
/// every machine. Hidden entries are skipped, and symbolic links to folders are not followed.
///
/// # Errors
/// As [`Error::reading`] if a folder cannot be read; [`Kind::NoInput`] if there is no picture.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, 0, &mut found)?;
    if found.is_empty() {
        let text = format!("{}: no picture in this folder; .jpg, .jpeg and .png are read", folder.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    found.sort_unstable();
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
        let entry = entry.map_err(|source| Error::reading(folder, source))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| Error::reading(&path, source))?;
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, depth + 1, found)?;
        } else if Picture::has_picture_extension(&path) && (kind.is_file() || path.is_file()) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_sorted_and_everything_else_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir(root.join("folder.png")).unwrap();
        for name in ["c.jpg", "a.PNG", "b/x.jpeg", "b/deep/y.png", "notes.txt", ".hidden.png", "b/labels.tsv"] {
            fs::write(root.join(name), b"").unwrap();
        }
        let found = pictures_in(root).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.PNG", "b/deep/y.png", "b/x.jpeg", "c.jpg"]);
    }

    #[test]
    fn a_folder_without_pictures_is_no_input() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(pictures_in(root.path()).unwrap_err().kind(), Kind::NoInput);
        assert_eq!(pictures_in(&root.path().join("absent")).unwrap_err().kind(), Kind::NoInput);
    }
}
