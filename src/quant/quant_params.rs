//! Quantization parameters of activations: `x = (q − zero point) · scale`.
//!
//! In: the range an observer chose. Out: scale and zero point, with which zero is always a level, and the scalar
//! conversions that the kernels are compared with. Rounding is half to even everywhere.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::tensor::{LOW_LEVELS, zero_point_16};

/// Smallest scale, 2⁻⁴⁰: the product of two smaller scales could leave the normal f32 numbers.
pub const MIN_SCALE: f32 = 1.0 / (1u64 << 40) as f32;

/// Largest scale, 2⁴⁰: the product of two larger scales could leave the normal f32 numbers.
pub const MAX_SCALE: f32 = (1u64 << 40) as f32;

/// Interval of activation values that contains zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lower end, at most zero.
    pub min: f32,
    /// Upper end, at least zero.
    pub max: f32,
}

impl Range {
    /// The smallest range that holds `min`, `max` and zero: padding and ReLU write zeros, so zero must be a level.
    /// A bound that is not a number counts as zero.
    pub fn new(min: f32, max: f32) -> Self {
        Self { min: min.min(0.0) + 0.0, max: max.max(0.0) + 0.0 }
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self::new(self.min.min(other.min), self.max.max(other.max))
    }

    /// The larger of the two magnitudes.
    pub fn magnitude(&self) -> f32 {
        self.max.max(-self.min)
    }
}

/// Scheme by which a range becomes scale and zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// The 256 levels cover exactly the range (PyTorch's `per_tensor_affine`).
    #[default]
    Affine,
    /// The levels are symmetric about zero, with zero point 128 (PyTorch's `per_tensor_symmetric`). A range without
    /// negative values has zero point 0, since half of the levels would be unused otherwise.
    Symmetric,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: &'static [Self] = &[Self::Affine, Self::Symmetric];

    /// Name in options and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Affine => "affine",
            Self::Symmetric => "symmetric",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.iter().copied().find(|scheme| scheme.name() == name).ok_or_else(|| {
            Error::new(Kind::Usage, format!("there is no quantization scheme `{name}`: choose affine or symmetric"))
        })
    }
}

/// Quantization parameters of a u8 activation tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantParams {
    /// Distance of two levels, finite and above zero.
    pub scale: f32,
    /// The byte that means 0.0.
    pub zero_point: u8,
    /// True for *wide* values, of two bytes: 256 levels between two of the high byte, whose parameters these are.
    pub two_bytes: bool,
}

impl QuantParams {
    /// Quantization parameters from scale and zero point.
    ///
    /// # Errors
    /// [`Kind::Data`] where the scale is not a positive number between [`MIN_SCALE`] and [`MAX_SCALE`].
    pub fn new(scale: f32, zero_point: u8) -> Result<Self> {
        if (MIN_SCALE..=MAX_SCALE).contains(&scale) {
            return Ok(Self { scale, zero_point, two_bytes: false });
        }
        let text = format!("activation scale {scale:e} is not between {MIN_SCALE:e} and {MAX_SCALE:e}");
        Err(Error::new(Kind::Data, text))
    }

    /// Quantization parameters that cover `range` under `scheme`. The scale is computed in f64 and rounded once. The
    /// zero point is the level nearest to where zero falls. So each end of the range is at most half a step outside the
    /// quantization range.
    pub fn covering(range: Range, scheme: Scheme) -> Self {
        let (min, max) = (f64::from(range.min), f64::from(range.max));
        let (low, high) = (f64::from(MIN_SCALE), f64::from(MAX_SCALE));
        if scheme == Scheme::Symmetric && min < 0.0 {
            let scale = (f64::from(range.magnitude()) / 127.0).clamp(low, high);
            return Self { scale: scale as f32, zero_point: 128, two_bytes: false };
        }
        let scale = ((max - min) / 255.0).clamp(low, high) as f32;
        let zero_point = (-min / f64::from(scale)).round_ties_even().clamp(0.0, 255.0);
        Self { scale, zero_point: zero_point as u8, two_bytes: false }
    }

    /// The same parameters with a scale of at least `least`: the range grows at both ends.
    #[must_use]
    pub fn at_least(self, least: f32) -> Self {
        Self { scale: self.scale.max(least), ..self }
    }

    /// The same parameters for values of one or two bytes.
    #[must_use]
    pub fn with_two_bytes(self, two_bytes: bool) -> Self {
        Self { two_bytes, ..self }
    }

