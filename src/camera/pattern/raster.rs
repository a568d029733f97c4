//! Rasterizer: anti-aliased polygons on a layer, which is then composed into the picture as a whole.
//!
//! In: outlines in pixels and colours. Out: a [`Layer`] of premultiplied colour and coverage. Edges are anti-aliased
//! with four sub-scanlines a row and exact horizontal coverage. The visible share of an object is counted from the coverage
//! of its pixels.

use super::random::Noise;

/// Sub-scanlines of a row.
const SUB: usize = 4;

/// Fill of a polygon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Paint {
    /// Colour at its upper end, 0 to 255.
    pub(super) top: [f32; 3],
    /// Colour at its lower end.
    pub(super) bottom: [f32; 3],
    /// Opacity, 0 to 1.
    pub(super) alpha: f32,
    /// Amplitude of its surface noise, in grey levels.
    pub(super) grain: f32,
}

impl Paint {
    /// One colour.
    pub(super) fn flat(colour: [f32; 3]) -> Self {
        Self { top: colour, bottom: colour, alpha: 1.0, grain: 5.0 }
    }

    /// A colour, lighter at the upper end and darker at the lower.
    pub(super) fn shaded(colour: [f32; 3], contrast: f32) -> Self {
        let scaled = |factor: f32| colour.map(|channel| (channel * factor).min(255.0));
        Self { top: scaled(1.0 + contrast), bottom: scaled(1.0 - contrast), alpha: 1.0, grain: 6.0 }
    }

    /// This fill with its light multiplied by `factor`.
    pub(super) fn lit(self, factor: f32) -> Self {
        let scaled = |colour: [f32; 3]| colour.map(|channel| (channel * factor).min(255.0));
        Self { top: scaled(self.top), bottom: scaled(self.bottom), ..self }
    }

    /// This fill with the opacity.
    pub(super) fn alpha(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    /// This fill with the surface noise.
    pub(super) fn grain(self, grain: f32) -> Self {
        Self { grain, ..self }
    }
}

/// A rectangle of the picture with colour and coverage: red, green and blue premultiplied, then coverage, 0 to 255.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    /// Left column and upper row, in pixels of the picture.
    pub(super) origin: [i32; 2],
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// `height × width` pixels.
    pub(super) pixels: Vec<[f32; 4]>,
    coverage: Vec<f32>,
    crossings: Vec<f32>,
}

impl Layer {
    /// Clears the layer and sets its rectangle to `[left, right) × [top, bottom)`. The allocation is reused.
    pub(super) fn reset(&mut self, left: i32, top: i32, right: i32, bottom: i32) {
        self.origin = [left, top];
        self.width = (right - left).max(0) as usize;
        self.height = (bottom - top).max(0) as usize;
        self.pixels.clear();
        self.pixels.resize(self.width * self.height, [0.0; 4]);
    }

    /// Fills a polygon, its corners in pixels of the picture, by the even-odd rule.
    pub(super) fn fill(&mut self, outline: &[[f32; 2]], paint: &Paint) {
        if outline.len() < 3 || self.pixels.is_empty() {
            return;
        }
        let (left, top) = (self.origin[0] as f32, self.origin[1] as f32);
        let (low, high) = outline.iter().fold((f32::MAX, f32::MIN), |(low, high), p| (low.min(p[1]), high.max(p[1])));
        let first = (low - top).floor().max(0.0) as usize;
        let last = ((high - top).ceil().max(0.0) as usize).min(self.height);
        let gradient = 1.0 / (high - low).max(1.0);
        for row in first..last {
            self.coverage.clear();
            self.coverage.resize(self.width + 2, 0.0);
            let mut range = (self.width, 0usize);
            for sub in 0..SUB {
                let y = top + row as f32 + (sub as f32 + 0.5) / SUB as f32;
                cross(outline, y, &mut self.crossings);
                for pair in self.crossings.chunks_exact(2) {
                    let (from, to) = ((pair[0] - left).max(0.0), (pair[1] - left).min(self.width as f32));
                    if to > from {
                        cover(&mut self.coverage, from, to);
                        range = (range.0.min(from as usize), range.1.max(to as usize + 1));
                    }
                }
            }
            let share = ((top + row as f32 + 0.5 - low) * gradient).clamp(0.0, 1.0);
            let mut colour = [0f32; 3];
            for (channel, value) in colour.iter_mut().enumerate() {
                *value = paint.top[channel] + (paint.bottom[channel] - paint.top[channel]) * share;
            }
            self.blend(row, range.0, range.1.min(self.width), colour, paint);
        }
    }

    /// Blends one row's coverage, stored as differences, over its pixels.
    fn blend(&mut self, row: usize, from: usize, to: usize, colour: [f32; 3], paint: &Paint) {
        if from >= to {
            return;
        }
        let noise = Noise::table();
        let y = i64::from(self.origin[1]) + row as i64;
        let mut sum = 0.0;
        let pixels = &mut self.pixels[row * self.width..][..self.width];
        #[allow(clippy::needless_range_loop)] // x is a place in the picture too
        for x in from..to {
            sum += self.coverage[x];
            let alpha = (sum * (1.0 / SUB as f32)).clamp(0.0, 1.0) * paint.alpha;
            if alpha <= 0.004 {
                continue;
            }
            let grain = (noise.nearest((x * 5) as i64, y * 7) - 0.5) * 2.0 * paint.grain;
            let pixel = &mut pixels[x];
            let keep = 1.0 - alpha;
            for channel in 0..3 {
                pixel[channel] = pixel[channel] * keep + (colour[channel] + grain).clamp(0.0, 255.0) * alpha;
            }
            pixel[3] = pixel[3] * keep + 255.0 * alpha;
        }
    }

