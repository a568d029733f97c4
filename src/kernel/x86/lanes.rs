//! Vectors of f32 with SSE4.1, AVX2 and AVX-512, for kernels that are written over [`LanesF32`].

use std::arch::x86_64::*;

use crate::kernel::lanes_f32::LanesF32;

/// SSE4.1: there is no fused multiply-add.
impl LanesF32 for __m128 {
    const LANES: usize = 4;
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait says; so in all functions below.
        unsafe { _mm_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { _mm_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_sub_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_mul_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_div_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_add_ps(self, _mm_mul_ps(a, b)) }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_max_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm_min_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            match DISTANCE {
                1 => _mm_shuffle_ps::<0b10_11_00_01>(self, self),
                2 => _mm_shuffle_ps::<0b01_00_11_10>(self, self),
                _ => unreachable!(),
            }
        }
    }
}

/// AVX2 and FMA.
impl LanesF32 for __m256 {
    const LANES: usize = 8;
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait says; so in all functions below.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_sub_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_mul_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_div_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_fmadd_ps(a, b, self) }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_max_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm256_min_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            match DISTANCE {
                1 => _mm256_permute_ps::<0b10_11_00_01>(self),
                2 => _mm256_permute_ps::<0b01_00_11_10>(self),
                4 => _mm256_permute2f128_ps::<0b0001>(self, self),
                _ => unreachable!(),
            }
        }
    }
}

/// AVX-512F.
impl LanesF32 for __m512 {
    const LANES: usize = 16;
    const MANY: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the trait says; so in all functions below.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_sub_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_mul_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_div_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_fmadd_ps(a, b, self) }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_max_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: see `splat`.
        unsafe { _mm512_min_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        // SAFETY: see `splat`.
        unsafe {
            match DISTANCE {
                1 => _mm512_permute_ps::<0b10_11_00_01>(self),
                2 => _mm512_permute_ps::<0b01_00_11_10>(self),
                4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(self, self),
                _ => unreachable!(),
            }
        }
    }
}
