//! Classes of an evaluation: mapping from the labels' classes to the models' classes.
//!
//! In: class names of a dataset, a class map (TOML: `"Van" = "Vehicle"`, `"Misc" = "ignore"`), the models' class names.
//! Out: the list of evaluated classes, and each labelled box as ground truth of a class or as a region to ignore. A class
//! that no model has is reported as a problem; its boxes count as misses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::bounds::Bounds;
use super::dataset::{BoxRole, Dataset, DatasetLayout, LabelledBox};
use super::problem::ProblemKind;
use crate::error::{Error, Kind, Result};
use crate::suggest::unknown_label;
use crate::tensor::text_file;

/// Target of the class map that turns boxes into regions to ignore.
const IGNORE: &str = "ignore";
/// KITTI's class of regions without labels.
pub(super) const DONT_CARE: &str = "DontCare";

/// Map from labelled class to the models' class or `IGNORE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassMap(BTreeMap<String, String>);

impl ClassMap {
    /// Reads a TOML file of `"labelled" = "model's"`.
    ///
    /// # Errors
    /// As [`text_file::read`]; [`Kind::Data`] with the position of an invalid line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = text_file::read(path)?;
        toml::from_str(&text).map(Self).map_err(|source| {
            let text = format!("{}: a class map has lines \"labelled class\" = \"model's class\"", path.display());
            Error::new(Kind::Data, text).because(source)
        })
    }

    /// The models' class of a labelled class; the same name if the map has no entry.
    pub(super) fn get<'a>(&'a self, class: &'a str) -> &'a str {
        self.0.get(class).map_or(class, String::as_str)
    }

    /// Checks that a model has every class that labels are mapped to. Without models any class will do.
    fn check(&self, known: &BTreeSet<&String>, layout: DatasetLayout) -> Result<()> {
        let labels: Vec<String> = known.iter().map(|label| (*label).clone()).collect();
        let is_right = |name: &str| {
            name == IGNORE
                || (layout == DatasetLayout::Kitti && name == DONT_CARE)
                || labels.iter().any(|known| known == name)
        };
        let wrong: Vec<String> = (self.0.iter())
            .filter(|(_, name)| !labels.is_empty() && !is_right(name))
            .map(|(class, name)| format!("\"{class}\" = \"{name}\": {}", unknown_label(name, &labels)))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Error::new(Kind::Data, format!("--class-map: {}", wrong.join("; "))))
        }
    }

    /// The labelled classes in the map.
    pub(super) fn labelled(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Treatment of KITTI's `DontCare` boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DontCare {
    /// A class in the paper's metrics if a model has that class, otherwise regions to ignore.
    #[default]
    Auto,
    /// A class in the paper's metrics, as in the paper's code.
    Class,
    /// Regions to ignore.
    Ignore,
}

/// One ground-truth box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundTruth {
    /// Index of its class in [`Classes::names`]; `None` for a region to ignore.
    pub class: Option<usize>,
    /// The box.
    pub bounds: Bounds,
    /// Area in pixels, for the ranges small, medium and large.
    pub area: f64,
    /// Role.
    pub role: BoxRole,
    /// True for COCO's annotation id 0.
    pub has_id_zero: bool,
    /// True for a `DontCare` box, which the paper may count as a class.
    pub is_dont_care: bool,
}

/// The classes of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Names; the first [`Classes::evaluated`] are classes of the dataset, the others only of models.
    pub names: Vec<String>,
    /// Number of classes that the dataset has. Detections of other classes can be neither right nor wrong.
    pub evaluated: usize,
    /// Id in result files, for each evaluated class.
    pub ids: Vec<u64>,
    /// Index of `DontCare`, if it is a class in the paper's metrics.
    pub dont_care: Option<usize>,
    by_name: HashMap<String, usize>,
}

