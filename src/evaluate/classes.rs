//! What the labels' classes mean to the models.
//!
//! In: class names of a dataset, a class map (TOML: `"Van" = "Vehicle"`, `"Misc" = "ignore"`), the models' class names.
//! Out: one list of classes that everything is counted by, and for every labelled box its class there, or that it is a
//! region to ignore. A class that no model knows is noted and counts as never found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::bounds::Bounds;
use super::dataset::{Dataset, Label, Layout, Role};
use super::problem::ProblemKind;
use crate::error::{Error, Kind, Result};

/// What a class is mapped to so that its boxes become regions to ignore.
const IGNORE: &str = "ignore";
/// KITTI's class for regions nobody labelled.
pub(super) const DONT_CARE: &str = "DontCare";

/// Labelled class → the models' class, or `IGNORE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassMap(BTreeMap<String, String>);

impl ClassMap {
    /// Reads a TOML file of `"labelled" = "model's"`.
    ///
    /// # Errors
    /// As [`Error::reading`]; [`Kind::Data`] with the place of what is no such line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::reading(path, source))?;
        toml::from_str(&text).map(Self).map_err(|source| {
            let text = format!("{}: a class map is lines of \"labelled\" = \"model's\"", path.display());
            Error::new(Kind::Data, text).because(source)
        })
    }

    /// What the labelled class is to the models; itself if the map says nothing.
    pub(super) fn get<'a>(&'a self, class: &'a str) -> &'a str {
        self.0.get(class).map_or(class, String::as_str)
    }

    /// The labelled classes that it speaks of.
    pub(super) fn labelled(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// What to do with KITTI's `DontCare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DontCare {
    /// As a class in the paper's figures if a model has it as one, else as regions to ignore.
    #[default]
    Auto,
    /// As a class of its own in the paper's figures, as its code does.
    Class,
    /// As regions to ignore.
    Ignore,
}

/// One box of ground truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Its class in [`Classes::names`]; `None` for a region to ignore whatever is found there.
    pub class: Option<usize>,
    /// The box.
    pub bounds: Bounds,
    /// Area in pixels for small, medium and large.
    pub area: f64,
    /// How it takes part.
    pub role: Role,
    /// COCO's annotation id 0.
    pub has_id_zero: bool,
    /// Whether it is a `DontCare` line, which the paper may count as a class.
    pub is_dont_care: bool,
}

/// The classes of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    /// Names; the first [`Classes::judged`] are those of the dataset, the others only of models.
    pub names: Vec<String>,
    /// How many classes the labels can speak about. Detections of the others can be neither right nor wrong.
    pub judged: usize,
    /// Number in result files, for each of the judged.
    pub ids: Vec<u64>,
    /// The class of `DontCare`, if it counts as one in the paper's figures.
    pub dont_care: Option<usize>,
    by_name: HashMap<String, usize>,
}

