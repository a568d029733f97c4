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
//!
//! Values and weights may have a second, low byte (see [`super`]). The sum then has up to three terms, each exact in 32
//! bits. They are scaled and added one after the other, the smallest first and behind a residual of two bytes:
//!
//! ```text
//! t = f32(256 · h_skip + l_skip − z16_skip) · m_skip             a residual of two bytes
//! t = f32(Σ (h_in − z_in) · w_low[n]) · (m[n] / 128)  + t        weights of two digits
//! t = f32(Σ (l_in − 128) · w[n]) · (m[n] / 256) + t              an input of two bytes
//! t = f32(bias[n] + Σ (h_in − z_in) · w[n]) · m[n] + t
//! ```
//!
//! A residual of one byte or of f32 is added to the first term. The product of the two low parts is left out. It is at
//! most 2⁻⁹ of a step of both, below the error of rounding either to 16 bits.

use super::{Curve, KernelU8, PackedU8};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation;
use crate::tensor::{LOW_LEVELS, LOW_ZERO_POINT, zero_point_16};

/// Parameters of an epilogue. Slices hold one value an output channel.
#[derive(Debug, Clone, Copy)]
pub struct EpilogueSpec<'a> {
    /// The input byte that means 0.0. It is also what taps outside the picture read, unless `outside` says otherwise.
    pub input_zero_point: u8,
    /// True for an input of two bytes; `input_zero_point` is then the high byte's, the low one's is 128.
    pub input_has_low: bool,
    /// Biases in units of s_in · s_w.
    pub bias: &'a [i32],
    /// From sums to output steps: s_in · s_w / s_out, or s_in · s_w for f32 output and where [`is_curved`] says so.
    pub multiplier: &'a [f32],
    /// The pixel that taps outside the picture read, `in_channels` bytes of it: the first layer's mean colour. With an
    /// input of two bytes as many low bytes follow.
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
    /// Two bytes; an output step is that of the low byte.
    U16 {
        /// Zero point of the high byte.
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
    /// Two bytes.
    U16 {
        /// Zero point of the high byte.
        zero_point: u8,
        /// s_skip / (256 · s_out).
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
    /// The terms with a low part, in the order they are added, before the one above.
    pub(super) low_terms: Vec<LowTerm>,
    /// True if the start values are those for activations with bit 7 flipped.
    pub(super) flips: bool,
    /// One run of input outside the picture: of the high bytes, and of the low ones.
    pub(super) outside: [Vec<u8>; 2],
    pub(super) skip: SkipKind,
    activation: Activation,
    steps_per_unit: f32,
    pub(super) output: OutputKind,
}

/// A part of the sum that reads the low bytes of the input or the low digits of the weights.
#[derive(Debug, Clone)]
pub(super) struct LowTerm {
    /// True if it reads the low bytes of the input, false if the low digits of the weights.
    pub(super) reads_low_bytes: bool,
    /// Padded to whole panels.
    pub(super) start: Vec<i32>,
    /// Padded to whole panels.
    pub(super) multiplier: Vec<f32>,
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
    /// [`Kind::Data`] where a list is not one value an output channel, or a multiplier is not finite. The same where a
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
            SkipKind::U8 { multiplier, .. } | SkipKind::U16 { multiplier, .. } | SkipKind::F32 { multiplier } => {
                multiplier
            }
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
            return bad(format!("channel {channel}: a bias of {bias} steps and its products do not fit into 32 bits"));
        }
        if !spec.steps_per_unit.is_finite() {
            return bad("the output's scale is too small".into());
        }
        // A sum with a low part is at most 128 · Σ |w| or 255 · Σ |w_low|, and |w_low| ≤ 64.
        if packed.low().is_some_and(|low| low.weight_magnitudes().iter().any(|&sum| 255 * u64::from(sum) > MOST)) {
            return bad("the products with the low digits of the weights do not fit into 32 bits".into());
        }
        let [high, low] = outside(spec, geometry.in_channels)?;
        let run = |pixel: Vec<u8>| pixel.into_iter().cycle().take(packed.readable()).collect();
        let mut low_terms = Vec::new();
        if let Some(low) = packed.low() {
            let sums = Sums { packed: low, zero_point: spec.input_zero_point, unit: 1.0 / 128.0 };
            let (start, multiplier) = sums.padded(None, spec.multiplier);
            low_terms.push(LowTerm { reads_low_bytes: false, start, multiplier });
        }
        if spec.input_has_low {
            let sums = Sums { packed, zero_point: LOW_ZERO_POINT, unit: 1.0 / f32::from(LOW_LEVELS) };
            let (start, multiplier) = sums.padded(None, spec.multiplier);
            low_terms.push(LowTerm { reads_low_bytes: true, start, multiplier });
        }
        let sums = Sums { packed, zero_point: spec.input_zero_point, unit: 1.0 };
        let (start, multiplier) = sums.padded(Some(spec.bias), spec.multiplier);
        Ok(Self {
            channels,
            start,
            multiplier,
            low_terms,
            flips: packed.kernel().flips,
            outside: [run(high), run(low)],
            skip: spec.skip,
            activation: spec.activation,
            steps_per_unit: spec.steps_per_unit,
            output: spec.output,
        })
    }

    /// True if the input has low bytes.
    pub(super) fn reads_low_bytes(&self) -> bool {
        self.low_terms.iter().any(|term| term.reads_low_bytes)
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
            OutputKind::U16 { zero_point } => {
                let zero = f32::from(zero_point_16(zero_point));
                (-zero, f32::from(u16::MAX) - zero)
            }
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
    /// range's ends are whole numbers, so the order of clamping and rounding does not matter. Clamped first, no value
    /// is too large to round.
    pub(super) fn clamp(&self) -> (f32, f32) {
        let ((low, high), (least, most)) = (self.range(), self.limits());
        (low.max(least), high.min(most))
    }

    /// Function that is applied before the clamp.
    pub(super) fn curve(&self) -> Curve {
        let multiplier = self.steps_per_unit / 6.0;
        match self.activation {
            Activation::Hardswish => Curve::Hardswish { multiplier },
            Activation::Hardsigmoid => Curve::Hardsigmoid { multiplier },
            Activation::Identity | Activation::Relu | Activation::Relu6 => Curve::None,
        }
    }

    /// The activation function's value in output steps, before the output range cuts it, at a `t` that a
    /// [`RawObserver`](super::RawObserver) receives.
    pub(super) fn activated(&self, t: f32) -> f32 {
        let (least, most) = self.limits();
        let t = self.curve().apply(t);
        let raised = if t > least { t } else { least };
        if raised < most { raised } else { most }
    }

    /// Output steps to real units, for the values that a [`RawObserver`](super::RawObserver) receives: `scale`, that of the output, or
    /// 1 where they are real values already.
    pub fn raw_scale(&self, scale: f32) -> f32 {
        if is_curved(self.activation) { 1.0 } else { scale }
    }
}

