//! Conversion of component samples to RGB: chroma upsampling and the JFIF colour conversion.

use super::damaged;
use super::markers::{Colours, Component, Frame};
use crate::error::Result;
use crate::frame::Picture;

/// Colour space of the components.
#[derive(Clone, Copy, PartialEq)]
enum Space {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

impl Space {
    /// The rule of libjpeg: JFIF means YCbCr; otherwise Adobe's segment decides, then the component identifiers.
    fn of(colours: &Colours) -> Self {
        match (&colours.ids[..], colours.adobe) {
            ([_], _) => Self::Grey,
            ([_, _, _, _], Some(2)) => Self::Ycck,
            ([_, _, _, _], _) => Self::Cmyk,
            (_, Some(0)) if !colours.has_jfif => Self::Rgb,
            (b"RGB", None) if !colours.has_jfif => Self::Rgb,
            _ => Self::YCbCr,
        }
    }
}

/// Assembles the picture from decoded components.
pub(super) fn assemble(frame: &Frame, colours: &Colours) -> Result<Picture> {
    let space = Space::of(colours);
    let mut data = vec![0; frame.width * frame.height * 3];
    // Up to one more column than the picture, since upsampled samples come in pairs.
    let mut rows: Vec<_> = frame.components.iter().map(|_| vec![0; frame.width + 8]).collect();
    let mut sums = Vec::new();
    for (y, pixels) in data.chunks_exact_mut(frame.width * 3).enumerate() {
        for (component, row) in frame.components.iter().zip(&mut rows) {
            enlarge(component, frame.units, y, row, &mut sums);
        }
        match (&rows[..], space) {
            ([grey], _) => {
                pixels.chunks_exact_mut(3).zip(grey).for_each(|(pixel, &level)| pixel.fill(level));
            }
            ([red, green, blue], Space::Rgb) => {
                for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                    pixel.copy_from_slice(&[red[index], green[index], blue[index]]);
                }
            }
            ([luma, cb, cr], _) => {
                for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                    pixel.copy_from_slice(&rgb(luma[index], cb[index], cr[index]));
                }
            }
            ([first, second, third, black], _) => {
                for (index, pixel) in pixels.chunks_exact_mut(3).enumerate() {
                    let ink = [first[index], second[index], third[index]];
                    // Adobe stores inverted CMYK (255 means no ink), so the remaining light is the product.
                    let light =
                        if space == Space::Ycck { rgb(ink[0], ink[1], ink[2]).map(|level| 255 - level) } else { ink };
                    pixel.copy_from_slice(&light.map(|light| dimmed(light, black[index])));
                }
            }
            _ => return Err(damaged("an impossible number of components")),
        }
    }
    Picture::new(frame.width, frame.height, data)
}

/// JFIF conversion in fixed point with 16 fractional bits, rounded once.
#[inline]
fn rgb(luma: u8, cb: u8, cr: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, cb, cr) = (i32::from(luma), i32::from(cb) - 128, i32::from(cr) - 128);
    // JFIF's factors 1.402, 0.34414, 0.71414 and 1.772, times 65536.
    let red = luma + ((91_881 * cr + HALF) >> 16);
    let green = luma + ((-22_554 * cb - 46_802 * cr + HALF) >> 16);
    let blue = luma + ((116_130 * cb + HALF) >> 16);
    [red, green, blue].map(|level| level.clamp(0, 255) as u8)
}

/// `light` × `black` / 255, with the rounding of PIL's CMYK conversion.
fn dimmed(light: u8, black: u8) -> u8 {
    let product = (255 - u32::from(light)) * u32::from(black) + 128;
    black.saturating_sub((((product >> 8) + product) >> 8) as u8)
}

/// Row `y` of the picture, upsampled from a component.
///
/// Chroma at half resolution is interpolated with libjpeg's default triangle filter: weight 3/4 for the nearest sample,
/// 1/4 for its neighbour. Other ratios repeat samples.
fn enlarge(component: &Component, units: (usize, usize), y: usize, row: &mut [u8], sums: &mut Vec<i32>) {
    let line = |index: usize| &component.plane[index * component.stride..][..component.width];
    let is =
        |across: usize, down: usize| component.horizontal * across == units.0 && component.vertical * down == units.1;
    // The two chroma rows around this row, the nearer one first.
    let near = (y / 2).min(component.height - 1);
    let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(component.height - 1) };
    let is_wide = component.width > 2;
    if is(1, 1) {
        row[..component.width].copy_from_slice(line(y));
    } else if is(2, 1) && is_wide {
        sums.clear();
        sums.extend(line(y).iter().map(|&sample| i32::from(sample)));
        double(sums, row, [1, 2], 2);
    } else if is(2, 2) && is_wide {
        sums.clear();
        sums.extend(line(near).iter().zip(line(far)).map(|(&near, &far)| 3 * i32::from(near) + i32::from(far)));
        double(sums, row, [8, 7], 4);
    } else if is(1, 2) {
        let bias = if y.is_multiple_of(2) { 1 } else { 2 };
        for ((out, &near), &far) in row.iter_mut().zip(line(near)).zip(line(far)) {
            *out = ((3 * u32::from(near) + u32::from(far) + bias) >> 2) as u8;
        }
    } else {
        let samples = line((y * component.vertical / units.1).min(component.height - 1));
        for (x, out) in row.iter_mut().enumerate() {
            *out = samples[(x * component.horizontal / units.0).min(component.width - 1)];
        }
    }
}

/// Upsamples a row by two. `biases` are added to the left and right results before the shift, so that halves are not
/// always rounded up.
fn double(sums: &[i32], row: &mut [u8], biases: [i32; 2], shift: u32) {
    let last = sums.len() - 1;
    for (index, pair) in row.chunks_exact_mut(2).take(sums.len()).enumerate() {
        let this = 3 * sums[index];
        // At the ends the sample replaces its missing neighbour.
        let before = sums[index.saturating_sub(1)];
        let after = sums[(index + 1).min(last)];
        pair[0] = ((this + before + biases[0]) >> shift) as u8;
        pair[1] = ((this + after + biases[1]) >> shift) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_and_primaries_convert() {
        assert_eq!(rgb(77, 128, 128), [77; 3]);
        assert_eq!(rgb(76, 85, 255), [254, 0, 0]);
        assert_eq!(rgb(255, 0, 255), [255, 208, 28]);
    }

    #[test]
    fn doubling_lies_between_the_samples() {
        let mut row = [0; 6];
        double(&[0, 100, 200], &mut row, [1, 2], 2);
        assert_eq!(row, [0, 25, 75, 125, 175, 200]);
    }

    #[test]
    fn ink_dims() {
        assert_eq!([dimmed(255, 255), dimmed(255, 0), dimmed(0, 255), dimmed(128, 255)], [255, 0, 0, 128]);
    }
}
