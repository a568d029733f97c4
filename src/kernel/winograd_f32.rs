//! fp32 convolution with filters of 3×3 and stride 1 by Winograd's algorithm, F(2×2, 3×3): packing and driver.
//!
//! In: weights once, then maps a call. Out: the maps the layer leaves. A patch of 2×2 output pixels takes 16 products for
//! every pair of channels instead of 36. Weights are transformed in f64, so only input and output transforms round more
//! than a plain sum does. They add and subtract, and multiply by nothing. A task is a block of patches: for each row of
//! positions it transforms what the patches read, multiplies by the weights of four positions, and adds to the output.

use super::activation::Activation;
use super::aligned::AlignedBuffer;
use super::claim::{share, wanted_tasks};
use super::geometry::ConvGeometry;
use super::maps_f32::{ConvCallF32, MapsF32, SharedOutput};
use super::rows_f32::RowTable;
use super::tiles_f32::TilesF32;
use super::winograd_stages_f32::{UNIT, WinogradInputF32, WinogradOutputF32};

/// Fewest channels in and out. With 64 the transforms cost nearly all that the products save, on AVX-512.
const MIN_CHANNELS: usize = 64;
/// Most pairs of channels. Transformed weights take 16 values a pair instead of 9, and layers with more pairs have too few
/// pixels to gain from it.
const MAX_PAIRS: usize = 1 << 16;
/// Values of transformed input in a row of positions of a block: 256 KiB, a part of the second-level cache.
const NEAR_VALUES: usize = 1 << 16;
/// Fewest patches of a block, so that loading the weights pays.
const MIN_BLOCK_PATCHES: usize = 24;

/// Transformed and packed weights, and bias. Immutable.
#[derive(Debug)]
pub struct WinogradF32 {
    /// The products of one position: a linear layer.
    product: ConvGeometry,
    /// The 4×4 positions, row by row.
    positions: Vec<TilesF32>,
    bias: AlignedBuffer<f32>,
    /// What is read outside of a map.
    zeros: AlignedBuffer<f32>,
}

impl WinogradF32 {
    /// True if this algorithm computes `geometry`, and pays.
    pub fn suits(geometry: &ConvGeometry) -> bool {
        let (inputs, outputs) = (geometry.in_channels, geometry.out_channels);
        (geometry.kernel_height, geometry.kernel_width, geometry.stride, geometry.groups) == (3, 3, 1, 1)
            && inputs.min(outputs) >= MIN_CHANNELS
            && inputs * outputs <= MAX_PAIRS
            && inputs.is_multiple_of(UNIT)
            && outputs.is_multiple_of(UNIT)
    }

    /// Transforms and packs `weights` (`[out][3][3][in]`); `bias` has one value an output, or none.
    pub fn new(geometry: &ConvGeometry, weights: &[f32], bias: &[f32]) -> Self {
        let product = ConvGeometry::linear(geometry.in_channels, geometry.out_channels);
        let position = |index: usize| {
            let transformed = transform(weights, geometry.in_channels, (index / 4, index % 4));
            TilesF32::new(&product, &transformed, &[])
        };
        Self {
            product,
            positions: (0..16).map(position).collect(),
            bias: AlignedBuffer::padded(bias, geometry.out_channels),
            zeros: AlignedBuffer::zeroed(geometry.in_channels),
        }
    }

    /// Convolves the maps of `call`. Uses the current rayon pool.
    pub fn run(&self, call: &ConvCallF32<'_>) {
        let ConvGeometry { in_channels, out_channels, .. } = *call.geometry;
        let (rows, columns) = grid(call);
        let patches = call.maps.count * rows * columns;
        let most = (NEAR_VALUES / 4 / in_channels.max(out_channels)).max(MIN_BLOCK_PATCHES);
        let block = patches.div_ceil(wanted_tasks()).clamp(MIN_BLOCK_PATCHES, most).next_multiple_of(call.kernel.mr);
        share(patches.div_ceil(block), |claims| {
            let mut scratch = Scratch {
                input: AlignedBuffer::zeroed(4 * block * in_channels),
                sums: AlignedBuffer::zeroed(4 * block * out_channels),
                ..Scratch::default()
            };
            for task in claims {
                let first = task * block;
                scratch.fill(call, &self.zeros, first..patches.min(first + block));
                self.block(call, &mut scratch);
            }
        });
    }

