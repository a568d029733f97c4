//! Bilinear sampler: half-pixel centres, no antialiasing.
//!
//! In: rows of a picture, as `f32` or as bytes. Out: rows of the resized picture, of the same type. The arithmetic is that
//! of PyTorch's `interpolate(mode="bilinear", align_corners=False)` without fused multiply-adds. Results are therefore the
//! same on every CPU, and within 5e-7 of PyTorch's for normalized pictures. If output rows and columns sum to at most 128,
//! PyTorch computes source positions with a fused multiply-add. Such thumbnails differ by up to 2e-6.

use crate::kernel::isa::Isa;
use crate::kernel::resample::{self, Tap};
use crate::kernel::two_bytes;

/// Values of a pixel in a row of `f32`.
const CHANNELS: usize = 3;

/// Sample positions along one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleAxis {
    size_in: usize,
    /// One tap an output sample. The input is extended by repeating its last sample.
    taps: Vec<Tap>,
}

impl SampleAxis {
    /// Sets input and output size, both at least 1. The allocation is reused.
    pub(super) fn set(&mut self, size_in: usize, size_out: usize) {
        if self.size_in == size_in && self.taps.len() == size_out {
            return;
        }
        self.size_in = size_in;
        let scale = size_in as f32 / size_out as f32;
        let last = size_in - 1;
        self.taps.clear();
        self.taps.extend((0..size_out).map(|index| {
            // The clamp repeats the first sample at the border; the last one is repeated by the extended input.
            let position = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
            let low = (position as usize).min(last);
            Tap { low: low as u32, weight: (position - low as f32).clamp(0.0, 1.0) }
        }));
    }

    fn len(&self) -> usize {
        self.taps.len()
    }

    /// Indices of the two input samples around output sample `index`, and the weight of the second.
    fn neighbours(&self, index: usize) -> (usize, usize, f32) {
        let Tap { low, weight } = self.taps[index];
        (low as usize, (low as usize + 1).min(self.size_in - 1), weight)
    }
}

/// Cache of two input rows that are already resized in width. Successive output rows share them.
#[derive(Debug, Clone, Default)]
struct RowCache {
    rows: [Vec<f32>; 2],
    /// Input row in each slot.
    indices: [Option<usize>; 2],
}

impl RowCache {
    /// Empties the cache and sets the row length.
    fn clear(&mut self, values: usize) {
        self.rows.iter_mut().for_each(|row| row.resize(values, 0.0));
        self.indices = [None; 2];
    }

    /// Slot of row `y`; calls `make` if the row is not cached. Row `keep` is not evicted.
    fn get(&mut self, y: usize, keep: usize, make: impl FnOnce(&mut [f32])) -> usize {
        if let Some(slot) = self.indices.iter().position(|&cached| cached == Some(y)) {
            return slot;
        }
        let slot = usize::from(self.indices[0] == Some(keep));
        make(&mut self.rows[slot]);
        self.indices[slot] = Some(y);
        slot
    }
}

/// Bilinear sampler with its row buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sampler {
    pub(super) rows: SampleAxis,
    pub(super) columns: SampleAxis,
    /// An input row as `f32`, with the last pixel repeated.
    source: Vec<f32>,
    /// The same as bytes.
    source_bytes: Vec<u8>,
    cache: RowCache,
    /// An output row.
    blended: Vec<f32>,
}

