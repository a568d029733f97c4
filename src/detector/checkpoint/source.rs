//! A state dict of whatever file form, as views of one mapped file.
//!
//! In: bytes of a `.pth` (zip or legacy pickle) or a `.safetensors`. Out: [`Source`], names with [`RawTensor`]s that
//! say where in the file a tensor's elements stand. Promises: nothing of a tensor is copied before
//! [`RawTensor::read`]; every element of every tensor lies inside the file; all tensors together cannot ask for much
//! more memory than the file has bytes, however they share and repeat it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};

use super::pickle::{Id, Node, Pickle};
use super::reduce::{Element, Storage, TensorNode};
use super::stored::{Precision, Values};
use super::{archive, foreign, legacy};
use crate::error::{Error, Kind, Result};

/// What a file form says about itself in messages and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileForm {
    /// `torch.save` since PyTorch 1.6.
    ZipPickle,
    /// `torch.save` before PyTorch 1.6.
    LegacyPickle,
    /// A safetensors file.
    Safetensors,
}

/// A tensor inside the source file.
#[derive(Debug, Clone)]
pub(super) struct RawTensor {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next along each dimension.
    pub(super) strides: Vec<usize>,
    /// The file's bytes from the tensor's first element to its storage's end.
    pub(super) bytes: Range<usize>,
    /// Whether elements are stored most significant byte first.
    pub(super) big_endian: bool,
}

/// A state dict and what its file says beside it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) form: FileForm,
    pub(super) tensors: BTreeMap<String, RawTensor>,
    /// The text metadata of a safetensors file.
    pub(super) metadata: BTreeMap<String, String>,
    /// What was unwrapped or stripped on the way, for the log.
    pub(super) notes: Vec<String>,
}

impl Source {
    /// Finds the tensors in a file's bytes.
    ///
    /// # Errors
    /// [`Kind::Data`] if the bytes are no file form known, are damaged, or hold no state dict.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let source = if file.starts_with(b"PK") {
            archive::parse(file)?
        } else if legacy::is_legacy(file) {
            legacy::parse(file)?
        } else if foreign::is_safetensors(file) {
            foreign::safetensors(file)?
        } else {
            let start: Vec<String> = file.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            return Err(Error::new(
                Kind::Data,
                format!(
                    "neither a PyTorch state dict (.pth) nor a .safetensors file: it is {} bytes long and starts with \
                     [{}]",
                    file.len(),
                    start.join(" ")
                ),
            ));
        };
        source.check_total(file.len())?;
        Ok(source)
    }

    /// Refuses tensors that together hold far more elements than the file: views may share and repeat a storage.
    fn check_total(&self, file_length: usize) -> Result<()> {
        let bytes = |tensor: &RawTensor| {
            let count = tensor.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
            count.and_then(|count| count.checked_mul(tensor.element.bytes()))
        };
        let total =
            self.tensors.values().try_fold(0usize, |sum, tensor| bytes(tensor).and_then(|n| sum.checked_add(n)));
        let limit = file_length.saturating_mul(4).saturating_add(1 << 20);
        if total.is_some_and(|total| total <= limit) {
            return Ok(());
        }
        let text = format!("its tensors view more than {limit} bytes together, of a file of {file_length}");
        Err(Error::new(Kind::Data, text))
    }
}

/// A storage's place in the file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bytes: Range<usize>,
    pub(super) big_endian: bool,
}

/// The state dict inside a pickle: unwraps `{"model": …}` and `{"state_dict": …}`, strips `module.`, and lists every
/// tensor with the node of its storage.
pub(super) struct StateDict<'a> {
    pub(super) tensors: Vec<(&'a str, &'a TensorNode, &'a Storage)>,
    pub(super) notes: Vec<String>,
}

/// Keys under which training scripts put the state dict.
const WRAPPERS: [&str; 4] = ["model", "state_dict", "model_state_dict", "ema_state_dict"];