impl Classes {
    /// The classes of `dataset` after `map`, for models with the class names `labels`. A class that no model has is added
    /// to the dataset's problems, at the first line that has it.
    ///
    /// # Errors
    /// [`Kind::Data`] if no model has any class of the dataset.
    pub fn new(dataset: &mut Dataset, map: &ClassMap, labels: &[&[String]], dont_care: DontCare) -> Result<Self> {
        let known: BTreeSet<&String> = labels.iter().copied().flatten().collect();
        map.check(&known, dataset.layout)?;
        let has_dont_care = dataset.layout == DatasetLayout::Kitti
            && match dont_care {
                DontCare::Auto => known.iter().any(|label| *label == DONT_CARE),
                DontCare::Class => true,
                DontCare::Ignore => false,
            };
        let mut names: Vec<String> = Vec::new();
        let mut ids: Vec<u64> = Vec::new();
        if dataset.layout == DatasetLayout::Coco {
            for (id, category) in &dataset.categories {
                let name = map.get(category);
                if name != IGNORE && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                    ids.push(*id);
                }
            }
        } else {
            let labelled =
                dataset.pictures.iter().flat_map(|labelled| &labelled.labels).map(|label| map.get(&label.class));
            let mapped = map.0.values().map(String::as_str);
            let found: BTreeSet<&str> =
                labelled.chain(mapped).filter(|name| *name != IGNORE && *name != DONT_CARE).collect();
            names.extend(found.into_iter().map(str::to_owned));
            if names.is_empty() && dataset.pictures.iter().all(|labelled| labelled.labels.is_empty()) {
                // Pictures without any label: every class of the models is absent.
                names.extend(known.iter().filter(|label| label.as_str() != DONT_CARE).map(|label| (*label).clone()));
            }
            if has_dont_care {
                names.push(DONT_CARE.to_owned());
            }
            ids.extend(1..=names.len() as u64);
        }
        let evaluated = names.len();
        if !labels.is_empty() && !names.iter().any(|name| known.contains(name)) {
            let list = |names: &mut dyn Iterator<Item = &str>| names.take(12).collect::<Vec<_>>().join(", ");
            let text = format!(
                "dataset and models have no class in common: {} against {}; map the classes with --class-map",
                list(&mut names.iter().map(String::as_str)),
                list(&mut known.iter().map(|label| label.as_str()))
            );
            return Err(Error::new(Kind::Data, text));
        }
        for label in known.iter().filter(|label| label.as_str() != DONT_CARE || dataset.layout != DatasetLayout::Kitti)
        {
            if !names.contains(label) {
                names.push((*label).clone());
            }
        }
        let by_name: HashMap<String, usize> = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        let classes = Self { dont_care: has_dont_care.then(|| evaluated - 1), names, evaluated, ids, by_name };
        classes.report_unknown(dataset, map, &known);
        Ok(classes)
    }

    /// Adds a problem for every class of the dataset that no model has, at the first line that has it.
    fn report_unknown(&self, dataset: &mut Dataset, map: &ClassMap, known: &BTreeSet<&String>) {
        struct UnknownClass<'a> {
            file: &'a Path,
            first_line: usize,
            boxes: usize,
        }
        let mut unknown: BTreeMap<&str, UnknownClass<'_>> = BTreeMap::new();
        for labelled in &dataset.pictures {
            for label in &labelled.labels {
                let name = map.get(&label.class);
                let is_region = name == IGNORE || (dataset.layout == DatasetLayout::Kitti && name == DONT_CARE);
                if !is_region && !known.is_empty() && !known.iter().any(|known| *known == name) {
                    let new = UnknownClass { file: &labelled.file, first_line: label.line, boxes: 0 };
                    unknown.entry(&label.class).or_insert(new).boxes += 1;
                }
            }
        }
        for (class, UnknownClass { file, first_line, boxes }) in unknown {
            let text = format!("no model has class {class}; its {boxes} boxes count as misses");
            dataset.problems.add(ProblemKind::UnknownClass, file, first_line, text);
        }
    }

    /// Index of a class name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A labelled box as ground truth.
    pub fn truth(&self, label: &LabelledBox, map: &ClassMap, layout: DatasetLayout) -> GroundTruth {
        let name = map.get(&label.class);
        let is_dont_care = layout == DatasetLayout::Kitti && name == DONT_CARE;
        let class = if name == IGNORE || is_dont_care { None } else { self.find(name) };
        let &LabelledBox { bounds, area, role, has_id_zero, .. } = label;
        let role = if class.is_none() { BoxRole::Crowd } else { role };
        GroundTruth { class, bounds, area, role, has_id_zero, is_dont_care }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::LabelledPicture;
    use super::super::problem::Problems;
    use super::*;

    fn label(class: &str, line: usize) -> LabelledBox {
        let bounds = Bounds::from_corners([0.0, 0.0, 2.0, 2.0]);
        LabelledBox { class: class.to_owned(), bounds, area: 4.0, role: BoxRole::Object, has_id_zero: false, line }
    }

    fn dataset(classes: &[&str]) -> Dataset {
        let labels = classes.iter().enumerate().map(|(at, class)| label(class, at + 1)).collect();
        let file = "000000.txt".into();
        let labelled = LabelledPicture {
            name: "000000".into(),
            id: 1,
            picture: "x.png".into(),
            file,
            labels,
            ..LabelledPicture::default()
        };
        Dataset {
            layout: DatasetLayout::Kitti,
            pictures: vec![labelled],
            categories: vec![],
            text_ids: Default::default(),
            problems: Problems::default(),
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn classes_are_mapped_and_unknown_ones_reported() {
        let map = [("Car", "Vehicle"), ("Van", "Vehicle"), ("Misc", IGNORE), ("Cyclist", "TwoWheeler")];
        let map = ClassMap(map.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        let mut data = dataset(&["Car", "DontCare", "Tram", "Misc", "Tram"]);
        let labels = names(&["Person", "TwoWheeler", "Vehicle"]);
        let classes = Classes::new(&mut data, &map, &[&labels], DontCare::Auto).unwrap();
        assert_eq!(classes.names, ["Tram", "TwoWheeler", "Vehicle", "Person"]);
        assert_eq!((classes.evaluated, classes.dont_care), (3, None));
        let class = |at: usize| classes.truth(&data.pictures[0].labels[at], &map, DatasetLayout::Kitti).class;
        assert_eq!([class(0), class(1), class(2), class(3)], [Some(2), None, Some(0), None]);
        assert_eq!(data.problems.0.len(), 1);
        assert_eq!((data.problems.0[0].kind, data.problems.0[0].line), (ProblemKind::UnknownClass, 3));
    }

    #[test]
    fn dont_care_is_a_class_where_a_model_has_it() {
        let labels = names(&["Car", DONT_CARE]);
        for (how, expected) in [(DontCare::Auto, Some(1)), (DontCare::Class, Some(1)), (DontCare::Ignore, None)] {
            let mut data = dataset(&["Car", "DontCare"]);
            let classes = Classes::new(&mut data, &ClassMap::default(), &[&labels], how).unwrap();
            assert_eq!(classes.dont_care, expected);
            assert!(data.problems.0.is_empty());
        }
    }

    #[test]
    fn pictures_without_any_label_have_the_models_classes() {
        let labels = names(&["Person", "Vehicle"]);
        let classes = Classes::new(&mut dataset(&[]), &ClassMap::default(), &[&labels], DontCare::Auto).unwrap();
        assert_eq!((classes.names, classes.evaluated), (labels, 2));
    }

    #[test]
    fn without_a_common_class_there_is_an_error() {
        let labels = names(&["Vehicle"]);
        let error = Classes::new(&mut dataset(&["Car"]), &ClassMap::default(), &[&labels], DontCare::Auto).unwrap_err();
        assert!(error.message().contains("--class-map"), "{error}");
    }
}
