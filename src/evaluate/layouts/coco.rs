//! COCO's annotation file: one JSON document with pictures, boxes and categories.
//!
//! Every entry is parsed separately, so that an invalid one becomes a problem with its line and the others are used.
//! Categories and pictures are in the order of their ids, as in `pycocotools`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, LabelledBox, LabelledPicture};
use super::super::json_lists::{ListEntry, json_lists};
use super::super::label_files::without_bom;
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};
use crate::tensor::mapped::Mapped;

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<i64>,
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Flag,
}

/// A flag: 0 or 1, or, as some programs write it, false or true.
#[derive(Deserialize, Default)]
#[serde(from = "FlagValue")]
struct Flag(bool);

#[derive(Deserialize)]
#[serde(untagged)]
enum FlagValue {
    Number(u8),
    Bool(bool),
}

impl From<FlagValue> for Flag {
    fn from(value: FlagValue) -> Self {
        Self(match value {
            FlagValue::Number(number) => number != 0,
            FlagValue::Bool(flag) => flag,
        })
    }
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// Reads the annotation file; pictures are searched in `images`, or near the file.
///
/// # Errors
/// As [`Mapped::open`]; [`Kind::Data`] if it is not a JSON document with the three lists, or has no picture or category.
pub(super) fn read(path: &Path, images: Option<&Path>) -> Result<Dataset> {
    let file = Mapped::open(path)?;
    let invalid = |text: String| Error::new(Kind::Data, format!("{}: {text}", path.display()));
    let text = std::str::from_utf8(&file).map_err(|source| invalid("not UTF-8".to_owned()).because(source))?;
    let [images_listed, annotations, categories_listed] =
        json_lists(without_bom(text), ["images", "annotations", "categories"])
            .map_err(|error| error.at(format!("{}: not a COCO annotation file", path.display())))?;
    let mut problems = Problems::default();
    let reject = |problems: &mut Problems, entry: &ListEntry<'_>, reason: String| {
        problems.add(ProblemKind::Malformed, path, entry.line, format!("{reason}; skipped"));
    };

    let duplicate = |what: &str, id: u64| format!("duplicate {what} {id}");
    let mut categories = Vec::new();
    let mut seen = HashSet::new();
    for entry in categories_listed {
        match serde_json::from_str::<Category>(entry.text) {
            Ok(Category { id, .. }) if !seen.insert(id) => reject(&mut problems, &entry, duplicate("category", id)),
            Ok(category) => categories.push((category.id, category.name)),
            Err(error) => reject(&mut problems, &entry, format!("not a category: {error}")),
        }
    }
    categories.sort_unstable();
    let mut pictures: Vec<LabelledPicture> = Vec::new();
    seen.clear();
    for entry in images_listed {
        match serde_json::from_str::<Image>(entry.text) {
            Ok(Image { id, .. }) if !seen.insert(id) => reject(&mut problems, &entry, duplicate("image", id)),
            Ok(Image { id, file_name }) => pictures.push(LabelledPicture {
                picture: PathBuf::from(&file_name),
                name: file_name,
                id,
                size: None,
                file: path.to_owned(),
                labels: Vec::new(),
            }),
            Err(error) => reject(&mut problems, &entry, format!("not an image: {error}")),
        }
    }
    pictures.sort_by_key(|labelled| labelled.id);
    if pictures.is_empty() || categories.is_empty() {
        return Err(invalid("no picture or no category".to_owned()));
    }
    let by_id: HashMap<u64, usize> = pictures.iter().enumerate().map(|(at, labelled)| (labelled.id, at)).collect();
    let names: HashMap<u64, &String> = categories.iter().map(|(id, name)| (*id, name)).collect();
    let mut ids = HashSet::new();
    for entry in annotations {
        let annotation: Annotation = match serde_json::from_str(entry.text) {
            Ok(annotation) => annotation,
            Err(error) => {
                reject(&mut problems, &entry, format!("not an annotation: {error}"));
                continue;
            }
        };
        let Annotation { id, image_id, category_id, bbox, area, iscrowd } = annotation;
        let (at, class) = match (by_id.get(&image_id), names.get(&category_id)) {
            (Some(&at), Some(&class)) => (at, class),
            (None, _) => {
                reject(&mut problems, &entry, format!("no image {image_id}"));
                continue;
            }
            (_, None) => {
                reject(&mut problems, &entry, format!("no category {category_id}"));
                continue;
            }
        };
        let line = entry.line;
        let bounds = Bounds::from_sides(bbox);
        if !bounds.is_valid() {
            problems.add(ProblemKind::EmptyBox, path, line, format!("invalid box {bbox:?} of {class}; skipped"));
            continue;
        }
        if bounds.area() <= 0.0 {
            problems.add(ProblemKind::EmptyBox, path, line, format!("the box {bbox:?} of {class} has no area; used"));
        }
        if let Some(id) = id.filter(|id| !ids.insert(*id)) {
            problems.add(ProblemKind::Malformed, path, line, format!("duplicate annotation {id}; used"));
        }
        if id.is_none_or(|id| id == 0) {
            let text = "annotation without id or with id 0, which COCO's evaluation reads as no match; used so";
            problems.add(ProblemKind::Malformed, path, line, text);
        }
        if area.is_none() {
            problems.add(ProblemKind::Malformed, path, line, "annotation without area; the area of its box is used");
        }
        pictures[at].labels.push(LabelledBox {
            class: class.clone(),
            bounds,
            area: area.unwrap_or_else(|| bounds.area()),
            role: if iscrowd.0 { BoxRole::Crowd } else { BoxRole::Object },
            has_id_zero: id == Some(0),
            line,
        });
    }
    find_pictures(path, images, &mut pictures);
    Ok(Dataset { layout: DatasetLayout::Coco, pictures, categories, problems })
}

