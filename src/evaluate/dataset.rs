//! Dataset: labelled pictures of any layout.
//!
//! In: `kitti:DIR`, `coco:ANN.json` or `voc:DIR`. Out: a [`Dataset`], pictures in a fixed order with their labelled boxes
//! and the class names of the files. An invalid label does not stop reading; it becomes a problem with file and line.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::bounds::Bounds;
use super::problem::Problems;
use crate::error::{Error, Kind, Result};

/// Layout of a dataset's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetLayout {
    /// `image_2/NAME.{png,jpg}` and `label_2/NAME.txt` in the folder, or in `training` below it.
    Kitti,
    /// One JSON file of `images`, `annotations` and `categories`.
    Coco,
    /// `JPEGImages/` and `Annotations/NAME.xml` in the folder.
    Voc,
}

/// Layout and path of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetSource {
    /// Layout.
    pub layout: DatasetLayout,
    /// Folder, or annotation file.
    pub path: PathBuf,
}

impl DatasetLayout {
    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kitti => "kitti",
            Self::Coco => "coco",
            Self::Voc => "voc",
        }
    }
}

impl FromStr for DatasetSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [DatasetLayout::Kitti, DatasetLayout::Coco, DatasetLayout::Voc];
        let split = text.split_once(':').filter(|(_, path)| !path.is_empty());
        let layout = split.and_then(|(name, _)| known.into_iter().find(|layout| layout.name() == name));
        match (layout, split) {
            (Some(layout), Some((_, path))) => Ok(Self { layout, path: path.into() }),
            _ => {
                let text = format!("{text:?} is not a dataset; write kitti:DIR, coco:ANNOTATIONS.json or voc:DIR");
                Err(Error::new(Kind::Usage, text))
            }
        }
    }
}

/// Role of a labelled box in matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxRole {
    /// An object; a miss counts.
    Object,
    /// An object that counts neither as miss nor as false detection (VOC's `difficult`).
    Difficult,
    /// A region with many objects of its class (COCO's `iscrowd`); detections in it do not count.
    Crowd,
}

/// One labelled box as in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// Class name in the file.
    pub class: String,
    /// The box.
    pub bounds: Bounds,
    /// Area in pixels, for the ranges small, medium and large; for COCO that of the segmentation.
    pub area: f64,
    /// Role.
    pub role: BoxRole,
    /// True for COCO's annotation id 0, which `pycocotools` reads as "no match".
    pub has_id_zero: bool,
    /// Line of the file, from 1.
    pub line: usize,
}

/// Size of a picture as its label file declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Line of the declaration, from 1; 0 if unknown.
    pub line: usize,
}

/// One labelled picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LabelledPicture {
    /// File name without extension (KITTI, VOC) or COCO's `file_name`.
    pub name: String,
    /// Id in result files: COCO's, or the position among all pictures, from 1.
    pub id: u64,
    /// Path of the picture.
    pub picture: PathBuf,
    /// Width and height of the picture as it is used, if known.
    pub size: Option<(u32, u32)>,
    /// Width and height in the label file.
    pub declared: Option<DeclaredSize>,
    /// True if the pixels are used as they are stored, without the EXIF orientation.
    pub as_stored: bool,
    /// Path of the label file.
    pub file: PathBuf,
    /// The boxes, in the order of the file.
    pub labels: Vec<LabelledBox>,
}

/// Labelled pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Layout of its files.
    pub layout: DatasetLayout,
    /// Pictures in the order of names, or of ids for COCO.
    pub pictures: Vec<LabelledPicture>,
    /// COCO's categories, id and name, in the order of ids; empty for other layouts.
    pub categories: Vec<(u64, String)>,
    /// Ids that are no whole numbers from 0, by their text.
    pub text_ids: TextIds,
    /// Problems of labels and pictures.
    pub problems: Problems,
}

/// Ids of a COCO file that are text or negative, with the numbers that stand for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextIds {
    /// Of pictures.
    pub pictures: HashMap<String, u64>,
    /// Of categories.
    pub categories: HashMap<String, u64>,
}

impl Dataset {
    /// Removes the pictures that are not `wanted`, with their problems.
    pub fn keep(&mut self, wanted: impl Fn(&LabelledPicture) -> bool) {
        let (kept, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pictures).into_iter().partition(wanted);
        self.pictures = kept;
        if self.layout != DatasetLayout::Coco {
            let files: std::collections::HashSet<_> = dropped.into_iter().map(|labelled| labelled.file).collect();
            self.problems.0.retain(|problem| !files.contains(&problem.file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed() {
        let source: DatasetSource = "coco:a:b.json".parse().unwrap();
        assert_eq!((source.layout, source.path), (DatasetLayout::Coco, PathBuf::from("a:b.json")));
        for wrong in ["kitti:", "kitti", "yolo:x", ""] {
            assert_eq!(wrong.parse::<DatasetSource>().unwrap_err().kind(), Kind::Usage);
        }
    }
}