impl Classes {
    /// The classes of `dataset` under `map`, judged for models with `labels`. Classes that no model knows are noted in
    /// the dataset's problems, each at the first line that has it.
    ///
    /// # Errors
    /// [`Kind::Data`] if no class of the dataset is known to any model.
    pub fn new(dataset: &mut Dataset, map: &ClassMap, labels: &[&[String]], dont_care: DontCare) -> Result<Self> {
        let known: BTreeSet<&String> = labels.iter().copied().flatten().collect();
        let counts_dont_care = dataset.layout == Layout::Kitti
            && match dont_care {
                DontCare::Auto => known.iter().any(|label| *label == DONT_CARE),
                DontCare::Class => true,
                DontCare::Ignore => false,
            };
        let mut names: Vec<String> = Vec::new();
        let mut ids: Vec<u64> = Vec::new();
        if dataset.layout == Layout::Coco {
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
                // Pictures in which nothing is labelled say something about every class: that it is not there.
                names.extend(known.iter().filter(|label| label.as_str() != DONT_CARE).map(|label| (*label).clone()));
            }
            if counts_dont_care {
                names.push(DONT_CARE.to_owned());
            }
            ids.extend(1..=names.len() as u64);
        }
        let judged = names.len();
        if !labels.is_empty() && !names.iter().any(|name| known.contains(name)) {
            let list = |names: &mut dyn Iterator<Item = &str>| names.take(12).collect::<Vec<_>>().join(", ");
            let text = format!(
                "no class of the dataset is one of the models': {} against {}; a class map (--class-map) says which is which",
                list(&mut names.iter().map(String::as_str)),
                list(&mut known.iter().map(|label| label.as_str()))
            );
            return Err(Error::new(Kind::Data, text));
        }
        for label in known.iter().filter(|label| label.as_str() != DONT_CARE || dataset.layout != Layout::Kitti) {
            if !names.contains(label) {
                names.push((*label).clone());
            }
        }
        let by_name: HashMap<String, usize> = names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        let classes = Self { dont_care: counts_dont_care.then(|| judged - 1), names, judged, ids, by_name };
        classes.note_strangers(dataset, map, &known);
        Ok(classes)
    }

    /// Notes every class of the dataset that no model knows, with the first line that has it.
    fn note_strangers(&self, dataset: &mut Dataset, map: &ClassMap, known: &BTreeSet<&String>) {
        let mut first: BTreeMap<&str, (&Path, usize, usize)> = BTreeMap::new();
        for labelled in &dataset.pictures {
            for label in &labelled.labels {
                let name = map.get(&label.class);
                let is_region = name == IGNORE || (dataset.layout == Layout::Kitti && name == DONT_CARE);
                if !is_region && !known.is_empty() && !known.iter().any(|known| *known == name) {
                    first.entry(&label.class).or_insert((&labelled.file, label.line, 0)).2 += 1;
                }
            }
        }
        for (class, (file, line, count)) in first {
            let what =
                format!("class {class}, here and in all {count} boxes of it, is none of the models'; counts as missed");
            dataset.problems.add(ProblemKind::UnknownClass, file, line, what);
        }
    }

    /// The place of a class's name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A label as ground truth.
    pub fn truth(&self, label: &Label, map: &ClassMap, layout: Layout) -> Truth {
        let name = map.get(&label.class);
        let is_dont_care = layout == Layout::Kitti && name == DONT_CARE;
        let class = if name == IGNORE || is_dont_care { None } else { self.find(name) };
        let &Label { bounds, area, role, has_id_zero, .. } = label;
        let role = if class.is_none() { Role::Crowd } else { role };
        Truth { class, bounds, area, role, has_id_zero, is_dont_care }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Labelled;
    use super::super::problem::Problems;
    use super::*;

    fn label(class: &str, line: usize) -> Label {
        let bounds = Bounds::from_corners([0.0, 0.0, 2.0, 2.0]);
        Label { class: class.to_owned(), bounds, area: 4.0, role: Role::Object, has_id_zero: false, line }
    }

    fn dataset(classes: &[&str]) -> Dataset {
        let labels = classes.iter().enumerate().map(|(at, class)| label(class, at + 1)).collect();
        let file = "000000.txt".into();
        let labelled = Labelled { name: "000000".into(), id: 1, picture: "x.png".into(), size: None, file, labels };
        Dataset { layout: Layout::Kitti, pictures: vec![labelled], categories: vec![], problems: Problems::default() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn mapped_unknown_and_ignored() {
        let map = [("Car", "Vehicle"), ("Van", "Vehicle"), ("Misc", IGNORE), ("Cyclist", "TwoWheeler")];
        let map = ClassMap(map.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        let mut data = dataset(&["Car", "DontCare", "Tram", "Misc", "Tram"]);
        let labels = names(&["Person", "TwoWheeler", "Vehicle"]);
        let classes = Classes::new(&mut data, &map, &[&labels], DontCare::Auto).unwrap();
        assert_eq!(classes.names, ["Tram", "TwoWheeler", "Vehicle", "Person"]);
        assert_eq!((classes.judged, classes.dont_care), (3, None));
        let class = |at: usize| classes.truth(&data.pictures[0].labels[at], &map, Layout::Kitti).class;
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
    fn pictures_without_any_label_are_judged_by_the_models_classes() {
        let labels = names(&["Person", "Vehicle"]);
        let classes = Classes::new(&mut dataset(&[]), &ClassMap::default(), &[&labels], DontCare::Auto).unwrap();
        assert_eq!((classes.names, classes.judged), (labels, 2));
    }

    #[test]
    fn without_a_common_class_nothing_is_judged() {
        let labels = names(&["Vehicle"]);
        let error = Classes::new(&mut dataset(&["Car"]), &ClassMap::default(), &[&labels], DontCare::Auto).unwrap_err();
        assert!(error.message().contains("--class-map"), "{error}");
    }
}
