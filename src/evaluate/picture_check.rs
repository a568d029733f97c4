//! Comparison of labels with the pictures they belong to: sizes, EXIF orientations, units and places of the boxes.
//!
//! In: a dataset as its label files describe it. Out: the same dataset with the size of every picture, without pictures
//! that are missing or damaged; problems; notes about decisions. A mistake that concerns the whole set is reported
//! once, with its probable cause.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Serialize;

use super::dataset::{BoxRole, Dataset, LabelledBox, LabelledPicture};
use super::problem::{ProblemKind, Problems};
use crate::frame::{PictureSize, size_of};

/// Treatment of the EXIF orientation of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ExifMode {
    /// Applied or not, so that the labels fit.
    #[default]
    Auto,
    /// Always applied: labels are for upright pictures.
    Apply,
    /// Never applied: labels are for the pixels as they are stored.
    Ignore,
}

/// Largest coordinate of boxes in fractions of the picture, with some tolerance, in pixels.
const NORMALISED: f64 = 2.0;
/// Distance by which a box may exceed its picture, in pixels.
const TOLERANCE: f64 = 1.0;
/// Share of the boxes outside their pictures from which the whole set is in question.
const MANY: f64 = 0.5;
/// Boxes from which a statement about the whole set is made.
const ENOUGH_BOXES: usize = 4;

impl Dataset {
    /// Reads every picture's header and compares it with the labels. Returns notes for the terminal.
    pub fn check_pictures(&mut self, exif: ExifMode) -> Vec<String> {
        let Self { pictures, problems, .. } = self;
        let mut sizes = Vec::with_capacity(pictures.len());
        pictures.retain(|labelled| match readable_size(labelled, problems) {
            Some(size) => {
                sizes.push(size);
                true
            }
            None => false,
        });
        let notes = orient(pictures, &sizes, exif);
        report_shared(pictures, problems);
        compare_declared(pictures, problems);
        compare_boxes(pictures, problems);
        notes
    }
}

/// The size of a picture; a problem if there is none.
fn readable_size(labelled: &LabelledPicture, problems: &mut Problems) -> Option<PictureSize> {
    if !labelled.picture.is_file() {
        let text = format!("its picture {} is missing; skipped", labelled.picture.display());
        problems.add(ProblemKind::Missing, &labelled.file, 0, text);
        return None;
    }
    match size_of(&labelled.picture) {
        Ok(size) => Some(size),
        Err(error) => {
            problems.add(ProblemKind::Damaged, &labelled.picture, 0, format!("{}; skipped", error.chain()));
            None
        }
    }
}

/// True if `label` exceeds a picture of `size`.
fn is_outside(label: &LabelledBox, (width, height): (u32, u32)) -> bool {
    let [x0, y0, x1, y1] = label.bounds.corners;
    let (right, bottom) = (f64::from(width) + TOLERANCE, f64::from(height) + TOLERANCE);
    x0 < -TOLERANCE || y0 < -TOLERANCE || x1 > right || y1 > bottom
}

/// True if the labels of a turned picture fit its stored pixels, false if they fit the upright picture; `None` if they
/// fit both or neither.
fn fits_stored(labelled: &LabelledPicture, size: &PictureSize) -> Option<bool> {
    if size.stored == size.upright {
        return None;
    }
    if let Some(declared) = labelled.declared {
        let declared = (declared.width, declared.height);
        // The declared size may be that of a resized picture, so the ratio of its sides is compared.
        let is =
            |size: (u32, u32)| u64::from(size.0) * u64::from(declared.1) == u64::from(size.1) * u64::from(declared.0);
        if is(size.stored) != is(size.upright) {
            return Some(is(size.stored));
        }
    }
    let outside = |size| labelled.labels.iter().filter(|label| is_outside(label, size)).count();
    let (stored, upright) = (outside(size.stored), outside(size.upright));
    (stored != upright).then_some(stored < upright)
}

