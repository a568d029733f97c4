//! Pascal VOC's labels: an XML file a picture.
//!
//! Corners count pixels from 1, both ends included. A box from (1, 1) to (1, 1) is one pixel, so 1 is taken from xmin
//! and ymin. Objects marked `difficult` are neither to be found nor wrong to find.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, DeclaredSize, LabelledBox, LabelledPicture, TextIds};
use super::super::label_files::{files_in, pictures_by_stem, report_unlabelled, stem, without_bom};
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};

/// Reads the folder.
///
/// # Errors
/// [`Kind::NoInput`] without the folder, or without `Annotations` or a label in it.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let (labels, files) = label_files(folder)?;
    let images = picture_folder(folder, &labels)?;
    let mut pictures_by_name = pictures_by_stem(&images)?;
    let mut problems = Problems::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (at, file) in files.into_iter().enumerate() {
        // Not all of the world's label files are in UTF-8; class names are.
        let bytes = std::fs::read(&file).map_err(|source| Error::reading(&file, source))?;
        let text = String::from_utf8_lossy(&bytes);
        let name = stem(&file);
        let id = at as u64 + 1;
        match Document::parse(without_bom(&text)) {
            Ok(document) => {
                let root = document.root_element();
                let picture = picture_of(child(root, "filename"), &name, &images, &pictures_by_name);
                pictures_by_name.remove(&stem(&picture));
                let labels = read_objects(&document, &file, &mut problems);
                let declared = declared_size(&document);
                pictures.push(LabelledPicture {
                    name,
                    id,
                    picture,
                    declared,
                    file,
                    labels,
                    ..LabelledPicture::default()
                });
            }
            Err(error) => {
                pictures_by_name.remove(&name);
                let line = error.pos().row as usize;
                problems.add(ProblemKind::Malformed, &file, line, format!("not XML: {error}; skipped"));
            }
        }
    }
    report_unlabelled(pictures_by_name, &mut problems);
    Ok(Dataset { layout: DatasetLayout::Voc, pictures, categories: Vec::new(), text_ids: TextIds::default(), problems })
}

/// The folder of the label files and the files: VOC's, one of another usual name, or the folder itself, where LabelImg
/// writes them beside the pictures.
fn label_files(folder: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let names = ["Annotations", "annotations", "labels", "xml"];
    for labels in names.iter().map(|name| folder.join(name)).chain([folder.to_owned()]) {
        if labels.is_dir() {
            let files = files_in(&labels, &["xml"])?;
            if !files.is_empty() {
                return Ok((labels, files));
            }
        }
    }
    if !folder.is_dir() {
        files_in(folder, &["xml"])?;
    }
    let text = format!(
        "{}: no label file (.xml) in Annotations or in the folder itself; VOC's layout has Annotations and JPEGImages",
        folder.display()
    );
    Err(Error::new(Kind::NoInput, text))
}

/// The folder of the pictures: VOC's, one of another usual name, or that of the label files.
fn picture_folder(folder: &Path, labels: &Path) -> Result<PathBuf> {
    let names = ["JPEGImages", "images", "Images", "img"];
    for images in names.iter().map(|name| folder.join(name)).chain([labels.to_owned(), folder.to_owned()]) {
        if !pictures_by_stem(&images)?.is_empty() {
            return Ok(images);
        }
    }
    Ok(folder.join(names[0]))
}

/// The size that a label file declares.
fn declared_size(document: &Document<'_>) -> Option<DeclaredSize> {
    let size = document.root_element().children().find(|node| node.has_tag_name("size"))?;
    let number = |name: &str| child(size, name)?.parse::<f64>().ok().filter(|side| *side >= 1.0 && *side <= 1e6);
    let line = document.text_pos_at(size.range().start).row as usize;
    Some(DeclaredSize { width: number("width")? as u32, height: number("height")? as u32, line })
}