    /// The patches that `scratch` points to.
    fn block(&self, call: &ConvCallF32<'_>, scratch: &mut Scratch) {
        let patches = scratch.outputs.len() / 4;
        let (inputs, outputs) = (patches * self.product.in_channels, patches * self.product.out_channels);
        let skips = if scratch.skips.is_empty() { std::ptr::null() } else { scratch.skips.as_ptr() };
        for row in 0..4 {
            let stage = WinogradInputF32 {
                pixels: scratch.inputs.as_ptr(),
                patches,
                row,
                channels: self.product.in_channels,
                out: scratch.input.as_mut_ptr(),
            };
            // SAFETY: `Isa` proved the instruction set; the scratch holds the pointers and the values of a block.
            unsafe { (call.kernel.winograd_input)(&stage) }
            for (column, weights) in self.positions[4 * row..4 * row + 4].iter().enumerate() {
                let matrix = &scratch.input[column * inputs..][..inputs];
                let product = ConvCallF32 {
                    kernel: call.kernel,
                    geometry: &self.product,
                    maps: MapsF32 { data: matrix, count: 1, height: patches, width: 1 },
                    skip: None,
                    activation: Activation::Identity,
                    size: (patches, 1),
                    out: SharedOutput::new(&mut scratch.sums[column * outputs..][..outputs]),
                };
                weights.run_alone(&product, &mut scratch.table);
            }
            let stage = WinogradOutputF32 {
                sums: scratch.sums.as_ptr(),
                patches,
                row,
                channels: self.product.out_channels,
                pixels: scratch.outputs.as_ptr(),
                bias: &self.bias,
                skips,
                activation: call.activation,
            };
            // SAFETY: as above; the output pixels of these patches are this task's alone.
            unsafe { (call.kernel.winograd_output)(&stage) }
        }
    }
}

/// Rows and columns of patches of an output map.
fn grid(call: &ConvCallF32<'_>) -> (usize, usize) {
    (call.size.0.div_ceil(2), call.size.1.div_ceil(2))
}

/// Scratch of a task: pointers of its patches, one row of positions of input and sums.
#[derive(Default)]
struct Scratch {
    inputs: Vec<*const f32>,
    outputs: Vec<*mut f32>,
    skips: Vec<*const f32>,
    table: RowTable,
    input: AlignedBuffer<f32>,
    sums: AlignedBuffer<f32>,
}

impl Scratch {
    /// Points to what `patches`, numbered row by row, map by map, read, write and add. `zeros` has a pixel's values.
    fn fill(&mut self, call: &ConvCallF32<'_>, zeros: &[f32], patches: std::ops::Range<usize>) {
        self.inputs.clear();
        self.outputs.clear();
        self.skips.clear();
        let ConvCallF32 { geometry, maps, size, .. } = *call;
        let grid = grid(call);
        let length = maps.height * maps.width * geometry.in_channels;
        for patch in patches {
            let (map, row, column) = (patch / grid.1 / grid.0, patch / grid.1 % grid.0, patch % grid.1);
            let (top, left) = (2 * row, 2 * column);
            for y in top..top + 4 {
                for x in left..left + 4 {
                    let (y, x) = (y.wrapping_sub(geometry.padding), x.wrapping_sub(geometry.padding));
                    self.inputs.push(match y < maps.height && x < maps.width {
                        true => maps.data[map * length + (y * maps.width + x) * geometry.in_channels..].as_ptr(),
                        false => zeros.as_ptr(),
                    });
                }
            }
            for y in top..top + 2 {
                for x in left..left + 2 {
                    let exists = y < size.0 && x < size.1;
                    let pixel = (map * size.0 + y) * size.1 + x;
                    self.outputs.push(match exists {
                        true => call.out.at(pixel * geometry.out_channels),
                        false => std::ptr::null_mut(),
                    });
                    if let Some(skip) = call.skip {
                        self.skips.push(match exists {
                            true => skip.pixel((y, x), size, geometry.out_channels).as_ptr(),
                            false => std::ptr::null(),
                        });
                    }
                }
            }
        }
    }
}

/// `G g Gᵀ` at one position, `[out][in]`, with `G = [1 0 0; ½ ½ ½; ½ -½ ½; 0 0 1]`, computed in f64.
fn transform(weights: &[f32], channels: usize, (row, column): (usize, usize)) -> Vec<f32> {
    const G: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    let filter = |filter: &[f32]| -> Vec<f32> {
        let value = |channel: usize| {
            let taps =
                (0..9).map(|tap| G[row][tap / 3] * G[column][tap % 3] * f64::from(filter[tap * channels + channel]));
            taps.sum::<f64>() as f32
        };
        (0..channels).map(value).collect()
    };
    weights.chunks_exact(9 * channels).flat_map(filter).collect()
}