/// Sets the size of every picture, and decides about the EXIF orientations. Pictures whose labels fit both orientations
/// follow the majority.
fn orient(pictures: &mut [LabelledPicture], sizes: &[PictureSize], exif: ExifMode) -> Vec<String> {
    let decisions: Vec<Option<bool>> = pictures
        .iter()
        .zip(sizes)
        .map(|(labelled, size)| fits_stored(labelled, size).filter(|_| size.is_turned))
        .collect();
    let votes = |stored: bool| decisions.iter().filter(|decision| **decision == Some(stored)).count();
    let majority = votes(true) > votes(false);
    let (mut turned, mut as_stored) = (0, 0);
    for ((labelled, size), decision) in pictures.iter_mut().zip(sizes).zip(&decisions) {
        let stored = match exif {
            ExifMode::Auto => decision.unwrap_or(majority),
            ExifMode::Apply => false,
            ExifMode::Ignore => true,
        };
        labelled.as_stored = stored && size.is_turned;
        labelled.size = Some(if labelled.as_stored { size.stored } else { size.upright });
        turned += usize::from(size.is_turned);
        as_stored += usize::from(labelled.as_stored);
    }
    if turned == 0 {
        return Vec::new();
    }
    let applied = turned - as_stored;
    let reason = match exif {
        ExifMode::Auto if votes(true) + votes(false) > 0 => "so the labels fit; --exif decides otherwise",
        ExifMode::Auto => "the labels fit both; --exif decides otherwise",
        ExifMode::Apply | ExifMode::Ignore => "as --exif requests",
    };
    vec![match (applied, as_stored) {
        (_, 0) => format!("EXIF orientation of {turned} pictures: applied, {reason}"),
        (0, _) => format!("EXIF orientation of {turned} pictures: not applied, {reason}"),
        _ => format!("EXIF orientation of {turned} pictures: applied to {applied}, not to {as_stored}, {reason}"),
    }]
}

/// Adds one problem if entries share a picture: detections on it would count for each, the boxes of one for none.
fn report_shared(pictures: &[LabelledPicture], problems: &mut Problems) {
    let mut first = HashMap::new();
    let mut shared = Vec::new();
    for labelled in pictures {
        match first.entry(&labelled.picture) {
            Entry::Vacant(entry) => drop(entry.insert(labelled)),
            Entry::Occupied(_) => shared.push(labelled),
        }
    }
    if let Some(one) = shared.first() {
        let text = format!(
            "{} of {} entries have the picture of another entry, first {}; each is evaluated with its own boxes alone",
            shared.len(),
            pictures.len(),
            one.picture.display()
        );
        problems.add(ProblemKind::Malformed, &one.file, 0, text);
    }
}

/// Adds one problem if declared sizes are not those of the pictures.
fn compare_declared(pictures: &[LabelledPicture], problems: &mut Problems) {
    let differs = |labelled: &&LabelledPicture| match (labelled.declared, labelled.size) {
        (Some(declared), Some(size)) => (declared.width, declared.height) != size,
        _ => false,
    };
    let wrong: Vec<&LabelledPicture> = pictures.iter().filter(differs).collect();
    let Some((first, (declared, (width, height)))) =
        wrong.first().and_then(|first| Some((first, (first.declared?, first.size?))))
    else {
        return;
    };
    let cause = if (declared.height, declared.width) == (width, height) {
        "the pictures were probably turned after labelling"
    } else {
        "the pictures were probably resized after labelling, or the labels are those of others"
    };
    let text = format!(
        "the declared size of {} of {} pictures is not that of the file; {}: {}×{} declared, {width}×{height} found; \
         {cause}; boxes are used unchanged",
        wrong.len(),
        pictures.len(),
        first.picture.display(),
        declared.width,
        declared.height
    );
    problems.add(ProblemKind::DeclaredSize, &first.file, declared.line, text);
}

