//! Values that a pickle may build: plain data, descriptions of storages and tensors, and everything else as objects.
//!
//! The values of one pickle are in an arena and refer to each other by index. So neither deep nesting nor a list that
//! contains itself can exhaust the stack. Text is borrowed from the file.

use std::borrow::Cow;

use super::super::state_dict::ElementType;

/// Index of a value in the arena.
pub(in super::super) type NodeId = usize;

/// One value.
#[derive(Debug, Clone)]
pub(in super::super) enum Node<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 16 bytes.
    Int(i128),
    /// A longer integer; its value is not kept.
    LongInt,
    /// A float; its value is not kept.
    Float,
    /// A string.
    Str(Cow<'a, str>),
    /// Bytes, or a string that is not UTF-8; their values are not kept.
    Bytes,
    /// A tuple, or a `torch.Size`.
    Tuple(Vec<NodeId>),
    /// A list.
    List(Vec<NodeId>),
    /// A `set` or a `frozenset`.
    Set(Vec<NodeId>),
    /// A `dict` or an `OrderedDict`, in order.
    Dict(Vec<(NodeId, NodeId)>),
    /// A global name with a known meaning, not called.
    Global(Global),
    /// A global name without a known meaning, never called.
    Unknown(Box<GlobalName<'a>>),
    /// A persistent id: memory that tensors view.
    Storage(Box<Storage<'a>>),
    /// A tensor: a view of a storage.
    Tensor(Box<TensorNode>),
    /// The result of an unknown function or class, which was not called.
    Object(Box<Object>),
    /// A storage or tensor that cannot be read, and why.
    Unusable(Box<str>),
}

impl Node<'_> {
    /// Kind of value, for messages.
    pub(in super::super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::LongInt => "an integer",
            Self::Float => "a float",
            Self::Str(_) => "a string",
            Self::Bytes => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Dict(_) => "a dict",
            Self::Global(_) | Self::Unknown(_) => "a type or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Object(_) => "an object",
            Self::Unusable(_) => "a tensor that cannot be read",
        }
    }
}

/// Module and name of a class or function.
#[derive(Debug, Clone)]
pub(in super::super) struct GlobalName<'a> {
    /// Its module.
    pub(in super::super) module: Cow<'a, str>,
    /// Its name in the module.
    pub(in super::super) name: Cow<'a, str>,
    /// Byte offset of the opcode in the pickle.
    pub(in super::super) at: usize,
}

/// The result of a call that was not made, with all that the pickle gives it.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Object {
    /// Node of the class or function.
    pub(in super::super) function: NodeId,
    /// Node of its arguments.
    pub(in super::super) arguments: NodeId,
    /// Nodes of its states: attributes by name, or what its class defines.
    pub(in super::super) states: Vec<NodeId>,
    /// Items of a subclass of `dict`.
    pub(in super::super) items: Vec<(NodeId, NodeId)>,
    /// Elements of a subclass of `list` or `set`.
    pub(in super::super) elements: Vec<NodeId>,
}

/// Global names whose meaning is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Global {
    /// `collections.OrderedDict`, or `dict`.
    OrderedDict,
    /// `set` or `frozenset`.
    Set,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor`, of PyTorch before 0.4, and `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`, of a storage without a type.
    RebuildTypedTensor,
    /// `torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with attributes, or of a subclass.
    RebuildSubclass,
    /// `torch.FloatStorage` and its like.
    Storage(ElementType),
    /// `torch.float32` and its like.
    Dtype(ElementType),
}

impl Global {
    /// The global of this module and name, if its meaning is known.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") | ("builtins" | "__builtin__", "dict") => Self::OrderedDict,
            ("builtins" | "__builtin__", "set" | "frozenset") => Self::Set,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTypedTensor,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::RebuildParameter,
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildSubclass,
            ("torch" | "torch.cuda" | "torch.storage", _) => match storage_element(name) {
                Some(element) => Self::Storage(element),
                None => Self::Dtype(dtype_element(name).filter(|_| module == "torch")?),
            },
            _ => return None,
        })
    }
}

const fn other(name: &'static str, bytes: usize) -> ElementType {
    ElementType::Other { name, bytes }
}

/// Element type of a storage class of PyTorch.
fn storage_element(class: &str) -> Option<ElementType> {
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
        "QInt8Storage" => other("qint8", 1),
        "QUInt8Storage" => other("quint8", 1),
        "QUInt4x2Storage" => other("quint4x2", 1),
        "QUInt2x4Storage" => other("quint2x4", 1),
        "QInt32Storage" => other("qint32", 4),
        "UntypedStorage" => other("bytes", 1),
        _ => return None,
    })
}

/// Element type of a `torch.dtype`.
fn dtype_element(dtype: &str) -> Option<ElementType> {
    Some(match dtype {
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "float32" | "float" => ElementType::F32,
        "float64" | "double" => ElementType::F64,
        "int64" | "long" => ElementType::I64,
        "uint64" => other("uint64", 8),
        "int32" | "int" => other("int32", 4),
        "uint32" => other("uint32", 4),
        "int16" | "short" => other("int16", 2),
        "uint16" => other("uint16", 2),
        "int8" => other("int8", 1),
        "uint8" => other("uint8", 1),
        "bool" => other("bool", 1),
        "float8_e4m3fn" => other("float8_e4m3fn", 1),
        "float8_e4m3fnuz" => other("float8_e4m3fnuz", 1),
        "float8_e5m2" => other("float8_e5m2", 1),
        "float8_e5m2fnuz" => other("float8_e5m2fnuz", 1),
        "float8_e8m0fnu" => other("float8_e8m0fnu", 1),
        _ => return None,
    })
}

/// Memory that tensors view, by the key under which the file holds it.
#[derive(Debug, Clone)]
pub(in super::super) struct Storage<'a> {
    /// Type of its elements.
    pub(in super::super) element: ElementType,
    /// Key of its bytes in the file.
    pub(in super::super) key: Cow<'a, str>,
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
    /// Type of its elements: the storage's, unless that has none.
    pub(in super::super) element: ElementType,
    /// First element, from the start of the storage's part.
    pub(in super::super) offset: u64,
    /// Extents.
    pub(in super::super) shape: Vec<u64>,
    /// Elements from one index to the next along each dimension.
    pub(in super::super) strides: Vec<u64>,
}
