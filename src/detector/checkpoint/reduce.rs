//! What a pickle may name, and what comes of calling it: descriptions, never actions.
//!
//! In: module and name of a global, a persistent id, a function with its arguments. Out: plain nodes; for tensors the
//! storage they view with offset, shape and strides, all checked to be non-negative and of a sane rank. The list of
//! names is closed. PyTorch's `torch/_utils.py` and `torch/serialization.py` define what they mean.

use super::pickle::{Id, Node};

/// More dimensions than any tensor of a detector has.
const MAX_RANK: usize = 8;

/// The largest extent, stride or offset taken; products of a few stay within u64.
const MAX_NUMBER: i128 = 1 << 40;

/// The type of a storage's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    /// Counters such as `num_batches_tracked`.
    I64,
    /// Something no weight of a detector is stored in.
    Other {
        name: &'static str,
        bytes: usize,
    },
}

impl Element {
    /// Bytes of one element.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Other { bytes, .. } => bytes,
        }
    }

    /// Its name as PyTorch says it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I64 => "int64",
            Self::Other { name, .. } => name,
        }
    }

    fn of_storage(name: &str) -> Option<Self> {
        let other = |name, bytes| Self::Other { name, bytes };
        Some(match name {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "LongStorage" => Self::I64,
            "IntStorage" => other("int32", 4),
            "ShortStorage" => other("int16", 2),
            "CharStorage" => other("int8", 1),
            "ByteStorage" => other("uint8", 1),
            "BoolStorage" => other("bool", 1),
            "ComplexFloatStorage" => other("complex64", 8),
            "ComplexDoubleStorage" => other("complex128", 16),
            _ => return None,
        })
    }
}

/// The names a pickle may look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor`, of PyTorch before 0.4, and `_rebuild_tensor_v2`.
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

impl Global {
    /// The global of this module and name, if it is one a state dict needs.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, String> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch", "Size") => Ok(Self::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch" | "torch.cuda", _) if Element::of_storage(name).is_some() => {
                Element::of_storage(name).map(Self::Storage).ok_or_else(String::new)
            }
            _ => {
                let shown: String = format!("{module}.{name}").chars().take(120).collect();
                Err(format!(
                    "global {}, which a state dict does not need and which is never imported; save the weights alone, \
                     with torch.save(model.state_dict(), path)",
                    shown.escape_debug()
                ))
            }
        }
    }
}

/// Memory that tensors view, by the key under which the file holds it.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) element: Element,
    pub(super) key: String,
    /// Elements the whole storage has.
    pub(super) elements: u64,
    /// Elements before the part that this storage is, for the views of legacy files; else 0.
    pub(super) first: u64,
    /// Elements of the part; else `elements`.
    pub(super) length: u64,
}

/// A tensor as a strided view: element (i, j, …) stands at `offset + i·strides[0] + j·strides[1] + …`.
#[derive(Debug, Clone)]
pub(super) struct TensorNode {
    /// Its storage's node.
    pub(super) storage: Id,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// The storage that a persistent id, `("storage", type, key, location, elements[, view])`, stands for.
pub(super) fn persistent(nodes: &[Node], id: Id) -> Result<Storage, String> {
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

/// What calling `function` with `arguments` gives.
pub(super) fn call(nodes: &[Node], function: Id, arguments: Id) -> Result<Node, String> {
    let Some(&Node::Global(function)) = nodes.get(function) else {
        return Err(format!("a call of {}", describe(nodes, function)));
    };
    let arguments = tuple(nodes, arguments, "a call's arguments")?;
    match (function, arguments) {
        (Global::OrderedDict, []) => Ok(Node::Dict(Vec::new())),
        // Python 2 handed the items over as one list of pairs.
        (Global::OrderedDict, &[items]) => {
            let Some(Node::List(items)) = nodes.get(items) else {
                return Err(format!("an OrderedDict made of {}", describe(nodes, items)));
            };
            let pair = |&item: &Id| match nodes.get(item) {
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

fn describe(nodes: &[Node], id: Id) -> &'static str {
    nodes.get(id).map_or("nothing", Node::kind)
}

fn tuple<'a>(nodes: &'a [Node], id: Id, what: &str) -> Result<&'a [Id], String> {
    match nodes.get(id) {
        Some(Node::Tuple(items)) => Ok(items),
        _ => Err(format!("{what} that is {}; expected a tuple", describe(nodes, id))),
    }
}

fn number(nodes: &[Node], id: Id, what: &str) -> Result<u64, String> {
    match nodes.get(id) {
        Some(&Node::Int(value)) if (0..=MAX_NUMBER).contains(&value) => {
            u64::try_from(value).map_err(|_| format!("{what} of {value}"))
        }
        Some(Node::Int(value)) => Err(format!("{what} of {value}; expected 0 to {MAX_NUMBER}")),
        _ => Err(format!("{what} that is {}; expected an integer", describe(nodes, id))),
    }
}

fn numbers(nodes: &[Node], id: Id, what: &str) -> Result<Vec<u64>, String> {
    let items = tuple(nodes, id, what)?;
    if items.len() > MAX_RANK {
        return Err(format!("{what} of {} dimensions; expected at most {MAX_RANK}", items.len()));
    }
    items.iter().map(|&item| number(nodes, item, what)).collect()
}