/// Adds problems of boxes that cannot be in pixels of their pictures: one for the whole set, or one a box.
fn compare_boxes(pictures: &[LabelledPicture], problems: &mut Problems) {
    let boxes = || {
        let of = |labelled| {
            let LabelledPicture { labels, .. }: &LabelledPicture = labelled;
            labels.iter().filter(|label| label.role != BoxRole::Crowd).map(move |label| (labelled, label))
        };
        pictures.iter().flat_map(of)
    };
    let all = boxes().count();
    let Some((first, label)) = boxes().next() else { return };
    let is_tiny = |label: &LabelledBox| label.bounds.corners.iter().all(|edge| edge.abs() <= NORMALISED);
    if all >= ENOUGH_BOXES && boxes().all(|(_, label)| is_tiny(label)) {
        let text = format!(
            "all {all} boxes lie below {NORMALISED} pixels, first {:?}; they are probably fractions of width and height, and \
             pixels are expected; used unchanged",
            label.bounds.corners
        );
        problems.add(ProblemKind::Units, &first.file, label.line, text);
        return;
    }
    let outside = || boxes().filter(|(labelled, label)| labelled.size.is_some_and(|size| is_outside(label, size)));
    let count = outside().count();
    let first = outside().find_map(|(labelled, label)| Some((labelled, label, labelled.size?)));
    let Some((labelled, label, (width, height))) = first else { return };
    if all >= ENOUGH_BOXES && count as f64 > MANY * all as f64 {
        let text = format!(
            "{count} of {all} boxes exceed their pictures, first {:?} of {} in {width}×{height}; the labels are probably for \
             pictures of another size or turn, x and y are exchanged, or corners stand in place of width and height; used \
             unchanged",
            label.bounds.corners, label.class
        );
        problems.add(ProblemKind::Outside, &labelled.file, label.line, text);
        return;
    }
    for (labelled, label) in outside() {
        let [x0, y0, x1, y1] = label.bounds.corners;
        let (width, height) = labelled.size.unwrap_or_default();
        let text = format!(
            "box {x0} {y0} {x1} {y1} of {} exceeds its picture of {width}×{height}; used unchanged",
            label.class
        );
        problems.add(ProblemKind::Outside, &labelled.file, label.line, text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bounds::Bounds;
    use super::super::dataset::DeclaredSize;
    use super::*;

    fn labelled(declared: Option<(u32, u32)>, boxes: &[[f64; 4]]) -> LabelledPicture {
        let label = |&corners: &[f64; 4]| {
            let bounds = Bounds::from_corners(corners);
            let (class, role) = ("Car".to_owned(), BoxRole::Object);
            LabelledBox { class, bounds, area: bounds.area(), role, has_id_zero: false, line: 3 }
        };
        LabelledPicture {
            declared: declared.map(|(width, height)| DeclaredSize { width, height, line: 2 }),
            labels: boxes.iter().map(label).collect(),
            ..LabelledPicture::default()
        }
    }

    const TURNED: PictureSize = PictureSize { stored: (64, 36), upright: (36, 64), is_turned: true };

    #[test]
    fn turns_are_applied_where_the_labels_fit_the_upright_picture() {
        for (labels, as_stored, expected) in [
            (labelled(Some((64, 36)), &[]), true, "not applied"),
            (labelled(Some((128, 72)), &[]), true, "not applied"),
            (labelled(Some((36, 64)), &[]), false, ": applied"),
            (labelled(None, &[[40.0, 5.0, 60.0, 30.0]]), true, "not applied"),
            (labelled(None, &[[5.0, 40.0, 30.0, 60.0]]), false, ": applied"),
            (labelled(None, &[[5.0, 5.0, 30.0, 30.0]]), false, "the labels fit both"),
        ] {
            let mut pictures = [labels];
            let notes = orient(&mut pictures, &[TURNED], ExifMode::Auto);
            assert_eq!(pictures[0].as_stored, as_stored, "{notes:?}");
            assert!(notes[0].contains(expected), "{notes:?}");
            assert_eq!(pictures[0].size, Some(if as_stored { TURNED.stored } else { TURNED.upright }));
            orient(&mut pictures, &[TURNED], ExifMode::Ignore);
            assert!(pictures[0].as_stored);
        }
        // A picture whose labels fit both orientations, or that is mirrored, follows the others.
        let mirrored = PictureSize { stored: (64, 36), upright: (64, 36), is_turned: true };
        let mut pictures = [labelled(Some((64, 36)), &[]), labelled(None, &[]), labelled(Some((64, 36)), &[])];
        orient(&mut pictures, &[TURNED, TURNED, mirrored], ExifMode::Auto);
        assert!(pictures.iter().all(|labelled| labelled.as_stored));
        let plain = PictureSize { is_turned: false, ..mirrored };
        assert!(orient(&mut [labelled(None, &[])], &[plain], ExifMode::Auto).is_empty());
    }

    #[test]
    fn a_mistake_of_the_whole_set_is_said_once() {
        let check = |pictures: &mut [LabelledPicture]| {
            let plain = PictureSize { stored: (64, 36), upright: (64, 36), is_turned: false };
            orient(pictures, &vec![plain; pictures.len()], ExifMode::Auto);
            let mut problems = Problems::default();
            compare_declared(pictures, &mut problems);
            compare_boxes(pictures, &mut problems);
            problems.0.into_iter().map(|problem| (problem.kind, problem.line, problem.text)).collect::<Vec<_>>()
        };
        let inside = [1.0, 2.0, 30.0, 20.0];
        let found = check(&mut [labelled(Some((32, 18)), &[inside]), labelled(Some((32, 18)), &[inside; 2])]);
        assert!(
            matches!(&found[..], [(ProblemKind::DeclaredSize, 2, text)] if text.contains("2 of 2") && text.contains("found; the pictures were probably resized"))
        );
        let found = check(&mut [labelled(Some((36, 64)), &[])]);
        assert!(matches!(&found[..], [(_, _, text)] if text.contains("turned")), "{found:?}");
        let found = check(&mut [labelled(None, &[[0.1, 0.2, 0.5, 0.9]; 30])]);
        assert!(matches!(&found[..], [(ProblemKind::Units, 3, text)] if text.contains("all 30")), "{found:?}");
        let found = check(&mut [labelled(None, &[[10.0, 2.0, 500.0, 90.0]; 30])]);
        assert!(matches!(&found[..], [(ProblemKind::Outside, 3, text)] if text.contains("30 of 30")), "{found:?}");
        let found = check(&mut [labelled(None, &[inside, inside, inside, inside, [10.0, 2.0, 70.0, 30.0]])]);
        assert!(matches!(&found[..], [(ProblemKind::Outside, 3, text)] if text.contains("exceeds its picture")));
    }
}
