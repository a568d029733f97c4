//! Pascal VOC's labels: an XML file a picture.
//!
//! Corners count pixels from 1, both ends included; a box from (1, 1) to (1, 1) is one pixel, so 1 is taken from xmin
//! and ymin. Objects marked `difficult` are neither to be found nor wrong to find.

use std::path::Path;

use roxmltree::{Document, Node};

use super::bounds::Bounds;
use super::dataset::{Dataset, Label, Labelled, Layout, Role, files_in, stem};
use super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};

/// Reads the folder.
///
/// # Errors
/// [`Kind::NoInput`] without the folder, or without `Annotations` or a label in it.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let labels = folder.join("Annotations");
    if folder.is_dir() && !labels.is_dir() {
        let text = format!("{}: no folder Annotations in it; VOC's layout has JPEGImages beside it", folder.display());
        return Err(Error::new(Kind::NoInput, text));
    }
    let files = files_in(&labels, &["xml"])?;
    if files.is_empty() {
        return Err(Error::new(Kind::NoInput, format!("{}: no label file in it", labels.display())));
    }
    let images = folder.join("JPEGImages");
    let mut problems = Problems::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (at, file) in files.into_iter().enumerate() {
        let text = std::fs::read_to_string(&file).map_err(|source| Error::reading(&file, source))?;
        let name = stem(&file);
        let id = at as u64 + 1;
        match Document::parse(&text) {
            Ok(document) => {
                let root = document.root_element();
                let file_name = child(root, "filename").map_or_else(|| format!("{name}.jpg"), str::to_owned);
                // What a label file names is a picture of this folder, never a path out of it.
                let file_name = Path::new(&file_name).file_name().map_or_else(|| name.clone().into(), |n| n.to_owned());
                let labels = read_objects(&document, &file, &mut problems);
                pictures.push(Labelled { name, id, picture: images.join(file_name), size: None, file, labels });
            }
            Err(error) => {
                let line = error.pos().row as usize;
                problems.add(ProblemKind::Malformed, &file, line, format!("not XML: {error}; left out"));
            }
        }
    }
    Ok(Dataset { layout: Layout::Voc, pictures, categories: Vec::new(), problems })
}

/// The text of the first child element called `name`.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name(name)).and_then(|child| child.text()).map(str::trim)
}

fn read_objects(document: &Document<'_>, file: &Path, problems: &mut Problems) -> Vec<Label> {
    let mut labels = Vec::new();
    for object in document.root_element().children().filter(|node| node.has_tag_name("object")) {
        let line = document.text_pos_at(object.range().start).row as usize;
        let Some(class) = child(object, "name").filter(|name| !name.is_empty()) else {
            problems.add(ProblemKind::Malformed, file, line, "an object without a name; left out");
            continue;
        };
        let bndbox = object.children().find(|node| node.has_tag_name("bndbox"));
        let number = |name: &str| {
            let value = child(bndbox?, name)?.parse::<f64>().ok()?;
            value.is_finite().then_some(value)
        };
        let corners = (number("xmin"), number("ymin"), number("xmax"), number("ymax"));
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = corners else {
            let what =
                format!("{class}: its bndbox lacks one of xmin, ymin, xmax, ymax, or one is no number; left out");
            problems.add(ProblemKind::Malformed, file, line, what);
            continue;
        };
        let bounds = Bounds::from_corners([x0 - 1.0, y0 - 1.0, x1, y1]);
        if !bounds.is_sound() || bounds.area() <= 0.0 {
            let what = format!("the box {x0} {y0} {x1} {y1} of {class} has no area; left out");
            problems.add(ProblemKind::EmptyBox, file, line, what);
            continue;
        }
        let difficult = child(object, "difficult").is_some_and(|text| text != "0");
        let role = if difficult { Role::Difficult } else { Role::Object };
        let class = class.to_owned();
        labels.push(Label { class, bounds, area: bounds.area(), role, has_id_zero: false, line });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_their_faults() {
        let text = "<annotation>\n<filename>x.jpg</filename>\n\
            <object><name>car</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>\n\
            <object><name>car</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax></bndbox></object>\n\
            <object><bndbox/></object>\n\
            <object><name>bus</name><bndbox><xmin>9</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>\n\
            </annotation>";
        let mut problems = Problems::default();
        let labels = read_objects(&Document::parse(text).unwrap(), Path::new("x.xml"), &mut problems);
        assert_eq!(labels.len(), 1);
        assert_eq!((labels[0].bounds.corners, labels[0].role), ([0.0, 1.0, 3.0, 4.0], Role::Difficult));
        assert_eq!(problems.0.iter().map(|problem| problem.line).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
