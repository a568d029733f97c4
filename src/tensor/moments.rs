//! Image moments: mean and mean square of a canvas by channel, which describe its brightness and contrast.

use super::Canvas;

/// Mean and mean square of a picture's pixels by channel, in grey levels (0 to 255).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ImageMoments {
    /// Mean of red, green and blue.
    pub means: [f64; 3],
    /// Mean square of red, green and blue.
    pub squares: [f64; 3],
}

impl ImageMoments {
    /// Moments of the picture in an RGBx canvas, without its padding. Sums are exact integers.
    pub fn of(canvas: &Canvas<u8>) -> Self {
        let fit = &canvas.fit;
        let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
        for row in canvas.data.chunks_exact((fit.canvas_width * 4).max(1)).take(fit.height) {
            for pixel in row.as_chunks::<4>().0.iter().take(fit.width) {
                for channel in 0..3 {
                    let value = u64::from(pixel[channel]);
                    sums[channel] += value;
                    squares[channel] += value * value;
                }
            }
        }
        let pixels = (fit.height * fit.width).max(1) as f64;
        Self { means: sums.map(|sum| sum as f64 / pixels), squares: squares.map(|sum| sum as f64 / pixels) }
    }

    /// Mean grey level, from 0 to 255: luma of ITU-R BT.601 of the mean colour.
    pub fn brightness(&self) -> f64 {
        let [red, green, blue] = self.means;
        0.299 * red + 0.587 * green + 0.114 * blue
    }

    /// Difference of the means, `self` − `other`.
    pub fn mean_shift(&self, other: &Self) -> [f64; 3] {
        std::array::from_fn(|channel| self.means[channel] - other.means[channel])
    }

    /// Six numbers: three means, three mean squares.
    pub fn to_f32(&self) -> Vec<f32> {
        self.means.iter().chain(&self.squares).map(|&moment| moment as f32).collect()
    }

    /// Inverse of [`ImageMoments::to_f32`]. `None` unless there are six numbers.
    pub fn from_f32(moments: &[f32]) -> Option<Self> {
        let moments: [f32; 6] = moments.try_into().ok()?;
        let [r, g, b, rr, gg, bb] = moments.map(f64::from);
        Some(Self { means: [r, g, b], squares: [rr, gg, bb] })
    }

    /// Linear interpolation: `self` for `share` 0, `other` for 1.
    #[must_use]
    pub fn interpolate(&self, other: &Self, share: f64) -> Self {
        let mut result = Self::default();
        result.add(self, 1.0 - share);
        result.add(other, share);
        result
    }

    /// Adds `other` with weight `share`.
    pub fn add(&mut self, other: &Self, share: f64) {
        for channel in 0..3 {
            self.means[channel] += share * other.means[channel];
            self.squares[channel] += share * other.squares[channel];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Fit;

    #[test]
    fn padding_does_not_count() {
        let fit = Fit { frame_height: 1, frame_width: 2, height: 1, width: 2, canvas_height: 2, canvas_width: 3 };
        let mut data = vec![99; 2 * 3 * 4];
        data[..8].copy_from_slice(&[10, 0, 4, 77, 20, 0, 8, 77]);
        let moments = ImageMoments::of(&Canvas::new(fit, 4, data));
        assert_eq!(moments, ImageMoments { means: [15.0, 0.0, 6.0], squares: [250.0, 0.0, 40.0] });
        let mut half = ImageMoments::default();
        half.add(&moments, 0.5);
        assert_eq!(half.means, [7.5, 0.0, 3.0]);
        assert_eq!(ImageMoments::from_f32(&half.to_f32()), Some(half));
    }
}