impl<'a> StateDict<'a> {
    /// Finds it from the pickle's root.
    pub(super) fn find(pickle: &'a Pickle) -> Result<Self> {
        let mut notes = Vec::new();
        let mut root = pickle.root;
        // A wrapper in a wrapper is the most that is seen.
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

    /// Every tensor as a view of the file; `place` finds a storage.
    pub(super) fn place(self, form: FileForm, mut place: impl FnMut(&Storage) -> Result<Place>) -> Result<Source> {
        let mut notes = self.notes;
        let strip = !self.tensors.is_empty() && self.tensors.iter().all(|(name, ..)| name.starts_with("module."));
        if strip {
            notes.push("the prefix \"module.\" was stripped from every name".to_owned());
        }
        let mut tensors = BTreeMap::new();
        for (name, node, storage) in self.tensors {
            let name = name.strip_prefix("module.").filter(|_| strip).unwrap_or(name);
            let raw = place(storage).and_then(|place| view(node, storage, &place)).map_err(|e| e.at(name))?;
            if tensors.insert(name.to_owned(), raw).is_some() {
                return Err(Error::new(Kind::Data, format!("tensor {name} is there twice")));
            }
        }
        Ok(Source { form, tensors, metadata: BTreeMap::new(), notes })
    }
}

fn unwrap(pickle: &Pickle, root: Id) -> Option<(&str, Id)> {
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

/// The tensor's bytes in the file, once every element is known to lie in its storage.
fn view(node: &TensorNode, storage: &Storage, place: &Place) -> Result<RawTensor> {
    let Storage { element, first, length, .. } = *storage;
    let damaged = |text: String| Error::new(Kind::Data, text);
    let size = element.bytes() as u64;
    let available = place.bytes.len() as u64 / size;
    if first + length > available {
        return Err(damaged(format!("its storage has {available} elements; expected {}", first + length)));
    }
    let empty = node.shape.contains(&0);
    let reach = node.shape.iter().zip(&node.strides).try_fold(node.offset, |reach, (&extent, &stride)| {
        reach.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
    });
    let inside = reach.is_some_and(|last| if empty { node.offset <= length } else { last < length });
    if !inside {
        return Err(damaged(format!(
            "shape {:?} with strides {:?} from element {} reaches past the {length} elements of its storage",
            node.shape, node.strides, node.offset
        )));
    }
    let narrow = |n: u64| usize::try_from(n).map_err(|_| damaged(format!("{n} does not fit this machine")));
    let start = place.bytes.start + narrow((first + node.offset) * size)?;
    let end = place.bytes.start + narrow((first + length) * size)?;
    Ok(RawTensor {
        element,
        shape: node.shape.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        strides: node.strides.iter().map(|&n| narrow(n)).collect::<Result<_>>()?,
        bytes: start..end,
        big_endian: place.big_endian,
    })
}

impl RawTensor {
    /// A tensor whose elements follow one another.
    pub(super) fn contiguous(element: Element, shape: Vec<usize>, bytes: Range<usize>) -> Self {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Self { element, shape, strides, bytes, big_endian: false }
    }

    /// The values in row-major order, as the precision they are kept in: f16 stays f16, everything else becomes f32
    /// (bf16 exactly, f64 rounded).
    ///
    /// # Errors
    /// [`Kind::Data`] if the element type is none a weight may have.
    pub(super) fn read(&self, file: &[u8]) -> Result<Values> {
        let bytes = self.gather(file)?;
        let values = match self.element {
            Element::F16 => Values::F16(bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b)).collect()),
            Element::BF16 => {
                Values::F32(bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect())
            }
            Element::F32 => Values::F32(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
            Element::F64 => {
                Values::F32(bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect())
            }
            Element::I64 | Element::Other { .. } => return Err(self.no_weight()),
        };
        Ok(values)
    }

    /// What the tensor will be kept as; `None` if it is no weight.
    pub(super) fn precision(&self) -> Result<Precision> {
        match self.element {
            Element::F16 => Ok(Precision::F16),
            Element::BF16 | Element::F32 | Element::F64 => Ok(Precision::F32),
            Element::I64 | Element::Other { .. } => Err(self.no_weight()),
        }
    }

    fn no_weight(&self) -> Error {
        let name = self.element.name();
        Error::new(Kind::Data, format!("elements of type {name}; expected float32, float16, bfloat16 or float64"))
    }

    /// The elements' bytes in row-major order, little-endian.
    fn gather<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let size = self.element.bytes();
        let count = self.shape.iter().product::<usize>();
        let outside = || Error::new(Kind::Internal, "a tensor's view lies outside its file");
        let storage = file.get(self.bytes.clone()).ok_or_else(outside)?;
        let mut bytes =
            if Self::contiguous(self.element, self.shape.clone(), 0..0).strides == self.strides || count <= 1 {
                Cow::Borrowed(storage.get(..count * size).ok_or_else(outside)?)
            } else {
                let mut gathered = Vec::with_capacity(count * size);
                let mut index = vec![0usize; self.shape.len()];
                for _ in 0..count {
                    let at = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>() * size;
                    gathered.extend_from_slice(storage.get(at..at + size).ok_or_else(outside)?);
                    for axis in (0..index.len()).rev() {
                        index[axis] += 1;
                        if index[axis] < self.shape[axis] {
                            break;
                        }
                        index[axis] = 0;
                    }
                }
                Cow::Owned(gathered)
            };
        if self.big_endian {
            bytes.to_mut().chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }
}
