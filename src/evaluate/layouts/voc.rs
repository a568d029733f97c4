//! Pascal VOC's labels: an XML file a picture.
//!
//! Corners count pixels from 1, both ends included. A box from (1, 1) to (1, 1) is one pixel, so 1 is taken from xmin
//! and ymin. Objects marked `difficult` are neither to be found nor wrong to find.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions};

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, DeclaredSize, LabelledBox, LabelledPicture, TextIds};
use super::super::label_files::{files_below, files_in, report_unlabelled, stem};
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::tensor::text_file;

/// Reads the folder.
///
/// # Errors
/// [`Kind::NoInput`] without the folder, or without `Annotations` or a label in it.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let (labels, files) = label_files(folder)?;
    let mut known = Pictures::of(folder, &labels)?;
    let mut problems = Problems::default();
    let mut pictures = Vec::with_capacity(files.len());
    for (at, file) in files.into_iter().enumerate() {
        let bytes = std::fs::read(&file).map_err(|source| Error::reading(&file, source))?;
        // Not all of the world's label files are in UTF-8; class names are.
        let text = text_file::decode_lossy(&bytes);
        let name = name_below(&labels, &file);
        let id = at as u64 + 1;
        match Document::parse_with_options(&text, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() }) {
            Ok(document) => {
                let root = document.root_element();
                let picture = known.take(child(root, "filename"), &name);
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
                known.take(None, &name);
                let line = error.pos().row as usize;
                problems.add(ProblemKind::Malformed, &file, line, format!("not XML: {error}; skipped"));
            }
        }
    }
    report_unlabelled(known.unlabelled.into_values(), &mut problems);
    Ok(Dataset { layout: DatasetLayout::Voc, pictures, categories: Vec::new(), text_ids: TextIds::default(), problems })
}

