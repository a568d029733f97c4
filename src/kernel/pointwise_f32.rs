//! Operations on single values of fp32 NHWC maps, and the mean of a map: what squeeze-and-excitation needs beside its
//! convolutions.
//!
//! In: a map. Out: as many values, or one a channel. Work is shared by the current rayon pool where there is enough.
//! Every sum runs in one fixed order: results are the same on every instruction set and for every number of threads.

use rayon::prelude::*;

use super::activation::Activation;
use super::isa::Isa;
use crate::precedence::yield_point;

/// Values that a thread takes at a time; fewer are not worth waking a second one.
const VALUES_PER_TASK: usize = 1 << 15;
/// Channels whose sums stay in registers.
const CHUNK: usize = 32;
/// Pixels that are summed in f32 before they are added to the sum in f64. The error is at most 8 · 2⁻²⁴ of what is
/// summed.
const BLOCK: usize = 8;

/// Replaces each of `values` by [`Activation::apply`] of it.
pub fn activate(isa: Isa, activation: Activation, values: &mut [f32]) {
    if activation == Activation::Identity {
        return;
    }
    values.par_chunks_mut(VALUES_PER_TASK).for_each(|values| {
        yield_point();
        match isa.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX-512.
            _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                super::x86::avx512_plain::activate(activation, values)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2 and FMA.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                super::x86::avx2_plain::activate(activation, values)
            },
            _ => activate_anywhere(activation, values),
        }
    });
}

/// Writes the mean of each channel over all `pixels` of an NHWC map to `out`, as PyTorch's `AdaptiveAvgPool2d(1)`. It
/// is correct to 10⁻⁶ of the mean magnitude. Zeros where there is no pixel.
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn global_mean(isa: Isa, data: &[f32], pixels: usize, channels: usize, out: &mut [f32]) {
    let (data, out) = (&data[..pixels * channels], &mut out[..channels]);
    let mean = |(number, out): (usize, &mut [f32])| {
        yield_point();
        let first = number * CHUNK;
        match isa.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX-512.
            _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                super::x86::avx512_plain::mean(data, channels, first, out)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2 and FMA.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                super::x86::avx2_plain::mean(data, channels, first, out)
            },
            _ => mean_anywhere(data, channels, first, out),
        }
    };
    if data.len() < 2 * VALUES_PER_TASK {
        out.chunks_mut(CHUNK).enumerate().for_each(mean);
    } else {
        out.par_chunks_mut(CHUNK).enumerate().for_each(mean);
    }
}

/// Multiplies each channel of an NHWC map by its gate, into `out`: the last step of squeeze-and-excitation. There are
/// `gates.len()` channels.
///
/// # Panics
///
/// Where `out` is shorter than `data`, or `data` is no whole number of pixels.
pub fn scale_channels(isa: Isa, data: &[f32], gates: &[f32], out: &mut [f32]) {
    if data.is_empty() {
        return;
    }
    assert!(!gates.is_empty() && data.len().is_multiple_of(gates.len()), "a map of no whole number of pixels");
    let length = (VALUES_PER_TASK / gates.len()).max(1) * gates.len();
    out[..data.len()].par_chunks_mut(length).zip(data.par_chunks(length)).for_each(|(out, data)| {
        yield_point();
        match isa.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX-512.
            _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                super::x86::avx512_plain::scale(data, gates, out)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2 and FMA.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe { super::x86::avx2_plain::scale(data, gates, out) },
            _ => scale_anywhere(data, gates, out),
        }
    });
}

/// [`activate`] on one thread; compiled once for each instruction set.
#[inline(always)]
pub(super) fn activate_anywhere(activation: Activation, values: &mut [f32]) {
    // One loop a function, so that each is a loop over vectors.
    match activation {
        Activation::Identity => {}
        Activation::Relu => values.iter_mut().for_each(|x| *x = Activation::Relu.apply(*x)),
        Activation::Relu6 => values.iter_mut().for_each(|x| *x = Activation::Relu6.apply(*x)),
        Activation::Hardswish => values.iter_mut().for_each(|x| *x = Activation::Hardswish.apply(*x)),
        Activation::Hardsigmoid => values.iter_mut().for_each(|x| *x = Activation::Hardsigmoid.apply(*x)),
    }
}

/// The means of the channels from `first` on, as many as `out` has, at most [`CHUNK`]; compiled once for each instruction
/// set.
#[inline(always)]
pub(super) fn mean_anywhere(data: &[f32], channels: usize, first: usize, out: &mut [f32]) {
    let mut sums = [0f64; CHUNK];
    for block in data.chunks(BLOCK * channels) {
        let mut part = [0f32; CHUNK];
        if out.len() == CHUNK {
            for pixel in block.chunks_exact(channels) {
                let pixel = &pixel[first..first + CHUNK];
                part.iter_mut().zip(pixel).for_each(|(part, value)| *part += value);
            }
        } else {
            for pixel in block.chunks_exact(channels) {
                let pixel = &pixel[first..first + out.len()];
                part.iter_mut().zip(pixel).for_each(|(part, value)| *part += value);
            }
        }
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(part));
    }
    let pixels = (data.len() / channels.max(1)).max(1) as f64;
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (sum / pixels) as f32);
}

/// [`scale_channels`] on one thread; compiled once for each instruction set.
#[inline(always)]
pub(super) fn scale_anywhere(data: &[f32], gates: &[f32], out: &mut [f32]) {
    for (out, data) in out.chunks_exact_mut(gates.len()).zip(data.chunks_exact(gates.len())) {
        for ((out, value), gate) in out.iter_mut().zip(data).zip(gates) {
            *out = value * gate;
        }
    }
}
