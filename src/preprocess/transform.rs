//! The transform: resizes and pads a picture or a camera's bytes into a canvas.

use super::TransformParams;
use super::sample::Sampler;
use crate::error::Result;
use crate::frame::View;
use crate::kernel::isa::Isa;
use crate::tensor::{Canvas, Fit, mean_colour};

/// Resizes frames into canvases. Tables and row buffers are reused: frames of one size allocate nothing after the first.
#[derive(Debug, Clone)]
pub struct Transform {
    params: TransformParams,
    /// Normalized value of each of the 256 levels, by channel.
    levels: Box<[[f32; 256]; 3]>,
    /// Mean colour in two bytes a value, all high ones first, which normalizes to almost 0; the fourth value is 0.
    mean_colour: [[u8; 4]; 2],
    sampler: Sampler,
    /// A row of the frame, four bytes a pixel.
    pixels: Vec<u8>,
    isa: Isa,
}

impl Transform {
    /// A transform with `params`.
    ///
    /// # Errors
    /// As [`TransformParams::check`].
    pub fn new(params: TransformParams) -> Result<Self> {
        params.check()?;
        let mut levels = Box::new([[0.0; 256]; 3]);
        for channel in 0..3 {
            let (mean, std) = (params.mean[channel], params.std[channel]);
            for (level, value) in levels[channel].iter_mut().enumerate() {
                *value = (level as f32 / 255.0 - mean) / std;
            }
        }
        let mean_colour = mean_colour(params.mean);
        let sampler = Sampler::default();
        Ok(Self { params, levels, mean_colour, sampler, pixels: Vec::new(), isa: Isa::best() })
    }

    /// The same transform on instruction set `isa`. The canvas is the same on all.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// The parameters.
    pub fn params(&self) -> &TransformParams {
        &self.params
    }

    /// Resizes the normalized `image` into `canvas`: (level / 255 − mean) / std, three channels, padding 0.0. The
    /// canvas is overwritten and its allocation reused.
    ///
    /// # Errors
    /// As [`TransformParams::fit`].
    pub fn to_f32<'a>(&mut self, image: impl Into<View<'a>>, canvas: &mut Canvas<f32>) -> Result<()> {
        let image = image.into();
        let fit = self.prepare(image)?;
        canvas.fit = fit;
        canvas.channels = 3;
        canvas.data.resize(fit.canvas_height * fit.canvas_width * 3, 0.0);
        let stride = fit.canvas_width * 3;

        let Self { levels, sampler, pixels, .. } = self;
        pixels.resize(fit.frame_width * 4, 0);
        let mut rows = image.rows(self.isa);
        let read = |y: usize, row: &mut [f32]| {
            rows.read(y, pixels);
            for (out, pixel) in row.chunks_exact_mut(3).zip(pixels.chunks_exact(4)) {
                for channel in 0..3 {
                    out[channel] = levels[channel][usize::from(pixel[channel])];
                }
            }
        };
        sampler.run(read, |y, row| {
            let (inside, right) = canvas.data[y * stride..][..stride].split_at_mut(row.len());
            inside.copy_from_slice(row);
            right.fill(0.0);
        });
        canvas.data[fit.height * stride..].fill(0.0);
        Ok(())
    }

    /// Resizes `image` into `canvas` without normalizing it: red, green, blue and a byte of 0, rounded half to even,
    /// padding in the rounded mean colour. A canvas of two bytes a value gets 1/256 of a level. The canvas is overwritten
    /// and its allocation reused.
    ///
    /// # Errors
    /// As [`TransformParams::fit`].
    pub fn to_u8<'a>(&mut self, image: impl Into<View<'a>>, canvas: &mut Canvas<u8>) -> Result<()> {
        let image = image.into();
        let fit = self.prepare(image)?;
        canvas.fit = fit;
        canvas.channels = 4;
        canvas.data.resize(canvas.values(), 0);
        let mut rows_in = image.rows(self.isa);
        let read = |y: usize, row: &mut [u8]| rows_in.read(y, row);
        let [high_colour, low_colour] = self.mean_colour;
        if canvas.two_bytes {
            let (high, low) = canvas.data.split_at_mut(fit.canvas_height * fit.canvas_width * 4);
            let rows = padded_rows(high, fit, high_colour).zip(padded_rows(low, fit, low_colour));
            self.sampler.run_two_bytes(self.isa, read, rows);
        } else {
            self.sampler.run_bytes(self.isa, read, padded_rows(&mut canvas.data, fit, high_colour));
        }
        Ok(())
    }

    /// Checks the image size and sets the sampler to it.
    fn prepare(&mut self, image: View<'_>) -> Result<Fit> {
        let (width, height) = image.size()?;
        let fit = self.params.fit(width, height)?;
        self.sampler.rows.set(fit.frame_height, fit.height);
        self.sampler.columns.set(fit.frame_width, fit.width);
        Ok(fit)
    }
}

