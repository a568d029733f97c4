//! Products of u8 × s8 convolution with AVX-VNNI: `vpdpbusd` on 256 bits in its VEX form, for CPUs without AVX-512.
//!
//! Four products are added to 32 bits at once, without saturation, so any weights are exact.

use std::arch::asm;

use super::avx2_u8_epilogue::{KR, MR, Sums};

/// Adds the products of `groups` (not 0) times 4 steps of 6 rows with a panel.
///
/// # Safety
///
/// AVX-VNNI; each row may be read for `4 · groups` bytes, the panel, 32-byte aligned, for `64 · groups`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn multiply(sums: &mut Sums, rows: [*const u8; MR], panel: *const i8, groups: usize) {
    macro_rules! row {
        ($row:literal, $low:literal, $high:literal) => {
            concat!(
                "vpbroadcastd {input}, [{",
                $row,
                "} + {at}]\n",
                "{{vex}} vpdpbusd {",
                $low,
                "}, {input}, {w0}\n",
                "{{vex}} vpdpbusd {",
                $high,
                "}, {input}, {w1}",
            )
        };
    }
    let [s0, s1, s2, s3, s4, s5] = sums;
    // SAFETY: reads what the caller allows, nothing else; the ends of the rows are addressed from below.
    unsafe {
        let length = groups * KR;
        asm!(
            "2:",
            "vmovdqa {w0}, [{panel}]",
            "vmovdqa {w1}, [{panel} + 32]",
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
            input = out(ymm_reg) _,
            w0 = out(ymm_reg) _,
            w1 = out(ymm_reg) _,
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
