//! How `checkpoint/1` keeps a tensor: in f32, or in f16 where its source did.
//!
//! In: values. Out: their little-endian bytes, and back. Every pattern survives the round trip bit for bit.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Error, Kind, Result};
use crate::tensor::mapped;

/// The precision that a tensor is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE half precision, widened exactly on reading.
    F16,
    /// IEEE single precision.
    F32,
}

impl Precision {
    /// Bytes of a value.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Values in the precision they are kept in, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Half precision.
    F16(Vec<f16>),
    /// Single precision.
    F32(Vec<f32>),
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::F16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The precision.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F16(_) => Precision::F16,
            Self::F32(_) => Precision::F32,
        }
    }

    /// As f32, without copying where they are.
    pub fn widened(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F16(values) => Cow::Owned(widen(values)),
            Self::F32(values) => Cow::Borrowed(values),
        }
    }

    /// Appends the values' little-endian bytes to `out`.
    pub(super) fn write(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        match self {
            Self::F16(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
            Self::F32(values) => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())),
        }
    }
}

/// Stored bytes as f32: in place if they are f32 and aligned, widened or copied otherwise.
pub(super) fn decode(bytes: &[u8], precision: Precision) -> Cow<'_, [f32]> {
    match precision {
        Precision::F32 => match mapped::as_f32(bytes) {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        },
        Precision::F16 => Cow::Owned(match mapped::as_f16(bytes) {
            Some(values) => widen(values),
            None => bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        }),
    }
}

/// Exact, through the CPU's own conversion where it has one.
fn widen(values: &[f16]) -> Vec<f32> {
    let mut wide = vec![0.0; values.len()];
    values.convert_to_f32_slice(&mut wide);
    wide
}

/// Whether every value of tensor `name` is finite, and not negative where it is a variance.
///
/// # Errors
/// [`Kind::Data`], naming the tensor, the place of the first bad value, and the value.
pub(super) fn check(name: &str, values: &[f32]) -> Result<()> {
    let variance = name.ends_with(".running_var");
    let bad = |value: f32| !value.is_finite() || (variance && value < 0.0);
    let Some(place) = values.iter().position(|&value| bad(value)) else { return Ok(()) };
    let wanted = if variance { "a variance of zero or more" } else { "a finite number" };
    let text = format!("tensor {name} holds {} at element {place}; expected {wanted}", values[place]);
    Err(Error::new(Kind::Data, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_bytes_aligned_or_not() {
        for values in
            [Values::F32(vec![1.5, -0.0, f32::MIN_POSITIVE]), Values::F16(vec![f16::MAX, f16::from_f32(-2.5)])]
        {
            let mut bytes = vec![0];
            values.write(&mut bytes).unwrap();
            assert_eq!(decode(&bytes[1..], values.precision()), values.widened());
            assert_eq!(decode(&bytes.split_off(1), values.precision()), values.widened());
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
