//! Colour bar: the legend of a colour map.

use super::{Colour, ColourMap, Rect, TextSize, fill, format_tick, log_ticks, outline, text, text_width, ticks};
use crate::frame::Picture;

/// A vertical colour bar, largest value at the top, with ticks at round numbers on the right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourBar {
    /// Colour map.
    pub map: ColourMap,
    /// Value at the start of the map.
    pub low: f64,
    /// Value at the end of the map.
    pub high: f64,
    /// True if the values are decimal logarithms; labels show their powers of ten.
    pub is_log: bool,
    /// Text size of the labels.
    pub size: TextSize,
    /// Colour of labels and outline.
    pub ink: Colour,
}

impl ColourBar {
    /// Width of the bar, in pixels.
    const BAR: i64 = 16;
    /// Width of a tick and of the gap after it, in pixels.
    const TICK: i64 = 4;

    /// Total width, with labels, of a bar of `height` rows, in pixels.
    pub fn width(&self, height: i64) -> i64 {
        let longest = self.labels(height).iter().map(|(_, label)| text_width(label, self.size)).max().unwrap_or(0);
        Self::BAR + 2 * Self::TICK + longest
    }

    /// Draws the bar with its top left corner at (`x`, `y`), `height` rows high. Labels at the ends extend half a line
    /// beyond it.
    pub fn draw(&self, picture: &mut Picture, x: i64, y: i64, height: i64) {
        for row in 0..height {
            let place = 1.0 - (row as f32 + 0.5) / height as f32;
            fill(picture, Rect::new(x, y + row, Self::BAR, 1), self.map.colour(place), 255);
        }
        outline(picture, Rect::new(x, y, Self::BAR, height), 1, self.ink, 255);
        for (value, label) in self.labels(height) {
            let place = (value - self.low) / (self.high - self.low);
            let row = y + ((1.0 - place) * (height - 1) as f64).round() as i64;
            fill(picture, Rect::new(x + Self::BAR, row, Self::TICK, 1), self.ink, 255);
            let left = x + Self::BAR + 2 * Self::TICK;
            text(picture, left, row - self.size.height() / 2, &label, self.size, self.ink);
        }
    }

    /// Values and labels of the ticks, at least two lines apart.
    fn labels(&self, height: i64) -> Vec<(f64, String)> {
        let count = (height / (2 * self.size.height())).max(2) as usize;
        if self.is_log {
            let label = |value: f64| format_tick(10f64.powf(value), 10f64.powf(value.floor()));
            return log_ticks(self.low, self.high, count).into_iter().map(|value| (value, label(value))).collect();
        }
        let values = ticks(self.low, self.high, count);
        let step = if let [first, second, ..] = values[..] { second - first } else { self.high - self.low };
        values.into_iter().map(|value| (value, format_tick(value, step))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(map: ColourMap, low: f64, high: f64) -> ColourBar {
        ColourBar { map, low, high, is_log: false, size: TextSize::SMALL, ink: [0; 3] }
    }

    #[test]
    fn logarithms_are_labelled_with_their_values() {
        let bar = ColourBar { is_log: true, ..bar(ColourMap::Sequential, -2.0, 0.1) };
        let labels: Vec<String> = bar.labels(300).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]);
    }

    #[test]
    fn the_bar_fills_the_width_it_asks_for() {
        let bar = bar(ColourMap::Sequential, 0.0, 40.0);
        let (width, height) = (bar.width(200), 200);
        let mut picture = Picture::filled(width as usize + 20, height as usize + 40, [255; 3]);
        bar.draw(&mut picture, 10, 20, height);
        let inked = |x: usize| (0..picture.height).any(|y| picture.pixel(x, y) != [255; 3]);
        assert!(inked(10) && !inked(9));
        assert!(!(10 + width as usize..picture.width).any(inked));
        // Light at the top, dark at the bottom.
        assert!(picture.pixel(18, 25)[1] > 150 && picture.pixel(18, 215)[1] < 60);
    }

    #[test]
    fn a_scale_without_extent_has_no_numbers() {
        let bar = bar(ColourMap::Diverging, 1.0, 1.0);
        assert!(bar.labels(100).is_empty());
        bar.draw(&mut Picture::filled(50, 120, [0; 3]), 5, 5, 100);
    }
}
