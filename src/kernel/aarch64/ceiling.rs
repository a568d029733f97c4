//! The loops behind [`crate::kernel::ceiling`] for AArch64: the instructions of the micro-kernels without their loads.
//! Each is reached only through an [`crate::kernel::isa::Isa`] that proves them.

use std::arch::aarch64::*;
use std::arch::asm;
use std::hint::black_box;

/// Sums that are independent of one another: enough to hide the latency of a multiply-add on any core.
const CHAINS: usize = 12;

/// fp32: one fused multiply-add a chain and round.
pub fn peak_f32(rounds: u64) -> u64 {
    let factor = black_box(vdup(0.999_999));
    let term = black_box(vdup(1e-3));
    let mut sums = black_box([vdup(1.0); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: registers only; every AArch64 CPU has the instruction.
            unsafe {
                asm!("fmla {sum:v}.4s, {a:v}.4s, {b:v}.4s", sum = inout(vreg) *sum, a = in(vreg) factor,
                    b = in(vreg) term, options(nomem, nostack, preserves_flags));
            }
        }
    }
    black_box(sums);
    (CHAINS * 4) as u64
}

fn vdup(value: f32) -> float32x4_t {
    // SAFETY: every AArch64 CPU has Advanced SIMD.
    unsafe { vdupq_n_f32(value) }
}

/// A loop over chains of one assembly text: sums in `{sum}`, operands `{a}` and `{b}`, scratch v31.
macro_rules! peak_loop {
    ($(#[$doc:meta])* $name:ident, $feature:literal, $macs:literal, $text:literal) => {
        $(#[$doc])*
        pub fn $name(rounds: u64) -> u64 {
            #[target_feature(enable = $feature)]
            fn run(rounds: u64) {
                let (a, b) = (black_box(vdupq_n_s8(3)), black_box(vdupq_n_s8(5)));
                let mut sums = black_box([vdupq_n_s32(0); CHAINS]);
                for _ in 0..rounds {
                    for sum in &mut sums {
                        // SAFETY: registers only; the function's target features hold the instruction.
                        unsafe {
                            asm!($text, sum = inout(vreg) *sum, a = in(vreg) a, b = in(vreg) b, out("v31") _,
                                options(nomem, nostack, preserves_flags));
                        }
                    }
                }
                black_box(sums);
            }
            // SAFETY: the `Isa` behind the call proves the feature.
            unsafe { run(rounds) }
            (CHAINS * $macs) as u64
        }
    };
}

peak_loop!(
    /// int8 with plain Advanced SIMD: 16 products in pairs, widened, as the kernel does.
    peak_i8_neon,
    "neon",
    16,
    "smull v31.8h, {a:v}.8b, {b:v}.8b\nsmlal2 v31.8h, {a:v}.16b, {b:v}.16b\nsadalp {sum:v}.4s, v31.8h"
);
peak_loop!(
    /// int8 with the dot product extension.
    peak_i8_dotprod,
    "neon,dotprod",
    16,
    "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b"
);
peak_loop!(
    /// int8 with the matrix extension.
    peak_i8_i8mm,
    "neon,i8mm",
    32,
    "usmmla {sum:v}.4s, {a:v}.16b, {b:v}.16b"
);
