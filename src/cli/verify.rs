//! `lookout verify`: compare two models byte by byte.

use std::path::PathBuf;

use safetensors::SafeTensors;
use serde::Serialize;

use super::console;
use crate::detector::demo;
use crate::error::{Error, Kind, Result};

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// First model, a checkpoint or an artifact
    a: PathBuf,
    /// Second model
    b: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct VerifyResult {
    identical: bool,
    /// Precision of the first model; the detections of a `mixed` model depend on the instruction set.
    precision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<String>,
}

/// Compares the two files. Exit code 0 if they are identical, 65 if not.
pub fn execute(args: Args) -> Result<()> {
    let (a, b) = (demo::read(&args.a)?, demo::read(&args.b)?);
    let (a, b) = (a.as_ref(), b.as_ref());
    let precision = precision(a).map_err(|error| error.at(args.a.display()))?;
    self::precision(b).map_err(|error| error.at(args.b.display()))?;
    let difference = first_difference(a, b);
    let result = VerifyResult { identical: difference.is_none(), precision, first_difference: difference.clone() };
    if args.json {
        console::print(console::json(&result)?)?;
    } else if difference.is_none() {
        let note = match precision {
            "mixed" => "; mixed precision: layers in fp32 depend on the CPU's instruction set",
            _ => "",
        };
        console::print(format_args!("identical: {} bytes{note}", a.len()))?;
    }
    match difference {
        None => Ok(()),
        Some(place) => {
            let text = format!("{} and {} differ: {place}", args.a.display(), args.b.display());
            Err(Error::new(Kind::Data, text))
        }
    }
}

/// Precision of a model's layers by its header: `int8`, `fp32`, or `mixed` for both.
///
/// # Errors
/// [`Kind::Data`] if the file is not a model.
fn precision(file: &[u8]) -> Result<&'static str> {
    let header = SafeTensors::read_metadata(file).ok().and_then(|(_, header)| model_header(&header));
    let Some(header) = header else {
        return Err(Error::new(Kind::Data, "not a model: neither a checkpoint nor an artifact"));
    };
    // A checkpoint has no list of steps; all its layers are fp32.
    let steps = header["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let int8 = steps.iter().filter(|step| step["precision"] == "int8-static").count();
    Ok(match (steps.len(), int8) {
        (0, _) => "fp32",
        (all, int8) if all == int8 => "int8",
        _ => "mixed",
    })
}

/// The `lookout` header of a model.
fn model_header(metadata: &safetensors::tensor::Metadata) -> Option<serde_json::Value> {
    serde_json::from_str(metadata.metadata().as_ref()?.get("lookout")?).ok()
}

/// Location of the first difference of two files: the header's key, the tensor and its element, or the byte.
fn first_difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a == b {
        return None;
    }
    let by_byte = || match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(byte) => format!("at byte {byte}"),
        None => format!("one has {} bytes, the other {}", a.len(), b.len()),
    };
    let (Ok((_, header_a)), Ok((_, header_b))) = (SafeTensors::read_metadata(a), SafeTensors::read_metadata(b)) else {
        return Some(by_byte());
    };
    if let (Some(a), Some(b)) = (model_header(&header_a), model_header(&header_b))
        && let Some(place) = json_difference("", &a, &b)
    {
        return Some(format!("header {place}"));
    }
    let (Ok(tensors_a), Ok(tensors_b)) = (SafeTensors::deserialize(a), SafeTensors::deserialize(b)) else {
        return Some(by_byte());
    };
    let mut names = tensors_a.names();
    names.sort_unstable();
    for name in names {
        let Ok(one) = tensors_a.tensor(name) else { continue };
        let Ok(other) = tensors_b.tensor(name) else { return Some(format!("tensor {name} is only in the first")) };
        if (one.dtype(), one.shape()) != (other.dtype(), other.shape()) {
            let text = format!("{:?} {:?} against {:?} {:?}", one.dtype(), one.shape(), other.dtype(), other.shape());
            return Some(format!("tensor {name} is {text}"));
        }
        if let Some(byte) = one.data().iter().zip(other.data()).position(|(a, b)| a != b) {
            let width = one.data().len() / one.shape().iter().product::<usize>().max(1);
            return Some(format!("tensor {name}, element {}", byte / width.max(1)));
        }
    }
    Some(by_byte())
}

/// Key of the first difference of two JSON values, below the key `place`.
fn json_difference(place: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    use serde_json::Value::{Array, Object};
    match (a, b) {
        (Object(a), Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => json_difference(&format!("{place}.{key}"), a, b),
                _ => Some(format!("{place}.{key} is in one only")),
            })
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| json_difference(&format!("{place}[{i}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{place} is {a} against {b}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let one = serde_json::json!({"a": [1, {"b": 2}], "c": 3});
        let other = serde_json::json!({"a": [1, {"b": 4}], "c": 3});
        assert_eq!(json_difference("", &one, &other).unwrap(), ".a[1].b is 2 against 4");
        assert_eq!(first_difference(b"abc", b"abd").unwrap(), "at byte 2");
        assert_eq!(first_difference(b"abc", b"abcd").unwrap(), "one has 3 bytes, the other 4");
        assert!(first_difference(b"abc", b"abc").is_none());
    }
}
