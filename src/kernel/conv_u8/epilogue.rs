//! Epilogue of a convolution: bias, requantization multipliers, residual, ReLU, output quantization.
//!
//! In: integer biases and multipliers, derived from scales by the one rule of `quant`, and zero points. Out: an
//! [`Epilogue`], ready for the kernels. For every value, each operation rounded to f32 on its own:
//!
//! ```text
//! t = f32(bias[n] + Σ (q_in − z_in) · w[n]) · m[n]   m = s_in · s_w / s_out;   s_out = 1 for f32 output
//! t = t + f32(q_skip − z_skip) · m_skip              with a residual; z_skip = 0 for one of floats
//! t = max(t, 0), or min(max(t, 0), 6 / s_out)        with ReLU, ReLU6
//! q = saturate_u8(round_half_even(t) + z_out)        or t itself for f32 output
//! ```
//!
//! With hardswish or hardsigmoid `m` and `m_skip` are those of s_out = 1, so that t is a real value, and in place of
//! ReLU
//!
//! ```text
//! h = min(max(t + 3, 0), 6)
//! t = t · h · (1 / (6 · s_out))                      hardswish, from the left
//! t = h · (1 / (6 · s_out))                          hardsigmoid
//! ```
//!
//! The function is applied to the sum itself, not to a byte of it: one rounding, and one range to calibrate.

use super::{Curve, PackedU8};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;

/// Parameters of an epilogue. Slices hold one value an output channel.
#[derive(Debug, Clone, Copy)]
pub struct EpilogueSpec<'a> {
    /// The input byte that means 0.0. It is also what taps outside the picture read, unless `outside` says otherwise.
    pub input_zero_point: u8,
    /// Biases in units of s_in · s_w.
    pub bias: &'a [i32],
    /// From sums to output steps: s_in · s_w / s_out, or s_in · s_w for f32 output and where [`is_curved`] says so.
    pub multiplier: &'a [f32],
    /// The pixel that taps outside the picture read, `in_channels` bytes of it: the first layer's mean colour.
    pub outside: Option<&'a [u8]>,
    /// Residual, added before the activation function.
    pub skip: SkipKind,
    /// The function of each value.
    pub activation: Activation,
    /// Output steps of a real unit: 1 / s_out, or 1 for f32 output. Nothing but ReLU6 and curved functions reads it.
    pub steps_per_unit: f32,
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

/// Residual of a convolution, added before the activation function.
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
    activation: Activation,
    steps_per_unit: f32,
    pub(super) output: OutputKind,
}

/// True for an activation function of real values: multipliers of its [`EpilogueSpec`] give real values, not output
/// steps.
pub const fn is_curved(activation: Activation) -> bool {
    matches!(activation, Activation::Hardswish | Activation::Hardsigmoid)
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
        let fits = |(&bias, &magnitude): (&i32, &u32)| {
            i64::from(bias).abs() + 255 * i64::from(magnitude) <= i64::from(i32::MAX)
        };
        if let Some((channel, bias)) =
            spec.bias.iter().enumerate().find(|&(channel, bias)| !fits((bias, &packed.weight_magnitudes()[channel])))
        {
            return bad(format!(
                "channel {channel}: a bias of {bias} steps leaves no room for its products in 32 bits"
            ));
        }
        if !spec.steps_per_unit.is_finite() {
            return bad("the output's scale is too small".into());
        }
        let pixel = match spec.outside {
            None => &[spec.input_zero_point][..],
            Some(pixel) if pixel.len() == geometry.in_channels => pixel,
            Some(pixel) => {
                let (given, due) = (pixel.len(), geometry.in_channels);
                return bad(format!("a pixel of {given} bytes outside a picture of {due} channels"));
            }
        };
        // |z − 128| ≤ 128 < 255, so what holds for the sums above holds with flipped activations too.
        let flipped = if packed.kernel().flips { 128 } else { 0 };
        let nr = packed.kernel().nr;
        let (mut start, mut multiplier) = (vec![0; packed.places().len() * nr], vec![0.0; packed.places().len() * nr]);
        let panels = start.chunks_exact_mut(nr).zip(multiplier.chunks_exact_mut(nr));
        for ((start, multiplier), place) in panels.zip(packed.places()) {
            for (column, channel) in (place.column..place.column + place.filled).enumerate() {
                start[column] =
                    spec.bias[channel] - (i32::from(spec.input_zero_point) - flipped) * packed.weight_sums()[channel];
                multiplier[column] = spec.multiplier[channel];
            }
        }
        Ok(Self {
            channels,
            start,
            multiplier,
            flips: packed.kernel().flips,
            outside: pixel.iter().copied().cycle().take(packed.readable()).collect(),
            skip: spec.skip,
            activation: spec.activation,
            steps_per_unit: spec.steps_per_unit,
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

    /// The ends of the output range, in output steps.
    pub(super) fn range(&self) -> (f32, f32) {
        match self.output {
            OutputKind::U8 { zero_point } => (-f32::from(zero_point), 255.0 - f32::from(zero_point)),
            OutputKind::F32 => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// The ends of the activation function's values, in output steps.
    fn limits(&self) -> (f32, f32) {
        match self.activation {
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0 * self.steps_per_unit),
            Activation::Identity | Activation::Hardswish | Activation::Hardsigmoid => {
                (f32::NEG_INFINITY, f32::INFINITY)
            }
        }
    }

    /// The clamp before rounding: 0 of ReLU or the output range's lower end, and its upper end or the 6 of ReLU6. The
    /// range's ends are whole numbers, so clamping first and rounding then is the same as the other way round, and no
    /// value is too large to round.
    pub(super) fn clamp(&self) -> (f32, f32) {
        let ((low, high), (least, most)) = (self.range(), self.limits());
        (low.max(least), high.min(most))
    }

    /// What is applied before the clamp.
    pub(super) fn curve(&self) -> Curve {
        let multiplier = self.steps_per_unit / 6.0;
        match self.activation {
            Activation::Hardswish => Curve::Hardswish { multiplier },
            Activation::Hardsigmoid => Curve::Hardsigmoid { multiplier },
            Activation::Identity | Activation::Relu | Activation::Relu6 => Curve::None,
        }
    }

    /// The activation function's value in output steps, before the output range cuts it, at a `t` that a
    /// [`Watch`](super::Watch) sees.
    pub(super) fn activated(&self, t: f32) -> f32 {
        let (least, most) = self.limits();
        let t = self.curve().apply(t);
        let raised = if t > least { t } else { least };
        if raised < most { raised } else { most }
    }

    /// Output steps to real units, for the values that a [`Watch`](super::Watch) sees: `scale`, that of the output, or
    /// 1 where they are real values already.
    pub fn watched_scale(&self, scale: f32) -> f32 {
        if is_curved(self.activation) { 1.0 } else { scale }
    }
}
