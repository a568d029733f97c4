//! Metadata of a safetensors state dict: hyper-parameters that training scripts may write.
//!
//! In: text by key. Out: class names, sizes, anchors, proposals, batch norm's epsilon. A key that cannot be parsed is an
//! error that names it; a missing key leaves the default.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::super::network::Architecture;
use super::super::settings::Settings;
use crate::error::{Error, Kind, Result};

/// Text by key.
type Metadata = BTreeMap<String, String>;

/// Keys that an import reads; `format` is written by the safetensors library for PyTorch and has no further meaning.
const READ: [&str; 9] = [
    "classes",
    "min_size",
    "max_size",
    "anchor_sizes",
    "aspect_ratios",
    "proposals_per_level",
    "proposals",
    "batch_norm_eps",
    "format",
];

/// The most unread keys that a note names.
const MAX_NAMED: usize = 8;

/// A note of the keys that an import does not read, if there are any.
pub(super) fn unread(metadata: &Metadata) -> Option<String> {
    let unread: Vec<&String> = metadata.keys().filter(|key| !READ.contains(&key.as_str())).collect();
    let shown = |key: &&String| key.chars().take(60).collect::<String>().escape_debug().to_string();
    let names: Vec<String> = unread.iter().take(MAX_NAMED).map(shown).collect();
    let more = if unread.len() > MAX_NAMED { ", …" } else { "" };
    match unread.len() {
        0 => None,
        1 => Some(format!("metadata key {} was not read", names[0])),
        _ => Some(format!("metadata keys {}{more} were not read", names.join(", "))),
    }
}

/// Sets the hyper-parameters in `settings` that the file has keys for: `min_size`, `max_size` (pixels), `anchor_sizes`
/// (one a pyramid level, in pixels), `aspect_ratios`, `proposals_per_level` (before non-maximum suppression) and
/// `proposals` (after it, of all levels). The ranges are checked with the whole header.
///
/// Adds the names of the values that were set, as `transform.min_size`, to `given`.
///
/// # Errors
/// [`Kind::Data`], naming the key.
pub(super) fn settings(
    metadata: &Metadata,
    levels: usize,
    settings: &mut Settings,
    given: &mut BTreeSet<String>,
) -> Result<()> {
    let mut set = |name: &str| given.insert(name.to_owned());
    if let Some(sizes) = numbers(metadata, "min_size", "pixels")? {
        settings.transform.min_size = sizes;
        set("transform.min_size");
    }
    if let Some(size) = last(metadata, "max_size", "pixels")? {
        settings.transform.max_size = size;
        set("transform.max_size");
    }
    if let Some(sizes) = numbers::<f64>(metadata, "anchor_sizes", "pixels")? {
        if sizes.len() != levels {
            let text = format!("metadata key anchor_sizes lists {} sizes; expected one a level, {levels}", sizes.len());
            return Err(Error::new(Kind::Data, text));
        }
        settings.anchors.sizes = sizes.into_iter().map(|size| vec![size]).collect();
        set("anchors.sizes");
    }
    if let Some(ratios) = numbers(metadata, "aspect_ratios", "heights over widths")? {
        settings.anchors.aspect_ratios = vec![ratios; levels];
        set("anchors.aspect_ratios");
    }
    if let Some(count) = last(metadata, "proposals_per_level", "a number")? {
        settings.rpn.pre_nms_top_n = count;
        set("rpn.pre_nms_top_n");
    }
    if let Some(count) = last(metadata, "proposals", "a number")? {
        settings.rpn.post_nms_top_n = count;
        set("rpn.post_nms_top_n");
    }
    Ok(())
}

/// One number or several, as `800`, `640, 800` or `[640, 800]`.
fn numbers<T: FromStr>(metadata: &Metadata, key: &str, what: &str) -> Result<Option<Vec<T>>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let Some(text) = metadata.get(key) else { return Ok(None) };
    let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')', ',']);
    let numbers: std::result::Result<Vec<T>, T::Err> = inner.split(',').map(|number| number.trim().parse()).collect();
    let error = |e| Error::new(Kind::Data, format!("metadata key {key} is {text:?}; expected {what}")).because(e);
    numbers.map(Some).map_err(error)
}

