//! Readers of the dataset layouts: KITTI, COCO and Pascal VOC.

mod coco;
mod kitti;
mod voc;

use std::path::Path;

use super::dataset::{Dataset, DatasetLayout, DatasetSource};
use crate::error::Result;

impl Dataset {
    /// Reads the labels of `source`. COCO's pictures are searched in `images`, or near the annotation file.
    ///
    /// # Errors
    /// [`Kind::NoInput`](crate::error::Kind::NoInput) if the folder or file does not exist or has no labels;
    /// [`Kind::Data`](crate::error::Kind::Data) for an invalid JSON file.
    pub fn read(source: &DatasetSource, images: Option<&Path>) -> Result<Self> {
        match source.layout {
            DatasetLayout::Kitti => kitti::read(&source.path),
            DatasetLayout::Coco => coco::read(&source.path, images),
            DatasetLayout::Voc => voc::read(&source.path),
        }
    }
}
