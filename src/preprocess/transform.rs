//! Picture in, canvas out.

use super::Rule;
use super::sample::Sampler;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::tensor::{Canvas, Fit};

/// Makes canvases by one [`Rule`]. Keeps its tables and rows, so that pictures of one size allocate nothing after the
/// first.
#[derive(Debug, Clone)]
pub struct Transform {
    rule: Rule,
    /// What each of the 256 levels of red, green and blue becomes when normalized.
    levels: Box<[[f32; 256]; 3]>,
    /// The colour that normalizes to almost zero, with a fourth byte of 0.
    mean_colour: [u8; 4],
    sampler: Sampler,
}

impl Transform {
    /// A transform for `rule`.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn new(rule: Rule) -> Result<Self> {
        rule.check()?;
        let mut levels = Box::new([[0.0; 256]; 3]);
        let mut mean_colour = [0; 4];
        for channel in 0..3 {
            let (mean, std) = (rule.mean[channel], rule.std[channel]);
            for (level, value) in levels[channel].iter_mut().enumerate() {
                *value = (level as f32 / 255.0 - mean) / std;
            }
            mean_colour[channel] = (mean * 255.0).round_ties_even() as u8;
        }
        Ok(Self { rule, levels, mean_colour, sampler: Sampler::default() })
    }

    /// The numbers this transform works by.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Resizes the normalized `picture` into `canvas`: (level / 255 − mean) / std, three channels, padding 0.0. What
    /// the canvas held is overwritten; its memory is used again.
    ///
    /// # Errors
    /// As [`Rule::fit`].
    pub fn to_f32(&mut self, picture: &Picture, canvas: &mut Canvas<f32>) -> Result<()> {
        let fit = self.prepare(picture)?;
        canvas.fit = fit;
        canvas.channels = 3;
        canvas.data.resize(fit.canvas_height * fit.canvas_width * 3, 0.0);
        let stride = fit.canvas_width * 3;

        let levels = &self.levels;
        let read = |y: usize, row: &mut [f32]| {
            for (out, pixel) in row.chunks_exact_mut(3).zip(picture.row(y).chunks_exact(3)) {
                for channel in 0..3 {
                    out[channel] = levels[channel][usize::from(pixel[channel])];
                }
            }
        };
        self.sampler.run(read, |y, row| {
            let (inside, right) = canvas.data[y * stride..][..stride].split_at_mut(row.len());
            inside.copy_from_slice(row);
            right.fill(0.0);
        });
        canvas.data[fit.height * stride..].fill(0.0);
        Ok(())
    }

    /// Resizes `picture` into `canvas` without normalizing it: red, green, blue and a byte of 0, rounded half to even,
    /// padding in the rounded mean colour. What the canvas held is overwritten; its memory is used again.
    ///
    /// # Errors
    /// As [`Rule::fit`].
    pub fn to_u8(&mut self, picture: &Picture, canvas: &mut Canvas<u8>) -> Result<()> {
        let fit = self.prepare(picture)?;
        canvas.fit = fit;
        canvas.channels = 4;
        canvas.data.resize(fit.canvas_height * fit.canvas_width * 4, 0);
        let stride = fit.canvas_width * 4;

        let read = |y: usize, row: &mut [f32]| {
            for (out, &level) in row.iter_mut().zip(picture.row(y)) {
                *out = f32::from(level);
            }
        };
        let padding = self.mean_colour;
        self.sampler.run(read, |y, row| {
            let (inside, right) = canvas.data[y * stride..][..stride].split_at_mut(fit.width * 4);
            for (out, pixel) in inside.chunks_exact_mut(4).zip(row.chunks_exact(3)) {
                for channel in 0..3 {
                    out[channel] = rounded(pixel[channel]);
                }
                out[3] = 0;
            }
            right.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&padding));
        });
        canvas.data[fit.height * stride..].chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&padding));
        Ok(())
    }

    /// Checks the picture, and sets the sampler to its size.
    fn prepare(&mut self, picture: &Picture) -> Result<Fit> {
        if picture.data.len() != picture.width * picture.height * Picture::CHANNELS {
            return Err(Error::new(Kind::Internal, format!("{picture:?} does not have the bytes its size says")));
        }
        let fit = self.rule.fit(picture.width, picture.height)?;
        self.sampler.rows.set(fit.frame_height, fit.height);
        self.sampler.columns.set(fit.frame_width, fit.width);
        Ok(fit)
    }
}

/// `level`, 0 to 255, rounded half to even. At 2^23 and above numbers are whole, so the sum does the rounding, in
/// instructions that every CPU has, and its lowest bits are the result.
#[inline]
fn rounded(level: f32) -> u8 {
    (level + 8_388_608.0).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even() {
        for step in 0..=255 * 64 {
            let level = step as f32 / 64.0;
            assert_eq!(rounded(level), level.round_ties_even() as u8, "{level}");
        }
    }

    fn transform(min_size: u32, max_size: u32) -> Transform {
        Transform::new(Rule { min_size, max_size, ..Rule::default() }).unwrap()
    }

    #[test]
    fn padding_is_zero_or_the_mean_colour() {
        let picture = Picture::filled(50, 40, [255, 0, 128]);
        let mut transform = transform(40, 1000);
        let (mut floats, mut bytes) = (Canvas::default(), Canvas::default());
        transform.to_f32(&picture, &mut floats).unwrap();
        transform.to_u8(&picture, &mut bytes).unwrap();
        assert_eq!((floats.fit.canvas_height, floats.fit.canvas_width), (64, 64));
        for (y, x) in [(39, 50), (40, 0), (63, 63)] {
            let at = y * 64 + x;
            assert_eq!(floats.data[at * 3..][..3], [0.0; 3]);
            assert_eq!(bytes.data[at * 4..][..4], [124, 116, 104, 0]);
        }
        assert_eq!(bytes.data[(39 * 64 + 49) * 4..][..4], [255, 0, 128, 0]);
    }

    #[test]
    fn a_used_canvas_gives_the_same_as_a_fresh_one() {
        let mut transform = transform(40, 1000);
        let mut used = Canvas::default();
        transform.to_u8(&Picture::filled(90, 70, [9; 3]), &mut used).unwrap();
        let picture = Picture::new(30, 41, (0..30 * 41 * 3).map(|i| (i * 7 % 251) as u8).collect()).unwrap();
        transform.to_u8(&picture, &mut used).unwrap();
        let mut fresh = Canvas::default();
        Transform::new(*transform.rule()).unwrap().to_u8(&picture, &mut fresh).unwrap();
        assert_eq!((used.fit, used.data), (fresh.fit, fresh.data));
    }

    #[test]
    fn both_sinks_differ_by_one_rounding() {
        let picture = Picture::new(61, 47, (0..61 * 47 * 3).map(|i| (i * i % 256) as u8).collect()).unwrap();
        let mut transform = transform(100, 1000);
        let (mut floats, mut bytes) = (Canvas::default(), Canvas::default());
        transform.to_f32(&picture, &mut floats).unwrap();
        transform.to_u8(&picture, &mut bytes).unwrap();
        let rule = transform.rule();
        let fit = floats.fit;
        for y in 0..fit.height {
            for x in 0..fit.width {
                let at = y * fit.canvas_width + x;
                for channel in 0..3 {
                    let level = (floats.data[at * 3 + channel] * rule.std[channel] + rule.mean[channel]) * 255.0;
                    let rounded = f32::from(bytes.data[at * 4 + channel]);
                    assert!((level - rounded).abs() < 0.5001, "{level} against {rounded} at {x}, {y}");
                }
            }
        }
    }
}
