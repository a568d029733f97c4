//! Packing of fp32 weights in the order in which the micro-kernels read them.
//!
//! In: `[out][tap][channel]`, for each bundle of groups. Out: K cut into blocks, a block into panels of [`NR`] outputs, a panel row by row of K,
//! so that one call of a kernel reads one contiguous, 64-byte aligned run that fits the first-level cache. Outputs that
//! do not exist have weight 0.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::aligned::AlignedBuffer;
use super::geometry::ConvGeometry;
use super::tile_f32::NR;

/// Longest run of K in one block, in values: 16 columns × 256 × 4 bytes fill half of a 32 KiB cache, and the sums of a
/// tile come and go once in 256 steps.
const BLOCK_DEPTH: usize = 256;

/// Groups of a convolution, taken together so that few columns of their panels are empty: a bundle is convolved as one
/// group, with weight 0 from the inputs of one of its groups to the outputs of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundles {
    /// Bundles.
    pub count: usize,
    /// Groups of a bundle.
    pub groups: usize,
    /// Input channels of a bundle.
    pub channels: usize,
    /// Output channels of a bundle.
    pub outputs: usize,
}

impl Bundles {
    /// The bundles of `geometry` with the fewest multiplications.
    pub fn of(geometry: &ConvGeometry) -> Self {
        let (channels, outputs) = (geometry.group_channels(), geometry.out_channels / geometry.groups);
        let of = |groups: usize| Self {
            count: geometry.groups / groups,
            groups,
            channels: groups * channels,
            outputs: groups * outputs,
        };
        // More groups than fill a panel only add zeros. Of equals the largest: its tiles are whole, its sums long.
        (1..=geometry.groups.min(NR))
            .filter(|groups| geometry.groups.is_multiple_of(*groups))
            .map(of)
            .min_by_key(|bundles| {
                (bundles.count * bundles.outputs.div_ceil(NR) * bundles.channels, Reverse(bundles.groups))
            })
            .unwrap_or(of(1))
    }

    /// `weights` (`[out][tap][in / groups]`) as `[out][tap][channel of the bundle]`.
    pub fn spread<'a>(&self, taps: usize, weights: &'a [f32]) -> Cow<'a, [f32]> {
        if self.groups == 1 {
            return Cow::Borrowed(weights);
        }
        let (channels, outputs) = (self.channels / self.groups, self.outputs / self.groups);
        let mut spread = vec![0.0; weights.len() * self.groups];
        for (row, values) in weights.chunks_exact(channels).enumerate() {
            let group = row / taps / outputs % self.groups;
            spread[row * self.channels + group * channels..][..channels].copy_from_slice(values);
        }
        Cow::Owned(spread)
    }
}

/// Input and output channels of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First input channel of its bundle.
    pub offset: usize,
    /// First output channel.
    pub column: usize,
    /// Columns that exist; the others have weight 0.
    pub filled: usize,
}

/// A part of K: some taps whole, or a run of channels of one tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthBlock {
    /// First tap.
    pub tap: usize,
    /// Taps.
    pub taps: usize,
    /// First channel of each tap.
    pub offset: usize,
    /// Channels of each tap.
    pub depth: usize,
    /// Where the block's first panel starts in the packed weights.
    pub start: usize,
}

impl DepthBlock {
    /// Values of one panel of this block.
    pub const fn panel_len(&self) -> usize {
        self.taps * self.depth * NR
    }
}

/// Packed weights with bias and the blocks of K. Immutable.
#[derive(Debug)]
pub struct PanelsF32 {
    blocks: Vec<DepthBlock>,
    places: Vec<Place>,
    weights: AlignedBuffer<f32>,
    bias: AlignedBuffer<f32>,
}

impl PanelsF32 {
    /// Packs `weights[out][taps][channels]`, where `channels` are those that an output reads: of its one bundle's
    /// `bundle_outputs` outputs. `bias` has one value an output, or none.
    pub fn new(
        outputs: usize,
        bundle_outputs: usize,
        taps: usize,
        channels: usize,
        weights: &[f32],
        bias: &[f32],
    ) -> Self {
        debug_assert_eq!(weights.len(), outputs * taps * channels);
        let places: Vec<Place> = (0..outputs / bundle_outputs)
            .flat_map(|bundle| {
                (0..bundle_outputs).step_by(NR).map(move |column| Place {
                    offset: bundle * channels,
                    column: bundle * bundle_outputs + column,
                    filled: NR.min(bundle_outputs - column),
                })
            })
            .collect();
        let panels = places.len();
        let blocks = cut(taps, channels, panels);
        let mut packed = AlignedBuffer::zeroed(panels * NR * taps * channels);
        for block in &blocks {
            for (panel, place) in places.iter().enumerate() {
                let start = block.start + panel * block.panel_len();
                let into = &mut packed[start..start + block.panel_len()];
                for column in 0..place.filled {
                    let output = place.column + column;
                    for tap in 0..block.taps {
                        let from = (output * taps + block.tap + tap) * channels + block.offset;
                        let values = &weights[from..from + block.depth];
                        for (value, row) in values.iter().zip(into[tap * block.depth * NR..].chunks_exact_mut(NR)) {
                            row[column] = *value;
                        }
                    }
                }
            }
        }
        let mut padded_bias = AlignedBuffer::zeroed(panels * NR);
        if !bias.is_empty() {
            for (place, padded) in places.iter().zip(padded_bias.chunks_exact_mut(NR)) {
                padded[..place.filled].copy_from_slice(&bias[place.column..][..place.filled]);
            }
        }
        Self { blocks, places, weights: packed, bias: padded_bias }
    }