/// Fills the padding of a map with `colour`, and gives the rows inside.
fn padded_rows(map: &mut [u8], fit: Fit, colour: [u8; 4]) -> impl Iterator<Item = &mut [u8]> {
    let stride = fit.canvas_width * 4;
    let pad = move |pixels: &mut [u8]| pixels.chunks_exact_mut(4).for_each(|pixel| pixel.copy_from_slice(&colour));
    let (inside, below) = map.split_at_mut(fit.height * stride);
    pad(below);
    inside.chunks_exact_mut(stride).map(move |row| {
        let (inside, right) = row.split_at_mut(fit.width * 4);
        pad(right);
        inside
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Image, Matrix, Picture, PixelFormat, Range, Raw, Turn};

    fn transform(min_size: u32, max_size: u32) -> Transform {
        Transform::new(TransformParams { min_size, max_size, ..TransformParams::default() }).unwrap()
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
        Transform::new(*transform.params()).unwrap().to_u8(&picture, &mut fresh).unwrap();
        assert_eq!((used.fit, used.data), (fresh.fit, fresh.data));
    }

    #[test]
    fn both_canvases_differ_by_one_rounding() {
        let picture = Picture::new(61, 47, (0..61 * 47 * 3).map(|i| (i * i % 256) as u8).collect()).unwrap();
        let mut transform = transform(100, 1000);
        let (mut floats, mut bytes) = (Canvas::default(), Canvas::default());
        transform.to_f32(&picture, &mut floats).unwrap();
        transform.to_u8(&picture, &mut bytes).unwrap();
        let params = *transform.params();
        let fit = floats.fit;
        for y in 0..fit.height {
            for x in 0..fit.width {
                let at = y * fit.canvas_width + x;
                for channel in 0..3 {
                    let level = (floats.data[at * 3 + channel] * params.std[channel] + params.mean[channel]) * 255.0;
                    let rounded = f32::from(bytes.data[at * 4 + channel]);
                    assert!((level - rounded).abs() < 0.5001, "{level} against {rounded} at {x}, {y}");
                }
            }
        }
        // A byte more, and what it differs by is 256 times less. So is the padding's distance from the mean.
        let mut wide = Canvas { two_bytes: true, ..Canvas::default() };
        transform.to_u8(&picture, &mut wide).unwrap();
        let (high, low) = wide.data.split_at(bytes.data.len());
        for at in 0..fit.canvas_height * fit.canvas_width {
            for channel in 0..3 {
                let level = (floats.data[at * 3 + channel] * params.std[channel] + params.mean[channel]) * 255.0;
                let at = at * 4 + channel;
                let found = f32::from(high[at]) + (f32::from(low[at]) - 128.0) / 256.0;
                assert!((level - found).abs() < 0.51 / 256.0, "{level} against {found}");
            }
        }
    }

    /// Camera bytes directly, and converted to a picture first, on every instruction set.
    #[test]
    fn raw_bytes_give_the_canvas_of_their_picture() {
        let formats = [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey, PixelFormat::Bgr24];
        for (format, quarters) in formats.into_iter().zip([0, 2, 1, 3]) {
            for (width, height) in [(61, 47), (2, 90), (130, 5)] {
                let data = (0..format.bytes(width, height)).map(|index| (index * 151 % 253) as u8).collect();
                let raw = Raw::new(format, (width, height), (Matrix::Bt709, Range::Limited), data).unwrap();
                let image = Image::Raw(raw).turned(Turn::new(quarters, true, false));
                let picture = image.to_picture();
                for isa in Isa::available() {
                    let mut transform = transform(40, 90).with_isa(isa);
                    let mut canvases = [Canvas::default(), Canvas::default()];
                    transform.to_u8(&image, &mut canvases[0]).unwrap();
                    transform.to_u8(&*picture, &mut canvases[1]).unwrap();
                    assert_eq!(canvases[0].data, canvases[1].data, "{format:?}");
                    let mut canvases = [Canvas::default(), Canvas::default()];
                    transform.to_f32(&image, &mut canvases[0]).unwrap();
                    transform.to_f32(&*picture, &mut canvases[1]).unwrap();
                    assert_eq!(canvases[0].data, canvases[1].data, "{format:?}");
                }
            }
        }
    }
}