    /// Removes pixels for which `keep` is false, for foliage and lattices.
    pub(super) fn thin(&mut self, keep: impl Fn(i64, i64) -> f32) {
        for row in 0..self.height {
            for column in 0..self.width {
                let share = keep(column as i64, row as i64).clamp(0.0, 1.0);
                for value in &mut self.pixels[row * self.width + column] {
                    *value *= share;
                }
            }
        }
    }

    /// Motion blur by `length` pixels along the rows.
    pub(super) fn smear(&mut self, length: f32, scratch: &mut Vec<[f32; 4]>) {
        let taps = length.abs().min(24.0) as usize;
        if taps < 1 {
            return;
        }
        // A centred box filter of `taps + 1` pixels, with smaller weights at its ends for a fractional length.
        let half = taps.div_ceil(2);
        let weight = 1.0 / (2 * half + 1) as f32;
        for row in 0..self.height {
            let pixels = &mut self.pixels[row * self.width..][..self.width];
            scratch.clear();
            scratch.resize(half, [0.0; 4]);
            scratch.extend_from_slice(pixels);
            scratch.resize(self.width + 2 * half + 1, [0.0; 4]);
            let mut sum = [0f32; 4];
            for pixel in &scratch[..2 * half] {
                (0..4).for_each(|channel| sum[channel] += pixel[channel]);
            }
            for (x, pixel) in pixels.iter_mut().enumerate() {
                (0..4).for_each(|channel| sum[channel] += scratch[x + 2 * half][channel]);
                *pixel = sum.map(|value| (value * weight).max(0.0));
                (0..4).for_each(|channel| sum[channel] -= scratch[x][channel]);
            }
        }
    }
}

/// Sorted intersections of an outline with the line `y`.
fn cross(outline: &[[f32; 2]], y: f32, crossings: &mut Vec<f32>) {
    crossings.clear();
    let mut from = outline[outline.len() - 1];
    for &to in outline {
        if (from[1] <= y) != (to[1] <= y) {
            crossings.push(from[0] + (to[0] - from[0]) * ((y - from[1]) / (to[1] - from[1])));
        }
        from = to;
    }
    crossings.sort_unstable_by(f32::total_cmp);
}

/// Adds the span `[from, to)` to a row of coverage stored as differences.
fn cover(differences: &mut [f32], from: f32, to: f32) {
    let (first, last) = (from as usize, to as usize);
    if first == last {
        differences[first] += to - from;
        differences[first + 1] -= to - from;
        return;
    }
    let head = (first + 1) as f32 - from;
    let tail = to - last as f32;
    differences[first] += head;
    differences[first + 1] += 1.0 - head;
    differences[last] += tail - 1.0;
    differences[last + 1] -= tail;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(colour: f32) -> Paint {
        Paint::flat([colour; 3]).grain(0.0)
    }

    fn coverage(layer: &Layer) -> f32 {
        layer.pixels.iter().map(|pixel| pixel[3]).sum::<f32>() / 255.0
    }

    #[test]
    fn coverage_is_the_area() {
        let mut layer = Layer::default();
        layer.reset(10, 20, 30, 40);
        layer.fill(&[[12.25, 22.5], [18.75, 22.5], [18.75, 30.0], [12.25, 30.0]], &plain(200.0));
        assert!((coverage(&layer) - 6.5 * 7.5).abs() < 0.1, "{}", coverage(&layer));
        assert!((layer.pixels[5 * 20 + 5][0] - 200.0).abs() < 0.1);
        layer.reset(0, 0, 20, 20);
        layer.fill(&[[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]], &plain(200.0));
        assert!((coverage(&layer) - 200.0).abs() < 3.0, "{}", coverage(&layer));
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut layer = Layer::default();
        layer.reset(0, 0, 4, 4);
        layer.fill(&[[-9.0, -9.0], [50.0, -9.0], [50.0, 50.0], [-9.0, 50.0]], &plain(90.0));
        assert!((coverage(&layer) - 16.0).abs() < 0.01);
        layer.reset(0, 0, 0, 4);
        layer.fill(&[[-9.0, -9.0], [50.0, -9.0], [50.0, 50.0]], &plain(90.0));
    }

    #[test]
    fn smearing_keeps_the_amount() {
        let mut layer = Layer::default();
        layer.reset(0, 0, 30, 1);
        layer.fill(&[[10.0, 0.0], [14.0, 0.0], [14.0, 1.0], [10.0, 1.0]], &plain(200.0));
        layer.smear(5.0, &mut Vec::new());
        assert!((coverage(&layer) - 4.0).abs() < 0.01);
        assert!(layer.pixels[8][3] > 0.0 && layer.pixels[12][3] < 255.0);
    }
}