    /// Distance of two neighbouring levels, the level of zero, and the last level: of one byte, or of both together.
    pub fn levels(&self) -> (f32, i32, i32) {
        match self.two_bytes {
            false => (self.scale, i32::from(self.zero_point), 255),
            true => {
                let zero_point = i32::from(zero_point_16(self.zero_point));
                (self.scale / f32::from(LOW_LEVELS), zero_point, i32::from(u16::MAX))
            }
        }
    }

    /// Smallest and largest value that a byte can represent.
    pub fn range(&self) -> Range {
        Range { min: self.value(0), max: self.value(255) }
    }

    /// Factor from values to steps: `1 / scale`, rounded once.
    pub fn inverse(&self) -> f32 {
        1.0 / self.scale
    }

    /// The nearest level of `x`; values outside the range saturate, a value that is no number becomes zero.
    pub fn quantize(&self, x: f32) -> u8 {
        requantize(x * self.inverse(), self.zero_point)
    }

    /// The nearest value of two bytes to `x`, high and low: 256 levels for each of [`QuantParams::quantize`], whose byte
    /// is the high one. Values outside the range saturate, a value that is no number becomes zero.
    pub fn quantize_16(&self, x: f32) -> (u8, u8) {
        let (_, zero, last) = self.with_two_bytes(true).levels();
        let steps = (x * self.inverse() * f32::from(LOW_LEVELS)).round_ties_even().clamp(-131_072.0, 131_072.0) as i32;
        let [high, low] = ((steps + zero).clamp(0, last) as u16).to_be_bytes();
        (high, low)
    }

    /// Value of the byte `q`.
    pub fn value(&self, q: u8) -> f32 {
        (i32::from(q) - i32::from(self.zero_point)) as f32 * self.scale
    }
}

/// Requantization, the last operation of every epilogue: `t`, in units of the output scale, is rounded half to even,
/// then the zero point is added and the result saturates.
pub fn requantize(t: f32, zero_point: u8) -> u8 {
    // The clamp keeps the conversion to i32 in range. With any zero point, ± 512 saturates.
    let rounded = t.round_ties_even().clamp(-512.0, 512.0) as i32;
    (rounded + i32::from(zero_point)).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn after_relu_the_zero_point_is_zero() {
        for scheme in [Scheme::Affine, Scheme::Symmetric] {
            let qparams = QuantParams::covering(Range::new(0.0, 2.55), scheme);
            assert_eq!(qparams.zero_point, 0);
            assert!((qparams.scale - 0.01).abs() < 1e-9);
            assert_eq!((qparams.quantize(-1.0), qparams.quantize(0.014_9), qparams.quantize(9.0)), (0, 1, 255));
        }
    }

    #[test]
    fn halves_round_to_even() {
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|t| requantize(t, 10)), [10, 12, 12, 10, 8]);
        assert_eq!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|t| requantize(t, 7)), [7, 255, 0]);
    }

    #[test]
    fn a_dead_edge_has_usable_parameters() {
        let qparams = QuantParams::covering(Range::new(0.0, 0.0), Scheme::Affine);
        assert_eq!((qparams.zero_point, qparams.quantize(0.0)), (0, 0));
        assert!(QuantParams::new(qparams.scale, 0).is_ok());
        assert!(QuantParams::new(0.0, 0).is_err() && QuantParams::new(f32::NAN, 0).is_err());
    }

    proptest! {
        #[test]
        fn zero_is_exact_and_errors_stay_within_half_a_step(min in -100.0f32..0.0, max in 0.0f32..100.0, at in 0.0f32..1.0) {
            for &scheme in Scheme::ALL {
                let qparams = QuantParams::covering(Range::new(min, max), scheme);
                prop_assert_eq!(qparams.value(qparams.quantize(0.0)), 0.0);
                let x = min + (max - min) * at;
                // An end of the range may lie half a step outside, and is then off by at most that half.
                prop_assert!((qparams.value(qparams.quantize(x)) - x).abs() <= qparams.scale * 0.501);
            }
        }

        #[test]
        fn every_level_returns_to_itself(scale in 1e-6f32..1e3, zero_point: u8, q: u8) {
            let qparams = QuantParams::new(scale, zero_point).unwrap();
            prop_assert_eq!(qparams.quantize(qparams.value(q)), q);
        }
    }
}
