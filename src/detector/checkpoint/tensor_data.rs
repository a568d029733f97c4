//! Tensor values of a checkpoint: f32, or f16 where the source was f16.
//!
//! In: values. Out: their little-endian bytes, and back. Every bit pattern survives the round trip.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Kind, Result};
use crate::tensor::mapped;

/// Type of a stored tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorDtype {
    /// IEEE half precision, widened exactly on reading.
    F16,
    /// IEEE single precision.
    F32,
}

impl TensorDtype {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Values of a tensor in the type they are stored in, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// Half precision.
    F16(Vec<f16>),
    /// Single precision.
    F32(Vec<f32>),
}

impl TensorData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// True without any value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the values.
    pub fn dtype(&self) -> TensorDtype {
        match self {
            Self::F16(_) => TensorDtype::F16,
            Self::F32(_) => TensorDtype::F32,
        }
    }

    /// The values as f32; borrowed if they are f32 already.
    pub fn widened(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F16(values) => Cow::Owned(widen(values)),
            Self::F32(values) => Cow::Borrowed(values),
        }
    }

    /// CRC-32 of the values' little-endian bytes.
    pub(super) fn crc32(&self) -> std::io::Result<u32> {
        let mut out = std::io::BufWriter::with_capacity(1 << 16, Checksum::default());
        self.write(&mut out)?;
        let Checksum(hasher) = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(hasher.finalize())
    }

    /// Appends the values' little-endian bytes to `out`.
    pub(super) fn write(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        match self {
            Self::F16(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
            Self::F32(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
        }
    }
}

/// A writer that computes a checksum.
#[derive(Default)]
struct Checksum(crc32fast::Hasher);

impl std::io::Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Stored bytes as f32: borrowed if they are f32 and aligned, widened or copied otherwise.
pub(super) fn decode(bytes: &[u8], dtype: TensorDtype) -> Cow<'_, [f32]> {
    match dtype {
        TensorDtype::F32 => match mapped::as_f32(bytes) {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        },
        TensorDtype::F16 => Cow::Owned(match mapped::as_f16(bytes) {
            Some(values) => widen(values),
            None => bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        }),
    }
}

/// Exact conversion, by the CPU's own instruction where it has one.
fn widen(values: &[f16]) -> Vec<f32> {
    let mut wide = vec![0.0; values.len()];
    values.convert_to_f32_slice(&mut wide);
    wide
}

/// Checks that every value of tensor `name` is finite, and not negative if it is a variance.
///
/// # Errors
/// [`Kind::Data`], naming the tensor, the index of the first bad value, and the value.
pub(super) fn check(name: &str, values: &[f32]) -> Result<()> {
    let is_variance = name.ends_with(".running_var");
    let is_bad = |value: f32| !value.is_finite() || (is_variance && value < 0.0);
    let Some(index) = values.iter().position(|&value| is_bad(value)) else { return Ok(()) };
    let expected = if is_variance { "a variance of zero or more" } else { "a finite number" };
    let text = format!("tensor {name} holds {} at element {index}; expected {expected}", values[index]);
    Err(Error::new(Kind::Data, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_bytes_aligned_or_not() {
        for values in
            [TensorData::F32(vec![1.5, -0.0, f32::MIN_POSITIVE]), TensorData::F16(vec![f16::MAX, f16::from_f32(-2.5)])]
        {
            let mut bytes = vec![0];
            values.write(&mut bytes).unwrap();
            assert_eq!(decode(&bytes[1..], values.dtype()), values.widened());
            assert_eq!(crc32fast::hash(&bytes[1..]), values.crc32().unwrap());
            assert_eq!(decode(&bytes.split_off(1), values.dtype()), values.widened());
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let error = check("a.weight", &[0.0, f32::NAN]).unwrap_err();
        assert_eq!(error.message(), "tensor a.weight holds NaN at element 1; expected a finite number");
        assert!(check("a.running_var", &[0.0, -1.0]).is_err());
        assert!(check("a.running_mean", &[0.0, -1.0]).is_ok());
    }
}
