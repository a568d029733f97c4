//! Operands of an fp32 convolution: maps in, a map to add, and the output that threads write together.

use super::activation::Activation;
use super::geometry::{ConvGeometry, nearest_source};
use super::tile_f32::KernelF32;

/// Maps to convolve, each padded on its own.
#[derive(Debug, Clone, Copy)]
pub struct MapsF32<'a> {
    /// `count × height × width × channels` values: NHWC maps, one after the other.
    pub data: &'a [f32],
    /// Maps: 1, or the number of proposals where the windows of all are convolved at once.
    pub count: usize,
    /// Rows of a map.
    pub height: usize,
    /// Columns of a map.
    pub width: usize,
}

/// A map added before the activation. Of the output's size it is a residual. Of any other size it is read by PyTorch's
/// `nearest` rule, as the feature pyramid adds a coarser level.
#[derive(Debug, Clone, Copy)]
pub struct SkipF32<'a> {
    /// `height × width × out_channels` values, NHWC.
    pub data: &'a [f32],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl<'a> SkipF32<'a> {
    /// Values added to pixel `(y, x)` of an output of `(rows, columns)`: `channels` values, and those that follow them.
    pub(super) fn pixel(&self, (y, x): (usize, usize), (rows, columns): (usize, usize), channels: usize) -> &'a [f32] {
        let y = nearest_source(y, self.height, rows);
        let x = nearest_source(x, self.width, columns);
        &self.data[(y * self.width + x) * channels..]
    }
}

/// A call of a convolution, for every algorithm and all of its tasks. Lengths fit; a skip comes with one map only.
#[derive(Clone, Copy)]
pub(super) struct ConvCallF32<'a> {
    /// Kernel that the weights are packed for.
    pub kernel: &'a KernelF32,
    /// Shape of the layer.
    pub geometry: &'a ConvGeometry,
    /// Input.
    pub maps: MapsF32<'a>,
    /// What is added.
    pub skip: Option<SkipF32<'a>>,
    /// Function of the sum.
    pub activation: Activation,
    /// Rows and columns of an output map.
    pub size: (usize, usize),
    /// Output.
    pub out: SharedOutput,
}

/// An output that all threads write at once, each at pixels and columns of its own.
#[derive(Clone, Copy)]
pub(super) struct SharedOutput(*mut f32);

// SAFETY: the tasks write disjoint parts, and the slice behind it is borrowed alone while they run.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    pub fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
    }

    /// Where value `index` is written.
    pub fn at(self, index: usize) -> *mut f32 {
        self.0.wrapping_add(index)
    }
}
