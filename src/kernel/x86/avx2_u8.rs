//! u8 × s8 convolution with AVX2: `vpmaddubsw`, `vpmaddwd`, `vpaddd`; or with the products of AVX-VNNI.
//!
//! `vpmaddubsw` adds two u8 × s8 products in 16 bits and saturates. The weights are pair-safe, which is checked when
//! they are packed, so nothing saturates and the sums are exact.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx_vnni_u8;
use super::avx2_u8_epilogue::{KR, MR, Sums, finish, prefetch};
use crate::kernel::conv_u8::TileU8;

const NR: usize = 16;

/// 6 pixels × 16 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX2.
#[target_feature(enable = "avx2")]
pub(in crate::kernel) unsafe fn tile_6x16c4(tile: &TileU8) {
    // SAFETY: passed on from the caller.
    unsafe {
        prefetch(tile);
        let sums = sum::<false>(tile);
        finish(tile, &sums);
    }
}

/// The same tile with AVX-VNNI. Four products are added to 32 bits at once without saturation, so any weights are exact.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2")]
pub(in crate::kernel) unsafe fn tile_6x16c4_vnni(tile: &TileU8) {
    // SAFETY: passed on from the caller.
    unsafe {
        prefetch(tile);
        let sums = sum::<true>(tile);
        finish(tile, &sums);
    }
}

/// Start values plus every product of the tile, by AVX-VNNI where `VNNI`.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX2 and, where `VNNI`, AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sum<const VNNI: bool>(tile: &TileU8) -> Sums {
    // SAFETY: `start` points at 16 values, `rows` at 6 pointers a tap; every read of a row is below `run`; the panel
    // holds 64 bytes a group.
    unsafe {
        let start = tile.start.cast::<__m256i>();
        let mut sums = [[_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))]; MR];
        let mut panel = tile.panel;
        let (groups, rest) = (tile.run / KR, tile.run % KR);
        for tap in 0..tile.taps {
            let mut rows = tile.rows.add(tap * MR).cast::<[*const u8; MR]>().read();
            rows.iter_mut().for_each(|row| *row = row.add(tile.offset));
            if groups > 0 {
                if VNNI {
                    avx_vnni_u8::multiply(&mut sums, rows, panel, groups);
                } else {
                    multiply(&mut sums, rows, panel, groups);
                }
            }
            panel = panel.add(groups * NR * KR);
            if rest > 0 {
                // Only bytes of the run are read: memory after it may not be readable.
                let mut bytes = [[0u8; KR]; MR];
                let mut ends = rows;
                for ((bytes, end), row) in bytes.iter_mut().zip(&mut ends).zip(rows) {
                    for (at, byte) in bytes.iter_mut().enumerate().take(rest) {
                        *byte = row.add(groups * KR + at).read();
                    }
                    *end = bytes.as_ptr();
                }
                if VNNI {
                    avx_vnni_u8::multiply(&mut sums, ends, panel, 1);
                } else {
                    multiply(&mut sums, ends, panel, 1);
                }
                panel = panel.add(NR * KR);
            }
        }
        sums
    }
}

/// Adds the products of `groups` (not 0) times 4 steps of 6 rows with a panel.
///
/// In assembly because it takes all 16 registers: 12 sums, one of two weight vectors, the ones that `vpmaddwd` widens
/// with, the input and a product. The other weight vector is an operand in memory. Compiled from intrinsics, some of
/// the sums go through memory at every step.
///
/// # Safety
///
/// AVX2; each row may be read for `4 · groups` bytes, the panel, 32-byte aligned, for `64 · groups`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn multiply(sums: &mut Sums, rows: [*const u8; MR], panel: *const i8, groups: usize) {
    macro_rules! row {
        ($row:literal, $low:literal, $high:literal) => {
            concat!(
                "vpbroadcastd {input}, [{",
                $row,
                "} + {at}]\n",
                "vpmaddubsw {product}, {input}, {weights}\n",
                "vpmaddubsw {input}, {input}, [{panel} + 32]\n",
                "vpmaddwd {product}, {product}, {ones}\n",
                "vpmaddwd {input}, {input}, {ones}\n",
                "vpaddd {",
                $low,
                "}, {",
                $low,
                "}, {product}\n",
                "vpaddd {",
                $high,
                "}, {",
                $high,
                "}, {input}",
            )
        };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    // SAFETY: reads what the caller allows, nothing else; the ends of the rows are addressed from below.
    unsafe {
        let length = groups * KR;
        asm!(
            "2:",
            "vmovdqa {weights}, [{panel}]",
            row!("r0", "l0", "h0"),
            row!("r1", "l1", "h1"),
            row!("r2", "l2", "h2"),
            row!("r3", "l3", "h3"),
            row!("r4", "l4", "h4"),
            row!("r5", "l5", "h5"),
            "add {panel}, 64",
            "add {at}, 4",
            "jnz 2b",
            r0 = in(reg) rows[0].add(length),
            r1 = in(reg) rows[1].add(length),
            r2 = in(reg) rows[2].add(length),
            r3 = in(reg) rows[3].add(length),
            r4 = in(reg) rows[4].add(length),
            r5 = in(reg) rows[5].add(length),
            at = inout(reg) -(length as isize) => _,
            panel = inout(reg) panel => _,
            ones = in(ymm_reg) _mm256_set1_epi16(1),
            input = out(ymm_reg) _,
            product = out(ymm_reg) _,
            weights = out(ymm_reg) _,
            l0 = inout(ymm_reg) s0[0], h0 = inout(ymm_reg) s0[1],
            l1 = inout(ymm_reg) s1[0], h1 = inout(ymm_reg) s1[1],
            l2 = inout(ymm_reg) s2[0], h2 = inout(ymm_reg) s2[1],
            l3 = inout(ymm_reg) s3[0], h3 = inout(ymm_reg) s3[1],
            l4 = inout(ymm_reg) s4[0], h4 = inout(ymm_reg) s4[1],
            l5 = inout(ymm_reg) s5[0], h5 = inout(ymm_reg) s5[1],
            options(readonly, nostack),
        );
    }
}
