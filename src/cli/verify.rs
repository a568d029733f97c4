//! `lookout verify`: are two models byte-identical; if not, where do they first differ.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Serialize;

use super::console;
use crate::detector::demo;
use crate::error::{Error, Kind, Result};
use crate::tensor::mapped::Mapped;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A checkpoint or artifact
    a: PathBuf,
    /// Another one
    b: PathBuf,
    /// The answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    identical: bool,
    /// Arithmetic of the first model: `mixed` gives the same detections on one instruction set only.
    precision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<String>,
}

/// Compares the two files. Exit code 0 if they are the same, 65 if not.
pub fn execute(args: Args) -> Result<()> {
    let (a, b) = (open(&args.a)?, open(&args.b)?);
    let (a, b) = (a.as_ref().as_ref(), b.as_ref().as_ref());
    let precision = precision(a).map_err(|error| error.at(args.a.display()))?;
    self::precision(b).map_err(|error| error.at(args.b.display()))?;
    let difference = first_difference(a, b);
    let answer = Answer { identical: difference.is_none(), precision, first_difference: difference.clone() };
    if args.json {
        let json = serde_json::to_string(&answer)
            .map_err(|source| Error::new(Kind::Internal, "the answer has no JSON form").because(source))?;
        console::print(json)?;
    } else if difference.is_none() {
        let note = match precision {
            "mixed" => "; mixed precision: the layers kept in fp32 round as this CPU's kernels do",
            _ => "",
        };
        console::print(format_args!("identical: {} bytes{note}", a.len()))?;
    }
    let names = |path: &Path| path.display().to_string();
    match difference {
        None => Ok(()),
        Some(place) => {
            Err(Error::new(Kind::Data, format!("{} and {} differ: {place}", names(&args.a), names(&args.b))))
        }
    }
}

/// A model's bytes: a built-in one's or a file's.
fn open(path: &Path) -> Result<Box<dyn AsRef<[u8]>>> {
    Ok(match demo::named(path)? {
        Some(bytes) => Box::new(bytes),
        None => Box::new(Mapped::open(path)?),
    })
}

/// Whether a model's layers run in `int8`, in `fp32` or in both (`mixed`), by its own header.
///
/// # Errors
/// [`Kind::Data`] if it is no model.
fn precision(file: &[u8]) -> Result<&'static str> {
    let header = SafeTensors::read_metadata(file).ok().and_then(|(_, header)| model_header(&header));
    let Some(header) = header else {
        return Err(Error::new(Kind::Data, "it is no model: neither a checkpoint nor an artifact"));
    };
    // A checkpoint has no list of steps: all of it is fp32.
    let steps = header["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let fixed = steps.iter().filter(|step| step["precision"] == "int8-static").count();
    Ok(match (steps.len(), fixed) {
        (0, _) => "fp32",
        (all, fixed) if all == fixed => "int8",
        _ => "mixed",
    })
}

/// What a model says about itself.
fn model_header(metadata: &safetensors::tensor::Metadata) -> Option<serde_json::Value> {
    serde_json::from_str(metadata.metadata().as_ref()?.get("lookout")?).ok()
}

/// Where two files first differ, in words: the header's key, the tensor and its index, or the byte.
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