/// The picture of the label file called `name`: the one that it names. If that one does not exist, as after a
/// conversion, it is the picture with the name of either and another extension. It is always a picture of `images`,
/// never a path out of it.
fn picture_of(named: Option<&str>, name: &str, images: &Path, pictures: &HashMap<String, PathBuf>) -> PathBuf {
    // Paths of Windows, too.
    let named = named.and_then(|named| named.rsplit(['/', '\\']).next()).filter(|named| !named.is_empty());
    let named = named.map(|named| images.join(named)).filter(|path| path.file_name().is_some());
    match named {
        Some(path) if path.is_file() => path,
        named => {
            let stems = [named.as_deref().map(stem), Some(name.to_owned())];
            let other = stems.into_iter().flatten().find_map(|stem| pictures.get(&stem).cloned());
            other.or(named).unwrap_or_else(|| images.join(format!("{name}.jpg")))
        }
    }
}

/// The text of the first child element called `name`.
fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.has_tag_name(name)).and_then(|child| child.text()).map(str::trim)
}

fn read_objects(document: &Document<'_>, file: &Path, problems: &mut Problems) -> Vec<LabelledBox> {
    let mut labels = Vec::new();
    for object in document.root_element().children().filter(|node| node.has_tag_name("object")) {
        let line = document.text_pos_at(object.range().start).row as usize;
        let Some(class) = child(object, "name").filter(|name| !name.is_empty()) else {
            problems.add(ProblemKind::Malformed, file, line, "an object without a name; skipped");
            continue;
        };
        let bndbox = object.children().find(|node| node.has_tag_name("bndbox"));
        let number = |name: &str| {
            let value = child(bndbox?, name)?.parse::<f64>().ok()?;
            value.is_finite().then_some(value)
        };
        let corners = (number("xmin"), number("ymin"), number("xmax"), number("ymax"));
        let (Some(x0), Some(y0), Some(x1), Some(y1)) = corners else {
            let what = format!("{class}: its bndbox lacks one of xmin, ymin, xmax, ymax, or one is no number; skipped");
            problems.add(ProblemKind::Malformed, file, line, what);
            continue;
        };
        let bounds = Bounds::from_corners([x0 - 1.0, y0 - 1.0, x1, y1]);
        if !bounds.is_valid() || bounds.area() <= 0.0 {
            let what = format!("the box {x0} {y0} {x1} {y1} of {class} has no area; skipped");
            problems.add(ProblemKind::EmptyBox, file, line, what);
            continue;
        }
        let difficult = child(object, "difficult").is_some_and(|text| !["", "0", "false", "no"].contains(&text));
        let role = if difficult { BoxRole::Difficult } else { BoxRole::Object };
        let class = class.to_owned();
        labels.push(LabelledBox { class, bounds, area: bounds.area(), role, has_id_zero: false, line });
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_by_other_extensions_and_never_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join("JPEGImages");
        std::fs::create_dir_all(&images).unwrap();
        for file in ["JPEGImages/a.PNG", "JPEGImages/b.v2.jpg", "out.jpg"] {
            std::fs::write(root.path().join(file), b"").unwrap();
        }
        let pictures = pictures_by_stem(&images).unwrap();
        for (named, name, expected) in [
            (Some("a.jpg"), "x", "a.PNG"),
            (Some("a"), "x", "a.PNG"),
            (Some("C:\\set\\b.v2.jpg"), "x", "b.v2.jpg"),
            (Some("gone.jpg"), "a", "a.PNG"),
            (Some("../out.jpg"), "y", "out.jpg"),
            (Some(".."), "y", "y.jpg"),
            (Some(""), "b.v2", "b.v2.jpg"),
            (None, "y", "y.jpg"),
        ] {
            assert_eq!(picture_of(named, name, &images, &pictures), images.join(expected), "{named:?} {name}");
        }
    }

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
        assert_eq!((labels[0].bounds.corners, labels[0].role), ([0.0, 1.0, 3.0, 4.0], BoxRole::Difficult));
        assert_eq!(problems.0.iter().map(|problem| problem.line).collect::<Vec<_>>(), [4, 5, 6]);
    }
}
