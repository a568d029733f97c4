//! The bilinear sampler: half-pixel centres, no antialiasing. Plain Rust, for rows blend as fast as memory gives them.
//!
//! In: rows of `f32` that the caller makes of a picture's rows. Out: rows of the resized picture. The arithmetic is
//! that of PyTorch's `interpolate(mode="bilinear", align_corners=False)` without its fused multiply-adds, so results
//! are the same on every CPU and within 5e-7 of PyTorch's for normalized pictures. PyTorch computes places with a fused
//! multiply-add where rows and columns out are 128 together at most; such thumbnails differ by up to 2e-6.

/// Channels of a sampled row.
const CHANNELS: usize = 3;

/// Where the samples of one direction lie.
#[derive(Debug, Clone, Default)]
pub(super) struct Axis {
    size_in: usize,
    /// One a sample.
    taps: Vec<Tap>,
}

/// One sample: `(1 − weight) · in[low] + weight · in[high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
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
            // The upper border repeats by the clamp, the lower one because `high` stays on the last sample.
            let place = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
            let low = (place as usize).min(last);
            Tap { low, high: (low + 1).min(last), weight: (place - low as f32).clamp(0.0, 1.0) }
        }));
    }

    fn len(&self) -> usize {
        self.taps.len()
    }
}

/// The sampler and its row buffers.
#[derive(Debug, Clone, Default)]
pub(super) struct Sampler {
    pub(super) rows: Axis,
    pub(super) columns: Axis,
    /// A row of the picture as numbers.
    source: Vec<f32>,
    /// Two rows of the picture, resized in width, and which rows they are. Neighbouring rows out share them.
    resized: [Vec<f32>; 2],
    held: [Option<usize>; 2],
    /// A row of the result.
    blended: Vec<f32>,
}

impl Sampler {
    /// Resizes a picture: `read` fills a buffer with row *y* as numbers, three a pixel; `write` gets each row of the
    /// result in order.
    pub(super) fn run(&mut self, read: impl Fn(usize, &mut [f32]), mut write: impl FnMut(usize, &[f32])) {
        let values = self.columns.len() * CHANNELS;
        self.source.resize(self.columns.size_in * CHANNELS, 0.0);
        self.blended.resize(values, 0.0);
        self.resized.iter_mut().for_each(|row| row.resize(values, 0.0));
        self.held = [None; 2];

        for y in 0..self.rows.len() {
            let Tap { low, high, weight } = self.rows.taps[y];
            let at_low = self.hold(low, high, &read);
            let at_high = self.hold(high, low, &read);
            let (low, high) = (&self.resized[at_low], &self.resized[at_high]);
            for ((out, &low), &high) in self.blended.iter_mut().zip(low).zip(high) {
                *out = low * (1.0 - weight) + high * weight;
            }
            write(y, &self.blended);
        }
    }

    /// Sees to it that row `y`, resized in width, is in a buffer, and that row `keep` stays if it is; says in which.
    fn hold(&mut self, y: usize, keep: usize, read: &impl Fn(usize, &mut [f32])) -> usize {
        if let Some(slot) = self.held.iter().position(|&held| held == Some(y)) {
            return slot;
        }
        let slot = usize::from(self.held[0] == Some(keep));
        read(y, &mut self.source);
        for (out, tap) in self.resized[slot].chunks_exact_mut(CHANNELS).zip(&self.columns.taps) {
            let low = &self.source[tap.low * CHANNELS..][..CHANNELS];
            let high = &self.source[tap.high * CHANNELS..][..CHANNELS];
            for channel in 0..CHANNELS {
                out[channel] = low[channel] * (1.0 - tap.weight) + high[channel] * tap.weight;
            }
        }
        self.held[slot] = Some(y);
        slot
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
        let expected = [(0, 1, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.25)];
        assert_eq!(taps(2, 4), expected.map(|(low, high, weight)| Tap { low, high, weight }));
    }

    #[test]
    fn an_unchanged_size_samples_the_pixels_themselves() {
        for (index, tap) in taps(7, 7).into_iter().enumerate() {
            assert_eq!((tap.low, tap.weight), (index, 0.0));
        }
    }

    #[test]
    fn every_sample_lies_inside() {
        for size_in in [1, 2, 3, 31, 1000] {
            for size_out in [1, 2, 5, 64, 1333] {
                for tap in taps(size_in, size_out) {
                    assert!(tap.low < size_in && tap.high < size_in && (0.0..=1.0).contains(&tap.weight));
                }
            }
        }
    }
}
