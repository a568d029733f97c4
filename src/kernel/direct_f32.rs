//! Convolution of single channels, or of groups of a few, without panels of weights: contract and kernel.
//!
//! A vector holds neighbouring channels of one pixel. A depthwise convolution multiplies it by the weights of a tap. In
//! a group of S channels each output reads S inputs, so a tap has S vectors of weights. Vector `d` has, in the lane of
//! input `i`, the weight from `i` to output `i ^ d`. Products are summed in S vectors over all taps. At the end the
//! lanes of sum `d` are exchanged at distance `d`, and the sums are added. So there is no shuffle in the loop, and no
//! weight 0.

use std::ops::Range;

use super::activation::Activation;
use super::lanes_f32::{LanesF32, activate};
use super::prefetch::prefetch;

/// Operands of one kernel call: output pixels of one row that all have the same taps.
#[derive(Debug, Clone)]
pub struct DirectF32<'a> {
    /// Where the filter's first tap at the first output pixel reads; outside of the map where that tap is left out.
    pub input: *const f32,
    /// Values from a row of the input to the next.
    pub row_stride: usize,
    /// Values from what an output pixel reads to what the next one reads.
    pub pixel_stride: usize,
    /// Channels of input and output.
    pub channels: usize,
    /// Columns of the filter.
    pub kernel_width: usize,
    /// Rows of the filter that lie in the map.
    pub tap_rows: Range<usize>,
    /// Columns of the filter that lie in the map.
    pub tap_columns: Range<usize>,
    /// Channels of a group: 1, 4 or 8, at most the kernel's lanes.
    pub group: usize,
    /// `[vector][tap][group][lanes]` weights. The last vector ends with the last channel and may overlap the one
    /// before. With fewer channels than lanes, a vector is one channel.
    pub weights: &'a [f32],
    /// Taps of the filter.
    pub taps: usize,
    /// One value a channel.
    pub bias: &'a [f32],
    /// Values to add, one a channel, or null. Only for calls of one pixel.
    pub skip: *const f32,
    /// Function of the sum.
    pub activation: Activation,
    /// Channels to compute: whole groups, and as many as the kernel has lanes unless they are all there are.
    pub range: Range<usize>,
    /// First output pixel.
    pub out: *mut f32,
    /// Output pixels.
    pub count: usize,
}

