//! Functions in plain Rust, compiled again for AVX-512, which LLVM vectorises well.
//!
//! Nothing here is fused, so that the results are the portable ones to the bit.

use crate::kernel::activation::Activation;
use crate::kernel::pointwise_u8::{self, Requantization};
use crate::kernel::pool_f32::MaxPool;
use crate::kernel::roi_align_f32::{Axes, RoiAlignParams, RoiLevel, pool_box as pool_box_anywhere};
use crate::kernel::two_bytes::{Extents, Rows16, Scaled16};
use crate::kernel::{pointwise_f32, pool_u8, roi_align_u8, two_bytes};

/// See [`MaxPool::row`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn max_row(map: &MaxPool<'_>, y: usize, row: &mut [f32]) {
    map.row(y, row);
}

/// See [`pool_box_anywhere`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn pool_box(axes: &mut Axes, level: &RoiLevel<'_>, params: RoiAlignParams, out: &mut [f32]) {
    pool_box_anywhere(axes, level, params, out);
}

/// See [`pool_u8::MaxPool::row`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn max_row_u8(map: &pool_u8::MaxPool<'_>, y: usize, row: &mut [u8]) {
    map.row(y, row);
}

/// See [`roi_align_u8::pool_box`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn pool_box_u8(
    axes: &roi_align_u8::Axes,
    level: &roi_align_u8::RoiLevelU8<'_>,
    params: &roi_align_u8::RoiAlignParamsU8,
    out: &mut [u8],
) {
    roi_align_u8::pool_box(axes, level, params, out);
}

/// See [`pointwise_f32::activate`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn activate(activation: Activation, values: &mut [f32]) {
    pointwise_f32::activate_anywhere(activation, values);
}

/// See [`pointwise_f32::global_mean`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn mean(data: &[f32], channels: usize, first: usize, out: &mut [f32]) {
    pointwise_f32::mean_anywhere(data, channels, first, out);
}

/// See [`pointwise_f32::scale_channels`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn scale(data: &[f32], gates: &[f32], out: &mut [f32]) {
    pointwise_f32::scale_anywhere(data, gates, out);
}

/// See [`pointwise_u8::global_mean`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn mean_u8(
    data: &[u8],
    channels: usize,
    first: usize,
    zero_point: u8,
    requantization: Requantization,
    out: &mut [u8],
) {
    pointwise_u8::mean_anywhere(data, channels, first, zero_point, requantization, out);
}

/// See [`pointwise_u8::scale_channels`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn scale_u8(data: &[u8], gates: &[u8], zero_points: [u8; 2], requantization: Requantization, out: &mut [u8]) {
    pointwise_u8::scale_anywhere(data, gates, zero_points, requantization, out);
}

/// See [`two_bytes::split`].
///
/// # Safety
///
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(in crate::kernel) unsafe fn split(values: &[f32], extents: Extents, zero_point: i32, out: Rows16) {
    // SAFETY: passed on from the caller.
    unsafe { two_bytes::split_anywhere(values, extents, zero_point, out) }
}

/// See [`two_bytes::join`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(in crate::kernel) fn join(from: Scaled16<'_>, offsets: &[usize], extents: Extents, out: &mut [f32]) {
    two_bytes::join_anywhere(from, offsets, extents, out);
}

/// See [`pool_u8::MaxPool::row_16`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub fn max_row_u16(map: &pool_u8::MaxPool<'_>, y: usize, row: [&mut [u8]; 2]) {
    map.row_16(y, row);
}
