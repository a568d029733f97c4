//! Drawing primitives: pixels, rectangles, lines.

use crate::frame::Picture;

/// sRGB colour: red, green, blue.
pub type Colour = [u8; 3];

/// A rectangle of whole pixels. It may extend beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: i64,
    /// First row.
    pub y: i64,
    /// Columns.
    pub width: i64,
    /// Rows.
    pub height: i64,
}

impl Rect {
    /// A rectangle from its first pixel and its size.
    pub const fn new(x: i64, y: i64, width: i64, height: i64) -> Self {
        Self { x, y, width, height }
    }

    /// True if the two share a pixel.
    pub fn intersects(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    /// This rectangle, extended by `by` pixels on every side.
    pub const fn grown(&self, by: i64) -> Self {
        Self::new(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)
    }

    /// True if all of it is inside `picture`.
    pub fn is_inside(&self, picture: &Picture) -> bool {
        self.x >= 0
            && self.y >= 0
            && self.x + self.width <= picture.width as i64
            && self.y + self.height <= picture.height as i64
    }
}

/// Blends `colour` into a pixel: `opacity` 0 keeps it, 255 replaces it. Does nothing outside the picture.
pub fn blend(picture: &mut Picture, x: i64, y: i64, colour: Colour, opacity: u8) {
    if x < 0 || y < 0 || x >= picture.width as i64 || y >= picture.height as i64 {
        return;
    }
    let at = (y as usize * picture.width + x as usize) * Picture::CHANNELS;
    let opacity = u32::from(opacity);
    for (under, over) in picture.data[at..at + 3].iter_mut().zip(colour) {
        *under = ((u32::from(*under) * (255 - opacity) + u32::from(over) * opacity + 127) / 255) as u8;
    }
}

/// Fills `rect`.
pub fn fill(picture: &mut Picture, rect: Rect, colour: Colour, opacity: u8) {
    let columns = rect.x.max(0)..(rect.x + rect.width).min(picture.width as i64);
    for y in rect.y.max(0)..(rect.y + rect.height).min(picture.height as i64) {
        for x in columns.clone() {
            blend(picture, x, y, colour, opacity);
        }
    }
}

/// Draws the outline of `rect`, `thickness` pixels wide, inside it.
pub fn outline(picture: &mut Picture, rect: Rect, thickness: i64, colour: Colour, opacity: u8) {
    let Rect { x, y, width, height } = rect;
    if 2 * thickness >= width.min(height) {
        return fill(picture, rect, colour, opacity);
    }
    let inner = height - 2 * thickness;
    fill(picture, Rect::new(x, y, width, thickness), colour, opacity);
    fill(picture, Rect::new(x, y + thickness, thickness, inner), colour, opacity);
    fill(picture, Rect::new(x + width - thickness, y + thickness, thickness, inner), colour, opacity);
    fill(picture, Rect::new(x, y + height - thickness, width, thickness), colour, opacity);
}

/// Draws an anti-aliased line with round caps. `from` and `to` are (x, y) in pixels; (0.5, 0.5) is the centre of the first
/// pixel.
pub fn line(picture: &mut Picture, from: [f32; 2], to: [f32; 2], thickness: f32, colour: Colour) {
    let radius = thickness / 2.0;
    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    let length_squared = dx * dx + dy * dy;
    let bounds = |a: f32, b: f32, limit: usize| {
        let low = (a.min(b) - radius - 1.0).floor().max(0.0) as i64;
        let high = (a.max(b) + radius + 1.0).ceil().min(limit as f32) as i64;
        low..high
    };
    let columns = bounds(from[0], to[0], picture.width);
    for y in bounds(from[1], to[1], picture.height) {
        for x in columns.clone() {
            let [px, py] = [x as f32 + 0.5 - from[0], y as f32 + 0.5 - from[1]];
            let along = if length_squared > 0.0 { ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0) } else { 0.0 };
            let distance = (px - along * dx).hypot(py - along * dy);
            let coverage = (radius + 0.5 - distance).clamp(0.0, 1.0);
            blend(picture, x, y, colour, (coverage * 255.0).round() as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_outside() {
        let mut picture = Picture::filled(4, 3, [0; 3]);
        for rect in [Rect::new(-9, -9, 5, 5), Rect::new(4, 0, 9, 9), Rect::new(0, 3, 9, 9), Rect::new(1, 1, -2, 5)] {
            fill(&mut picture, rect, [255; 3], 255);
            outline(&mut picture, rect, 2, [255; 3], 255);
        }
        assert_eq!(picture, Picture::filled(4, 3, [0; 3]));
        fill(&mut picture, Rect::new(-9, -9, 99, 99), [7; 3], 255);
        assert_eq!(picture, Picture::filled(4, 3, [7; 3]));
    }

    #[test]
    fn an_outline_covers_each_pixel_of_the_border_once() {
        // Half opacity shows a pixel painted twice.
        for (width, height, thickness) in [(6, 5, 1), (6, 5, 2), (5, 5, 9), (1, 4, 1), (2, 2, 1), (3, 1, 2)] {
            let mut picture = Picture::filled(8, 8, [0; 3]);
            outline(&mut picture, Rect::new(1, 1, width, height), thickness, [200; 3], 128);
            for y in 0..8 {
                for x in 0..8 {
                    let inside = (1..=width).contains(&x) && (1..=height).contains(&y);
                    let depth = (x - 1).min(width - x).min(y - 1).min(height - y);
                    let expected = if inside && depth < thickness { 100 } else { 0 };
                    let value = picture.pixel(x as usize, y as usize)[0];
                    assert_eq!(value, expected, "{width}×{height}, {thickness} thick, at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn a_line_through_pixel_centres_is_solid() {
        let mut picture = Picture::filled(5, 3, [0; 3]);
        line(&mut picture, [0.5, 1.5], [4.5, 1.5], 1.0, [255; 3]);
        assert_eq!(picture.pixel(2, 1), [255; 3]);
        assert_eq!(picture.pixel(2, 0), [0; 3]);
    }
}
