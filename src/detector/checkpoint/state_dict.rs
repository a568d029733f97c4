//! State dict of a PyTorch file: tensors by name, as views of the file's bytes.
//!
//! Promises: nothing of a tensor is copied before [`RawTensor::read`]. All tensors together cannot request much more
//! memory than the file has bytes, however they share and repeat it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};

use super::tensor_data::{TensorData, TensorDtype};
use crate::error::{Error, Kind, Result};

/// File format of a state dict.
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

/// Element type of a PyTorch storage or of a tensor in a safetensors file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ElementType {
    F16,
    BF16,
    F32,
    F64,
    /// Of counters such as `num_batches_tracked`.
    I64,
    /// Any type that no weight of a detector has.
    Other {
        name: &'static str,
        bytes: usize,
    },
}

impl ElementType {
    /// Bytes of one element.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::I64 => 8,
            Self::Other { bytes, .. } => bytes,
        }
    }

    /// PyTorch's name of the type.
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
}

/// A tensor inside the file, as a strided view.
#[derive(Debug, Clone)]
pub(super) struct RawTensor {
    pub(super) element: ElementType,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next along each dimension.
    pub(super) strides: Vec<usize>,
    /// The file's bytes from the tensor's first element to the end of its storage.
    pub(super) bytes: Range<usize>,
    /// True if elements are stored most significant byte first.
    pub(super) is_big_endian: bool,
}

/// A state dict and the metadata of its file.
#[derive(Debug)]
pub(super) struct StateDict {
    pub(super) form: FileForm,
    pub(super) tensors: BTreeMap<String, RawTensor>,
    /// The text metadata of a safetensors file.
    pub(super) metadata: BTreeMap<String, String>,
    /// Its place in the file and the parts that were left out, for the log.
    pub(super) notes: Vec<String>,
    /// Findings that may change detections, for the user.
    pub(super) warnings: Vec<String>,
}

/// Refuses tensors that together hold far more elements than the file: views may share and repeat a storage.
///
/// # Errors
/// [`Kind::Data`] above four times the file's length plus 1 MiB.
pub(super) fn check_total(tensors: &BTreeMap<String, RawTensor>, file_length: usize) -> Result<()> {
    let bytes = |tensor: &RawTensor| {
        let count = tensor.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        count.and_then(|count| count.checked_mul(tensor.element.bytes()))
    };
    let total = tensors.values().try_fold(0usize, |sum, tensor| bytes(tensor).and_then(|n| sum.checked_add(n)));
    let limit = file_length.saturating_mul(4).saturating_add(1 << 20);
    if total.is_some_and(|total| total <= limit) {
        return Ok(());
    }
    let text = format!("its tensors view more than {limit} bytes together, of a file of {file_length}");
    Err(Error::new(Kind::Data, text))
}

impl RawTensor {
    /// A tensor whose elements are stored one after the other, row-major and little-endian.
    pub(super) fn contiguous(element: ElementType, shape: Vec<usize>, bytes: Range<usize>) -> Self {
        let strides = row_major_strides(&shape);
        Self { element, shape, strides, bytes, is_big_endian: false }
    }

    /// The values in row-major order: f16 stays f16, bf16 becomes f32 exactly, f64 is rounded to f32.
    ///
    /// # Errors
    /// [`Kind::Data`] if a weight cannot have this element type.
    pub(super) fn read(&self, file: &[u8]) -> Result<TensorData> {
        let bytes = self.gather(file)?;
        let values = match self.element {
            ElementType::F16 => {
                TensorData::F16(bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b)).collect())
            }
            ElementType::BF16 => {
                TensorData::F32(bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect())
            }
            ElementType::F32 => {
                TensorData::F32(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
            }
            ElementType::F64 => {
                TensorData::F32(bytes.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect())
            }
            ElementType::I64 | ElementType::Other { .. } => return Err(self.not_a_weight()),
        };
        Ok(values)
    }

    /// Type that [`RawTensor::read`] gives.
    ///
    /// # Errors
    /// [`Kind::Data`] if a weight cannot have this element type.
    pub(super) fn dtype(&self) -> Result<TensorDtype> {
        match self.element {
            ElementType::F16 => Ok(TensorDtype::F16),
            ElementType::BF16 | ElementType::F32 | ElementType::F64 => Ok(TensorDtype::F32),
            ElementType::I64 | ElementType::Other { .. } => Err(self.not_a_weight()),
        }
    }

    fn not_a_weight(&self) -> Error {
        let name = self.element.name();
        Error::new(Kind::Data, format!("elements of type {name}; expected float32, float16, bfloat16 or float64"))
    }

    /// True if `other`, of the same shape and element type, has the same elements, bit for bit.
    ///
    /// # Errors
    /// [`Kind::Internal`] if a view is outside its file.
    pub(super) fn has_same_values(&self, other: &Self, file: &[u8]) -> Result<bool> {
        let is_same_view = (self.bytes.start, &self.strides, self.is_big_endian)
            == (other.bytes.start, &other.strides, other.is_big_endian);
        Ok(is_same_view || self.gather(file)? == other.gather(file)?)
    }

    /// Bytes of the elements in row-major order, little-endian; borrowed if the file holds them so.
    fn gather<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let size = self.element.bytes();
        let count = self.shape.iter().product::<usize>();
        let outside = || Error::new(Kind::Internal, "a tensor's view is outside its file");
        let storage = file.get(self.bytes.clone()).ok_or_else(outside)?;
        let mut bytes = if self.strides == row_major_strides(&self.shape) || count <= 1 {
            Cow::Borrowed(storage.get(..count * size).ok_or_else(outside)?)
        } else {
            let mut gathered = Vec::with_capacity(count * size);
            let mut index = vec![0usize; self.shape.len()];
            for _ in 0..count {
                let start = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum::<usize>() * size;
                gathered.extend_from_slice(storage.get(start..start + size).ok_or_else(outside)?);
                // The next index in row-major order: the last dimension runs fastest.
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
        if self.is_big_endian {
            bytes.to_mut().chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(bytes)
    }
}

/// Strides of a contiguous row-major tensor, in elements.
fn row_major_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}
