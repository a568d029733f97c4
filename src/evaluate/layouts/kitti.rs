//! KITTI's object labels: one text file a picture, one line a box.
//!
//! Columns (`readme.txt` of the KITTI object development kit): class, truncation, occlusion, angle, x0, y0, x1, y1,
//! then seven 3D numbers. Like the paper's code, this reader uses every line of eight columns or more. Other numbers of
//! columns than 15 or 16 are reported as a problem.

use std::path::Path;

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, LabelledBox, LabelledPicture, TextIds};
use super::super::label_files::{files_in, pictures_by_stem, report_unlabelled, stem};
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};
use crate::tensor::text_file;

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
        let labels = read_labels(&text_file::decode_lossy(&bytes), &file, &mut problems);
        pictures.push(LabelledPicture { name, id: at as u64 + 1, picture, file, labels, ..LabelledPicture::default() });
    }
    report_unlabelled(pictures_by_name.into_values(), &mut problems);
    Ok(Dataset {
        layout: DatasetLayout::Kitti,
        pictures,
        categories: Vec::new(),
        text_ids: TextIds::default(),
        problems,
    })
}

/// Number of words of the class name. A complete line is read from the right: its last 14 or 15 columns are numbers. In
/// another line the class ends before the first number.
fn class_words(tokens: &[&str]) -> usize {
    let is_number = |token: &&str| token.parse::<f64>().is_ok();
    let numbers = tokens.iter().rev().take_while(|token| is_number(token)).count();
    // The last words of a class name may be numbers, too: the columns must be those of a label.
    let fits =
        |columns: &usize| numbers >= *columns && tokens.len() > *columns && is_label(&tokens[tokens.len() - columns..]);
    if let Some(columns) = COMPLETE.map(|columns| columns - 1).iter().rev().find(|columns| fits(columns)) {
        return tokens.len() - columns;
    }
    if COMPLETE.contains(&(numbers + 1)) && tokens.len() > numbers {
        return tokens.len() - numbers;
    }
    1 + tokens.iter().skip(1).take_while(|token| !is_number(token)).count()
}

/// True if these can be the columns behind a class name: truncation, occlusion, angle, then a box with its corners in order.
fn is_label(columns: &[&str]) -> bool {
    let number = |at: usize| columns.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let [truncation, occlusion, left, top, right, bottom] = [0, 1, 3, 4, 5, 6].map(number);
    let is_state = occlusion.fract() == 0.0 && (-1.0..=3.0).contains(&occlusion);
    (-1.0..=1.0).contains(&truncation) && is_state && left <= right && top <= bottom
}

/// Parses the `text` of one file.
fn read_labels(text: &str, file: &Path, problems: &mut Problems) -> Vec<LabelledBox> {
    let mut labels = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let tokens: Vec<&str> = line.split_whitespace().collect();
        if tokens.is_empty() {
            continue;
        }
        let line = at + 1;
        // A class name may have several words: they become one column.
        let words = class_words(&tokens);
        let class = tokens[..words].join(" ");
        let columns: Vec<&str> = std::iter::once(class.as_str()).chain(tokens[words..].iter().copied()).collect();
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
    fn tabs_and_crlf_are_accepted() {
        let text = "Car\t0\t0 0 1 2 3 4 1 1 1 1 1 1 1\r\nVan 0 0 0 1 2 3 4 1 1 1 1 1 1 1\r\n\r\n";
        let mut problems = Problems::default();
        let labels = read_labels(text, Path::new("l.txt"), &mut problems);
        assert_eq!(labels.iter().map(|label| label.class.as_str()).collect::<Vec<_>>(), ["Car", "Van"]);
        assert_eq!(labels[1].bounds.corners, [1.0, 2.0, 3.0, 4.0]);
        assert!(problems.0.is_empty(), "{problems:?}");
    }

    #[test]
    fn a_class_name_of_several_words_does_not_shift_the_box() {
        let rest = "0.00 0 -1.57 10.5 20 30 40 2.85 2.63 12.34 0.47 1.49 69.44 -1.56";
        let text = format!(
            "Traffic light {rest}\nperson on bike 3 {rest} 0.9\nTraffic light 0 0 0 10.5 20 30 40\nCar {rest} 0.5\nClass 2 {rest}\n"
        );
        let mut problems = Problems::default();
        let labels = read_labels(&text, Path::new("l.txt"), &mut problems);
        let classes: Vec<_> = labels.iter().map(|label| label.class.as_str()).collect();
        assert_eq!(classes, ["Traffic light", "person on bike 3", "Traffic light", "Car", "Class 2"]);
        assert!(labels.iter().all(|label| label.bounds.corners == [10.5, 20.0, 30.0, 40.0]), "{labels:?}");
        // Fewer columns than a label has are reported as a problem.
        assert_eq!(problems.0.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3]);
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