impl Sampler {
    /// Resizes a picture of `f32`. `read` fills a buffer with input row *y*, three values a pixel. `write` receives the
    /// output rows in order.
    pub(super) fn run(&mut self, mut read: impl FnMut(usize, &mut [f32]), mut write: impl FnMut(usize, &[f32])) {
        let Self { rows, columns, source, cache, blended, .. } = self;
        let values = columns.len() * CHANNELS;
        let end = columns.size_in * CHANNELS;
        source.resize(end + CHANNELS, 0.0);
        blended.resize(values, 0.0);
        cache.clear(values);
        let mut resize = |y: usize, out: &mut [f32]| {
            read(y, &mut source[..end]);
            source.copy_within(end - CHANNELS..end, end);
            for (out, tap) in out.chunks_exact_mut(CHANNELS).zip(&columns.taps) {
                let pair = &source[tap.low as usize * CHANNELS..][..2 * CHANNELS];
                for channel in 0..CHANNELS {
                    out[channel] = pair[channel] * (1.0 - tap.weight) + pair[channel + CHANNELS] * tap.weight;
                }
            }
        };
        for y in 0..rows.len() {
            let (low, high, weight) = rows.neighbours(y);
            let at_low = cache.get(low, high, |row| resize(low, row));
            let at_high = cache.get(high, low, |row| resize(high, row));
            let (low, high) = (&cache.rows[at_low], &cache.rows[at_high]);
            for ((out, &low), &high) in blended.iter_mut().zip(low).zip(high) {
                *out = low * (1.0 - weight) + high * weight;
            }
            write(y, blended);
        }
    }

    /// Resizes a picture of bytes. `read` fills a buffer with input row *y*, four bytes a pixel. `out` yields the output
    /// rows in order.
    pub(super) fn run_bytes<'a>(
        &mut self,
        isa: Isa,
        read: impl FnMut(usize, &mut [u8]),
        out: impl Iterator<Item = &'a mut [u8]>,
    ) {
        self.resample(isa, read, out, |low, high, weight, out| resample::blend(isa, low, high, weight, out));
    }

    /// [`Sampler::run_bytes`] with two bytes a value: `out` yields the rows of the high and of the low ones.
    pub(super) fn run_two_bytes<'a>(
        &mut self,
        isa: Isa,
        read: impl FnMut(usize, &mut [u8]),
        out: impl Iterator<Item = (&'a mut [u8], &'a mut [u8])>,
    ) {
        self.resample(isa, read, out, |low, high, weight, out| two_bytes::blend(isa, low, high, weight, out));
    }

    /// Resamples rows in width, and hands each output row and the two rows beside it to `blend`.
    fn resample<T>(
        &mut self,
        isa: Isa,
        mut read: impl FnMut(usize, &mut [u8]),
        out: impl Iterator<Item = T>,
        blend: impl Fn(&[f32], &[f32], f32, T),
    ) {
        const CHANNELS: usize = resample::CHANNELS;
        let Self { rows, columns, source_bytes: source, cache, .. } = self;
        let end = columns.size_in * CHANNELS;
        source.resize(end + CHANNELS, 0);
        cache.clear(columns.len() * CHANNELS);
        let mut resize = |y: usize, out: &mut [f32]| {
            read(y, &mut source[..end]);
            source.copy_within(end - CHANNELS..end, end);
            resample::across(isa, source, &columns.taps, out);
        };
        for (y, out) in out.take(rows.len()).enumerate() {
            let (low, high, weight) = rows.neighbours(y);
            let at_low = cache.get(low, high, |row| resize(low, row));
            let at_high = cache.get(high, low, |row| resize(high, row));
            blend(&cache.rows[at_low], &cache.rows[at_high], weight, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(size_in: usize, size_out: usize) -> Vec<Tap> {
        let mut axis = SampleAxis::default();
        axis.set(size_in, size_out);
        axis.taps
    }

    #[test]
    fn doubling_places_samples_at_quarters() {
        let expected = [(0, 0.0), (0, 0.25), (0, 0.75), (1, 0.25)];
        assert_eq!(taps(2, 4), expected.map(|(low, weight)| Tap { low, weight }));
    }

    #[test]
    fn an_unchanged_size_samples_the_pixels_themselves() {
        for (index, tap) in taps(7, 7).into_iter().enumerate() {
            assert_eq!((tap.low as usize, tap.weight), (index, 0.0));
        }
    }

    #[test]
    fn every_sample_lies_inside() {
        for size_in in [1, 2, 3, 31, 1000] {
            for size_out in [1, 2, 5, 64, 1333] {
                for tap in taps(size_in, size_out) {
                    assert!((tap.low as usize) < size_in && (0.0..=1.0).contains(&tap.weight));
                }
            }
        }
    }
}
