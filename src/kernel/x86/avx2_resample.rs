//! Eight values at a time: the two pixels of a tap are neighbours, so that one load brings both.

use std::arch::x86_64::*;

use crate::kernel::resample::{CHANNELS, Tap};

/// See [`crate::kernel::resample::across`].
///
/// # Safety
/// Every tap and the pixel after it lie inside `row`.
#[target_feature(enable = "avx2")]
pub unsafe fn across(row: &[u8], taps: &[Tap], out: &mut [f32]) {
    let one = _mm_set1_ps(1.0);
    for (out, tap) in out.chunks_exact_mut(CHANNELS).zip(taps) {
        let weight = _mm_set1_ps(tap.weight);
        // SAFETY: the caller promises eight bytes from here on, and a chunk has room for four values.
        unsafe {
            let pair = _mm_loadl_epi64(row.as_ptr().add(tap.low as usize * CHANNELS).cast());
            let levels = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(pair));
            let weights = _mm256_set_m128(weight, _mm_sub_ps(one, weight));
            let parts = _mm256_mul_ps(levels, weights);
            let sum = _mm_add_ps(_mm256_castps256_ps128(parts), _mm256_extractf128_ps(parts, 1));
            _mm_storeu_ps(out.as_mut_ptr(), sum);
        }
    }
}
