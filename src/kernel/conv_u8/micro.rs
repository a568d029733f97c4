//! Contract of the u8 micro-kernels; [`super::table`] lists them.
//!
//! A micro-kernel computes one tile: up to `mr` output pixels × `nr` output channels over the whole depth, epilogue
//! included. It allocates nothing, starts no threads and keeps no state; which tile, and where its operands lie, is
//! the driver's decision. All micro-kernels give the same bytes.

use crate::error::{Error, Kind, Result};
use crate::kernel::isa::{Isa, IsaName};

/// The largest `mr` of the table: sizes the driver's buffers.
pub(crate) const MAX_MR: usize = 14;

/// One micro-kernel.
#[derive(Debug)]
pub struct KernelU8 {
    /// Operand types, tile, how sums are formed, instruction set: `u8s8_6x16c4_sum32_avx2` is 6 pixels × 16 channels, 4
    /// depth steps interleaved, every product widened to 32 bits at once; `sum16`: two products summed in 16 bits
    /// first.
    pub name: &'static str,
    /// Required instruction set.
    pub isa: IsaName,
    /// Pixels of a tile.
    pub mr: usize,
    /// Channels of a tile: the width of a panel.
    pub nr: usize,
    /// Consecutive depth steps of one channel that lie together in a panel; taps, for a depthwise kernel.
    pub kr: usize,
    /// True if sums are exact only for [pair-safe](super::pair_safe) weights.
    pub needs_pair_safe: bool,
    /// True if it flips bit 7 of the activations, so that its products are those of q − 128. The start values of an
    /// [`Epilogue`](super::Epilogue) compensate for it.
    pub flips: bool,
    /// The kernel itself.
    ///
    /// # Safety
    ///
    /// The CPU has `isa`, and the tile keeps what [`TileU8`] says of every field.
    pub(crate) run: unsafe fn(&TileU8),
}

impl KernelU8 {
    /// True if `isa` proves that the CPU can run this kernel.
    pub(super) fn proved_by(&self, isa: Isa) -> Result<()> {
        if isa.proves(self.isa) {
            return Ok(());
        }
        Err(Error::new(Kind::Unavailable, format!("{} needs {}", self.name, self.isa.name())))
    }
}

/// One tile's operands. Plain pointers: the driver has checked every extent before it builds one.
pub(crate) struct TileU8 {
    /// `taps × mr` pointers, a tap's pixels together; each may be read for `offset + run` bytes. Where `pixels < mr`
    /// the rest repeat a pixel that exists.
    pub rows: *const *const u8,
    /// Bytes to step over at the start of every run: the channels of other groups.
    pub offset: usize,
    /// Input that the next tile will read, of one tap alone; a kernel may prefetch it from here on, a cache line for every
    /// group of steps.
    pub ahead: Option<*const u8>,
    /// Runs of input that a pixel's sum reads: one a filter tap.
    pub taps: usize,
    /// Bytes of each run, at least 1. The last group of `kr` may be short; its missing weights are not read as input.
    /// For a depthwise kernel as many as there are channels.
    pub run: usize,
    /// `taps × ⌈run / kr⌉ × nr × kr` weights, 64-byte aligned, missing channels and steps zero; of a depthwise kernel
    /// `⌈taps / kr⌉ × nr × kr`.
    pub panel: *const i8,
    /// `nr` start values of the sums.
    pub start: *const i32,
    /// `nr` multipliers.
    pub multiplier: *const f32,
    /// Residual, added to the scaled sums.
    pub skip: SkipTile,
    /// Applied to the scaled sums with their residual.
    pub curve: Curve,
    /// The epilogue's lower clamp: 0 with ReLU or ReLU6, else the output range's end, or −∞.
    pub floor: f32,
    /// The epilogue's upper clamp: the output range's end or, if it is lower, ReLU6's; or +∞.
    pub ceiling: f32,
    /// Added to the rounded value; at least 0, at most 255.
    pub zero_point: i32,
    /// Destination of the first pixel's first channel.
    pub output: TileOutput,
    /// Values from one output pixel to the next.
    pub stride: usize,
    /// Pixels to write, 1 to `mr`.
    pub pixels: usize,
    /// Channels to write, 1 to `nr`.
    pub channels: usize,
}

/// The residual of one tile: `pixels` offsets, each of which may be read for `channels` values. `mr` offsets more exist
/// behind a tile's `mr`, of the next tile or of none: enough to prefetch by.
#[derive(Clone, Copy)]
pub(crate) enum SkipTile {
    /// Nothing is added.
    None,
    /// `(value − zero_point) · multiplier` of bytes.
    U8 { base: *const u8, offsets: *const usize, zero_point: i32, multiplier: f32 },
    /// `value · multiplier` of floats.
    F32 { base: *const f32, offsets: *const usize, multiplier: f32 },
}

/// Activation functions that are more than a clamp. The values are real ones; each operation is rounded to f32 on its
/// own: `h = min(max(t + 3, 0), 6)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Curve {
    /// The identity.
    None,
    /// `t · h · multiplier`, from the left.
    Hardswish { multiplier: f32 },
    /// `h · multiplier`.
    Hardsigmoid { multiplier: f32 },
}

impl Curve {
    /// Its value at `t`: what every instruction set computes.
    #[inline]
    pub(crate) fn apply(self, t: f32) -> f32 {
        let raised = t + 3.0;
        // Comparisons, not `max` and `min`: what a vector maximum does with −0 and with NaN.
        let raised = if raised > 0.0 { raised } else { 0.0 };
        let h = if raised < 6.0 { raised } else { 6.0 };
        match self {
            Self::None => t,
            Self::Hardswish { multiplier } => t * h * multiplier,
            Self::Hardsigmoid { multiplier } => h * multiplier,
        }
    }
}

/// Destination of a tile.
#[derive(Clone, Copy)]
pub(crate) enum TileOutput {
    /// Rounded, shifted by the zero point.
    U8(*mut u8),
    /// As it is after the clamps.
    F32(*mut f32),
}
