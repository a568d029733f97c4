//! The loops behind [`crate::kernel::ceiling`] for SSE4.1, AVX-VNNI and AVX-512-VNNI: the instructions of the
//! micro-kernels without their loads. Each is reached only through an [`crate::kernel::isa::Isa`] that proves them.

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

/// Sums that are independent of one another: enough to hide the latency of a multiply-add on any core.
const CHAINS: usize = 12;

/// fp32 on 512 bits: one fused multiply-add a chain and round.
pub fn peak_f32_512(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves AVX-512.
    unsafe { fused_512(rounds) }
    (CHAINS * 16) as u64
}

/// int8 on 512 bits: one `vpdpbusd` a chain and round.
pub fn peak_i8_512(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves AVX-512-VNNI.
    unsafe { dot_512(rounds) }
    (CHAINS * 64) as u64
}

/// int8 on 256 bits: one `vpdpbusd` a chain and round.
pub fn peak_i8_256(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves AVX-VNNI.
    unsafe { dot_256(rounds) }
    (CHAINS * 32) as u64
}

/// fp32 on 128 bits: a multiplication and an addition a chain and round.
pub fn peak_f32_128(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves SSE4.1.
    unsafe { separate_128(rounds) }
    (CHAINS * 4) as u64
}

/// int8 on 128 bits: multiply to pairs, widen, add, as the kernel does.
pub fn peak_i8_128(rounds: u64) -> u64 {
    // SAFETY: the caller holds an `Isa` that proves SSE4.1.
    unsafe { widening_128(rounds) }
    (CHAINS * 16) as u64
}

#[target_feature(enable = "avx512f")]
fn fused_512(rounds: u64) {
    let factor = black_box(_mm512_set1_ps(0.999_999));
    let term = black_box(_mm512_set1_ps(1e-3));
    let mut sums = black_box([_mm512_set1_ps(1.0); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, term);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_512(rounds: u64) {
    let values = black_box(_mm512_set1_epi8(5));
    let weights = black_box(_mm512_set1_epi8(3));
    let mut sums = black_box([_mm512_setzero_si512(); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            // As assembly, because the compiler would see that all chains are the same.
            // SAFETY: registers only; the caller's target features hold the instruction.
            unsafe {
                asm!(
                    "vpdpbusd {sum}, {values}, {weights}",
                    sum = inout(zmm_reg) *sum,
                    values = in(zmm_reg) values,
                    weights = in(zmm_reg) weights,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    black_box(sums);
}

#[target_feature(enable = "avx2")]
fn dot_256(rounds: u64) {
    let values = black_box(_mm256_set1_epi8(5));
    let weights = black_box(_mm256_set1_epi8(3));
    let mut sums = black_box([_mm256_setzero_si256(); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: registers only; the `Isa` behind the call proves AVX-VNNI.
            unsafe {
                asm!(
                    "{{vex}} vpdpbusd {sum}, {values}, {weights}",
                    sum = inout(ymm_reg) *sum,
                    values = in(ymm_reg) values,
                    weights = in(ymm_reg) weights,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    black_box(sums);
}

#[target_feature(enable = "sse4.1")]
fn separate_128(rounds: u64) {
    let factor = black_box(_mm_set1_ps(0.999_999));
    let term = black_box(_mm_set1_ps(1e-3));
    let mut sums = black_box([_mm_set1_ps(1.0); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm_add_ps(_mm_mul_ps(*sum, factor), term);
        }
    }
    black_box(sums);
}

#[target_feature(enable = "sse4.1")]
fn widening_128(rounds: u64) {
    let values = black_box(_mm_set1_epi8(5));
    let weights = black_box(_mm_set1_epi8(3));
    let ones = black_box(_mm_set1_epi16(1));
    let mut sums = black_box([_mm_setzero_si128(); CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: registers only; the caller's target features hold the instructions.
            unsafe {
                asm!(
                    "movdqa {pairs}, {values}",
                    "pmaddubsw {pairs}, {weights}",
                    "pmaddwd {pairs}, {ones}",
                    "paddd {sum}, {pairs}",
                    pairs = out(xmm_reg) _,
                    values = in(xmm_reg) values,
                    weights = in(xmm_reg) weights,
                    ones = in(xmm_reg) ones,
                    sum = inout(xmm_reg) *sum,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
    black_box(sums);
}