/// Prepends a folder to the file names: `images`, or the first folder near the annotation file that has a picture.
fn find_pictures(path: &Path, images: Option<&Path>, pictures: &mut [LabelledPicture]) {
    let folder = path.parent().unwrap_or(Path::new(""));
    // The pictures of annotations/instances_val2017.json are in val2017/.
    let split = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.rsplit('_').next()).unwrap_or("");
    let nearby = || {
        let up = folder.join("..");
        [folder.to_owned(), folder.join("images"), up.clone(), up.join("images"), up.join(split), folder.join(split)]
    };
    let folders: Vec<PathBuf> = images.map_or_else(|| nearby().into(), |images| vec![images.to_owned()]);
    // Absolute paths give no hint about the folder of the others.
    let relative = || pictures.iter().filter(|labelled| labelled.picture.is_relative()).take(100);
    let has_picture = |folder: &&PathBuf| relative().any(|labelled| folder.join(&labelled.picture).is_file());
    let folder = folders.iter().find(has_picture).or(folders.first()).cloned().unwrap_or_default();
    for labelled in pictures {
        labelled.picture = folder.join(&labelled.picture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_entries_are_problems_with_their_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        let text = r#"{"categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}],
"images": [{"id": 7, "file_name": "b.png"},
           {"id": 3, "file_name": "a.png", "width": 9}],
"annotations": [
{"id": 1, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 1},
{"id": 2, "image_id": 3, "category_id": 9, "bbox": [1, 2, 3, 4], "area": 5},
{"id": 3, "image_id": 3, "category_id": 2, "bbox": [1, 2, 3], "area": 5},
{"id": 4, "image_id": 3, "category_id": 2, "bbox": [1, 2, -3, 4], "area": 5},
{"id": 0, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}]}"#;
        std::fs::write(&path, text).unwrap();
        let dataset = read(&path, None).unwrap();
        assert_eq!(dataset.categories, [(1, "cat".to_owned()), (2, "dog".to_owned())]);
        let names: Vec<_> = dataset.pictures.iter().map(|labelled| labelled.name.as_str()).collect();
        assert_eq!(names, ["a.png", "b.png"]);
        let label = &dataset.pictures[0].labels[0];
        assert_eq!((label.role, label.area, label.bounds.corners), (BoxRole::Crowd, 5.5, [1.0, 2.0, 4.0, 6.0]));
        assert!(dataset.pictures[1].labels[0].has_id_zero);
        let lines: Vec<_> = dataset.problems.0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [6, 7, 8, 9, 9]);
    }

    #[test]
    fn other_programs_files_are_read_and_duplicates_are_problems() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        let text = "\u{feff}{\"categories\": [{\"id\": 900, \"name\": \"cat\"},\r
{\"id\": 900, \"name\": \"dog\"}],\r
\"images\": [{\"id\": 7, \"file_name\": \"/elsewhere/a.png\"},\r
{\"id\": 7, \"file_name\": \"b.png\"}],\r
\"annotations\": [\r
{\"id\": 1, \"image_id\": 7, \"category_id\": 900, \"bbox\": [1, 2, 3, 4], \"area\": 5, \"iscrowd\": true, \"segmentation\": {\"counts\": \"]}\\\"\", \"size\": [9, 9]}},\r
{\"id\": 1, \"image_id\": 7, \"category_id\": 900, \"bbox\": [1, 2, 3, 4], \"area\": 5, \"iscrowd\": false}]}\r\n";
        std::fs::write(&path, text).unwrap();
        let dataset = read(&path, None).unwrap();
        assert_eq!(dataset.categories, [(900, "cat".to_owned())]);
        assert_eq!(dataset.pictures[0].picture, Path::new("/elsewhere/a.png"));
        let roles: Vec<_> = dataset.pictures[0].labels.iter().map(|label| label.role).collect();
        assert_eq!(roles, [BoxRole::Crowd, BoxRole::Object]);
        let lines: Vec<_> = dataset.problems.0.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 4, 7]);
    }

    #[test]
    fn an_absolute_path_does_not_decide_the_folder_of_the_others() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("images")).unwrap();
        for file in ["a.png", "images/b.png"] {
            std::fs::write(root.path().join(file), b"").unwrap();
        }
        let text = format!(
            r#"{{"categories": [{{"id": 1, "name": "cat"}}], "annotations": [],
            "images": [{{"id": 1, "file_name": {:?}}}, {{"id": 2, "file_name": "b.png"}}]}}"#,
            root.path().join("a.png")
        );
        let path = root.path().join("set.json");
        std::fs::write(&path, text).unwrap();
        let dataset = read(&path, None).unwrap();
        let pictures: Vec<_> = dataset.pictures.iter().map(|labelled| labelled.picture.clone()).collect();
        assert_eq!(pictures, [root.path().join("a.png"), root.path().join("images/b.png")]);
    }

    #[test]
    fn other_files_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        for text in ["", "[]", "{\"images\": []}", "{\"images\": [], \"annotations\": [], \"categories\": []}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path, None).unwrap_err().kind(), Kind::Data, "{text}");
        }
    }
}
