//! Result files: reader and writer of COCO's JSON format, writer of KITTI's text format.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::bounds::Bounds;
use super::classes::{ClassMap, Classes, GroundTruth};
use super::dataset::{BoxRole, Dataset, LabelledPicture};
use super::ids::Id;
use super::json_lists::json_list;
use super::prediction::Prediction;
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;
use crate::tensor::regular_file;
use crate::tensor::text_file;

/// Pictures and classes by their ids and names in a result file.
pub(super) struct ResultKeys {
    pictures: HashMap<u64, usize>,
    by_name: HashMap<String, usize>,
    categories: HashMap<u64, usize>,
    classes: HashMap<String, usize>,
}

impl ResultKeys {
    /// The keys of `dataset` and `classes`; labelled classes that `map` maps to a class are accepted too.
    pub(super) fn new(dataset: &Dataset, classes: &Classes, map: &ClassMap) -> Self {
        let pictures = || dataset.pictures.iter().enumerate();
        let names = || classes.names.iter().take(classes.evaluated).enumerate();
        let class = |name: &str| classes.find(map.get(name)).filter(|class| *class < classes.evaluated);
        let mapped = dataset.categories.iter().filter_map(|(id, name)| Some((*id, class(name)?)));
        let mapped_names = map.labelled().filter_map(|name| Some((name.to_owned(), class(name)?)));
        let text_pictures = dataset.text_ids.pictures.iter();
        let number_of: HashMap<u64, usize> = pictures().map(|(at, labelled)| (labelled.id, at)).collect();
        let text_ids = text_pictures.filter_map(|(text, id)| Some((text.clone(), *number_of.get(id)?)));
        let category = |id: &u64| dataset.categories.iter().find(|(known, _)| known == id);
        let text_categories = dataset.text_ids.categories.iter();
        let text_classes = text_categories.filter_map(|(text, id)| Some((text.clone(), class(&category(id)?.1)?)));
        Self {
            pictures: pictures().map(|(at, labelled)| (labelled.id, at)).collect(),
            by_name: text_ids.chain(pictures().map(|(at, labelled)| (labelled.name.clone(), at))).collect(),
            categories: mapped.chain(classes.ids.iter().enumerate().map(|(at, id)| (*id, at))).collect(),
            classes: text_classes.chain(mapped_names).chain(names().map(|(at, name)| (name.clone(), at))).collect(),
        }
    }
}

/// An id or a name.
#[derive(Deserialize)]
#[serde(from = "Id")]
enum ResultKey {
    Number(u64),
    Name(String),
}

impl From<Id> for ResultKey {
    fn from(id: Id) -> Self {
        id.number().map_or_else(|| Self::Name(id.text()), Self::Number)
    }
}

#[derive(Deserialize)]
struct ResultEntry {
    image_id: ResultKey,
    #[serde(alias = "category")]
    category_id: ResultKey,
    bbox: [f64; 4],
    score: f64,
}

/// Detections from a result file.
pub(super) struct ReadResults {
    /// By picture, by descending score; equal scores are in the order of the file.
    pub predictions: Vec<Vec<Prediction>>,
    /// Number of detections of pictures or classes that are not evaluated.
    pub skipped: usize,
}

/// Reads detections in COCO's result format: a list of `image_id`, `category_id`, `bbox` (x, y, width, height) and
/// `score`. Pictures and categories are given by id or by name.
///
/// # Errors
/// As [`regular_file::read`]; [`Kind::Data`] if it is not such a list or a detection is invalid.
pub(super) fn read_coco_results(path: &Path, keys: &ResultKeys) -> Result<ReadResults> {
    let file = regular_file::read(path)?;
    let text = text_file::decode(&file).map_err(|error| error.at(path.display()))?;
    let entries = json_list(&text).map_err(|error| {
        error.at(format!("{}: not a COCO result file, a list of image_id, category_id, bbox and score", path.display()))
    })?;
    let mut predictions: Vec<Vec<Prediction>> = vec![Vec::new(); keys.pictures.len()];
    let mut skipped = 0;
    for listed in entries {
        let at = format_args!("{}:{}", path.display(), listed.line);
        let entry: ResultEntry = serde_json::from_str(listed.text)
            .map_err(|source| Error::new(Kind::Data, format!("{at}: not a detection")).because(source))?;
        let bounds = Bounds::from_sides(entry.bbox);
        if !bounds.is_valid() || !entry.score.is_finite() {
            return Err(Error::new(Kind::Data, format!("{at}: invalid box or score")));
        }
        let picture = match &entry.image_id {
            ResultKey::Number(id) => keys.pictures.get(id),
            ResultKey::Name(name) => keys.by_name.get(name),
        };
        let class = match &entry.category_id {
            ResultKey::Number(id) => keys.categories.get(id),
            ResultKey::Name(name) => keys.classes.get(name),
        };
        match (picture, class) {
            (Some(&picture), Some(&class)) => {
                predictions[picture].push(Prediction { class, score: entry.score, bounds })
            }
            _ => skipped += 1,
        }
    }
    predictions.iter_mut().for_each(|picture| picture.sort_by(|a, b| b.score.total_cmp(&a.score)));
    Ok(ReadResults { predictions, skipped })
}