/// Computes the pixels of one call: taps in order, then bias, skip, activation.
///
/// # Safety
///
/// The CPU has the kernel's instruction set. Every pointer of the [`DirectF32`] is valid for what its field says, and
/// `out` overlaps nothing that is read.
pub type DirectFunctionF32 = unsafe fn(&DirectF32<'_>);

/// The kernel, to be inlined where `V`'s instruction set is enabled.
///
/// # Safety
///
/// See [`DirectFunctionF32`].
#[inline(always)]
pub unsafe fn direct<V: LanesF32>(call: &DirectF32<'_>) {
    // SAFETY: as the caller promises. Groups are at most as large as a vector, so every arm's lanes exist.
    unsafe {
        match call.group {
            1 if call.range.len() < V::LANES => pixels::<f32, 1, 4>(call),
            1 => depthwise::<V>(call),
            4 if V::LANES >= 4 && V::MANY => pixels::<V, 4, 4>(call),
            4 if V::LANES >= 4 => pixels::<V, 4, 2>(call),
            8 if V::LANES >= 8 && V::MANY => pixels::<V, 8, 2>(call),
            8 if V::LANES >= 8 => pixels::<V, 8, 1>(call),
            _ => unreachable!("groups of {} channels", call.group),
        }
    }
}

/// The kernel of the scalar row.
///
/// # Safety
///
/// See [`DirectFunctionF32`].
pub unsafe fn direct_scalar(call: &DirectF32<'_>) {
    // SAFETY: as the caller promises; arrays need no instruction set.
    unsafe { direct::<[f32; 8]>(call) }
}

/// Depthwise: four pixels and two vectors at once, so that eight sums hide the latency of an addition.
#[inline(always)]
unsafe fn depthwise<V: LanesF32>(call: &DirectF32<'_>) {
    let mut pixel = 0;
    // SAFETY: all calls are for pixels below `count` and whole vectors in `range`.
    unsafe {
        while pixel + 4 <= call.count {
            vectors::<V, 4, 2>(call, pixel);
            pixel += 4;
        }
        while pixel < call.count {
            vectors::<V, 1, 4>(call, pixel);
            pixel += 1;
        }
    }
}

/// `P` pixels, all channels of the range, `Q` vectors at once.
#[inline(always)]
unsafe fn vectors<V: LanesF32, const P: usize, const Q: usize>(call: &DirectF32<'_>, pixel: usize) {
    let Range { start, end } = call.range;
    let mut channel = start;
    // SAFETY: every vector lies in the range, which has at least one vector's channels.
    unsafe {
        while channel + Q * V::LANES <= end {
            depthwise_tile::<V, P, Q>(call, pixel, channel);
            channel += Q * V::LANES;
        }
        while channel + V::LANES <= end {
            depthwise_tile::<V, P, 1>(call, pixel, channel);
            channel += V::LANES;
        }
        if channel < end {
            // The last vector overlaps the one before: the same sums are written again.
            depthwise_tile::<V, P, 1>(call, pixel, end - V::LANES);
        }
    }
}

#[inline(always)]
unsafe fn depthwise_tile<V: LanesF32, const P: usize, const Q: usize>(
    call: &DirectF32<'_>,
    pixel: usize,
    channel: usize,
) {
    // SAFETY: pixels `pixel..pixel + P` and `Q` vectors from `channel` on exist, in the map for all taps of the ranges.
    unsafe {
        let mut sums = [[V::splat(0.0); Q]; P];
        let first = call.input.wrapping_add(pixel * call.pixel_stride + channel);
        let vectors = vector_weights::<V>(call, channel);
        for row in call.tap_rows.clone() {
            for column in call.tap_columns.clone() {
                let weights = vectors.add((row * call.kernel_width + column) * V::LANES);
                let input = first.wrapping_add(row * call.row_stride + column * call.channels);
                let weights: [V; Q] = std::array::from_fn(|q| V::load(weights.add(q * call.taps * V::LANES)));
                for (p, sums) in sums.iter_mut().enumerate() {
                    let input = input.wrapping_add(p * call.pixel_stride);
                    for (q, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.plus_product(V::load(input.wrapping_add(q * V::LANES)), weights[q]);
                    }
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (q, sum) in sums.into_iter().enumerate() {
                finish(call, sum, pixel + p, channel + q * V::LANES);
            }
        }
    }
}

/// The weights of the vector that starts at `channel`.
#[inline(always)]
unsafe fn vector_weights<V: LanesF32>(call: &DirectF32<'_>, channel: usize) -> *const f32 {
    // SAFETY: the vector exists.
    unsafe { call.weights.as_ptr().add(channel.div_ceil(V::LANES) * call.taps * call.group * V::LANES) }
}

/// Groups of `S` channels, or one: `P` pixels and one vector at once.
#[inline(always)]
unsafe fn pixels<V: LanesF32, const S: usize, const P: usize>(call: &DirectF32<'_>) {
    let mut pixel = 0;
    // SAFETY: all calls are for pixels below `count`.
    unsafe {
        while pixel + P <= call.count {
            group_vectors::<V, S, P>(call, pixel);
            pixel += P;
        }
        while pixel < call.count {
            group_vectors::<V, S, 1>(call, pixel);
            pixel += 1;
        }
    }
}

#[inline(always)]
unsafe fn group_vectors<V: LanesF32, const S: usize, const P: usize>(call: &DirectF32<'_>, pixel: usize) {
    let Range { start, end } = call.range;
    let mut channel = start;
    // SAFETY: every vector lies in the range, and starts with a group: so do the range's ends, and S divides the lanes.
    unsafe {
        while channel + V::LANES <= end {
            group_tile::<V, S, P>(call, pixel, channel);
            channel += V::LANES;
        }
        if channel < end {
            // See `vectors`.
            group_tile::<V, S, P>(call, pixel, end - V::LANES);
        }
    }
}

#[inline(always)]
unsafe fn group_tile<V: LanesF32, const S: usize, const P: usize>(call: &DirectF32<'_>, pixel: usize, channel: usize) {
    // SAFETY: as for `depthwise_tile`.
    unsafe {
        let mut sums = [[V::splat(0.0); S]; P];
        let first = call.input.wrapping_add(pixel * call.pixel_stride + channel);
        let vector = vector_weights::<V>(call, channel);
        for row in call.tap_rows.clone() {
            // What the next pixels read: a group's row has too many streams for the hardware to foresee.
            for p in P..2 * P {
                prefetch(first.wrapping_add(
                    row * call.row_stride + (call.kernel_width - 1) * call.channels + p * call.pixel_stride,
                ));
            }
            for column in call.tap_columns.clone() {
                let weights = vector.add((row * call.kernel_width + column) * S * V::LANES);
                let input = first.wrapping_add(row * call.row_stride + column * call.channels);
                let input: [V; P] = std::array::from_fn(|p| V::load(input.wrapping_add(p * call.pixel_stride)));
                for distance in 0..S {
                    let weights = V::load(weights.add(distance * V::LANES));
                    for (sums, &input) in sums.iter_mut().zip(&input) {
                        sums[distance] = sums[distance].plus_product(input, weights);
                    }
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            finish(call, folded(sums), pixel + p, channel);
        }
    }
}

/// The sum over `d` of `sums[d]` with the lanes at distance `d` exchanged. Distances are sums of powers of two, and so
/// are exchanges: first 1, then 2, then 4.
#[inline(always)]
unsafe fn folded<V: LanesF32, const S: usize>(mut sums: [V; S]) -> V {
    // SAFETY: S is at most the number of lanes.
    unsafe {
        if S > 1 {
            for d in (0..S).step_by(2) {
                sums[d] = sums[d].plus(sums[d + 1].swapped::<1>());
            }
        }
        if S > 2 {
            for d in (0..S).step_by(4) {
                sums[d] = sums[d].plus(sums[d + 2].swapped::<2>());
            }
        }
        if S > 4 {
            sums[0] = sums[0].plus(sums[4].swapped::<4>());
        }
        sums[0]
    }
}

#[inline(always)]
unsafe fn finish<V: LanesF32>(call: &DirectF32<'_>, mut sum: V, pixel: usize, channel: usize) {
    // SAFETY: a whole vector of bias, skip and output exists at `channel`.
    unsafe {
        sum = sum.plus(V::load(call.bias.as_ptr().add(channel)));
        if !call.skip.is_null() {
            sum = sum.plus(V::load(call.skip.add(channel)));
        }
        activate(call.activation, sum).store(call.out.add(pixel * call.channels + channel));
    }
}
