//! Packing of fp32 weights in the order in which the micro-kernels read them.
//!
//! In: `[out][tap][channel]`, for each bundle of groups. Out: K cut into blocks, a block into panels of [`NR`] outputs,
//! a panel row by row of K. So one call of a kernel reads one contiguous, 64-byte aligned run that fits the first-level
//! cache. Outputs that do not exist have weight 0.

use super::aligned::AlignedBuffer;
use super::bundles::{Bundles, Place};
use super::tile_f32::NR;

/// Longest run of K in one block, in values. 16 columns × 256 × 4 bytes fill half of a 32 KiB cache; the sums of a tile
/// are loaded and stored once in 256 steps.
const BLOCK_DEPTH: usize = 256;

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
    /// Start of the block's first panel in the packed weights.
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
    /// Packs `weights[out][taps][channels]`, where `channels` are those of an output's bundle. `bias` has one value an
    /// output, or none.
    pub fn new(bundles: &Bundles, taps: usize, channels: usize, weights: &[f32], bias: &[f32]) -> Self {
        debug_assert_eq!(weights.len(), bundles.count * bundles.outputs * taps * channels);
        // A strip's runs hold more than the bundle's channels, but then there is one bundle.
        let places = bundles.places(NR);
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
        let bundles = Bundles { count: 1, groups: 1, channels: 3, outputs: 17 };
        let panels = PanelsF32::new(&bundles, 2, 3, &weights, &[1.0; 17]);
        let [block] = panels.blocks() else { panic!("one block expected") };
        let second = panels.panel(block, 1);
        assert_eq!(second[0], weights[16 * 6]);
        assert_eq!(second[1], 0.0);
        assert_eq!(second[NR], weights[16 * 6 + 1]);
        assert_eq!(panels.bias(1)[..2], [1.0, 0.0]);
    }

    #[test]
    fn a_panel_of_a_second_bundle_reads_its_channels() {
        let weights: Vec<f32> = (0..34 * 3).map(|value| value as f32).collect();
        let bundles = Bundles { count: 2, groups: 1, channels: 3, outputs: 17 };
        let panels = PanelsF32::new(&bundles, 1, 3, &weights, &[2.0; 34]);
        assert_eq!(panels.panel(&panels.blocks()[0], 2)[0], weights[17 * 3]);
        assert_eq!(panels.bias(1)[..2], [2.0, 0.0]);
    }
}
