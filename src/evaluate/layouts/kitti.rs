//! KITTI's object labels: one text file a picture, one line a box.
//!
//! Columns (`readme.txt` of the KITTI object development kit): class, truncation, occlusion, angle, x0, y0, x1, y1, then
//! seven 3D numbers. The paper's code uses every line of eight columns or more, and so does this reader; other numbers
//! of columns than 15 or 16 become a problem.

use std::path::Path;

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, LabelledBox, LabelledPicture};
use super::super::label_files::{files_in, pictures_by_stem, report_unlabelled, stem, without_bom};
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};

/// Columns of a complete line, without and with a score.
const COMPLETE: [usize; 2] = [15, 16];
/// Columns up to the box.
const NEEDED: usize = 8;

/// Reads the dataset in `folder`.
///
/// # Errors
/// [`Kind::NoInput`] if the folder, its `label_2` or every label file is missing.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let below = folder.join("training");
    let root = if !folder.join("label_2").is_dir() && below.join("label_2").is_dir() { below } else { folder.into() };
    let labels = root.join("label_2");
    if folder.is_dir() && !labels.is_dir() {
        let text = format!("{}: no folder label_2; KITTI's layout has image_2 and label_2", folder.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    let files = files_in(&labels, &["txt"])?;
    if files.is_empty() {
        return Err(Error::new(Kind::NoInput, format!("{}: no label files", labels.display())));
    }
    let images = root.join("image_2");
    let mut pictures_by_name = pictures_by_stem(&images)?;
    let mut problems = Problems::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (at, file) in files.into_iter().enumerate() {
        let name = stem(&file);
        let picture = pictures_by_name.remove(&name).unwrap_or_else(|| images.join(format!("{name}.png")));
        // Some label files are not UTF-8; class names are ASCII.
        let bytes = std::fs::read(&file).map_err(|source| Error::reading(&file, source))?;
        let labels = read_labels(&String::from_utf8_lossy(&bytes), &file, &mut problems);
        pictures.push(LabelledPicture { name, id: at as u64 + 1, picture, size: None, file, labels });
    }
    report_unlabelled(pictures_by_name, &mut problems);
    Ok(Dataset { layout: DatasetLayout::Kitti, pictures, categories: Vec::new(), problems })
}

/// Parses the `text` of one file.
fn read_labels(text: &str, file: &Path, problems: &mut Problems) -> Vec<LabelledBox> {
    let mut labels = Vec::new();
    for (at, line) in without_bom(text).lines().enumerate() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let Some(&class) = columns.first() else { continue };
        let line = at + 1;
        if columns.len() < NEEDED {
            let text = format!("{} columns; a label has 15, a box needs {NEEDED}; skipped", columns.len());
            problems.add(ProblemKind::Malformed, file, line, text);
            continue;
        }
        if !COMPLETE.contains(&columns.len()) {
            let text = format!("{} columns; a label has 15; its box is used", columns.len());
            problems.add(ProblemKind::Malformed, file, line, text);
        }
        let number = |column: usize| columns[column].parse::<f64>().ok().filter(|value| value.is_finite());
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = (number(4), number(5), number(6), number(7)) else {
            let text = format!("the box `{}` is not four numbers; skipped", columns[4..8].join(" "));
            problems.add(ProblemKind::Malformed, file, line, text);
            continue;
        };
        let bounds = Bounds::from_corners([x0, y0, x1, y1]);
        if !bounds.is_valid() || bounds.area() <= 0.0 {
            let text = format!("the box {x0} {y0} {x1} {y1} of {class} has no area; skipped");
            problems.add(ProblemKind::EmptyBox, file, line, text);
            continue;
        }
        let class = class.to_owned();
        labels.push(LabelledBox {
            class,
            bounds,
            area: bounds.area(),
            role: BoxRole::Object,
            has_id_zero: false,
            line,
        });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_and_crlf_are_accepted() {
        let text = "\u{feff}Car 0 0 0 1 2 3 4 1 1 1 1 1 1 1\r\nVan 0 0 0 1 2 3 4 1 1 1 1 1 1 1\r\n\r\n";
        let mut problems = Problems::default();
        let labels = read_labels(text, Path::new("l.txt"), &mut problems);
        assert_eq!(labels.iter().map(|label| label.class.as_str()).collect::<Vec<_>>(), ["Car", "Van"]);
        assert_eq!(labels[1].bounds.corners, [1.0, 2.0, 3.0, 4.0]);
        assert!(problems.0.is_empty(), "{problems:?}");
    }

    #[test]
    fn every_invalid_line_is_a_problem_and_the_others_are_read() {
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
