//! Format of `torch.save` before PyTorch 1.6: several pickles, then raw storages.
//!
//! In: the file's bytes. Out: a [`StateDict`] whose tensors are ranges of those bytes. Each of these is a pickle: the
//! magic number, the protocol version 1001, a dict about the writing machine, the object, the list of storage keys.
//! Then follow for each key a count of elements (8 bytes) and the elements. Promise: every count is checked against the
//! bytes left.

use std::collections::HashMap;

use super::pickle::{self, Node, Pickle, StorageBytes};
use super::state_dict::{FileForm, StateDict};
use crate::error::{Error, Kind, Result};

/// Value of the first pickle.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// Value of the second pickle.
const PROTOCOL: i128 = 1001;

/// True if the bytes start with the magic number's pickle, in any protocol, or with the header of any pickle.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    let head = &file[..file.len().min(64)];
    let is_magic = Pickle::load(head).is_ok_and(|pickle| matches!(pickle.node(pickle.root), Node::Int(MAGIC)));
    // A plain pickle without the magic number gets the error message of this parser.
    is_magic || (head.len() >= 2 && head[0] == 0x80 && (1..=5).contains(&head[1]))
}

/// Finds the detector's state dict in a legacy file; `key` chooses between several.
///
/// # Errors
/// [`Kind::Data`] naming the pickle or storage that is wrong, and its byte offset; as [`pickle::state_dict`].
pub(super) fn parse(file: &[u8], key: Option<&str>) -> Result<StateDict> {
    let mut position = 0;
    let mut next = |what: &str| -> Result<(Pickle<'_>, usize)> {
        let start = position;
        let rest = file.get(start..).unwrap_or_default();
        let pickle = Pickle::load(rest).map_err(|e| e.at(format!("{what} (from byte {start})")))?;
        position += pickle.length;
        Ok((pickle, position))
    };
    let expect = |pickle: &Pickle<'_>, what: &str, wanted: i128| match pickle.node(pickle.root) {
        Node::Int(found) if *found == wanted => Ok(()),
        other => {
            let text = format!("{what} is {}; expected {wanted}: not a file that torch.save wrote", show(other));
            Err(Error::new(Kind::Data, text))
        }
    };
    let (magic, _) = next("the magic number")?;
    // Detectron2's model zoo has plain pickles.
    if let Node::Dict(_) = magic.node(magic.root)
        && let Some(error) = pickle::other_network(&magic)?
    {
        return Err(error);
    }
    expect(&magic, "the magic number", MAGIC)?;
    expect(&next("the protocol version")?.0, "the protocol version", PROTOCOL)?;
    let is_big_endian = writer_is_big_endian(&next("the system information")?.0)?;
    let (object, _) = next("the state dict")?;
    let (keys, mut position) = next("the list of storages")?;

    // Sizes of all storages, an optimizer's too: those before the state dict's must be skipped.
    let sizes: HashMap<&str, (u64, usize)> = object
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Storage(storage) => Some((&*storage.key, (storage.elements, storage.element.bytes()))),
            _ => None,
        })
        .collect();
    let Node::List(keys_in_order) = keys.node(keys.root) else {
        let text = format!("the list of storages is {}", keys.node(keys.root).kind());
        return Err(Error::new(Kind::Data, text));
    };
    let mut stored: HashMap<&str, StorageBytes> = HashMap::new();
    let mut unknown = None;
    for &key in keys_in_order {
        let Node::Str(key) = keys.node(key) else {
            return Err(Error::new(Kind::Data, "the list of storages has a key that is no string"));
        };
        let Some(&(elements, size)) = sizes.get(&**key) else {
            // What follows cannot be found without its size; only weights there are an error.
            unknown = Some(key.clone());
            break;
        };
        let cut = || Error::new(Kind::Data, format!("storage {key:?} at byte {position} is cut short"));
        let rest = file.get(position..).unwrap_or_default();
        let (count, data) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let count = if is_big_endian { u64::from_be_bytes(*count) } else { u64::from_le_bytes(*count) };
        if count != elements {
            let text = format!("storage {key:?} at byte {position} has {count} elements; expected {elements}");
            return Err(Error::new(Kind::Data, text));
        }
        let bytes = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)).ok_or_else(cut)?;
        if bytes > data.len() {
            return Err(cut());
        }
        let start = position + 8;
        position = start + bytes;
        stored.insert(key, StorageBytes { range: start..position, is_big_endian });
    }
    if unknown.is_none() && position != file.len() {
        let text = format!("{} bytes follow the last storage; the file is damaged", file.len() - position);
        return Err(Error::new(Kind::Data, text));
    }
    pickle::state_dict(&object, FileForm::LegacyPickle, file, key, |storage| {
        let missing = || match &unknown {
            None => Error::new(Kind::Data, format!("storage {:?} is not in the file", storage.key)),
            Some(unknown) => {
                let text = format!("storage {:?} is not in the file before {unknown:?} of unknown size", storage.key);
                Error::new(Kind::Data, text)
            }
        };
        stored.get(&*storage.key).cloned().ok_or_else(missing)
    })
}

/// Byte order of the machine that wrote the file.
fn writer_is_big_endian(system: &Pickle<'_>) -> Result<bool> {
    let Node::Dict(_) = system.node(system.root) else {
        return Err(Error::new(Kind::Data, "the system information is no dict: not a file that torch.save wrote"));
    };
    let little = system.entry(system.root, "little_endian");
    Ok(matches!(little.map(|value| system.node(value)), Some(Node::Bool(false))))
}

/// The value of an integer, else its kind, for messages.
fn show(node: &Node<'_>) -> String {
    match node {
        Node::Int(value) => value.to_string(),
        other => other.kind().to_owned(),
    }
}
