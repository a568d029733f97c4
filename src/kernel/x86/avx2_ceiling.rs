//! The loops behind [`crate::kernel::ceiling`] for AVX2: the instructions of the micro-kernels without their loads.

use std::arch::x86_64::{
    _mm256_add_epi32, _mm256_fmadd_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps,
};
use std::hint::black_box;

/// Sums that are independent of one another: enough to hide the latency of a multiply-add on any core.
const CHAINS: usize = 12;

/// fp32: one fused multiply-add a chain and round. Reached only through an AVX2 [`crate::kernel::isa::Isa`].
pub fn burn_f32(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves AVX2 and FMA.
    unsafe { fused(rounds) }
    (CHAINS * 8) as u64
}

/// int8: multiply to pairs, widen, add, as the exact kernels do.
pub fn burn_i8(rounds: u64) -> u64 {
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
    let weights = black_box(_mm256_set1_epi8(3));
    let ones = black_box(_mm256_set1_epi16(1));
    let mut values = black_box([_mm256_set1_epi8(5); 2]);
    let mut sums = [_mm256_set1_epi32(0); CHAINS];
    for round in 0..rounds {
        for (chain, sum) in sums.iter_mut().enumerate() {
            let pairs = _mm256_maddubs_epi16(values[chain % 2], weights);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
        // Keeps the products from being computed once for all rounds.
        values = if round == u64::MAX { [weights; 2] } else { opaque(values) };
    }
    black_box(sums);
}

/// The same values, of which the compiler no longer knows that they are the same; costs no instruction.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn opaque(mut values: [std::arch::x86_64::__m256i; 2]) -> [std::arch::x86_64::__m256i; 2] {
    // SAFETY: an empty instruction changes nothing.
    unsafe {
        std::arch::asm!("/* {0} {1} */", inout(ymm_reg) values[0], inout(ymm_reg) values[1],
            options(pure, nomem, nostack, preserves_flags));
    }
    values
}
