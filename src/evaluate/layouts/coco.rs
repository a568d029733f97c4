//! COCO's annotation file: one JSON document with pictures, boxes and categories.
//!
//! Every entry is parsed separately, so that an invalid one becomes a problem with its line and the others are used.
//! Categories and pictures are in the order of their ids, as in `pycocotools`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::bounds::Bounds;
use super::super::dataset::{BoxRole, Dataset, DatasetLayout, DeclaredSize, LabelledBox, LabelledPicture, TextIds};
use super::super::ids::{Id, numbers};
use super::super::json_lists::{ListEntry, json_lists};
use super::super::problem::{ProblemKind, Problems};
use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file;
use crate::tensor::text_file;

#[derive(Deserialize)]
struct Image {
    id: Id,
    file_name: String,
    width: Option<Number>,
    height: Option<Number>,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Id>,
    image_id: Id,
    category_id: Id,
    bbox: [Number; 4],
    area: Option<f64>,
    iscrowd: Option<Flag>,
}

/// A number; some programs write it as text.
#[derive(Deserialize)]
#[serde(try_from = "NumberValue")]
struct Number(f64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberValue {
    Number(f64),
    Text(String),
}

impl TryFrom<NumberValue> for Number {
    type Error = String;

    fn try_from(value: NumberValue) -> std::result::Result<Self, String> {
        match value {
            NumberValue::Number(number) => Ok(Self(number)),
            NumberValue::Text(text) => text.trim().parse().map(Self).map_err(|_| format!("{text:?} is no number")),
        }
    }
}

/// A flag: 0 or 1, or, as some programs write it, false or true.
#[derive(Deserialize)]
#[serde(from = "FlagValue")]
struct Flag(bool);

#[derive(Deserialize)]
#[serde(untagged)]
enum FlagValue {
    Number(f64),
    Bool(bool),
    Text(String),
}

impl From<FlagValue> for Flag {
    fn from(value: FlagValue) -> Self {
        Self(match value {
            FlagValue::Number(number) => number != 0.0,
            FlagValue::Bool(flag) => flag,
            FlagValue::Text(text) => !["", "0", "false", "no"].contains(&text.to_lowercase().as_str()),
        })
    }
}

#[derive(Deserialize)]
struct Category {
    id: Id,
    name: String,
}

/// Reads the annotation file; pictures are searched in `images`, or near the file.
///
/// # Errors
/// As [`regular_file::read`]; [`Kind::Data`] if it is not a JSON document with the three lists, or has no picture or
/// category.
pub(super) fn read(path: &Path, images: Option<&Path>) -> Result<Dataset> {
    let file = regular_file::read(path)?;
    let invalid = |text: String| Error::new(Kind::Data, format!("{}: {text}", path.display()));
    let text = text_file::decode(&file).map_err(|error| error.at(path.display()))?;
    let text = &without_nan(&text);
    let [images_listed, annotations, categories_listed] = json_lists(text, ["images", "annotations", "categories"])
        .map_err(|error| error.at(format!("{}: not a COCO annotation file", path.display())))?;
    let mut problems = Problems::default();
    let reject = |problems: &mut Problems, entry: &ListEntry<'_>, reason: String| {
        problems.add(ProblemKind::Malformed, path, entry.line, format!("{reason}; skipped"));
    };

    let duplicate = |what: &str, id: &Id| format!("duplicate {what} {id}");
    let mut listed_categories = Vec::new();
    let mut seen = HashSet::new();
    for entry in categories_listed {
        match serde_json::from_str::<Category>(entry.text) {
            Ok(Category { id, .. }) if !seen.insert(id.clone()) => {
                reject(&mut problems, &entry, duplicate("category", &id));
            }
            Ok(category) => listed_categories.push((category.id, category.name)),
            Err(error) => reject(&mut problems, &entry, format!("not a category: {error}")),
        }
    }
    let (category_numbers, text_categories) = numbers(listed_categories.iter().map(|(id, _)| id));
    let mut categories: Vec<(u64, String)> =
        listed_categories.into_iter().map(|(id, name)| (category_numbers[&id], name)).collect();
    categories.sort_unstable();
    let mut pictures: Vec<LabelledPicture> = Vec::new();
    let mut picture_ids = Vec::new();
    seen.clear();
    for entry in images_listed {
        match serde_json::from_str::<Image>(entry.text) {
            Ok(Image { id, .. }) if !seen.insert(id.clone()) => {
                reject(&mut problems, &entry, duplicate("image", &id));
            }
            Ok(Image { id, file_name, width, height }) => {
                let side =
                    |side: Option<Number>| side.map(|Number(side)| side).filter(|side| (1.0..=1e6).contains(side));
                let declared = side(width).zip(side(height)).map(|(width, height)| DeclaredSize {
                    width: width as u32,
                    height: height as u32,
                    line: entry.line,
                });
                picture_ids.push(id);
                pictures.push(LabelledPicture {
                    picture: PathBuf::from(&file_name),
                    name: file_name,
                    declared,
                    file: path.to_owned(),
                    ..LabelledPicture::default()
                });
            }
            Err(error) => reject(&mut problems, &entry, format!("not an image: {error}")),
        }
    }
    let (picture_numbers, text_pictures) = numbers(picture_ids.iter());
    pictures.iter_mut().zip(&picture_ids).for_each(|(labelled, id)| labelled.id = picture_numbers[id]);
    pictures.sort_by_key(|labelled| labelled.id);
    if pictures.is_empty() || categories.is_empty() {
        let first = problems.summary(3).join("; ");
        let reasons = if first.is_empty() { String::new() } else { format!(": {first}") };
        return Err(invalid(format!("no picture or no category{reasons}")));
    }
    let at_number: HashMap<u64, usize> = pictures.iter().enumerate().map(|(at, labelled)| (labelled.id, at)).collect();
    let by_id = |id: &Id| picture_numbers.get(id).and_then(|number| at_number.get(number)).copied();
    let named: HashMap<u64, &String> = categories.iter().map(|(id, name)| (*id, name)).collect();
    let names = |id: &Id| category_numbers.get(id).and_then(|number| named.get(number)).copied();
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
        let (at, class) = match (by_id(&image_id), names(&category_id)) {
            (Some(at), Some(class)) => (at, class),
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
        let bbox = bbox.map(|Number(side)| side);
        let bounds = Bounds::from_sides(bbox);
        if !bounds.is_valid() {
            problems.add(ProblemKind::EmptyBox, path, line, format!("invalid box {bbox:?} of {class}; skipped"));
            continue;
        }
        if bounds.area() <= 0.0 {
            problems.add(ProblemKind::EmptyBox, path, line, format!("the box {bbox:?} of {class} has no area; used"));
        }
        let is_zero = id == Some(Id::Number(0));
        if let Some(id) = id.as_ref().filter(|id| !ids.insert((*id).clone())) {
            problems.add(ProblemKind::Malformed, path, line, format!("duplicate annotation {id}; used"));
        }
        if id.is_none() || is_zero {
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
            role: if iscrowd.is_some_and(|flag| flag.0) { BoxRole::Crowd } else { BoxRole::Object },
            has_id_zero: is_zero,
            line,
        });
    }
    find_pictures(path, images, &mut pictures);
    let text_ids = TextIds { pictures: text_pictures, categories: text_categories };
    Ok(Dataset { layout: DatasetLayout::Coco, pictures, categories, text_ids, problems })
}

