//! u8 × s8 convolution with AVX-512-VNNI: `vpdpbusd` on 512 bits, four products added to 32 bits without saturation.

use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512_u8_epilogue::{MR, NR, Sums, finish, prefetch};
use crate::kernel::conv_u8::TileU8;

const KR: usize = 4;

/// 14 pixels × 32 channels.
///
/// # Safety
///
/// As [`TileU8`] says, on a CPU with AVX-512 (F, BW, VL, DQ) and AVX-512-VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(in crate::kernel) unsafe fn tile_14x32c4(tile: &TileU8) {
    // SAFETY: passed on from the caller; the start values are 32.
    unsafe {
        prefetch(tile);
        let start = [_mm512_loadu_si512(tile.start.cast()), _mm512_loadu_si512(tile.start.add(16).cast())];
        if tile.run.is_multiple_of(KR) {
            let mut sums = [start; MR];
            let depth = (tile.taps, tile.run / KR);
            match tile.ahead {
                Some(ahead) => multiply_and_prefetch(&mut sums, tile.rows, tile.offset, depth.1, tile.panel, ahead),
                None => multiply(&mut sums, tile.rows, tile.offset, depth, tile.panel),
            }
            finish(tile, &sums);
        } else {
            odd_runs(tile, start);
        }
    }
}

/// Runs that end within a group: only bytes of the run are read, the next ones may not be there.
#[cold]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn odd_runs(tile: &TileU8, start: [__m512i; 2]) {
    let mut sums = [start; MR];
    let (groups, rest) = (tile.run / KR, tile.run % KR);
    let mut panel = tile.panel;
    for tap in 0..tile.taps {
        // SAFETY: `rows` holds 14 pointers a tap, each to `run` bytes; the panel holds 128 bytes a group.
        unsafe {
            let rows = tile.rows.add(tap * MR);
            if groups > 0 {
                multiply(&mut sums, rows, tile.offset, (1, groups), panel);
                panel = panel.add(groups * NR * KR);
            }
            let mut bytes = [[0u8; KR]; MR];
            for (row, bytes) in bytes.iter_mut().enumerate() {
                let rest_of_row = (*rows.add(row)).add(tile.offset + groups * KR);
                bytes.as_mut_ptr().copy_from_nonoverlapping(rest_of_row, rest);
            }
            let ends = bytes.each_ref().map(|bytes| bytes.as_ptr());
            multiply(&mut sums, ends.as_ptr(), 0, (1, 1), panel);
            panel = panel.add(NR * KR);
        }
    }
    // SAFETY: passed on from the caller.
    unsafe { finish(tile, &sums) }
}

/// Multiplies a row whose pointer is in a register.
macro_rules! near {
    ($row:literal, $low:literal, $high:literal) => {
        concat!(
            "vpbroadcastd {input}, [{",
            $row,
            "} + {at}]\n",
            "vpdpbusd {",
            $low,
            "}, {input}, {w0}\n",
            "vpdpbusd {",
            $high,
            "}, {input}, {w1}",
        )
    };
}
/// Multiplies a row whose pointer is read again.
macro_rules! far {
    ($offset:literal, $low:literal, $high:literal) => {
        concat!("mov {row}, [{rows} + ", $offset, "]\n", near!("row", $low, $high))
    };
}

