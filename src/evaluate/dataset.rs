//! Labelled pictures, whichever way they are stored.
//!
//! In: `kitti:DIR`, `coco:ANN.json` or `voc:DIR`. Out: a [`Dataset`]: pictures in a fixed order with what their labels
//! say, class names as the files write them. Nothing wrong in a label stops reading; it is noted with file and line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::bounds::Bounds;
use super::problem::{ProblemKind, Problems};
use super::{coco, kitti, voc};
use crate::error::{Error, Kind, Result};

/// How labels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `image_2/NAME.{png,jpg}` and `label_2/NAME.txt` in the folder, or in `training` below it.
    Kitti,
    /// One JSON file of `images`, `annotations` and `categories`.
    Coco,
    /// `JPEGImages/` and `Annotations/NAME.xml` in the folder.
    Voc,
}

/// Where a dataset is and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// How it is stored.
    pub layout: Layout,
    /// Folder, or annotation file.
    pub path: PathBuf,
}

impl Layout {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kitti => "kitti",
            Self::Coco => "coco",
            Self::Voc => "voc",
        }
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Layout::Kitti, Layout::Coco, Layout::Voc];
        let split = text.split_once(':').filter(|(_, path)| !path.is_empty());
        let layout = split.and_then(|(name, _)| known.into_iter().find(|layout| layout.name() == name));
        match (layout, split) {
            (Some(layout), Some((_, path))) => Ok(Self { layout, path: path.into() }),
            _ => {
                let text = format!("{text:?} is no dataset; one is kitti:DIR, coco:ANNOTATIONS.json or voc:DIR");
                Err(Error::new(Kind::Usage, text))
            }
        }
    }
}

/// How a labelled box takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To be found.
    Object,
    /// Of its class, but neither to be found nor wrong to find (VOC's `difficult`).
    Difficult,
    /// Many objects of its class in one box (COCO's `iscrowd`): whatever of its class lies within is not counted.
    Crowd,
}

/// One labelled box as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// The class, in the file's own words.
    pub class: String,
    /// The box.
    pub bounds: Bounds,
    /// Area in pixels that decides small, medium and large; COCO's is that of the outline.
    pub area: f64,
    /// How it takes part.
    pub role: Role,
    /// COCO's annotation id 0, which `pycocotools` takes for "no match".
    pub has_id_zero: bool,
    /// Line of the file, from 1.
    pub line: usize,
}

/// One labelled picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// What it is called: file name without extension (KITTI, VOC) or COCO's `file_name`.
    pub name: String,
    /// Number in result files: COCO's own, or the place among all pictures, from 1.
    pub id: u64,
    /// Where the picture is.
    pub picture: PathBuf,
    /// Columns and rows of the upright picture, where they are known.
    pub size: Option<(u32, u32)>,
    /// The file that the labels stand in.
    pub file: PathBuf,
    /// The boxes, in the order of the file.
    pub labels: Vec<Label>,
}

/// Labelled pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// How it is stored.
    pub layout: Layout,
    /// In the order of names, or of ids for COCO.
    pub pictures: Vec<Labelled>,
    /// COCO's categories: id and name, in the order of ids. Empty for the others.
    pub categories: Vec<(u64, String)>,
    /// What is wrong.
    pub problems: Problems,
}

impl Dataset {
    /// Reads the labels of `source`. COCO's pictures are looked for in `images`, or around the annotation file.
    ///
    /// # Errors
    /// [`Kind::NoInput`] where there is no such folder or file, or nothing labelled in it; [`Kind::Data`] for a JSON
    /// file that is none.
    pub fn read(source: &Source, images: Option<&Path>) -> Result<Self> {
        match source.layout {
            Layout::Kitti => kitti::read(&source.path),
            Layout::Coco => coco::read(&source.path, images),
            Layout::Voc => voc::read(&source.path),
        }
    }

    /// Keeps the pictures that `wanted` names; the others' problems go with them.
    pub fn keep(&mut self, wanted: impl Fn(&Labelled) -> bool) {
        let (kept, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pictures).into_iter().partition(wanted);
        self.pictures = kept;
        if self.layout != Layout::Coco {
            let files: std::collections::HashSet<_> = dropped.into_iter().map(|labelled| labelled.file).collect();
            self.problems.0.retain(|problem| !files.contains(&problem.file));
        }
    }

    /// Looks at every picture's header: notes what is missing or no picture and leaves it out, and notes boxes that
    /// reach beyond their picture by more than a pixel.
    pub fn check_pictures(&mut self) {
        let Self { pictures, problems, .. } = self;
        pictures.retain_mut(|labelled| {
            if !labelled.picture.is_file() {
                let what = format!("its picture {} is missing; left out", labelled.picture.display());
                problems.add(ProblemKind::Missing, &labelled.file, 0, what);
                return false;
            }
            match crate::frame::size_of(&labelled.picture) {
                Ok(size) => labelled.size = Some(size),
                Err(error) => {
                    problems.add(ProblemKind::Damaged, &labelled.picture, 0, format!("{}; left out", error.chain()));
                    return false;
                }
            }
            if let Some((width, height)) = labelled.size {
                for label in &labelled.labels {
                    let [x0, y0, x1, y1] = label.bounds.corners;
                    let (right, bottom) = (f64::from(width), f64::from(height));
                    if x0 < -1.0 || y0 < -1.0 || x1 > right + 1.0 || y1 > bottom + 1.0 {
                        let what = format!(
                            "box {x0} {y0} {x1} {y1} of {} reaches beyond its picture of {width}×{height}; used as it is",
                            label.class
                        );
                        problems.add(ProblemKind::Outside, &labelled.file, label.line, what);
                    }
                }
            }
            true
        });
    }
}

/// The files of `folder` that end in one of `extensions`, sorted by name.
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

/// `text` without the mark that some editors put before the first character of a UTF-8 file.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The pictures of `folder` by their names without extension; none without the folder.
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

/// Notes the pictures that no label file speaks of.
pub(super) fn note_unlabelled(pictures: HashMap<String, PathBuf>, problems: &mut Problems) {
    let mut pictures: Vec<_> = pictures.into_values().collect();
    pictures.sort_unstable();
    for picture in pictures {
        problems.add(ProblemKind::Missing, &picture, 0, "this picture has no label file; left out");
    }
}

/// File name without extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let source: Source = "coco:a:b.json".parse().unwrap();
        assert_eq!((source.layout, source.path), (Layout::Coco, PathBuf::from("a:b.json")));
        for wrong in ["kitti:", "kitti", "yolo:x", ""] {
            assert_eq!(wrong.parse::<Source>().unwrap_err().kind(), Kind::Usage);
        }
    }
}