/// The folder of the label files and the files: VOC's, one of another usual name, or the folder itself, where LabelImg
/// writes them beside the pictures. Any of them may have subfolders.
fn label_files(folder: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let names = ["Annotations", "annotations", "labels", "xml"];
    for labels in names.iter().map(|name| folder.join(name)).chain([folder.to_owned()]) {
        if labels.is_dir() {
            let files = files_below(&labels, &["xml"])?;
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

/// Path of `file` below `folder`, with `/` between its parts and without extension.
fn name_below(folder: &Path, file: &Path) -> String {
    let below = file.strip_prefix(folder).unwrap_or(file).with_extension("");
    let parts: Vec<_> = below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// The pictures of a set.
struct Pictures {
    folder: PathBuf,
    /// By path below the folder without extension.
    by_name: HashMap<String, PathBuf>,
    /// By the last part of that path.
    by_stem: HashMap<String, Vec<PathBuf>>,
    /// Those of `by_name` that no label file belongs to.
    unlabelled: HashMap<String, PathBuf>,
}

impl Pictures {
    /// The pictures of the set in `folder`: in VOC's folder, one of another usual name, or that of the label files.
    fn of(folder: &Path, labels: &Path) -> Result<Self> {
        let names = ["JPEGImages", "images", "Images", "img"];
        for images in names.iter().map(|name| folder.join(name)).chain([labels.to_owned(), folder.to_owned()]) {
            let found = Self::below(images)?;
            if !found.by_name.is_empty() {
                return Ok(found);
            }
        }
        Self::below(folder.join(names[0]))
    }

    fn below(folder: PathBuf) -> Result<Self> {
        let files = if folder.is_dir() { files_below(&folder, Picture::EXTENSIONS)? } else { Vec::new() };
        let (mut by_name, mut by_stem) = (HashMap::new(), HashMap::<String, Vec<PathBuf>>::new());
        for path in &files {
            by_name.entry(name_below(&folder, path)).or_insert_with(|| path.clone());
            by_stem.entry(stem(path)).or_default().push(path.clone());
        }
        Ok(Self { folder, unlabelled: by_name.clone(), by_name, by_stem })
    }

    /// As [`Pictures::find`]; the picture has a label file now.
    fn take(&mut self, named: Option<&str>, name: &str) -> PathBuf {
        let found = self.find(named, name);
        self.unlabelled.remove(&name_below(&self.folder, &found));
        found
    }

    /// The picture of the label file called `name`, a path below the folder of labels: the one that the file names, in the
    /// subfolder of the same name or in the folder itself. If it does not exist, as after a conversion, it is the picture
    /// with the name of either and another extension, at last the only one of that name in any subfolder. It is always a
    /// picture of the folder, never a path out of it.
    fn find(&self, named: Option<&str>, name: &str) -> PathBuf {
        let (subfolder, own) = name.rsplit_once('/').unwrap_or(("", name));
        let within =
            |folder: &str, file: &str| if folder.is_empty() { file.into() } else { format!("{folder}/{file}") };
        // Paths of Windows, too.
        let named = named.and_then(|named| named.rsplit(['/', '\\']).next());
        let named = named.filter(|named| !["", ".", ".."].contains(named));
        let exact = named.into_iter().flat_map(|named| [within(subfolder, named), named.to_owned()]);
        if let Some(found) = exact.map(|file| self.folder.join(file)).find(|path| path.is_file()) {
            return found;
        }
        let stems = || named.map(|named| stem(Path::new(named))).into_iter().chain([own.to_owned()]);
        let by_name =
            stems().flat_map(|stem| [within(subfolder, &stem), stem]).find_map(|name| self.by_name.get(&name));
        let only = |stem: String| self.by_stem.get(&stem).filter(|paths| paths.len() == 1)?.first();
        let file = || named.map_or_else(|| format!("{own}.jpg"), str::to_owned);
        let found = by_name.or_else(|| stems().find_map(only)).cloned();
        found.unwrap_or_else(|| self.folder.join(within(subfolder, &file())))
    }
}

/// The size that a label file declares.
fn declared_size(document: &Document<'_>) -> Option<DeclaredSize> {
    let size = document.root_element().children().find(|node| node.has_tag_name("size"))?;
    let number = |name: &str| child(size, name)?.parse::<f64>().ok().filter(|side| *side >= 1.0 && *side <= 1e6);
    let line = document.text_pos_at(size.range().start).row as usize;
    Some(DeclaredSize { width: number("width")? as u32, height: number("height")? as u32, line })
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
        let pictures = Pictures::below(images.clone()).unwrap();
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
            assert_eq!(pictures.find(named, name), images.join(expected), "{named:?} {name}");
        }
    }

    #[test]
    fn subfolders_of_labels_have_pictures_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        let label = |file: &str| format!("<annotation><filename>{file}</filename></annotation>");
        for (file, text) in [
            ("Annotations/night/a.xml", label("a.jpg")),
            ("Annotations/day/a.xml", label("a.jpg")),
            ("Annotations/day/b.xml", label("day/b.png")),
            ("Annotations/only.xml", format!("<!DOCTYPE annotation>{}", label("only.jpg"))),
            ("Annotations/day/._b.xml", "no XML".into()),
            ("JPEGImages/day/a.jpg", String::new()),
            ("JPEGImages/night/a.png", String::new()),
            ("JPEGImages/day/b.png", String::new()),
            ("JPEGImages/day/none.jpg", String::new()),
            ("JPEGImages/deep/er/only.jpg", String::new()),
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let dataset = read(root.path()).unwrap();
        let images = root.path().join("JPEGImages");
        let found: Vec<_> = (dataset.pictures.iter())
            .map(|labelled| (labelled.name.as_str(), labelled.picture.strip_prefix(&images).unwrap().to_str().unwrap()))
            .collect();
        let expected = [("day/a", "day/a.jpg"), ("day/b", "day/b.png"), ("night/a", "night/a.png")];
        assert_eq!(found, [&expected[..], &[("only", "deep/er/only.jpg")]].concat());
        assert_eq!(dataset.problems.0.len(), 1);
        assert!(dataset.problems.0[0].file.ends_with("day/none.jpg"), "{:?}", dataset.problems);
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