/// The last of several numbers: the one that torchvision uses for inference.
fn last<T: FromStr + Copy>(metadata: &Metadata, key: &str, what: &str) -> Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    Ok(numbers(metadata, key, what)?.and_then(|numbers| numbers.last().copied()))
}

/// The class names that the file lists, if it does.
///
/// # Errors
/// [`Kind::Data`] if the number of names is wrong, or the first is not the background.
pub(super) fn labels(metadata: &Metadata, architecture: &Architecture) -> Result<Option<Vec<String>>> {
    let Some(classes) = metadata.get("classes") else { return Ok(None) };
    let mut labels = classes.split(',').map(|label| label.trim().to_owned());
    let first = labels.next().unwrap_or_default();
    let labels: Vec<String> = labels.collect();
    if first != "__background__" || labels.len() + 1 != architecture.classes {
        let text = format!(
            "metadata key classes lists {} names, the first {first:?}; expected {}, the first \"__background__\"",
            labels.len() + 1,
            architecture.classes
        );
        return Err(Error::new(Kind::Data, text));
    }
    Ok(Some(labels))
}

/// Batch norm's epsilon, if the file has one.
///
/// # Errors
/// [`Kind::Data`] if it is no number from 0 to 1.
pub(super) fn eps(metadata: &Metadata) -> Result<Option<f64>> {
    let Some(text) = metadata.get("batch_norm_eps") else { return Ok(None) };
    match text.trim().parse() {
        Ok(eps) if (0.0..=1.0).contains(&eps) => Ok(Some(eps)),
        _ => {
            let text = format!("metadata key batch_norm_eps is {text:?}; expected a number from 0 to 1");
            Err(Error::new(Kind::Data, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keys: &[(&str, &str)]) -> Result<Settings> {
        let metadata = keys.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut found = Settings::default();
        settings(&metadata, 5, &mut found, &mut BTreeSet::new()).map(|()| found)
    }

    #[test]
    fn metadata_replaces_the_defaults() {
        let found = of(&[
            ("min_size", "[320, 360]"),
            ("max_size", "640"),
            ("anchor_sizes", "16,32,64,128,256"),
            ("aspect_ratios", "0.4, 1, 2.5"),
            ("proposals_per_level", "300"),
            ("proposals", "150"),
        ]);
        let found = found.unwrap();
        assert_eq!((found.transform.min_size, found.transform.max_size), (vec![320, 360], 640));
        assert_eq!(found.anchors.sizes, [16.0, 32.0, 64.0, 128.0, 256.0].map(|size| vec![size]));
        assert_eq!(found.anchors.aspect_ratios, vec![vec![0.4, 1.0, 2.5]; 5]);
        assert_eq!((found.rpn.pre_nms_top_n, found.rpn.post_nms_top_n), (300, 150));
        assert_eq!(of(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn keys_that_are_not_read_are_said_once() {
        let note = |keys: &[&str]| unread(&keys.iter().map(|&key| (key.to_owned(), String::new())).collect());
        assert_eq!(note(&["classes", "format"]), None);
        assert_eq!(note(&["min_size", "epoch"]).unwrap(), "metadata key epoch was not read");
        assert_eq!(note(&["lr", "epoch"]).unwrap(), "metadata keys epoch, lr were not read");
        let many: Vec<String> = (0..9).map(|i| format!("key{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(note(&many).unwrap().ends_with("key7, … were not read"));
    }

    #[test]
    fn a_key_that_cannot_be_parsed_is_named() {
        for (key, value) in [("anchor_sizes", "16,32"), ("proposals", "many"), ("min_size", ""), ("aspect_ratios", "a")]
        {
            let error = of(&[(key, value)]).unwrap_err();
            assert!(error.kind() == Kind::Data && error.message().contains(key), "{error}");
        }
    }
}
