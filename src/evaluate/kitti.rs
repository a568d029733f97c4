//! KITTI's object labels: a text file a picture, a line a box.
//!
//! Columns: class, truncation, occlusion, angle, x0, y0, x1, y1, then seven numbers of the third dimension. The paper's
//! code counts every line of eight columns or more; so does this, and notes those that have fewer than fifteen.

use std::path::Path;

use super::bounds::Bounds;
use super::dataset::{
    Dataset, Label, Labelled, Layout, Role, files_in, note_unlabelled, pictures_by_stem, stem, without_mark,
};
use super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};

/// Columns of a whole line, without and with a score.
const WHOLE: [usize; 2] = [15, 16];
/// Columns that a box needs.
const NEEDED: usize = 8;

/// Reads the folder.
///
/// # Errors
/// [`Kind::NoInput`] without the folder, or without `label_2` or a label in it.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let below = folder.join("training");
    let root = if !folder.join("label_2").is_dir() && below.join("label_2").is_dir() { below } else { folder.into() };
    let labels = root.join("label_2");
    if folder.is_dir() && !labels.is_dir() {
        let text = format!("{}: no folder label_2 in it; KITTI's layout is image_2 and label_2", folder.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    let files = files_in(&labels, &["txt"])?;
    if files.is_empty() {
        return Err(Error::new(Kind::NoInput, format!("{}: no label file in it", labels.display())));
    }
    let images = root.join("image_2");
    let mut pictures_by_name = pictures_by_stem(&images)?;
    let mut problems = Problems::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (at, file) in files.into_iter().enumerate() {
        let name = stem(&file);
        let picture = pictures_by_name.remove(&name).unwrap_or_else(|| images.join(format!("{name}.png")));
        // Not all of the world's label files are in UTF-8; class names are.
        let bytes = std::fs::read(&file).map_err(|source| Error::reading(&file, source))?;
        let labels = read_labels(&String::from_utf8_lossy(&bytes), &file, &mut problems);
        pictures.push(Labelled { name, id: at as u64 + 1, picture, size: None, file, labels });
    }
    note_unlabelled(pictures_by_name, &mut problems);
    Ok(Dataset { layout: Layout::Kitti, pictures, categories: Vec::new(), problems })
}

/// The boxes of one file's `text`.
fn read_labels(text: &str, file: &Path, problems: &mut Problems) -> Vec<Label> {
    let mut labels = Vec::new();
    for (at, line) in without_mark(text).lines().enumerate() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let Some(&class) = columns.first() else { continue };
        let line = at + 1;
        if columns.len() < NEEDED {
            let what = format!("{} columns; a label has 15, a box needs {NEEDED}; left out", columns.len());
            problems.add(ProblemKind::Malformed, file, line, what);
            continue;
        }
        if !WHOLE.contains(&columns.len()) {
            let what = format!("{} columns; a label has 15; its box is used", columns.len());
            problems.add(ProblemKind::Malformed, file, line, what);
        }
        let number = |column: usize| columns[column].parse::<f64>().ok().filter(|value| value.is_finite());
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = (number(4), number(5), number(6), number(7)) else {
            let what = format!("the box `{}` is not four numbers; left out", columns[4..8].join(" "));
            problems.add(ProblemKind::Malformed, file, line, what);
            continue;
        };
        let bounds = Bounds::from_corners([x0, y0, x1, y1]);
        if !bounds.is_sound() || bounds.area() <= 0.0 {
            let what = format!("the box {x0} {y0} {x1} {y1} of {class} has no area; left out");
            problems.add(ProblemKind::EmptyBox, file, line, what);
            continue;
        }
        let class = class.to_owned();
        labels.push(Label { class, bounds, area: bounds.area(), role: Role::Object, has_id_zero: false, line });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_foreign_line_ends_change_nothing() {
        let text = "\u{feff}Car 0 0 0 1 2 3 4 1 1 1 1 1 1 1\r\nVan 0 0 0 1 2 3 4 1 1 1 1 1 1 1\r\n\r\n";
        let mut problems = Problems::default();
        let labels = read_labels(text, Path::new("l.txt"), &mut problems);
        assert_eq!(labels.iter().map(|label| label.class.as_str()).collect::<Vec<_>>(), ["Car", "Van"]);
        assert_eq!(labels[1].bounds.corners, [1.0, 2.0, 3.0, 4.0]);
        assert!(problems.0.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_wrong_line_is_named_and_the_others_are_read() {
        let text = "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56\n\
                    Car 0.00 0 -1.57 599.41 156.40\n\
                    \n\
                    Van 0 0 0 1 2 3 4\n\
                    Van 0 0 0 1 x 3 4 1 1 1 1 1 1 1\n\
                    Van 0 0 0 5 2 3 4 1 1 1 1 1 1 1\n";
        let mut problems = Problems::default();
        let labels = read_labels(text, Path::new("l.txt"), &mut problems);
        let lines: Vec<_> = problems.0.iter().map(|problem| (problem.line, problem.kind)).collect();
        let malformed = ProblemKind::Malformed;
        assert_eq!(lines, [(2, malformed), (4, malformed), (5, malformed), (6, ProblemKind::EmptyBox)]);
        assert_eq!(labels.len(), 2);
        assert_eq!(labels[0].bounds.corners, [599.41, 156.40, 629.75, 189.25]);
        assert_eq!((labels[1].class.as_str(), labels[1].line), ("Van", 4));
    }
}
