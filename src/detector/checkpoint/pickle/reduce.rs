//! Interpretation of persistent ids and calls: they become descriptions of storages and tensors.
//!
//! In: a persistent id, or a function with its arguments. Out: plain nodes; for tensors the storage they view with
//! offset, shape and strides, all checked to be non-negative and of at most [`MAX_RANK`] dimensions. PyTorch's
//! `torch/_utils.py` and `torch/serialization.py` define the calls and ids.

use super::node::{Global, Node, NodeId, Storage, TensorNode};

/// The most dimensions of a tensor; a detector's have four.
const MAX_RANK: usize = 8;

/// The largest extent, stride or offset; sums of a few of them do not overflow u64.
const MAX_NUMBER: i128 = 1 << 40;

/// The storage of a persistent id, `("storage", type, key, location, elements[, view])`.
pub(super) fn storage(nodes: &[Node], id: NodeId) -> Result<Storage, String> {
    let items = tuple(nodes, id, "a persistent id")?;
    let (&[tag, kind, key, _location, elements], view) = items
        .split_first_chunk::<5>()
        .filter(|(_, rest)| rest.len() <= 1)
        .ok_or_else(|| format!("a persistent id of {} parts; expected 5 or 6", items.len()))?;
    match nodes.get(tag) {
        Some(Node::Str(tag)) if tag == "storage" => {}
        _ => return Err("a persistent id that is no storage; save the weights alone, not the module".into()),
    }
    let Some(Node::Global(Global::Storage(element))) = nodes.get(kind) else {
        return Err(format!("a storage whose type is {}", describe(nodes, kind)));
    };
    let key = match nodes.get(key) {
        Some(Node::Str(key)) => key.clone(),
        Some(Node::Int(key)) => key.to_string(),
        _ => return Err("a storage whose key is no string".into()),
    };
    let elements = number(nodes, elements, "a storage's length")?;
    let (first, length) = match view.first() {
        None => (0, elements),
        Some(&view) if matches!(nodes.get(view), Some(Node::None)) => (0, elements),
        Some(&view) => match tuple(nodes, view, "a storage's view")? {
            &[_key, first, length] => {
                let (first, length) =
                    (number(nodes, first, "a view's start")?, number(nodes, length, "a view's length")?);
                if first + length > elements {
                    return Err(format!("a view of elements {first} to {} of {elements}", first + length));
                }
                (first, length)
            }
            other => return Err(format!("a storage's view of {} parts; expected 3", other.len())),
        },
    };
    Ok(Storage { element: *element, key, elements, first, length })
}

/// Result of a call of `function` with `arguments`.
pub(super) fn call(nodes: &[Node], function: NodeId, arguments: NodeId) -> Result<Node, String> {
    let Some(&Node::Global(function)) = nodes.get(function) else {
        return Err(format!("a call of {}", describe(nodes, function)));
    };
    let arguments = tuple(nodes, arguments, "a call's arguments")?;
    match (function, arguments) {
        (Global::OrderedDict, []) => Ok(Node::Dict(Vec::new())),
        // Python 2 passes the items as one list of pairs.
        (Global::OrderedDict, &[items]) => {
            let Some(Node::List(items)) = nodes.get(items) else {
                return Err(format!("an OrderedDict made of {}", describe(nodes, items)));
            };
            let pair = |&item: &NodeId| match nodes.get(item) {
                Some(Node::List(pair) | Node::Tuple(pair)) if pair.len() == 2 => Ok((pair[0], pair[1])),
                _ => Err(format!("an OrderedDict's item that is {}", describe(nodes, item))),
            };
            Ok(Node::Dict(items.iter().map(pair).collect::<Result<_, _>>()?))
        }
        (Global::Size, &[items]) => Ok(Node::Tuple(tuple(nodes, items, "a torch.Size")?.to_vec())),
        (Global::RebuildTensor, [storage, offset, shape, strides, ..]) if arguments.len() <= 7 => {
            if !matches!(nodes.get(*storage), Some(Node::Storage(_))) {
                return Err(format!("a tensor on {}", describe(nodes, *storage)));
            }
            let (shape, strides) = (numbers(nodes, *shape, "a shape")?, numbers(nodes, *strides, "strides")?);
            if shape.len() != strides.len() {
                return Err(format!("a tensor of {} dimensions with {} strides", shape.len(), strides.len()));
            }
            let offset = number(nodes, *offset, "a tensor's offset")?;
            Ok(Node::Tensor(TensorNode { storage: *storage, offset, shape, strides }))
        }
        (Global::RebuildParameter, [tensor, ..]) if arguments.len() <= 3 => match nodes.get(*tensor) {
            Some(Node::Tensor(tensor)) => Ok(Node::Tensor(tensor.clone())),
            _ => Err(format!("a parameter made of {}", describe(nodes, *tensor))),
        },
        (function, arguments) => Err(format!("a call of {function:?} with {} arguments", arguments.len())),
    }
}

fn describe(nodes: &[Node], id: NodeId) -> &'static str {
    nodes.get(id).map_or("nothing", Node::kind)
}

fn tuple<'a>(nodes: &'a [Node], id: NodeId, what: &str) -> Result<&'a [NodeId], String> {
    match nodes.get(id) {
        Some(Node::Tuple(items)) => Ok(items),
        _ => Err(format!("{what} that is {}; expected a tuple", describe(nodes, id))),
    }
}

fn number(nodes: &[Node], id: NodeId, what: &str) -> Result<u64, String> {
    match nodes.get(id) {
        Some(&Node::Int(value)) if (0..=MAX_NUMBER).contains(&value) => {
            u64::try_from(value).map_err(|_| format!("{what} of {value}"))
        }
        Some(Node::Int(value)) => Err(format!("{what} of {value}; expected 0 to {MAX_NUMBER}")),
        _ => Err(format!("{what} that is {}; expected an integer", describe(nodes, id))),
    }
}

fn numbers(nodes: &[Node], id: NodeId, what: &str) -> Result<Vec<u64>, String> {
    let items = tuple(nodes, id, what)?;
    if items.len() > MAX_RANK {
        return Err(format!("{what} of {} dimensions; expected at most {MAX_RANK}", items.len()));
    }
    items.iter().map(|&item| number(nodes, item, what)).collect()
}
