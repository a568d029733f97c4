//! Interpretation of persistent ids and calls: they become descriptions of storages, tensors and objects.
//!
//! In: a persistent id, or a function with its arguments. Out: plain nodes; for tensors the storage they view with
//! offset, shape and strides, all checked to be non-negative and of at most [`MAX_RANK`] dimensions. A tensor that cannot
//! be described, and the result of an unknown function, are nodes too: only weights among them are an error, later.
//! PyTorch's `torch/_utils.py`, `torch/_tensor.py` and `torch/serialization.py` define the calls and ids.

use super::node::{Global, Node, NodeId, Object, Storage, TensorNode};

/// The most dimensions of a tensor; a detector's have four.
const MAX_RANK: usize = 8;

/// The largest extent, stride or offset; sums of a few of them do not overflow u64.
const MAX_NUMBER: i128 = 1 << 40;

/// The value of a persistent id: a storage, `("storage", type, key, location, elements[, view])`, or a class with its
/// source, `("module", class, file, source)`, as legacy files hold it.
pub(super) fn persistent<'a>(nodes: &[Node<'a>], id: NodeId) -> Node<'a> {
    if let Some(Node::Tuple(items)) = nodes.get(id)
        && let [tag, class, ..] = items[..]
        && matches!(nodes.get(tag), Some(Node::Str(tag)) if tag == "module")
        && let Some(Node::Unknown(class)) = nodes.get(class)
    {
        return Node::Unknown(class.clone());
    }
    storage(nodes, id).map_or_else(unusable, |storage| Node::Storage(Box::new(storage)))
}

/// A node for a storage or tensor that cannot be read.
pub(super) fn unusable<'a>(reason: String) -> Node<'a> {
    Node::Unusable(reason.into())
}

fn storage<'a>(nodes: &[Node<'a>], id: NodeId) -> Result<Storage<'a>, String> {
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
        Some(Node::Int(key)) => key.to_string().into(),
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
///
/// # Errors
/// A sentence, if `function` is nothing that Python could call.
pub(super) fn call<'a>(nodes: &[Node<'a>], function: NodeId, arguments: NodeId) -> Result<Node<'a>, String> {
    match nodes.get(function) {
        Some(&Node::Global(global)) => Ok(known(nodes, global, arguments).unwrap_or_else(unusable)),
        Some(Node::Unknown(_) | Node::Object(_) | Node::Unusable(_)) => {
            Ok(Node::Object(Box::new(Object { function, arguments, ..Object::default() })))
        }
        _ => Err(format!("a call of {}", describe(nodes, function))),
    }
}

/// Result of a call of a function whose meaning is known.
fn known<'a>(nodes: &[Node<'a>], function: Global, arguments: NodeId) -> Result<Node<'a>, String> {
    let arguments = tuple(nodes, arguments, "a call's arguments")?;
    match (function, arguments) {
        (Global::OrderedDict, []) => Ok(Node::Dict(Vec::new())),
        // Python 2 passes the items as one list of pairs.
        (Global::OrderedDict, &[items]) => {
            let items = match nodes.get(items) {
                Some(Node::Dict(items)) => return Ok(Node::Dict(items.clone())),
                Some(Node::List(items)) => items,
                _ => return Err(format!("an OrderedDict made of {}", describe(nodes, items))),
            };
            let pair = |&item: &NodeId| match nodes.get(item) {
                Some(Node::List(pair) | Node::Tuple(pair)) if pair.len() == 2 => Ok((pair[0], pair[1])),
                _ => Err(format!("an OrderedDict's item that is {}", describe(nodes, item))),
            };
            Ok(Node::Dict(items.iter().map(pair).collect::<Result<_, _>>()?))
        }
        (Global::Set, []) => Ok(Node::Set(Vec::new())),
        (Global::Set, &[items]) => match nodes.get(items) {
            Some(Node::List(items) | Node::Tuple(items) | Node::Set(items)) => Ok(Node::Set(items.clone())),
            _ => Err(format!("a set made of {}", describe(nodes, items))),
        },
        (Global::Size, &[items]) => Ok(Node::Tuple(tuple(nodes, items, "a torch.Size")?.to_vec())),
        (Global::RebuildSubclass, &[function, _class, arguments, _attributes]) => match nodes.get(function) {
            // The subclass views the same values; its own functions are not called.
            Some(&Node::Global(
                inner @ (Global::RebuildTensor | Global::RebuildTypedTensor | Global::RebuildParameter),
            )) => known(nodes, inner, arguments),
            _ => Err(format!("a tensor made by {}", name(nodes, function))),
        },
        (Global::RebuildParameter, [tensor, ..]) if arguments.len() <= 4 => match nodes.get(*tensor) {
            Some(Node::Tensor(tensor)) => Ok(Node::Tensor(tensor.clone())),
            Some(Node::Unusable(reason)) => Ok(Node::Unusable(reason.clone())),
            Some(Node::Object(_)) => Err(format!("a parameter made by {}", name(nodes, *tensor))),
            _ => Err(format!("a parameter made of {}", describe(nodes, *tensor))),
        },
        (Global::RebuildTensor, _) if (4..=7).contains(&arguments.len()) => {
            tensor(nodes, arguments, None, arguments.get(6).copied())
        }
        (Global::RebuildTypedTensor, _) if (7..=8).contains(&arguments.len()) => match nodes.get(arguments[6]) {
            Some(Node::Global(Global::Dtype(_))) => {
                tensor(nodes, arguments, Some(arguments[6]), arguments.get(7).copied())
            }
            _ => Err(format!("a tensor of type {}", name(nodes, arguments[6]))),
        },
        (function, arguments) => Err(format!("a call of {function:?} with {} arguments", arguments.len())),
    }
}

