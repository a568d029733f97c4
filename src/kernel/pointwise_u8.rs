//! Operations on single values of byte maps, and the mean of a map: what squeeze-and-excitation needs beside its
//! convolutions.
//!
//! In: a map with its quantization parameters. Out: as many bytes, or one a channel, with parameters of their own. Sums
//! and products are exact integers. Each is scaled by one f32 multiplication and rounded half to even, so every
//! instruction set and thread count gives the same bytes:
//!
//! ```text
//! mean    q = saturate_u8(round_half_even(f32(Σ q_in − n · z_in) · m) + z_out)       m = s_in / (n · s_out)
//! scale   q = saturate_u8(round_half_even(f32((q − z) · (g − z_g)) · m) + z_out)     m = s · s_g / s_out
//! ```

use rayon::prelude::*;

use super::isa::Isa;
use crate::precedence::yield_point;

/// Values that a thread takes at a time; fewer are not worth waking a second one.
const VALUES_PER_TASK: usize = 1 << 16;
/// Channels whose sums stay in registers, and whose gates are widened at once.
const CHUNK: usize = 64;

/// 1.5 · 2²³: added to a small value, it leaves the nearest integer in the last bits.
const ROUNDING: f32 = 12_582_912.0;

/// From an exact sum or product to a byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Requantization {
    /// Output steps of a step of the sum or product.
    pub multiplier: f32,
    /// The output's zero point.
    pub zero_point: u8,
}

impl Requantization {
    #[inline(always)]
    fn byte(&self, exact: f32) -> u8 {
        let zero_point = f32::from(self.zero_point);
        let t = exact * self.multiplier;
        // Comparisons, not `max` and `min`: NaN gives the lower end, as in the convolutions.
        let raised = if t > -zero_point { t } else { -zero_point };
        let clamped = if raised < 255.0 - zero_point { raised } else { 255.0 - zero_point };
        // The sum rounds half to even, and its last byte is that of the rounded value. Unlike a conversion it is a
        // plain addition of vectors.
        ((clamped + ROUNDING).to_bits() as u8).wrapping_add(self.zero_point)
    }
}

/// The mean of each channel over all `pixels` of an NHWC map with zero point `zero_point`, into `out` (one byte a
/// channel). Zeros where there is no pixel.
///
/// # Panics
///
/// Where a slice is shorter than its shape says.
pub fn global_mean(
    isa: Isa,
    data: &[u8],
    pixels: usize,
    zero_point: u8,
    requantization: Requantization,
    out: &mut [u8],
) {
    let channels = out.len();
    let data = &data[..pixels * channels];
    let mean = |(number, out): (usize, &mut [u8])| {
        yield_point();
        let first = number * CHUNK;
        match isa.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX-512.
            _ if isa.proves(super::isa::IsaName::Avx512Vnni) => unsafe {
                super::x86::avx512_plain::mean_u8(data, channels, first, zero_point, requantization, out)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                super::x86::avx2_plain::mean_u8(data, channels, first, zero_point, requantization, out)
            },
            _ => mean_anywhere(data, channels, first, zero_point, requantization, out),
        }
    };
    if data.len() < 2 * VALUES_PER_TASK {
        out.chunks_mut(CHUNK).enumerate().for_each(mean);
    } else {
        out.par_chunks_mut(CHUNK).enumerate().for_each(mean);
    }
}

/// Multiplies each channel of an NHWC map by its gate, into `out`: the last step of squeeze-and-excitation. There are
/// `gates.len()` channels; `zero_points` are those of the map and of the gates.
///
/// # Panics
///
/// Where `out` is shorter than `data`, or `data` is no whole number of pixels.
pub fn scale_channels(
    isa: Isa,
    data: &[u8],
    gates: &[u8],
    zero_points: [u8; 2],
    requantization: Requantization,
    out: &mut [u8],
) {
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
                super::x86::avx512_plain::scale_u8(data, gates, zero_points, requantization, out)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the `Isa` proves AVX2.
            _ if isa.proves(super::isa::IsaName::Avx2) => unsafe {
                super::x86::avx2_plain::scale_u8(data, gates, zero_points, requantization, out)
            },
            _ => scale_anywhere(data, gates, zero_points, requantization, out),
        }
    });
}

/// Replaces every byte by its entry in `table`, into `out`.
///
/// # Panics
///
/// Where `out` is shorter than `data`.
pub fn look_up(table: &[u8; 256], data: &[u8], out: &mut [u8]) {
    for (out, &value) in out[..data.len()].iter_mut().zip(data) {
        *out = table[usize::from(value)];
    }
}

