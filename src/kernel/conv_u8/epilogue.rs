//! Epilogue of a convolution: bias, requantization multipliers, residual, ReLU, output quantization.
//!
//! In: integer biases and multipliers, derived from scales by the one rule of `quant`, and zero points. Out: an
//! [`Epilogue`], ready for the kernels. For every value, each operation rounded to f32 on its own:
//!
//! ```text
//! t = f32(bias[n] + Σ (q_in − z_in) · w[n]) · m[n]   m = s_in · s_w / s_out;   s_out = 1 for f32 output
//! t = t + f32(q_skip − z_skip) · m_skip              with a residual; z_skip = 0 for one of floats
//! t = max(t, 0)                                      with ReLU
//! q = saturate_u8(round_half_even(t) + z_out)        or t itself for f32 output
//! ```

use super::PackedU8;
use crate::error::{Error, Kind, Result};

/// Parameters of an epilogue. Slices hold one value an output channel.
#[derive(Debug, Clone, Copy)]
pub struct EpilogueSpec<'a> {
    /// The input byte that means 0.0. It is also what taps outside the picture read, unless `outside` says otherwise.
    pub input_zero_point: u8,
    /// Biases in units of s_in · s_w.
    pub bias: &'a [i32],
    /// From sums to output steps: s_in · s_w / s_out, or s_in · s_w for f32 output.
    pub multiplier: &'a [f32],
    /// The pixel that taps outside the picture read, `in_channels` bytes of it: the first layer's mean colour.
    pub outside: Option<&'a [u8]>,
    /// Residual, added before ReLU.
    pub skip: SkipKind,
    /// True if ReLU is applied.
    pub relu: bool,
    /// Output type.
    pub output: OutputKind,
}

/// Output type of a convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OutputKind {
    /// Bytes.
    U8 {
        /// Zero point.
        zero_point: u8,
    },
    /// Real values.
    F32,
}

/// Residual of a convolution, added before ReLU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SkipKind {
    /// Nothing.
    None,
    /// Bytes.
    U8 {
        /// Zero point.
        zero_point: u8,
        /// s_skip / s_out.
        multiplier: f32,
    },
    /// Real values.
    F32 {
        /// 1 / s_out.
        multiplier: f32,
    },
}

/// Epilogue for one [`PackedU8`], which several epilogues may share.
#[derive(Debug, Clone)]
pub struct Epilogue {
    pub(super) channels: usize,
    /// Biases with the input's zero point worked in, padded to whole panels.
    pub(super) start: Vec<i32>,
    /// Padded to whole panels.
    pub(super) multiplier: Vec<f32>,
    /// True if the start values are those for activations with bit 7 flipped.
    pub(super) flips: bool,
    /// One run of input outside the picture.
    pub(super) outside: Vec<u8>,
    pub(super) skip: SkipKind,
    pub(super) relu: bool,
    pub(super) output: OutputKind,
}

impl Epilogue {
    /// An epilogue for `packed`. The kernels sum q_in · w; what the zero point adds to that, z_in · Σw, is taken off
    /// the biases here.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] where a list is not one value an output channel, where a multiplier is not finite, and where a
    /// bias is so large that a sum could leave 32 bits.
    pub fn new(packed: &PackedU8, spec: &EpilogueSpec<'_>) -> Result<Self> {
        let geometry = packed.geometry();
        let channels = geometry.out_channels;
        let bad = |what: String| Err(Error::new(Kind::Data, what));
        if spec.multiplier.len() != channels || spec.bias.len() != channels {
            let (multipliers, biases) = (spec.multiplier.len(), spec.bias.len());
            return bad(format!("{multipliers} multipliers and {biases} biases where {channels} of each are due"));
        }
        let skip = match spec.skip {
            SkipKind::None => 0.0,
            SkipKind::U8 { multiplier, .. } | SkipKind::F32 { multiplier } => multiplier,
        };
        if let Some(multiplier) = spec.multiplier.iter().chain([&skip]).find(|multiplier| !multiplier.is_finite()) {
            return bad(format!("a multiplier is {multiplier}: scales lie too far apart"));
        }
        // |start + any part of the sum| ≤ |bias| + Σ 255 · |w|, so no order of summing leaves 32 bits.
        let reach = 255 * 127 * packed.depth() as i64;
        if let Some(bias) = spec.bias.iter().find(|&&bias| i64::from(bias).abs() + reach > i64::from(i32::MAX)) {
            return bad(format!("a bias of {bias} steps leaves no room for {} products in 32 bits", packed.depth()));
        }
        let pixel = match spec.outside {
            None => &[spec.input_zero_point][..],
            Some(pixel) if pixel.len() == geometry.in_channels => pixel,
            Some(pixel) => {
                let (given, due) = (pixel.len(), geometry.in_channels);
                return bad(format!("a pixel of {given} bytes outside a picture of {due} channels"));
            }
        };
        let padded = packed.panels() * packed.kernel().nr;
        // |z − 128| ≤ 128 < 255, so what holds for the sums above holds with flipped activations too.
        let flipped = if packed.kernel().flips { 128 } else { 0 };
        let mut start = vec![0; padded];
        for ((start, &bias), &sum) in start.iter_mut().zip(spec.bias).zip(packed.weight_sums()) {
            *start = bias - (i32::from(spec.input_zero_point) - flipped) * sum;
        }
        let mut multiplier = spec.multiplier.to_vec();
        multiplier.resize(padded, 0.0);
        Ok(Self {
            channels,
            start,
            multiplier,
            flips: packed.kernel().flips,
            outside: pixel.iter().copied().cycle().take(packed.run()).collect(),
            skip: spec.skip,
            relu: spec.relu,
            output: spec.output,
        })
    }

    /// Output type.
    pub fn output(&self) -> OutputKind {
        self.output
    }

    /// Residual type.
    pub fn skip(&self) -> SkipKind {
        self.skip
    }

    /// The clamp before rounding: ReLU's 0 or the output range's lower end, and its upper end. Both are whole numbers,
    /// so clamping first and rounding then is the same as the other way round, and no value is too large to round.
    pub(super) fn clamp(&self) -> (f32, f32) {
        let (low, high) = match self.output {
            OutputKind::U8 { zero_point } => (-f32::from(zero_point), 255.0 - f32::from(zero_point)),
            OutputKind::F32 => (f32::NEG_INFINITY, f32::INFINITY),
        };
        (if self.relu { 0.0 } else { low }, high)
    }
}
