//! The bilinear sampler: half-pixel centres, no antialiasing.
//!
//! In: rows that the caller makes of a picture's rows, as numbers or as bytes. Out: rows of the resized picture, of the
//! same kind. The arithmetic is that of PyTorch's `interpolate(mode="bilinear", align_corners=False)` without its fused
//! multiply-adds, so results are the same on every CPU and within 5e-7 of PyTorch's for normalized pictures. PyTorch
//! computes places with a fused multiply-add where rows and columns out are 128 together at most; such thumbnails differ
//! by up to 2e-6.

use crate::kernel::isa::Isa;
use crate::kernel::resample::{self, Tap};

/// Values of a sampled row of numbers.
const CHANNELS: usize = 3;

/// Where the samples of one direction lie.
#[derive(Debug, Clone, Default)]
pub(super) struct Axis {
    size_in: usize,
    /// One a sample; what follows the last sample in is the last sample in.
    taps: Vec<Tap>,
}

impl Axis {
    /// Makes this the axis from `size_in` to `size_out` samples, both at least 1. Keeps its memory.
    pub(super) fn set(&mut self, size_in: usize, size_out: usize) {
        if self.size_in == size_in && self.taps.len() == size_out {
            return;
        }
        self.size_in = size_in;
        let scale = size_in as f32 / size_out as f32;
        let last = size_in - 1;
        self.taps.clear();
        self.taps.extend((0..size_out).map(|index| {
            // The upper border repeats by the clamp, the lower one because the last sample follows itself.
            let place = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
            let low = (place as usize).min(last);
            Tap { low: low as u32, weight: (place - low as f32).clamp(0.0, 1.0) }
        }));
    }

    fn len(&self) -> usize {
        self.taps.len()
    }

    /// The two samples that sample `index` lies between, and the second one's weight.
    fn between(&self, index: usize) -> (usize, usize, f32) {
        let Tap { low, weight } = self.taps[index];
        (low as usize, (low as usize + 1).min(self.size_in - 1), weight)
    }
}

/// Two rows of a picture, resized in width, and which rows they are. Neighbouring rows out share them.
#[derive(Debug, Clone, Default)]
struct Held {
    rows: [Vec<f32>; 2],
    which: [Option<usize>; 2],
}

impl Held {
    fn begin(&mut self, values: usize) {
        self.rows.iter_mut().for_each(|row| row.resize(values, 0.0));
        self.which = [None; 2];
    }

    /// Sees to it that row `y` is held, by `make` if it is not, and that row `keep` stays if it is; says where.
    fn hold(&mut self, y: usize, keep: usize, make: impl FnOnce(&mut [f32])) -> usize {
        if let Some(slot) = self.which.iter().position(|&held| held == Some(y)) {
            return slot;
        }
        let slot = usize::from(self.which[0] == Some(keep));
        make(&mut self.rows[slot]);
        self.which[slot] = Some(y);
        slot
    }
}

/// The sampler and its row buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sampler {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    /// A row of the picture as numbers, the last pixel twice.
    source: Vec<f32>,
    /// The same as bytes.
    source_bytes: Vec<u8>,
    held: Held,
    /// A row of the result.
    blended: Vec<f32>,
}

impl Sampler {
    /// Resizes a picture of numbers: `read` fills a buffer with row *y*, three values a pixel; `write` gets each row of
    /// the result in order.
    pub(super) fn run(&mut self, mut read: impl FnMut(usize, &mut [f32]), mut write: impl FnMut(usize, &[f32])) {
        let Self { rows, columns, source, held, blended, .. } = self;
        let values = columns.len() * CHANNELS;
        let end = columns.size_in * CHANNELS;
        source.resize(end + CHANNELS, 0.0);
        blended.resize(values, 0.0);
        held.begin(values);
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
            let (low, high, weight) = rows.between(y);
            let at_low = held.hold(low, high, |row| resize(low, row));
            let at_high = held.hold(high, low, |row| resize(high, row));
            let (low, high) = (&held.rows[at_low], &held.rows[at_high]);
            for ((out, &low), &high) in blended.iter_mut().zip(low).zip(high) {
                *out = low * (1.0 - weight) + high * weight;
            }
            write(y, blended);
        }
    }

    /// Resizes a picture of bytes: `read` fills a buffer with row *y*, four bytes a pixel; `out` are the
    /// places for the rows of the result, in order.
    pub(super) fn run_bytes<'a>(
        &mut self,
        isa: Isa,
        mut read: impl FnMut(usize, &mut [u8]),
        out: impl Iterator<Item = &'a mut [u8]>,
    ) {
        const CHANNELS: usize = resample::CHANNELS;
        let Self { rows, columns, source_bytes: source, held, .. } = self;
        let end = columns.size_in * CHANNELS;
        source.resize(end + CHANNELS, 0);
        held.begin(columns.len() * CHANNELS);
        let mut resize = |y: usize, out: &mut [f32]| {
            read(y, &mut source[..end]);
            source.copy_within(end - CHANNELS..end, end);
            resample::across(isa, source, &columns.taps, out);
        };
        for (y, out) in out.take(rows.len()).enumerate() {
            let (low, high, weight) = rows.between(y);
            let at_low = held.hold(low, high, |row| resize(low, row));
            let at_high = held.hold(high, low, |row| resize(high, row));
            resample::blend(isa, &held.rows[at_low], &held.rows[at_high], weight, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taps(size_in: usize, size_out: usize) -> Vec<Tap> {
        let mut axis = Axis::default();
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