/// Largest sum that 32 bits hold.
const MOST: u64 = i32::MAX as u64;

/// The pixels outside the picture: high bytes and low ones.
fn outside(spec: &EpilogueSpec<'_>, channels: usize) -> Result<[Vec<u8>; 2]> {
    let bytes = if spec.input_has_low { 2 * channels } else { channels };
    match spec.outside {
        None => Ok([vec![spec.input_zero_point], vec![LOW_ZERO_POINT]]),
        Some(pixel) if pixel.len() == bytes => Ok([pixel[..channels].to_vec(), pixel[channels..].to_vec()]),
        Some(pixel) => {
            let given = pixel.len();
            let text = format!("a pixel of {given} bytes outside a picture of {channels} channels, {bytes} bytes");
            Err(Error::new(Kind::Data, text))
        }
    }
}

/// The sums that `packed` gives for activations with this zero point.
struct Sums<'a> {
    packed: &'a PackedU8,
    zero_point: u8,
    /// One step of this sum as a share of a step of the whole: a power of two.
    unit: f32,
}

impl Sums<'_> {
    /// Start values and multipliers, padded to whole panels.
    fn padded(&self, bias: Option<&[i32]>, multipliers: &[f32]) -> (Vec<i32>, Vec<f32>) {
        let KernelU8 { nr, flips, .. } = *self.packed.kernel();
        // |z − 128| ≤ 128 < 255, so what holds for the sums of the activations holds with flipped ones too.
        let flipped = if flips { 128 } else { 0 };
        let places = self.packed.places();
        let (mut start, mut multiplier) = (vec![0; places.len() * nr], vec![0.0; places.len() * nr]);
        let panels = start.chunks_exact_mut(nr).zip(multiplier.chunks_exact_mut(nr));
        for ((start, multiplier), place) in panels.zip(places) {
            for (column, channel) in (place.column..place.column + place.filled).enumerate() {
                let zeros = (i32::from(self.zero_point) - flipped) * self.packed.weight_sums()[channel];
                start[column] = bias.map_or(0, |bias| bias[channel]) - zeros;
                multiplier[column] = multipliers[channel] * self.unit;
            }
        }
        (start, multiplier)
    }
}