/// `text` with the words that Python writes for missing numbers, `NaN` and `Infinity`, as `null`: the value of that entry is
/// missing. Lines stay.
fn without_nan(text: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let length = match WORDS.iter().find(|word| from.starts_with(**word)) {
            Some(word) => {
                out.push_str("null");
                rest = &from[word.len()..];
                continue;
            }
            None if from.starts_with('"') => string_length(from),
            None => 1,
        };
        out.push_str(&from[..length]);
        rest = &from[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Bytes of the JSON string that begins `text`, with its quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Finds the pictures: in `images`, or in a folder near the annotation file. A path of Windows or of another machine falls
/// back to its last parts, at last to the name of the file. No file is found twice.
fn find_pictures(path: &Path, images: Option<&Path>, pictures: &mut [LabelledPicture]) {
    let folder = path.parent().unwrap_or(Path::new(""));
    // The pictures of annotations/instances_val2017.json are in val2017/.
    let split = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.rsplit('_').next()).unwrap_or("");
    let nearby = || {
        let up = folder.join("..");
        [folder.to_owned(), folder.join("images"), up.clone(), up.join("images"), up.join(split), folder.join(split)]
    };
    let mut folders: Vec<PathBuf> = images.map_or_else(|| nearby().into(), |images| vec![images.to_owned()]);
    // The folder in which most of the first pictures are comes first: names may occur in several.
    let found_in = |folder: &PathBuf| {
        let first = pictures.iter().take(100);
        first.filter(|labelled| path_suffixes(&labelled.name).any(|suffix| folder.join(suffix).is_file())).count()
    };
    folders.sort_by_key(|folder| std::cmp::Reverse(found_in(folder)));
    let mut taken: HashSet<PathBuf> = HashSet::new();
    // Exact names first, so that a shortened one never takes another's picture.
    for is_exact in [true, false] {
        for labelled in pictures.iter_mut() {
            if taken.contains(&labelled.picture) {
                continue;
            }
            let own = PathBuf::from(&labelled.name);
            let exact =
                if own.is_absolute() { vec![own] } else { folders.iter().map(|folder| folder.join(&own)).collect() };
            let shortened =
                || folders.iter().flat_map(|folder| path_suffixes(&labelled.name).map(|suffix| folder.join(suffix)));
            let candidates: Vec<PathBuf> = if is_exact { exact } else { shortened().collect() };
            if let Some(found) = candidates.into_iter().find(|path| path.is_file() && !taken.contains(path)) {
                taken.insert(found.clone());
                labelled.picture = found;
            } else if is_exact && !Path::new(&labelled.name).is_absolute() {
                labelled.picture = folders[0].join(&labelled.name);
            }
        }
    }
}

/// `name` with `/` between its parts, then without its first part, and so on down to the file's name. Parts that lead
/// upwards are left out.
fn path_suffixes(name: &str) -> impl Iterator<Item = PathBuf> {
    let parts: Vec<String> = name
        .split(['/', '\\'])
        .filter(|part| !part.is_empty() && *part != "." && *part != ".." && !part.ends_with(':'))
        .map(str::to_owned)
        .collect();
    (0..parts.len()).map(move |from| parts[from..].iter().collect())
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
    fn ids_missing_numbers_and_paths_are_read_as_tools_write_them() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("images")).unwrap();
        for file in ["a.png", "b.png", "c.png", "d.png"] {
            std::fs::write(root.path().join("images").join(file), b"").unwrap();
        }
        let text = r#"{"info": {"score": NaN, "note": "NaN \" Infinity"}, "categories": [{"id": "2", "name": "NaN"}],
"images": [{"id": 7.0, "file_name": "C:\\data\\set\\a.png", "width": 64.0, "height": "36"},
           {"id": "x-1", "file_name": "/home/other/b.png", "width": NaN, "height": 9},
           {"id": 9, "file_name": "images\\c.png"}, {"id": 10, "file_name": "../../d.png"}, {"id": 11, "file_name": "/else/d.png"}],
"annotations": [
{"id": 1.0, "image_id": "7", "category_id": 2.0, "bbox": [1, "2", 3.5, 4], "area": NaN, "iscrowd": NaN},
{"id": "2", "image_id": "x-1", "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12},
{"id": 3, "image_id": 9, "category_id": 2, "bbox": [1, 2, NaN, 4], "area": 12},
{"id": 4, "image_id": 9, "category_id": 2, "bbox": [1, 2, 3, -Infinity], "area": 12}]}"#;
        let path = root.path().join("set.json");
        std::fs::write(&path, text).unwrap();
        let dataset = read(&path, None).unwrap();
        assert_eq!(dataset.categories, [(2, "NaN".to_owned())]);
        let found: Vec<_> = (dataset.pictures.iter())
            .map(|labelled| {
                (labelled.id, labelled.picture.strip_prefix(root.path()).unwrap_or(&labelled.picture).to_owned())
            })
            .collect();
        let expected =
            [(7, "images/a.png"), (9, "images/c.png"), (10, "images/d.png"), (11, "/else/d.png"), (12, "images/b.png")];
        assert_eq!(found, expected.map(|(id, path)| (id, PathBuf::from(path))));
        assert_eq!(dataset.text_ids.pictures, HashMap::from([("x-1".to_owned(), 12)]));
        let declared = dataset.pictures[0].declared.unwrap();
        assert_eq!((declared.width, declared.height, declared.line), (64, 36, 2));
        assert!(dataset.pictures[4].declared.is_none());
        let label = &dataset.pictures[0].labels[0];
        assert_eq!((label.bounds.corners, label.area), ([1.0, 2.0, 4.5, 6.0], 14.0));
        assert_eq!(dataset.pictures[4].labels.len(), 1);
        // The area that is missing, and the two boxes without a side.
        assert_eq!(dataset.problems.0.iter().map(|problem| problem.line).collect::<Vec<_>>(), [6, 8, 9]);
    }

    #[test]
    fn a_set_whose_entries_are_all_wrong_says_why() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        let text = "{\"images\": [{\"id\": 1, \"file_name\": \"a.png\"}], \"annotations\": [],\n\"categories\": [{\"id\": 1.5}]}";
        std::fs::write(&path, text).unwrap();
        let error = read(&path, None).unwrap_err().chain();
        assert!(error.contains("a.json:2: not a category"), "{error}");
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
