//! Result files: COCO's JSON, which this also reads, and KITTI's text files.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bounds::Bounds;
use super::classes::{ClassMap, Classes, Truth};
use super::dataset::{Dataset, Role, without_mark};
use super::found::Found;
use super::json_lists::json_list;
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;
use crate::tensor::mapped::Mapped;

/// What numbers and names in a result file stand for.
pub(super) struct Naming {
    pictures: HashMap<u64, usize>,
    by_name: HashMap<String, usize>,
    categories: HashMap<u64, usize>,
    classes: HashMap<String, usize>,
}

impl Naming {
    /// Categories and names that `map` takes for a class stand for it, too.
    pub(super) fn new(dataset: &Dataset, classes: &Classes, map: &ClassMap) -> Self {
        let pictures = || dataset.pictures.iter().enumerate();
        let names = || classes.names.iter().take(classes.judged).enumerate();
        let class = |name: &str| classes.find(map.get(name)).filter(|class| *class < classes.judged);
        let mapped = dataset.categories.iter().filter_map(|(id, name)| Some((*id, class(name)?)));
        let mapped_names = map.labelled().filter_map(|name| Some((name.to_owned(), class(name)?)));
        Self {
            pictures: pictures().map(|(at, labelled)| (labelled.id, at)).collect(),
            by_name: pictures().map(|(at, labelled)| (labelled.name.clone(), at)).collect(),
            categories: mapped.chain(classes.ids.iter().enumerate().map(|(at, id)| (*id, at))).collect(),
            classes: mapped_names.chain(names().map(|(at, name)| (name.clone(), at))).collect(),
        }
    }
}

/// A number or a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Key {
    Number(u64),
    Name(String),
}

#[derive(Deserialize)]
struct ResultEntry {
    image_id: Key,
    #[serde(alias = "category")]
    category_id: Key,
    bbox: [f64; 4],
    score: f64,
}

/// Reads detections in COCO's result format: a list of `image_id`, `category_id`, `bbox` (x, y, width, height) and
/// `score`. Pictures and categories may be named instead of numbered. What belongs to no picture or class of the
/// evaluation is left out; how many those are comes second. Best first in every picture, equal scores in the order of the
/// file.
///
/// # Errors
/// As [`Mapped::open`]; [`Kind::Data`] for what is no such list or a detection that is none.
pub(super) fn read_coco_results(path: &Path, naming: &Naming) -> Result<(Vec<Vec<Found>>, usize)> {
    let file = Mapped::open(path)?;
    let text = std::str::from_utf8(&file)
        .map_err(|source| Error::new(Kind::Data, format!("{}: not UTF-8", path.display())).because(source))?;
    let entries = json_list(without_mark(text)).map_err(|error| {
        error.at(format!("{}: not a COCO result file, a list of image_id, category_id, bbox and score", path.display()))
    })?;
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); naming.pictures.len()];
    let mut left_out = 0;
    for listed in entries {
        let place = format_args!("{}:{}", path.display(), listed.line);
        let entry: ResultEntry = serde_json::from_str(listed.text)
            .map_err(|source| Error::new(Kind::Data, format!("{place}: not a detection")).because(source))?;
        let bounds = Bounds::from_sides(entry.bbox);
        if !bounds.is_sound() || !entry.score.is_finite() {
            return Err(Error::new(Kind::Data, format!("{place}: a detection without box or score")));
        }
        let picture = match &entry.image_id {
            Key::Number(id) => naming.pictures.get(id),
            Key::Name(name) => naming.by_name.get(name),
        };
        let class = match &entry.category_id {
            Key::Number(id) => naming.categories.get(id),
            Key::Name(name) => naming.classes.get(name),
        };
        match (picture, class) {
            (Some(&picture), Some(&class)) => found[picture].push(Found { class, score: entry.score, bounds }),
            _ => left_out += 1,
        }
    }
    found.iter_mut().for_each(|picture| picture.sort_by(|a, b| b.score.total_cmp(&a.score)));
    Ok((found, left_out))
}

/// Writes detections as COCO's result file.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_coco_results(path: &Path, dataset: &Dataset, classes: &Classes, found: &[Vec<Found>]) -> Result<()> {
    let mut list = Vec::new();
    for (labelled, found) in dataset.pictures.iter().zip(found) {
        for Found { class, score, bounds } in found {
            let Some(category) = classes.ids.get(*class) else { continue };
            list.push(json!({"image_id": labelled.id, "category_id": category, "bbox": bounds.xywh(), "score": score}));
        }
    }
    write_json(path, &Value::Array(list))
}

/// Writes the ground truth as a COCO annotation file, so that other programs can judge the result files by it. A region
/// to ignore becomes a crowd of every class.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_coco_annotations(path: &Path, dataset: &Dataset, classes: &Classes, truths: &[Vec<Truth>]) -> Result<()> {
    let image = |labelled: &super::dataset::Labelled| {
        let file_name = labelled.picture.file_name().map(|name| name.to_string_lossy().into_owned());
        let (width, height) = labelled.size.unwrap_or_default();
        json!({"id": labelled.id, "file_name": file_name, "width": width, "height": height})
    };
    let images: Vec<Value> = dataset.pictures.iter().map(image).collect();
    let judged = || (0..classes.judged).filter(|class| Some(*class) != classes.dont_care);
    let category = |class: usize| json!({"id": classes.ids[class], "name": classes.names[class]});
    let categories: Vec<Value> = judged().map(category).collect();
    let mut annotations = Vec::new();
    for (labelled, truths) in dataset.pictures.iter().zip(truths) {
        for truth in truths {
            for class in judged().filter(|class| truth.class.is_none_or(|own| own == *class)) {
                annotations.push(json!({
                    "id": annotations.len() + 1,
                    "image_id": labelled.id,
                    "category_id": classes.ids[class],
                    "bbox": truth.bounds.xywh(),
                    "area": truth.area,
                    "iscrowd": u8::from(truth.role == Role::Crowd),
                }));
            }
        }
    }
    write_json(path, &json!({"images": images, "categories": categories, "annotations": annotations}))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    make_parent(path)?;
    atomic_file::write(path, |out| serde_json::to_writer(out, value).map_err(Into::into))
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(|source| Error::writing(parent, source)),
        None => Ok(()),
    }
}

/// Writes detections as KITTI's result files into `folder`: a text file a picture, a line a detection with its score in
/// the sixteenth column; what two dimensions do not tell has KITTI's placeholders.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_kitti_results(folder: &Path, dataset: &Dataset, classes: &Classes, found: &[Vec<Found>]) -> Result<()> {
    for (labelled, found) in dataset.pictures.iter().zip(found) {
        let mut text = String::new();
        for Found { class, score, bounds: Bounds { corners: [x0, y0, x1, y1], .. } } in found {
            // A column holds no blanks.
            let name =
                classes.names.get(*class).map_or_else(String::new, |name| name.replace(char::is_whitespace, "_"));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name} -1 -1 -10 {x0:.2} {y0:.2} {x1:.2} {y1:.2} -1 -1 -1 -1000 -1000 -1000 -10 {score:.6}"
            );
        }
        let name = labelled.name.rsplit_once('.').map_or(labelled.name.as_str(), |(bare, _)| bare);
        // COCO's names may hold folders; what leads out of this one may not.
        let name: String = name.chars().map(|c| if std::path::is_separator(c) { '_' } else { c }).collect();
        let path = folder.join(format!("{name}.txt"));
        make_parent(&path)?;
        atomic_file::write(&path, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}
