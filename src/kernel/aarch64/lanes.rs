//! Vectors of f32 with Advanced SIMD, for kernels that are written over [`LanesF32`].

use std::arch::aarch64::*;

use crate::kernel::lanes_f32::LanesF32;

impl LanesF32 for float32x4_t {
    const LANES: usize = 4;
    const MANY: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait says; so in all functions below.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see `splat`.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { vst1q_f32(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vaddq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vsubq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vmulq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vdivq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vfmaq_f32(self, a, b) }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // The operand that is not NaN.
        // SAFETY: see `splat`.
        unsafe { vmaxnmq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { vminnmq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            match DISTANCE {
                1 => vrev64q_f32(self),
                2 => vextq_f32::<2>(self, self),
                _ => unreachable!(),
            }
        }
    }
}