/// The means of the channels from `first` on, as many as `out` has, at most [`CHUNK`]; compiled once for each
/// instruction set.
#[inline(always)]
pub(super) fn mean_anywhere(
    data: &[u8],
    channels: usize,
    first: usize,
    zero_point: u8,
    requantization: Requantization,
    out: &mut [u8],
) {
    let mut sums = [0i64; CHUNK];
    // As many pixels at a time as 16-bit sums hold.
    for block in data.chunks(256 * channels) {
        let mut part = [0u16; CHUNK];
        if out.len() == CHUNK {
            for pixel in block.chunks_exact(channels) {
                let pixel = &pixel[first..first + CHUNK];
                part.iter_mut().zip(pixel).for_each(|(part, &value)| *part += u16::from(value));
            }
        } else {
            for pixel in block.chunks_exact(channels) {
                let pixel = &pixel[first..first + out.len()];
                part.iter_mut().zip(pixel).for_each(|(part, &value)| *part += u16::from(value));
            }
        }
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += i64::from(part));
    }
    let zero = (data.len() / channels.max(1)) as i64 * i64::from(zero_point);
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = requantization.byte((sum - zero) as f32);
    }
}

/// [`scale_channels`] on one thread; compiled once for each instruction set.
#[inline(always)]
pub(super) fn scale_anywhere(
    data: &[u8],
    gates: &[u8],
    [zero_point, zero_gate]: [u8; 2],
    requantization: Requantization,
    out: &mut [u8],
) {
    let channels = gates.len();
    for (chunk, gates) in gates.chunks(CHUNK).enumerate() {
        // Products of two such differences have 17 bits: exact in f32.
        let mut wide = [0f32; CHUNK];
        wide.iter_mut().zip(gates).for_each(|(wide, &gate)| *wide = f32::from(gate) - f32::from(zero_gate));
        let wide = &wide[..gates.len()];
        let first = chunk * CHUNK;
        for (out, data) in out.chunks_exact_mut(channels).zip(data.chunks_exact(channels)) {
            let pixel = out[first..].iter_mut().zip(&data[first..]).zip(wide);
            for ((out, &value), &gate) in pixel {
                *out = requantization.byte((f32::from(value) - f32::from(zero_point)) * gate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn bytes(random: &mut Random, length: usize) -> Vec<u8> {
        (0..length).map(|_| random.below(256) as u8).collect()
    }

    /// Half to even of an exact quotient, saturated: the rule in f64.
    fn rounded(exact: f64, zero_point: u8) -> u8 {
        (exact.round_ties_even() + f64::from(zero_point)).clamp(0.0, 255.0) as u8
    }

    #[test]
    fn means_and_products_are_their_definition_on_every_instruction_set() {
        let mut random = Random::new(3);
        for isa in Isa::available() {
            for (pixels, channels) in [(1, 1), (7, 5), (600, 64), (1000, 72), (257, 200), (2000, 130)] {
                let data = bytes(&mut random, pixels * channels);
                let gates = bytes(&mut random, channels);
                let [z, g, o] = [0, 1, 2].map(|_| random.below(256) as u8);
                // A power of two, so that the products below are exact.
                let requantization = Requantization { multiplier: 1.0 / 64.0, zero_point: o };
                let mut out = vec![0; data.len()];
                scale_channels(isa, &data, &gates, [z, g], requantization, &mut out);
                for (at, (&out, &value)) in out.iter().zip(&data).enumerate() {
                    let product = (f64::from(value) - f64::from(z)) * (f64::from(gates[at % channels]) - f64::from(g));
                    assert_eq!(out, rounded(product / 64.0, o), "{isa:?} {pixels} × {channels} at {at}");
                }
                let multiplier = 1.0 / pixels.next_power_of_two() as f32;
                let mut out = vec![0; channels];
                let requantization = Requantization { multiplier, zero_point: o };
                global_mean(isa, &data, pixels, z, requantization, &mut out);
                for (channel, &out) in out.iter().enumerate() {
                    let values = data.iter().skip(channel).step_by(channels);
                    let sum: i64 = values.map(|&value| i64::from(value) - i64::from(z)).sum();
                    let mean = sum as f64 * f64::from(multiplier);
                    assert_eq!(out, rounded(mean, o), "{isa:?} {pixels} × {channels} channel {channel}");
                }
            }
        }
    }

    #[test]
    fn a_table_is_looked_up() {
        let table = std::array::from_fn(|at| 255 - at as u8);
        let mut out = [9; 3];
        look_up(&table, &[0, 255], &mut out);
        assert_eq!(out, [255, 0, 9]);
    }
}
