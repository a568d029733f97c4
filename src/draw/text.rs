//! Text in a bitmap font: Noto Sans Mono, ASCII.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::{Colour, blend};
use crate::frame::Picture;

/// Text size: one of two bitmap sizes, or an integer multiple of the larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSize {
    raster: RasterHeight,
    factor: usize,
}

impl TextSize {
    /// Lines of 16 pixels.
    pub const SMALL: Self = Self { raster: RasterHeight::Size16, factor: 1 };
    /// Lines of 20 pixels.
    pub const LARGE: Self = Self { raster: RasterHeight::Size20, factor: 1 };

    /// A legible size for a picture whose short side has `short` pixels.
    pub fn for_picture(short: usize) -> Self {
        match short {
            0..600 => Self::SMALL,
            600..1300 => Self::LARGE,
            _ => Self { factor: (short / 800).max(2), ..Self::LARGE },
        }
    }

    /// Line height, in pixels.
    pub fn height(self) -> i64 {
        (self.raster.val() * self.factor) as i64
    }

    /// Advance width of a character, in pixels.
    pub fn advance(self) -> i64 {
        (get_raster_width(FontWeight::Regular, self.raster) * self.factor) as i64
    }
}

/// Width of a line of text, in pixels.
pub fn text_width(line: &str, size: TextSize) -> i64 {
    line.chars().count() as i64 * size.advance()
}

/// Draws one line with its top left corner at (`x`, `y`). Characters missing from the font become `?`.
pub fn text(picture: &mut Picture, x: i64, y: i64, line: &str, size: TextSize, colour: Colour) {
    for (index, character) in line.chars().enumerate() {
        let left = x + index as i64 * size.advance();
        let raster = |character| get_raster(character, FontWeight::Regular, size.raster);
        let Some(glyph) = raster(character).or_else(|| raster('?')) else { continue };
        for row in 0..glyph.height() * size.factor {
            for column in 0..glyph.width() * size.factor {
                let coverage = enlarged(glyph.pixels(), glyph.width(), size.factor, column, row);
                blend(picture, left + column as i64, y + row as i64, colour, coverage);
            }
        }
    }
}

/// Coverage at a pixel of a glyph enlarged by `factor`, interpolated bilinearly.
fn enlarged(glyph: &[u8], width: usize, factor: usize, column: usize, row: usize) -> u8 {
    if factor == 1 {
        return glyph[row * width + column];
    }
    let height = glyph.len() / width;
    let place = |index: usize, size: usize| {
        let place = ((index as f32 + 0.5) / factor as f32 - 0.5).clamp(0.0, (size - 1) as f32);
        (place as usize, (place as usize + 1).min(size - 1), place.fract())
    };
    let (x0, x1, fx) = place(column, width);
    let (y0, y1, fy) = place(row, height);
    let at = |x: usize, y: usize| f32::from(glyph[y * width + x]);
    let upper = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
    let lower = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
    (upper * (1.0 - fy) + lower * fy).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_box() {
        for size in [TextSize::SMALL, TextSize::LARGE, TextSize::for_picture(2160)] {
            let (width, height) = (text_width("Wg|é", size), size.height());
            let mut picture = Picture::filled(width as usize + 10, height as usize + 10, [0; 3]);
            text(&mut picture, 5, 5, "Wg|é", size, [255; 3]);
            let mut lit = 0;
            for y in 0..picture.height as i64 {
                for x in 0..picture.width as i64 {
                    let inside = (5..5 + width).contains(&x) && (5..5 + height).contains(&y);
                    let level = picture.pixel(x as usize, y as usize)[0];
                    assert!(inside || level == 0, "{x}, {y}");
                    lit += usize::from(level > 128);
                }
            }
            assert!(lit > 50);
        }
    }
}
