//! Inputs of `detect` and the folder of annotated copies.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::console;
use crate::error::{Error, Kind, Result};
use crate::frame::{Picture, PictureFolder};

/// One input picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// Path of the picture.
    pub path: PathBuf,
    /// Path of its annotated copy below the output folder: relative to the input folder, or the file name.
    pub name: PathBuf,
}

/// The picture at `path`, or all pictures of that folder except the annotated copies in `annotated`.
///
/// # Errors
/// As [`Error::reading`] and [`PictureFolder::with_subfolders`].
pub(super) fn expand(path: &Path, annotated: Option<&Path>) -> Result<Vec<Input>> {
    let kind = fs::metadata(path).map_err(|source| Error::reading(path, source))?;
    if !kind.is_dir() {
        let name = path.file_name().map_or_else(|| path.into(), PathBuf::from);
        return Ok(vec![Input { path: path.into(), name }]);
    }
    let within = |file: &Path| {
        let copies = annotated.and_then(|folder| folder.canonicalize().ok()).filter(|copies| !is_same(path, copies));
        copies.is_some_and(|copies| file.canonicalize().is_ok_and(|file| file.starts_with(copies)))
    };
    let below = |file: PathBuf| {
        let name = file.strip_prefix(path).map_or_else(|_| file.clone(), Path::to_path_buf);
        Input { path: file, name }
    };
    let found = PictureFolder::with_subfolders(path)?;
    if let Some(note) = found.note() {
        console::print_warning(format_args!("{}: {note}", path.display()));
    }
    Ok(found.pictures.into_iter().filter(|file| !within(file)).map(below).collect())
}

/// True if two paths lead to the same file or folder.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b)
}

/// Device and inode of a file, which identify it across paths and links.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The folder of annotated copies.
#[derive(Debug)]
pub(super) struct Copies {
    folder: PathBuf,
    inputs: HashSet<(u64, u64)>,
    written: HashSet<PathBuf>,
}

impl Copies {
    /// Creates `folder`. A copy must not overwrite one of `inputs`.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn new(folder: &Path, inputs: &[Input]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        let inputs = inputs.iter().filter_map(|input| identity(&input.path)).collect();
        Ok(Self { folder: folder.into(), inputs, written: HashSet::new() })
    }

    /// Writes the annotated copy of `input`.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] if the copy would overwrite an input; otherwise as [`Picture::save`].
    pub fn write(&mut self, input: &Input, picture: &Picture) -> Result<()> {
        let target = self.unique_path(&input.name);
        if identity(&target).is_some_and(|target| self.inputs.contains(&target)) {
            let text = format!("{} would overwrite an input picture; choose another folder", target.display());
            return Err(Error::new(Kind::CannotCreate, text));
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|source| Error::writing(parent, source))?;
        }
        picture.save(&target)
    }

    /// A path for the copy `name` that no other copy has: pictures of the same name are numbered.
    fn unique_path(&mut self, name: &Path) -> PathBuf {
        let mut name = name.to_path_buf();
        if !Picture::has_picture_extension(&name) {
            name.as_mut_os_string().push(".jpg");
        }
        let mut target = self.folder.join(&name);
        let mut number = 2;
        while !self.written.insert(target.clone()) {
            let mut numbered = name.file_stem().map(OsString::from).unwrap_or_default();
            numbered.push(format!("-{number}."));
            numbered.push(name.extension().unwrap_or_default());
            target = self.folder.join(name.with_file_name(numbered));
            number += 1;
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture::filled(4, 4, [1, 2, 3])
    }

    #[test]
    fn a_folder_is_expanded_to_its_pictures_without_their_copies() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("drawn")).unwrap();
        for name in ["b.png", "a.jpg", "drawn/a.jpg"] {
            fs::write(root.join(name), b"").unwrap();
        }
        let names = |annotated: Option<&Path>| -> Vec<_> {
            expand(root, annotated).unwrap().into_iter().map(|input| input.name).collect()
        };
        assert_eq!(names(None), [Path::new("a.jpg"), Path::new("b.png"), Path::new("drawn/a.jpg")]);
        assert_eq!(names(Some(&root.join("drawn"))), [Path::new("a.jpg"), Path::new("b.png")]);
        assert_eq!(names(Some(root)).len(), 3);
        assert_eq!(expand(&root.join("none.png"), None).unwrap_err().kind(), Kind::NoInput);
    }

    #[test]
    fn a_copy_never_overwrites_an_input() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        picture().save(root.join("a.png")).unwrap();
        let before = fs::read(root.join("a.png")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.join("a.png"), root.join("elsewhere/a.png")).unwrap();
        let inputs = expand(&root.join("a.png"), None).unwrap();
        for folder in [root.to_path_buf(), root.join("elsewhere")] {
            let error = Copies::new(&folder, &inputs).unwrap().write(&inputs[0], &picture()).unwrap_err();
            assert_eq!(error.kind(), Kind::CannotCreate);
        }
        assert_eq!(fs::read(root.join("a.png")).unwrap(), before);
    }

    #[test]
    fn copies_of_the_same_name_are_numbered() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut copies = Copies::new(&root.join("out"), &[]).unwrap();
        for name in ["x.png", "x.png", "deep/x.png", "frame"] {
            copies.write(&Input { path: name.into(), name: name.into() }, &picture()).unwrap();
        }
        let written = PictureFolder::with_subfolders(&root.join("out")).unwrap().pictures;
        let names: Vec<_> = written.iter().map(|path| path.strip_prefix(root.join("out")).unwrap()).collect();
        assert_eq!(names, ["deep/x.png", "frame.jpg", "x-2.png", "x.png"].map(Path::new));
    }
}
