//! The loops behind [`crate::kernel::ceiling`] for AVX2: the instructions of the micro-kernels without their loads.

use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps};
use std::hint::black_box;

/// Sums that are independent of one another: enough to hide the latency of a multiply-add on any core.
const CHAINS: usize = 11;

/// fp32: one fused multiply-add a chain and round. Reached only through an AVX2 [`crate::kernel::isa::Isa`].
pub fn peak_f32(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves AVX2 and FMA.
    unsafe { fused(rounds) }
    (CHAINS * 8) as u64
}

/// int8: multiply to pairs, widen, add, as the exact kernels do.
pub fn peak_i8(rounds: u64) -> u64 {
    // SAFETY: as above.
    unsafe { widening(rounds) }
    (CHAINS * 32) as u64
}

#[target_feature(enable = "avx2,fma")]
fn fused(rounds: u64) {
    let factor = black_box(_mm256_set1_ps(0.999_999));
    let term = black_box(_mm256_set1_ps(1e-3));
    let mut sums = [_mm256_set1_ps(1.0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, term);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx2,fma")]
fn widening(rounds: u64) {
    let values = black_box([_mm256_set1_epi8(5); 2]);
    let weights = black_box(_mm256_set1_epi8(3));
    let ones = black_box(_mm256_set1_epi16(1));
    let mut sums = [_mm256_set1_epi32(0); CHAINS];
    for _ in 0..rounds {
        for (chain, sum) in sums.iter_mut().enumerate() {
            // As assembly, because the compiler would compute equal products once for several chains.
            // SAFETY: registers only; the caller's target features hold the instructions.
            unsafe {
                std::arch::asm!(
                    "vpmaddubsw {pairs}, {values}, {weights}",
                    "vpmaddwd {pairs}, {pairs}, {ones}",
                    "vpaddd {sum}, {sum}, {pairs}",
                    pairs = out(ymm_reg) _,
                    values = in(ymm_reg) values[chain % 2],
                    weights = in(ymm_reg) weights,
                    ones = in(ymm_reg) ones,
                    sum = inout(ymm_reg) *sum,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    black_box(sums);
}
