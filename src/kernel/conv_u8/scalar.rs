//! The portable micro-kernel: oracle of all others, and fallback.

use super::{SkipTile, TileOutput, TileU8};

const NR: usize = 16;
const KR: usize = 4;

/// One pixel × 16 channels.
///
/// # Safety
///
/// As [`TileU8`] says; `mr` is 1.
pub(super) unsafe fn tile_1x16c4(tile: &TileU8) {
    let mut sums = [0i32; NR];
    // SAFETY: `start` points at `nr` values.
    sums.copy_from_slice(unsafe { std::slice::from_raw_parts(tile.start, NR) });
    let groups = tile.run.div_ceil(KR);
    let panel_length = groups * NR * KR;
    for tap in 0..tile.taps {
        // SAFETY: one pointer a tap (`mr` is 1), readable for `offset + run` bytes.
        let input = unsafe { std::slice::from_raw_parts((*tile.rows.add(tap)).add(tile.offset), tile.run) };
        // SAFETY: the panel holds `taps` such parts.
        let panel = unsafe { std::slice::from_raw_parts(tile.panel.add(tap * panel_length), panel_length) };
        for (bytes, weights) in input.chunks(KR).zip(panel.chunks_exact(NR * KR)) {
            let mut group = [0i32; KR];
            group.iter_mut().zip(bytes).for_each(|(wide, &byte)| *wide = i32::from(byte));
            for (sum, w) in sums.iter_mut().zip(weights.chunks_exact(KR)) {
                *sum += group.iter().zip(w).map(|(&a, &w)| a * i32::from(w)).sum::<i32>();
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { finish(tile, &sums) }
}

/// One pixel × 16 channels of a depthwise convolution.
///
/// # Safety
///
/// As [`TileU8`] says; `mr` is 1.
pub(super) unsafe fn depthwise_1x16t1(tile: &TileU8) {
    let mut sums = [0i32; NR];
    // SAFETY: `start` points at `nr` values.
    sums.copy_from_slice(unsafe { std::slice::from_raw_parts(tile.start, NR) });
    for tap in 0..tile.taps {
        // SAFETY: one pointer a tap (`mr` is 1), readable for `offset + channels` bytes.
        let input = unsafe { std::slice::from_raw_parts((*tile.rows.add(tap)).add(tile.offset), tile.channels) };
        // SAFETY: the panel holds `taps` such rows.
        let weights = unsafe { std::slice::from_raw_parts(tile.panel.add(tap * NR), NR) };
        for ((sum, &byte), &w) in sums.iter_mut().zip(input).zip(weights) {
            *sum += i32::from(byte) * i32::from(w);
        }
    }
    // SAFETY: as the caller promises.
    unsafe { finish(tile, &sums) }
}

/// The epilogue in the order that every instruction set follows.
unsafe fn finish(tile: &TileU8, sums: &[i32; NR]) {
    for (channel, &sum) in sums.iter().enumerate().take(tile.channels) {
        // SAFETY: `multiplier` points at `nr` values; the skip's offset may be read for `channels` values.
        let t = unsafe {
            let t = sum as f32 * *tile.multiplier.add(channel);
            match tile.skip {
                SkipTile::None => t,
                SkipTile::U8 { base, offsets, zero_point, multiplier } => {
                    t + (i32::from(*base.add(*offsets + channel)) - zero_point) as f32 * multiplier
                }
                SkipTile::F32 { base, offsets, multiplier } => t + *base.add(*offsets + channel) * multiplier,
            }
        };
        let t = tile.curve.apply(t);
        // Comparisons, not `max` and `min`: what a vector maximum does with −0 and with NaN.
        let raised = if t > tile.floor { t } else { tile.floor };
        let clamped = if raised < tile.ceiling { raised } else { tile.ceiling };
        // SAFETY: `channels` values may be written.
        unsafe {
            match tile.output {
                TileOutput::U8(out) => *out.add(channel) = (clamped.round_ties_even() as i32 + tile.zero_point) as u8,
                TileOutput::F32(out) => *out.add(channel) = clamped,
            }
        }
    }
}