/// Writes detections in COCO's result format.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_coco_results(
    path: &Path,
    dataset: &Dataset,
    classes: &Classes,
    predictions: &[Vec<Prediction>],
) -> Result<()> {
    let mut list = Vec::new();
    for (labelled, predictions) in dataset.pictures.iter().zip(predictions) {
        for Prediction { class, score, bounds } in predictions {
            let Some(category) = classes.ids.get(*class) else { continue };
            list.push(json!({"image_id": labelled.id, "category_id": category, "bbox": bounds.xywh(), "score": score}));
        }
    }
    write_json(path, &Value::Array(list))
}

/// Writes the ground truth as a COCO annotation file, for evaluation of the result files with other programs. A region to
/// ignore is written as a crowd region of every class.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_coco_annotations(
    path: &Path,
    dataset: &Dataset,
    classes: &Classes,
    truths: &[Vec<GroundTruth>],
) -> Result<()> {
    let image = |labelled: &LabelledPicture| {
        let file_name = labelled.picture.file_name().map(|name| name.to_string_lossy().into_owned());
        let (width, height) = labelled.size.unwrap_or_default();
        json!({"id": labelled.id, "file_name": file_name, "width": width, "height": height})
    };
    let images: Vec<Value> = dataset.pictures.iter().map(image).collect();
    let evaluated = || (0..classes.evaluated).filter(|class| Some(*class) != classes.dont_care);
    let category = |class: usize| json!({"id": classes.ids[class], "name": classes.names[class]});
    let categories: Vec<Value> = evaluated().map(category).collect();
    let mut annotations = Vec::new();
    for (labelled, truths) in dataset.pictures.iter().zip(truths) {
        for truth in truths {
            for class in evaluated().filter(|class| truth.class.is_none_or(|own| own == *class)) {
                annotations.push(json!({
                    "id": annotations.len() + 1,
                    "image_id": labelled.id,
                    "category_id": classes.ids[class],
                    "bbox": truth.bounds.xywh(),
                    "area": truth.area,
                    "iscrowd": u8::from(truth.role == BoxRole::Crowd),
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

/// Writes detections in KITTI's result format to `folder`: one text file a picture, one line a detection. The score is
/// in column 16; the 3D columns have KITTI's placeholders.
///
/// # Errors
/// As [`atomic_file::write`].
pub fn write_kitti_results(
    folder: &Path,
    dataset: &Dataset,
    classes: &Classes,
    predictions: &[Vec<Prediction>],
) -> Result<()> {
    for (labelled, predictions) in dataset.pictures.iter().zip(predictions) {
        let mut text = String::new();
        for Prediction { class, score, bounds: Bounds { corners: [x0, y0, x1, y1], .. } } in predictions {
            // Columns are separated by blanks, so a name must not have any.
            let name =
                classes.names.get(*class).map_or_else(String::new, |name| name.replace(char::is_whitespace, "_"));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name} -1 -1 -10 {x0:.2} {y0:.2} {x1:.2} {y1:.2} -1 -1 -1 -1000 -1000 -1000 -10 {score:.6}"
            );
        }
        let name = labelled.name.rsplit_once('.').map_or(labelled.name.as_str(), |(bare, _)| bare);
        // COCO's names may have folders; the file must stay in this one.
        let name: String = name.chars().map(|c| if std::path::is_separator(c) { '_' } else { c }).collect();
        let path = folder.join(format!("{name}.txt"));
        make_parent(&path)?;
        atomic_file::write(&path, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}
