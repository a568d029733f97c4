//! Settings file of an import: hyper-parameters that no state dict holds, as TOML.
//!
//! In: a file with the sections `transform`, `anchors`, `rpn`, `roi`, `batch_norm_eps` and `body`; every key may be
//! absent. Out: the values over those of the recognized builder, and the names of the keys that were given.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::network::ArchitectureHints;
use super::super::settings::{BatchNormEps, Settings};
use crate::error::{Error, Kind, Result};
use crate::tensor::text_file;

/// Values of a settings file.
#[derive(Debug, Default)]
pub(super) struct SettingsFile {
    /// Facts that the shapes of the weights do not show.
    pub hints: ArchitectureHints,
    /// Epsilons of the batch norms.
    pub eps: EpsByPart,
    /// Sections of [`Settings`].
    sections: Map<String, Value>,
}

/// Epsilons that the file gives.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EpsByPart {
    body: Option<f64>,
    pyramid: Option<f64>,
    heads: Option<f64>,
}

impl EpsByPart {
    /// True if the body's value is given.
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// `others` with the values that are given.
    pub fn over(&self, others: BatchNormEps) -> BatchNormEps {
        BatchNormEps {
            body: self.body.unwrap_or(others.body),
            pyramid: self.pyramid.unwrap_or(others.pyramid),
            heads: self.heads.unwrap_or(others.heads),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BodySection {
    returned: Option<Vec<String>>,
}

impl SettingsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// As [`text_file::read`]; [`Kind::Data`], naming the file and the place, if it is no TOML or has an unknown section.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&text_file::read(path)?).map_err(|error| error.at(path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let broken = |e: toml::de::Error| Error::new(Kind::Data, "not a settings file of TOML").because(e);
        let mut sections: Map<String, Value> = toml::from_str(text).map_err(broken)?;
        let body: BodySection = take(&mut sections, "body")?;
        let eps: EpsByPart = take(&mut sections, "batch_norm_eps")?;
        // The window is a property of the weights as well, so the architecture has it.
        let output_size =
            sections.get_mut("roi").and_then(Value::as_object_mut).and_then(|roi| roi.remove("output_size"));
        let roi_output: Option<usize> = output_size.map(square).transpose()?;
        Ok(Self { hints: ArchitectureHints { returned: body.returned, roi_output }, eps, sections })
    }

    /// `settings` with the values of this file. Adds the names of its keys, as `rpn.score_threshold`, to `given`.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the key that is unknown or has another type.
    pub fn apply(&self, settings: Settings, given: &mut BTreeSet<String>) -> Result<Settings> {
        let broken = |e: serde_json::Error| Error::new(Kind::Data, "the settings do not fit").because(e);
        let mut merged = serde_json::to_value(settings).map_err(broken)?;
        for (section, values) in &self.sections {
            let Value::Object(values) = values else {
                return Err(Error::new(Kind::Data, format!("{section} is no section; expected [{section}] and keys")));
            };
            let Some(Value::Object(known)) = merged.get_mut(section) else {
                let text = format!(
                    "section [{section}] is unknown; expected transform, anchors, rpn, roi, batch_norm_eps or body"
                );
                return Err(Error::new(Kind::Data, text));
            };
            for (key, value) in values {
                if !known.contains_key(key) {
                    let names = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let text = format!("key {section}.{key} is unknown; expected one of {names}");
                    return Err(Error::new(Kind::Data, text));
                }
                known.insert(key.clone(), value.clone());
                given.insert(format!("{section}.{key}"));
            }
        }
        serde_json::from_value(merged).map_err(broken)
    }
}

/// The section `name`, removed from `sections`; its default where there is none.
fn take<T: Default + for<'a> Deserialize<'a>>(sections: &mut Map<String, Value>, name: &str) -> Result<T> {
    let Some(value) = sections.remove(name) else { return Ok(T::default()) };
    serde_json::from_value(value).map_err(|e| Error::new(Kind::Data, format!("section [{name}]")).because(e))
}

/// `roi.output_size`: one number, or two equal ones.
fn square(value: Value) -> Result<usize> {
    let numbers: Vec<u64> = match &value {
        Value::Number(_) => value.as_u64().into_iter().collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_u64).collect(),
        _ => Vec::new(),
    };
    match numbers.as_slice() {
        [size] => Ok(*size as usize),
        [rows, columns] if rows == columns => Ok(*rows as usize),
        _ => {
            Err(Error::new(Kind::Data, format!("roi.output_size is {value}; it must be one number, or two equal ones")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(text: &str) -> Result<Settings> {
        SettingsFile::parse(text)?.apply(Settings::default(), &mut BTreeSet::new())
    }

    #[test]
    fn given_keys_replace_the_builders() {
        let text = "[rpn]\nscore_threshold = 0\nmin_size = 2\n[anchors]\nsizes = [[8], [16]]\n[body]\nreturned = [\"layer4\"]\n\
                    [batch_norm_eps]\nbody = 1e-3\n[roi]\noutput_size = [5, 5]";
        let file = SettingsFile::parse(text).unwrap();
        assert_eq!(file.hints, ArchitectureHints { returned: Some(vec!["layer4".into()]), roi_output: Some(5) });
        assert_eq!(file.eps.over(BatchNormEps::all(0.0)), BatchNormEps { body: 1e-3, pyramid: 0.0, heads: 0.0 });
        let mut given = BTreeSet::new();
        let settings = file.apply(Settings::default(), &mut given).unwrap();
        assert_eq!((settings.rpn.min_size, settings.anchors.sizes), (2.0, vec![vec![8.0], vec![16.0]]));
        assert_eq!(given.into_iter().collect::<Vec<_>>(), ["anchors.sizes", "rpn.min_size", "rpn.score_threshold"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, words) in [
            ("[rpn]\nscore = 1", "key rpn.score is unknown"),
            ("[rnp]\nscore = 1", "section [rnp] is unknown"),
            ("rpn = 3", "rpn is no section"),
            ("[rpn]\npre_nms_top_n = \"many\"", "the settings do not fit"),
            ("[roi]\noutput_size = [7, 5]", "roi.output_size is [7,5]"),
            ("[body]\nreturns = []", "section [body]"),
            ("[rpn", "not a settings file"),
        ] {
            let error = apply(text).unwrap_err();
            assert!(error.chain().contains(words), "{}", error.chain());
        }
    }
}