/// The loop over the groups of one run or of several, with `$fetch` in every group and `$next` behind a run.
macro_rules! run_groups {
    ([$($fetch:literal),*], [$($next:literal),*], $sums:ident, $rows:ident, $offset:ident, $groups:ident, $panel:ident, $($operand:tt)*) => {
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13] = $sums;
        // Scratch, but named and typed: unnamed, the assembler is given registers of another class.
        let (input, w0, w1): (__m512i, __m512i, __m512i);
        // SAFETY: reads what the caller allows and nothing else; a prefetch reads nothing.
        unsafe {
            asm!(
                "2:",
                "mov {r0}, [{rows}]",
                "mov {r1}, [{rows} + 8]",
                "mov {r2}, [{rows} + 16]",
                "mov {r3}, [{rows} + 24]",
                "mov {r4}, [{rows} + 32]",
                "mov {r5}, [{rows} + 40]",
                "mov {r6}, [{rows} + 48]",
                "mov {at}, {offset}",
                "3:",
                "vmovdqa64 {w0}, [{panel}]",
                "vmovdqa64 {w1}, [{panel} + 64]",
                "prefetcht0 [{panel} + 1024]",
                "prefetcht0 [{panel} + 1088]",
                near!("r0", "l0", "h0"),
                near!("r1", "l1", "h1"),
                near!("r2", "l2", "h2"),
                near!("r3", "l3", "h3"),
                near!("r4", "l4", "h4"),
                near!("r5", "l5", "h5"),
                near!("r6", "l6", "h6"),
                far!("56", "l7", "h7"),
                far!("64", "l8", "h8"),
                far!("72", "l9", "h9"),
                far!("80", "l10", "h10"),
                far!("88", "l11", "h11"),
                far!("96", "l12", "h12"),
                far!("104", "l13", "h13"),
                $($fetch,)*
                "add {panel}, 128",
                "add {at}, 4",
                "cmp {at}, {end}",
                "jb 3b",
                $($next,)*
                $($operand)*
                offset = in(reg) $offset,
                end = in(reg) $offset + $groups * KR,
                panel = inout(reg) $panel => _,
                at = out(reg) _,
                row = out(reg) _,
                r0 = out(reg) _, r1 = out(reg) _, r2 = out(reg) _, r3 = out(reg) _,
                r4 = out(reg) _, r5 = out(reg) _, r6 = out(reg) _,
                input = out(zmm_reg) input,
                w0 = out(zmm_reg) w0,
                w1 = out(zmm_reg) w1,
                l0 = inout(zmm_reg) s0[0], h0 = inout(zmm_reg) s0[1],
                l1 = inout(zmm_reg) s1[0], h1 = inout(zmm_reg) s1[1],
                l2 = inout(zmm_reg) s2[0], h2 = inout(zmm_reg) s2[1],
                l3 = inout(zmm_reg) s3[0], h3 = inout(zmm_reg) s3[1],
                l4 = inout(zmm_reg) s4[0], h4 = inout(zmm_reg) s4[1],
                l5 = inout(zmm_reg) s5[0], h5 = inout(zmm_reg) s5[1],
                l6 = inout(zmm_reg) s6[0], h6 = inout(zmm_reg) s6[1],
                l7 = inout(zmm_reg) s7[0], h7 = inout(zmm_reg) s7[1],
                l8 = inout(zmm_reg) s8[0], h8 = inout(zmm_reg) s8[1],
                l9 = inout(zmm_reg) s9[0], h9 = inout(zmm_reg) s9[1],
                l10 = inout(zmm_reg) s10[0], h10 = inout(zmm_reg) s10[1],
                l11 = inout(zmm_reg) s11[0], h11 = inout(zmm_reg) s11[1],
                l12 = inout(zmm_reg) s12[0], h12 = inout(zmm_reg) s12[1],
                l13 = inout(zmm_reg) s13[0], h13 = inout(zmm_reg) s13[1],
                options(readonly, nostack),
            );
        }
        let _ = (input, w0, w1);
    };
}

/// Adds the products of `taps` runs of `groups` (neither 0) times 4 steps, from `offset` on, of 14 rows with a panel.
///
/// In assembly because it takes 31 of the 32 vector registers: 28 sums, two for weights, one for the input. The
/// pointers of half of the rows stay in general registers. Those of the others are read again for every group, which
/// costs nothing beside the multiplications.
///
/// # Safety
///
/// AVX-512-VNNI; `rows` holds `taps × 14` pointers, each of which may be read for `offset + 4 · groups` bytes; the
/// panel, 64-byte aligned, for `taps · groups · 128`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn multiply(
    sums: &mut Sums,
    rows: *const *const u8,
    offset: usize,
    (taps, groups): (usize, usize),
    panel: *const i8,
) {
    run_groups!(
        [], ["add {rows}, 112", "dec {taps}", "jnz 2b"], sums, rows, offset, groups, panel,
        rows = inout(reg) rows => _,
        taps = inout(reg) taps => _,
    );
}

/// [`multiply`] of one run, which prefetches a cache line from `ahead` on in each group.
///
/// # Safety
///
/// As [`multiply`] says, of one tap.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn multiply_and_prefetch(
    sums: &mut Sums,
    rows: *const *const u8,
    offset: usize,
    groups: usize,
    panel: *const i8,
    ahead: *const u8,
) {
    run_groups!(
        ["prefetcht0 [{ahead}]", "add {ahead}, 64"], [], sums, rows, offset, groups, panel,
        rows = in(reg) rows,
        ahead = inout(reg) ahead => _,
    );
}
