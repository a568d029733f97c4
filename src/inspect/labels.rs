//! Labels of the pictures: annotated boxes beside the detections of both models.
//!
//! In: a labelled dataset as `evaluate` reads it, and the models' class names. Out: the boxes of each picture with their
//! classes, and which of them a list of detections finds, by the matching of the paper's code.

use std::path::PathBuf;

use serde::Serialize;

use crate::detector::detection::Detection;
use crate::error::{Error, Kind, Result};
use crate::evaluate::{
    Bounds, BoxRole, ClassMap, Classes, Dataset, DatasetSource, DontCare, ExifMode, GroundTruth, PaperMatches,
    PaperSums, Prediction, Split,
};

/// Problems of each kind that are printed.
const PRINTED_PROBLEMS: usize = 3;

/// Labelled pictures to inspect.
#[derive(Debug, Clone)]
pub struct LabelSource {
    /// Layout and path.
    pub dataset: DatasetSource,
    /// Folder of COCO's pictures.
    pub images: Option<PathBuf>,
    /// Selection of pictures.
    pub split: Split,
    /// Map from labelled class to the models' class.
    pub class_map: ClassMap,
}

/// An annotated box.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedBox {
    /// x0, y0, x1, y1 in pixels of the picture.
    pub bbox: [f32; 4],
    /// Class name.
    pub class: String,
    /// True for a region to ignore.
    pub is_region: bool,
}

/// Annotated boxes and detections of one picture, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LabelCounts {
    /// Annotated objects.
    pub labels: u64,
    /// Detections that count.
    pub detections: u64,
    /// Annotated objects that were found.
    pub found: u64,
}

impl LabelCounts {
    /// Adds the counts of other pictures.
    pub fn merge(&mut self, other: &Self) {
        self.labels += other.labels;
        self.detections += other.detections;
        self.found += other.found;
    }
}

/// Detections of one model compared with the labels of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMatches {
    /// For each annotated box: true if it was found; `None` for a region to ignore.
    pub is_found: Vec<Option<bool>>,
    /// The counts.
    pub counts: LabelCounts,
}

/// Labels of all pictures.
pub struct Labels {
    dataset: Dataset,
    classes: Classes,
    map: ClassMap,
    /// Index of each of the models' classes.
    class_of: Vec<Option<usize>>,
}

impl Labels {
    /// Reads and checks the dataset of `source` for models with the class names `names`. `note` receives decisions and
    /// problems.
    ///
    /// # Errors
    /// As [`Dataset::read`] and [`Classes::new`]; [`Kind::NoInput`] if none of the pictures exists.
    pub fn read(source: &LabelSource, names: &[String], note: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut dataset = Dataset::read(&source.dataset, source.images.as_deref())?;
        source.split.apply(&mut dataset)?;
        for line in dataset.check_pictures(ExifMode::Auto) {
            note(&format!("lookout: {line}"));
        }
        let classes = match dataset.pictures.is_empty() {
            true => {
                let text = format!("{}: none of its labelled pictures exists", source.dataset.path.display());
                Err(Error::new(Kind::NoInput, text))
            }
            false => Classes::new(&mut dataset, &source.class_map, &[names], DontCare::Auto),
        };
        for line in dataset.problems.summary(PRINTED_PROBLEMS) {
            note(&format!("lookout: warning: {line}"));
        }
        let classes = classes?;
        let class_of = names.iter().map(|name| classes.find(name)).collect();
        Ok(Self { dataset, classes, map: source.class_map.clone(), class_of })
    }

    /// Paths of the pictures, each with true if its pixels are used as they are stored.
    pub fn pictures(&self) -> impl Iterator<Item = (PathBuf, bool)> + '_ {
        self.dataset.pictures.iter().map(|labelled| (labelled.picture.clone(), labelled.as_stored))
    }

    fn truths(&self, at: usize) -> Vec<GroundTruth> {
        let labels = self.dataset.pictures.get(at).map_or([].as_slice(), |labelled| &labelled.labels);
        let truth = |label| {
            let truth = self.classes.truth(label, &self.map, self.dataset.layout);
            // COCO's crowds and VOC's difficult objects are regions to ignore.
            GroundTruth { class: truth.class.filter(|_| truth.role == BoxRole::Object), ..truth }
        };
        labels.iter().map(truth).collect()
    }

    /// The annotated boxes of picture `at`.
    pub fn boxes(&self, at: usize) -> Vec<AnnotatedBox> {
        let labels = self.dataset.pictures.get(at).map_or([].as_slice(), |labelled| &labelled.labels);
        let truths = self.truths(at);
        let annotated = labels.iter().zip(&truths).map(|(label, truth)| {
            let class = if truth.is_dont_care { self.classes.dont_care } else { truth.class };
            AnnotatedBox {
                bbox: truth.bounds.corners.map(|edge| edge as f32),
                class: class.and_then(|class| self.classes.names.get(class)).unwrap_or(&label.class).clone(),
                is_region: class.is_none(),
            }
        });
        annotated.collect()
    }

    /// Compares `detections` of at least `score`, best first, with the labels of picture `at`.
    pub fn compare(&self, at: usize, detections: &[Detection], score: f32) -> LabelMatches {
        let prediction = |one: &Detection| {
            let class = self.class_of.get((one.class_id as usize).wrapping_sub(1)).copied().flatten()?;
            // A class that the labels do not have can be neither right nor wrong.
            let bounds = Bounds::from_corners(one.bbox.map(f64::from));
            (class < self.classes.evaluated).then_some(Prediction { class, score: f64::from(one.score), bounds })
        };
        let predictions: Vec<Prediction> = detections.iter().filter_map(prediction).collect();
        let truths = self.truths(at);
        let matches = PaperMatches::of_picture(&truths, &predictions, f64::from(score), self.classes.dont_care);
        let PaperSums { truths, predictions, hits, .. } = matches.sums();
        let counts = LabelCounts { labels: truths as u64, detections: predictions as u64, found: hits as u64 };
        LabelMatches { is_found: matches.truths, counts }
    }
}
