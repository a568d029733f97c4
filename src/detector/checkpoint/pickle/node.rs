//! Values that a pickle may build: plain data, and descriptions of storages and tensors.
//!
//! The values of one pickle are in an arena and refer to each other by index, so neither deep nesting nor a list that
//! contains itself can exhaust the stack.

use super::super::state_dict::ElementType;

/// Index of a value in the arena.
pub(in super::super) type NodeId = usize;

/// One value.
#[derive(Debug, Clone)]
pub(in super::super) enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 16 bytes.
    Int(i128),
    /// A float; its value is not kept.
    Float,
    /// A string.
    Str(String),
    /// Bytes; their values are not kept.
    Bytes,
    /// A tuple, or a `torch.Size`.
    Tuple(Vec<NodeId>),
    /// A list.
    List(Vec<NodeId>),
    /// A `dict` or an `OrderedDict`, in order.
    Dict(Vec<(NodeId, NodeId)>),
    /// A global name, not called.
    Global(Global),
    /// A persistent id: memory that tensors view.
    Storage(Storage),
    /// A tensor: a view of a storage.
    Tensor(TensorNode),
}

impl Node {
    /// Kind of value, for messages.
    pub(in super::super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an integer",
            Self::Float => "a float",
            Self::Str(_) => "a string",
            Self::Bytes => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a type or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// Global names that a pickle may look up; the list is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor`, of PyTorch before 0.4, and `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// `torch.FloatStorage` and its like.
    Storage(ElementType),
}

impl Global {
    /// The global of this module and name.
    ///
    /// # Errors
    /// A sentence that names the global, if no state dict needs it.
    pub(super) fn find(module: &str, name: &str) -> Result<Self, String> {
        let storage = storage_element(name).filter(|_| matches!(module, "torch" | "torch.cuda"));
        match (module, name, storage) {
            ("collections", "OrderedDict", _) => Ok(Self::OrderedDict),
            ("torch", "Size", _) => Ok(Self::Size),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2", _) => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter", _) => Ok(Self::RebuildParameter),
            (_, _, Some(element)) => Ok(Self::Storage(element)),
            (_, _, None) => {
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

/// Element type of a storage class of PyTorch.
fn storage_element(class: &str) -> Option<ElementType> {
    let other = |name, bytes| ElementType::Other { name, bytes };
    Some(match class {
        "HalfStorage" => ElementType::F16,
        "BFloat16Storage" => ElementType::BF16,
        "FloatStorage" => ElementType::F32,
        "DoubleStorage" => ElementType::F64,
        "LongStorage" => ElementType::I64,
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

/// Memory that tensors view, by the key under which the file holds it.
#[derive(Debug, Clone)]
pub(in super::super) struct Storage {
    /// Type of its elements.
    pub(in super::super) element: ElementType,
    /// Key of its bytes in the file.
    pub(in super::super) key: String,
    /// Number of elements of the whole storage.
    pub(in super::super) elements: u64,
    /// Elements before this part of the storage; not 0 only in the views of legacy files.
    pub(in super::super) first: u64,
    /// Elements of this part; `elements` without a view.
    pub(in super::super) length: u64,
}

/// A tensor as a strided view: element (i, j, …) is at `offset + i·strides[0] + j·strides[1] + …`, in elements.
#[derive(Debug, Clone)]
pub(in super::super) struct TensorNode {
    /// Node of its storage.
    pub(in super::super) storage: NodeId,
    /// First element, from the start of the storage's part.
    pub(in super::super) offset: u64,
    /// Extents.
    pub(in super::super) shape: Vec<u64>,
    /// Elements from one index to the next along each dimension.
    pub(in super::super) strides: Vec<u64>,
}
