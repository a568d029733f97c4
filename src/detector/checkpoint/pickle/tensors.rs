//! Tensors of a pickled state dict, as views of the file.

use std::ops::Range;

use super::super::candidates::{self, Chosen};
use super::super::state_dict::{FileForm, RawTensor, StateDict};
use super::machine::Pickle;
use super::node::{Node, NodeId, Storage, TensorNode};
use super::{reduce, walk};
use crate::error::{Error, Kind, Result};

/// Place of the bytes of a storage in the file, and their order.
#[derive(Debug, Clone)]
pub(in super::super) struct StorageBytes {
    /// Range of the file.
    pub(in super::super) range: Range<usize>,
    /// True if elements are stored most significant byte first.
    pub(in super::super) is_big_endian: bool,
}

/// Finds the detector's state dict in a pickle; every tensor becomes a view of the file. `locate` finds the bytes of a
/// storage; `key` chooses between several state dicts.
///
/// # Errors
/// [`Kind::Data`] if the root holds no tensors by name, or a tensor reaches past its storage; what `locate` returns;
/// what [`candidates::choose`] returns.
pub(in super::super) fn state_dict(
    pickle: &Pickle<'_>,
    form: FileForm,
    file: &[u8],
    key: Option<&str>,
    mut locate: impl FnMut(&Storage<'_>) -> Result<StorageBytes>,
) -> Result<StateDict> {
    let tree = walk::tree(pickle)?;
    if tree.entries.is_empty() {
        check_root(pickle)?;
    }
    let tensor = |id: NodeId| match pickle.node(id) {
        Node::Tensor(node) => {
            let Node::Storage(storage) = pickle.node(node.storage) else {
                return Err(Error::new(Kind::Data, "its storage cannot be read"));
            };
            view(node, storage, &locate(storage)?)
        }
        other => Err(Error::new(Kind::Data, refusal(pickle, id, other))),
    };
    let Chosen { tensors, notes, mut warnings } = candidates::choose(&tree, file, key, tensor)?;
    warnings.extend(walk::dangerous_name(pickle).map(|name| {
        format!("the pickle names {name}, which PyTorch would call while it loads the file; import calls nothing")
    }));
    Ok(StateDict { form, tensors, metadata: Default::default(), notes, warnings })
}

/// The other network or program that a plain pickle belongs to, as an error.
pub(in super::super) fn other_network(pickle: &Pickle<'_>) -> Result<Option<Error>> {
    Ok(candidates::other_network(&walk::tree(pickle)?))
}

/// Reason why a value cannot be a weight.
fn refusal(pickle: &Pickle<'_>, id: NodeId, node: &Node<'_>) -> String {
    match node {
        Node::Unusable(reason) => reason.to_string(),
        Node::Object(_) => format!(
            "it is the result of {}, which is never called; expected a tensor: save the weights alone, with \
             torch.save(model.state_dict(), path)",
            reduce::name(&pickle.nodes, id)
        ),
        other => format!("it is {}; expected a tensor", other.kind()),
    }
}

/// Checks that the root of a pickle without any tensor is an empty dict, to say what it is instead.
fn check_root(pickle: &Pickle<'_>) -> Result<()> {
    let data = |text: String| Err(Error::new(Kind::Data, text));
    let kind = |id: NodeId| match pickle.node(id) {
        Node::Object(_) | Node::Unknown(_) => {
            format!("the result of {}, which is never called", reduce::name(&pickle.nodes, id))
        }
        Node::Unusable(reason) => reason.to_string(),
        other => other.kind().to_owned(),
    };
    let Node::Dict(items) = pickle.node(pickle.root) else {
        return data(format!("the file holds {}; expected a dict of tensors", kind(pickle.root)));
    };
    let Some(&(key, value)) = items.first() else { return Ok(()) };
    let Node::Str(name) = pickle.node(key) else {
        return data(format!("the state dict has a key that is {}", pickle.node(key).kind()));
    };
    let name: String = name.chars().take(120).collect();
    data(format!("entry {name:?} is {}; expected a tensor", kind(value)))
}

/// The tensor's view of the file. Checks that every element is inside its storage.
fn view(node: &TensorNode, storage: &Storage<'_>, stored: &StorageBytes) -> Result<RawTensor> {
    let Storage { first, length, .. } = *storage;
    let damaged = |text: String| Error::new(Kind::Data, text);
    let stored_size = storage.element.bytes() as u64;
    let available = stored.range.len() as u64 / stored_size;
    if first + length > available {
        return Err(damaged(format!("its storage has {available} elements; expected {}", first + length)));
    }
    // A storage without a type counts bytes, its tensors count elements.
    let size = node.element.bytes() as u64;
    let elements = length * stored_size / size;
    let is_empty = node.shape.contains(&0);
    // Index of the last element, counted from the start of the storage's part.
    let reach = node.shape.iter().zip(&node.strides).try_fold(node.offset, |reach, (&extent, &stride)| {
        reach.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
    });
    let is_inside = reach.is_some_and(|last| if is_empty { node.offset <= elements } else { last < elements });
    if !is_inside {
        return Err(damaged(format!(
            "shape {:?} with strides {:?} from element {} reaches past the {elements} elements of its storage",
            node.shape, node.strides, node.offset
        )));
    }
    let narrow = |n: u64| usize::try_from(n).map_err(|_| damaged(format!("{n} does not fit this machine")));
    let start = stored.range.start + narrow(first * stored_size + node.offset * size)?;
    let end = stored.range.start + narrow((first + length) * stored_size)?;
    Ok(RawTensor {
        element: node.element,
        shape: node.shape.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        strides: node.strides.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        bytes: start..end,
        is_big_endian: stored.is_big_endian,
    })
}
