//! Tensors of a pickled state dict, as views of the file.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::state_dict::{FileForm, RawTensor, StateDict};
use super::machine::Pickle;
use super::node::{Node, NodeId, Storage, TensorNode};
use crate::error::{Error, Kind, Result};

/// Where the bytes of a storage are in the file, and their order.
#[derive(Debug, Clone)]
pub(in super::super) struct StorageBytes {
    /// Range of the file.
    pub(in super::super) range: Range<usize>,
    /// True if elements are stored most significant byte first.
    pub(in super::super) is_big_endian: bool,
}

/// The tensors of a state dict inside a pickle.
pub(in super::super) struct PickledTensors<'a> {
    tensors: Vec<(&'a str, &'a TensorNode, &'a Storage)>,
    notes: Vec<String>,
}

/// Keys under which training scripts put the state dict.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_state_dict", "ema_state_dict"];

impl<'a> PickledTensors<'a> {
    /// Finds the state dict from the pickle's root; wrappers as `{"model": …}` and `{"state_dict": …}` are removed.
    ///
    /// # Errors
    /// [`Kind::Data`] if the root is no dict of tensors by name.
    pub(in super::super) fn find(pickle: &'a Pickle) -> Result<Self> {
        let mut notes = Vec::new();
        let mut root = pickle.root;
        // Training scripts nest at most two wrappers.
        for _ in 0..2 {
            let Some((key, inner)) = unwrap(pickle, root) else { break };
            notes.push(format!("the state dict was taken from key {key:?}"));
            root = inner;
        }
        let Node::Dict(items) = pickle.node(root) else {
            let text = format!("the file holds {}; expected a dict of tensors", pickle.node(root).kind());
            return Err(Error::new(Kind::Data, text));
        };
        let mut tensors = Vec::with_capacity(items.len());
        for &(key, value) in items {
            let Node::Str(name) = pickle.node(key) else {
                let text = format!("the state dict has a key that is {}", pickle.node(key).kind());
                return Err(Error::new(Kind::Data, text));
            };
            let Node::Tensor(tensor) = pickle.node(value) else {
                let kind = pickle.node(value).kind();
                return Err(Error::new(Kind::Data, format!("entry {name:?} is {kind}; expected a tensor")));
            };
            let Node::Storage(storage) = pickle.node(tensor.storage) else {
                return Err(Error::new(Kind::Internal, format!("tensor {name} has no storage")));
            };
            tensors.push((name.as_str(), tensor, storage));
        }
        Ok(Self { tensors, notes })
    }

    /// Every tensor as a view of the file; `locate` finds the bytes of a storage. The prefix `module.` is stripped if all
    /// names have it.
    ///
    /// # Errors
    /// What `locate` returns; [`Kind::Data`] if a tensor reaches past its storage, or a name occurs twice.
    pub(in super::super) fn locate(
        self,
        form: FileForm,
        mut locate: impl FnMut(&Storage) -> Result<StorageBytes>,
    ) -> Result<StateDict> {
        let mut notes = self.notes;
        let has_prefix = !self.tensors.is_empty() && self.tensors.iter().all(|(name, ..)| name.starts_with("module."));
        if has_prefix {
            notes.push("the prefix \"module.\" was stripped from every name".to_owned());
        }
        let mut tensors = BTreeMap::new();
        for (name, node, storage) in self.tensors {
            let name = name.strip_prefix("module.").filter(|_| has_prefix).unwrap_or(name);
            let raw = locate(storage).and_then(|stored| view(node, storage, &stored)).map_err(|e| e.at(name))?;
            if tensors.insert(name.to_owned(), raw).is_some() {
                return Err(Error::new(Kind::Data, format!("tensor {name} occurs twice")));
            }
        }
        Ok(StateDict { form, tensors, metadata: BTreeMap::new(), notes })
    }
}

/// The first wrapper's key and the dict inside it.
fn unwrap(pickle: &Pickle, root: NodeId) -> Option<(&str, NodeId)> {
    let Node::Dict(items) = pickle.node(root) else { return None };
    let entry = |wanted: &str| {
        items
            .iter()
            .find(|(key, _)| matches!(pickle.node(*key), Node::Str(key) if key == wanted))
            .map(|&(_, value)| value)
    };
    WRAPPERS.into_iter().find_map(|key| {
        let value = entry(key)?;
        matches!(pickle.node(value), Node::Dict(_)).then_some((key, value))
    })
}

/// The tensor's view of the file. Checks that every element is inside its storage.
fn view(node: &TensorNode, storage: &Storage, stored: &StorageBytes) -> Result<RawTensor> {
    let Storage { element, first, length, .. } = *storage;
    let damaged = |text: String| Error::new(Kind::Data, text);
    let size = element.bytes() as u64;
    let available = stored.range.len() as u64 / size;
    if first + length > available {
        return Err(damaged(format!("its storage has {available} elements; expected {}", first + length)));
    }
    let is_empty = node.shape.contains(&0);
    // Index of the last element, counted from the start of the storage's part.
    let reach = node.shape.iter().zip(&node.strides).try_fold(node.offset, |reach, (&extent, &stride)| {
        reach.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
    });
    let is_inside = reach.is_some_and(|last| if is_empty { node.offset <= length } else { last < length });
    if !is_inside {
        return Err(damaged(format!(
            "shape {:?} with strides {:?} from element {} reaches past the {length} elements of its storage",
            node.shape, node.strides, node.offset
        )));
    }
    let narrow = |n: u64| usize::try_from(n).map_err(|_| damaged(format!("{n} does not fit this machine")));
    let start = stored.range.start + narrow((first + node.offset) * size)?;
    let end = stored.range.start + narrow((first + length) * size)?;
    Ok(RawTensor {
        element,
        shape: node.shape.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        strides: node.strides.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        bytes: start..end,
        is_big_endian: stored.is_big_endian,
    })
}