/// A tensor of the arguments storage, offset, shape and strides; the type is `dtype`'s, else the storage's.
fn tensor<'a>(
    nodes: &[Node<'a>],
    arguments: &[NodeId],
    dtype: Option<NodeId>,
    metadata: Option<NodeId>,
) -> Result<Node<'a>, String> {
    let &[storage, offset, shape, strides, ..] = arguments else {
        return Err(format!("a tensor of {} arguments", arguments.len()));
    };
    let element = match (dtype.and_then(|dtype| nodes.get(dtype)), nodes.get(storage)) {
        (Some(Node::Global(Global::Dtype(element))), Some(Node::Storage(_))) => *element,
        (_, Some(Node::Storage(storage))) => storage.element,
        (_, Some(Node::Unusable(reason))) => return Err(reason.to_string()),
        _ => return Err(format!("a tensor on {}", name(nodes, storage))),
    };
    let (shape, strides) = (numbers(nodes, shape, "a shape")?, numbers(nodes, strides, "strides")?);
    if shape.len() != strides.len() {
        return Err(format!("a tensor of {} dimensions with {} strides", shape.len(), strides.len()));
    }
    let offset = number(nodes, offset, "a tensor's offset")?;
    match metadata.and_then(|metadata| nodes.get(metadata)) {
        None | Some(Node::None) => {}
        Some(Node::Dict(flags)) if flags.is_empty() => {}
        // Its values are those stored, negated or conjugated.
        Some(_) => return Err("a tensor with its negative or conjugate bit set; save tensor.resolve_neg()".into()),
    }
    Ok(Node::Tensor(Box::new(TensorNode { storage, element, offset, shape, strides })))
}

fn describe(nodes: &[Node<'_>], id: NodeId) -> &'static str {
    nodes.get(id).map_or("nothing", Node::kind)
}

/// The most calls that a name is looked for behind.
const MAX_CHAIN: usize = 8;

/// The longest part of a name that messages show, in characters.
const MAX_SHOWN: usize = 120;

/// The name of an unknown class or function, or of that which makes an object, with its place; else the kind of value.
pub(in super::super) fn name(nodes: &[Node<'_>], mut id: NodeId) -> String {
    for _ in 0..MAX_CHAIN {
        match nodes.get(id) {
            Some(Node::Unknown(global)) => {
                let shown: String = format!("{}.{}", clip(&global.module), clip(&global.name));
                return format!("{} (pickle byte {})", shown.escape_debug(), global.at);
            }
            Some(Node::Object(object)) => {
                // Protocols 0 and 1 make an object of a class by `copyreg._reconstructor(class, …)`.
                id = match (nodes.get(object.function), nodes.get(object.arguments)) {
                    (Some(Node::Unknown(global)), Some(Node::Tuple(arguments)))
                        if global.name == "_reconstructor" && !arguments.is_empty() =>
                    {
                        arguments[0]
                    }
                    _ => object.function,
                };
            }
            _ => break,
        }
    }
    describe(nodes, id).to_owned()
}

fn clip(text: &str) -> &str {
    text.char_indices().nth(MAX_SHOWN).map_or(text, |(end, _)| &text[..end])
}

fn tuple<'n>(nodes: &'n [Node<'_>], id: NodeId, what: &str) -> Result<&'n [NodeId], String> {
    match nodes.get(id) {
        Some(Node::Tuple(items)) => Ok(items),
        _ => Err(format!("{what} that is {}; expected a tuple", describe(nodes, id))),
    }
}

fn number(nodes: &[Node<'_>], id: NodeId, what: &str) -> Result<u64, String> {
    match nodes.get(id) {
        Some(&Node::Int(value)) if (0..=MAX_NUMBER).contains(&value) => {
            u64::try_from(value).map_err(|_| format!("{what} of {value}"))
        }
        Some(Node::Int(value)) => Err(format!("{what} of {value}; expected 0 to {MAX_NUMBER}")),
        _ => Err(format!("{what} that is {}; expected an integer", describe(nodes, id))),
    }
}

fn numbers(nodes: &[Node<'_>], id: NodeId, what: &str) -> Result<Vec<u64>, String> {
    let items = tuple(nodes, id, what)?;
    if items.len() > MAX_RANK {
        return Err(format!("{what} of {} dimensions; expected at most {MAX_RANK}", items.len()));
    }
    items.iter().map(|&item| number(nodes, item, what)).collect()
}