    /// Blocks of K, in the order of summation.
    pub fn blocks(&self) -> &[DepthBlock] {
        &self.blocks
    }

    /// Panels of up to [`NR`] outputs, in the order of the outputs.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The weights of one panel of a block.
    pub fn panel(&self, block: &DepthBlock, panel: usize) -> &[f32] {
        &self.weights[block.start + panel * block.panel_len()..][..block.panel_len()]
    }

    /// Up to `length` of the weights from panel `panel` of a block on or, past its last one, of the next block.
    pub fn after(&self, block: &DepthBlock, panel: usize, length: usize) -> &[f32] {
        let rest = &self.weights[block.start + panel * block.panel_len()..];
        &rest[..rest.len().min(length)]
    }

    /// The [`NR`] biases of one panel.
    pub fn bias(&self, panel: usize) -> &[f32] {
        &self.bias[panel * NR..(panel + 1) * NR]
    }
}

/// Cuts K into blocks of about equal length, none longer than [`BLOCK_DEPTH`].
fn cut(taps: usize, channels: usize, panels: usize) -> Vec<DepthBlock> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let mut push = |tap, taps, offset, depth| {
        let block = DepthBlock { tap, taps, offset, depth, start };
        start += panels * block.panel_len();
        blocks.push(block);
    };
    if channels > BLOCK_DEPTH {
        // Whole groups of four channels, the kernels' unrolling.
        let depth = channels.div_ceil(channels.div_ceil(BLOCK_DEPTH)).next_multiple_of(4);
        for tap in 0..taps {
            for offset in (0..channels).step_by(depth) {
                push(tap, 1, offset, depth.min(channels - offset));
            }
        }
    } else {
        let fitting = (BLOCK_DEPTH / channels.max(1)).clamp(1, taps.max(1));
        let together = taps.div_ceil(taps.div_ceil(fitting).max(1)).max(1);
        for tap in (0..taps).step_by(together) {
            push(tap, together.min(taps - tap), 0, channels);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_weight_once() {
        for (taps, channels) in [(1, 1), (1, 64), (9, 64), (9, 3), (9, 256), (9, 257), (1, 12544), (7, 21), (49, 100)] {
            let mut seen = vec![0; taps * channels];
            let mut start = 0;
            for block in cut(taps, channels, 2) {
                assert!(block.taps * block.depth <= BLOCK_DEPTH);
                assert_eq!(block.start, start);
                start += 2 * block.panel_len();
                for tap in block.tap..block.tap + block.taps {
                    for channel in block.offset..block.offset + block.depth {
                        seen[tap * channels + channel] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{taps} × {channels}");
        }
    }

    #[test]
    fn a_panel_holds_its_outputs_side_by_side() {
        let weights: Vec<f32> = (0..17 * 2 * 3).map(|value| value as f32).collect();
        let panels = PanelsF32::new(17, 17, 2, 3, &weights, &[1.0; 17]);
        let [block] = panels.blocks() else { panic!("one block expected") };
        let second = panels.panel(block, 1);
        assert_eq!(second[0], weights[16 * 6]);
        assert_eq!(second[1], 0.0);
        assert_eq!(second[NR], weights[16 * 6 + 1]);
        assert_eq!(panels.bias(1)[..2], [1.0, 0.0]);
    }

    #[test]
    fn bundles_fill_panels_with_few_zeros() {
        let bundles = |groups, in_channels, out_channels| {
            let of = Bundles::of(&ConvGeometry { groups, ..ConvGeometry::linear(in_channels, out_channels) });
            (of.count, of.groups, of.channels, of.outputs)
        };
        assert_eq!(bundles(1, 40, 24), (1, 1, 40, 24));
        assert_eq!(bundles(32, 128, 128), (8, 4, 16, 16));
        assert_eq!(bundles(32, 1024, 1024), (32, 1, 32, 32));
        assert_eq!(bundles(6, 6, 12), (1, 6, 6, 12));
        assert_eq!(bundles(3, 6, 24), (3, 1, 2, 8));
        let spread =
            Bundles { count: 1, groups: 2, channels: 4, outputs: 2 }.spread(2, &[1., 2., 3., 4., 5., 6., 7., 8.]);
        assert_eq!(*spread, [1., 2., 0., 0., 3., 4., 0., 0., 0., 0., 5., 6., 0., 0., 7., 8.]);
    }

    #[test]
    fn a_panel_of_a_second_bundle_reads_its_channels() {
        let weights: Vec<f32> = (0..34 * 3).map(|value| value as f32).collect();
        let panels = PanelsF32::new(34, 17, 1, 3, &weights, &[2.0; 34]);
        let places: Vec<_> = panels.places().iter().map(|place| (place.offset, place.column, place.filled)).collect();
        assert_eq!(places, [(0, 0, 16), (0, 16, 1), (3, 17, 16), (3, 33, 1)]);
        assert_eq!(panels.panel(&panels.blocks()[0], 2)[0], weights[17 * 3]);
        assert_eq!(panels.bias(1)[..2], [2.0, 0.0]);
    }
}
