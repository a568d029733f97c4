//! Listing of the pictures in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Picture;
use crate::error::{Error, Kind, Result};

/// Depth limit of nested folders. It stops on damaged file systems and exceeds any real arrangement.
const MAX_DEPTH: usize = 32;

/// Extensions of picture formats that are not read, in lower case.
const OTHER_FORMATS: &[&str] = &[
    "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "jfif", "jpe", "pgm", "ppm", "pnm",
    "tga", "dng", "raw", "cr2", "nef", "arw",
];

/// The pictures of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureFolder {
    /// Files with a picture's extension, sorted by path, so that the order is the same on every machine.
    pub pictures: Vec<PathBuf>,
    /// Number of pictures of formats that are not read, by extension.
    pub unread: BTreeMap<String, usize>,
}

impl PictureFolder {
    /// Lists `folder` and its subfolders. Hidden entries are skipped, and symbolic links to folders are not followed. A
    /// link that leads nowhere is listed: opening it says why.
    ///
    /// # Errors
    /// As [`Error::reading`] if a folder cannot be read; [`Kind::NoInput`] if there is no picture.
    pub fn with_subfolders(folder: &Path) -> Result<Self> {
        Self::list(folder, MAX_DEPTH)
    }

    /// As [`PictureFolder::with_subfolders`], without the subfolders.
    ///
    /// # Errors
    /// As [`PictureFolder::with_subfolders`].
    pub fn without_subfolders(folder: &Path) -> Result<Self> {
        Self::list(folder, 0)
    }

    fn list(folder: &Path, depth: usize) -> Result<Self> {
        let mut found = Self::default();
        found.collect(folder, depth)?;
        if found.pictures.is_empty() {
            let text = format!("{}: no picture in this folder", folder.display());
            let reason = found.note().unwrap_or_else(|| "only .jpg, .jpeg and .png are read".to_owned());
            return Err(Error::new(Kind::NoInput, format!("{text}; {reason}")));
        }
        found.pictures.sort_unstable();
        Ok(found)
    }

    /// A note about pictures of formats that are not read, if there are any.
    pub fn note(&self) -> Option<String> {
        let count: usize = self.unread.values().sum();
        let kinds: Vec<String> = self.unread.iter().map(|(extension, count)| format!("{count} .{extension}")).collect();
        (count > 0).then(|| {
            format!("pictures of other formats are left out ({}); only .jpg, .jpeg and .png are read", kinds.join(", "))
        })
    }

    fn collect(&mut self, folder: &Path, depth: usize) -> Result<()> {
        for entry in fs::read_dir(folder).map_err(|source| Error::reading(folder, source))? {
            let entry = entry.map_err(|source| Error::reading(folder, source))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(|source| Error::reading(&path, source))?;
            if kind.is_dir() {
                if depth > 0 {
                    self.collect(&path, depth - 1)?;
                }
                continue;
            }
            let is_file = kind.is_file() || (kind.is_symlink() && fs::metadata(&path).map_or(true, |it| it.is_file()));
            if !is_file {
                continue;
            }
            if Picture::has_picture_extension(&path) {
                self.pictures.push(path);
            } else if let Some(extension) = other_format(&path) {
                *self.unread.entry(extension).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// The extension of a picture format that is not read, in lower case.
fn other_format(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    OTHER_FORMATS.contains(&extension.as_str()).then_some(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &PictureFolder, root: &Path) -> Vec<String> {
        found.pictures.iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn pictures_come_sorted_and_everything_else_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir(root.join("folder.png")).unwrap();
        for name in
            ["c.jpg", "a.PNG", "b/x.jpeg", "b/deep/y.png", "notes.txt", ".hidden.png", "b/labels.tsv", "b/z.WebP"]
        {
            fs::write(root.join(name), b"").unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        [("c.jpg", "link.jpg"), ("gone.jpg", "nowhere.jpg"), ("loop.png", "loop.png"), ("b", "b.jpg"), (".", "self")]
            .into_iter()
            .for_each(|(target, name)| link(target, name));
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.jpg")).unwrap();
        let found = PictureFolder::with_subfolders(root).unwrap();
        let top = ["a.PNG", "c.jpg", "link.jpg", "loop.png", "nowhere.jpg"];
        assert_eq!(names(&found, root), [&["a.PNG", "b/deep/y.png", "b/x.jpeg"], &top[1..]].concat());
        assert!(found.note().unwrap().contains("(1 .webp)"));
        let flat = PictureFolder::without_subfolders(root).unwrap();
        assert_eq!(names(&flat, root), top);
        assert_eq!(flat.note(), None);
    }

    #[test]
    fn a_folder_without_pictures_is_no_input() {
        let root = tempfile::tempdir().unwrap();
        let refused = |folder: &Path| PictureFolder::with_subfolders(folder).unwrap_err();
        assert!(refused(root.path()).message().contains("only .jpg"));
        fs::write(root.path().join("a.gif"), b"").unwrap();
        assert!(refused(root.path()).message().contains("1 .gif"));
        assert_eq!(refused(&root.path().join("absent")).kind(), Kind::NoInput);
    }
}
