//! Panels: maps as pictures with colour scales, colour bars and titles, optionally over the camera's picture.

use super::map::{Interpolation, ScalarMap};
use crate::draw::{Colour, ColourBar, ColourMap, Rect, TextSize, blend, outline, text, text_width};
use crate::frame::Picture;

/// Background colour.
const BACKGROUND: Colour = [255; 3];
/// Text colour.
const INK: Colour = [30; 3];
/// Space between panels, in pixels.
const GAP: i64 = 12;
/// Width of a panel from which text is large.
const WIDE: usize = 700;
/// Opacity of a map in an overlay, of 255.
const OVERLAY_OPACITY: u8 = 165;

/// Colour scale of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourScale {
    /// Colours.
    pub map: ColourMap,
    /// Value of the first colour.
    pub low: f64,
    /// Value of the last colour.
    pub high: f64,
    /// True if the values are decimal logarithms.
    pub is_log: bool,
    /// Interpolation of maps in these colours.
    pub interpolation: Interpolation,
}

impl ColourScale {
    /// Scale of activations: from the 0.5th to the 99.5th percentile of all `maps`, so that single outliers do not
    /// dominate. Values outside get the colour of the end.
    pub fn of_activations(maps: &[&ScalarMap]) -> Self {
        let [low, high] = ScalarMap::quantiles(maps, [0.005, 0.995]);
        let high = if high > low { high } else { low + 1.0 };
        Self { map: ColourMap::Sequential, low, high, is_log: false, interpolation: Interpolation::Cubic }
    }

    /// Scale of errors: from 0 to the 99.5th percentile.
    pub fn of_errors(maps: &[&ScalarMap]) -> Self {
        let [high] = ScalarMap::quantiles(maps, [0.995]);
        let high = if high > 0.0 { high } else { 1.0 };
        Self { map: ColourMap::Sequential, low: 0.0, high, is_log: false, interpolation: Interpolation::ClampedCubic }
    }

    /// Scale of logarithms of errors: the percentiles as for activations, at least one decade.
    pub fn of_logarithms(maps: &[&ScalarMap]) -> Self {
        let Self { map, low, high, .. } = Self::of_activations(maps);
        Self { map, low: low.min(high - 1.0), high, is_log: true, interpolation: Interpolation::ClampedCubic }
    }

    fn colour(&self, value: f32) -> Colour {
        self.map.colour(((f64::from(value) - self.low) / (self.high - self.low)) as f32)
    }
}

/// A map as a picture of the given size.
pub fn colours(map: &ScalarMap, scale: &ColourScale, width: usize, height: usize) -> Picture {
    let resized = map.resized(height, width, scale.interpolation);
    let mut picture = Picture::filled(width, height, [0; 3]);
    for (pixel, &value) in picture.data.chunks_exact_mut(Picture::CHANNELS).zip(&resized.values) {
        pixel.copy_from_slice(&scale.colour(value));
    }
    picture
}

/// `map` in translucent colours over the whole of `background`.
pub fn overlay(background: &Picture, map: &ScalarMap, scale: &ColourScale) -> Picture {
    let colours = colours(map, scale, background.width, background.height);
    let mut picture = background.clone();
    for y in 0..background.height {
        for x in 0..background.width {
            blend(&mut picture, x as i64, y as i64, colours.pixel(x, y), OVERLAY_OPACITY);
        }
    }
    picture
}

/// `picture` at another size: area mean if it shrinks, nearest neighbour if it grows.
pub fn resized(picture: &Picture, width: usize, height: usize) -> Picture {
    let mut out = Picture::filled(width, height, [0; 3]);
    for y in 0..height {
        let rows = (y * picture.height / height)..((y + 1) * picture.height).div_ceil(height).min(picture.height);
        for x in 0..width {
            let columns = (x * picture.width / width)..((x + 1) * picture.width).div_ceil(width).min(picture.width);
            let mut sum = [0u32; 3];
            for row in rows.clone() {
                for column in columns.clone() {
                    let pixel = picture.pixel(column, row);
                    sum.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += u32::from(level));
                }
            }
            let count = (rows.len() * columns.len()).max(1) as u32;
            let at = (y * width + x) * Picture::CHANNELS;
            out.data[at..at + 3].iter_mut().zip(sum).for_each(|(out, sum)| *out = ((sum + count / 2) / count) as u8);
        }
    }
    out
}

/// Largest size of a panel.
#[derive(Debug, Clone, Copy)]
pub struct PanelSize {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl PanelSize {
    /// The size of `picture` reduced to this size, with its aspect ratio; never enlarged.
    pub fn of(self, picture: &Picture) -> Self {
        let (width, height) = (picture.width.max(1), picture.height.max(1));
        let factor = (self.width as f64 / width as f64).min(self.height as f64 / height as f64).min(1.0);
        let scaled = |side: usize| ((side as f64 * factor).round() as usize).max(1);
        Self { width: scaled(width), height: scaled(height) }
    }
}

/// One panel of a sheet.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The picture.
    pub picture: Picture,
    /// Title above the picture.
    pub title: String,
    /// Scale of the colour bar at the right.
    pub scale: Option<ColourScale>,
}

/// Arranges `panels` in `columns` under a heading.
pub fn sheet(heading: &str, panels: &[Panel], columns: usize) -> Picture {
    // The page shows wide sheets reduced.
    let is_wide = panels.iter().any(|panel| panel.picture.width > WIDE);
    let size = if is_wide { TextSize::LARGE } else { TextSize::SMALL };
    let bar = |panel: &Panel| panel.scale.map(|scale| colour_bar(&scale, size));
    let bar_width = |panel: &Panel| bar(panel).map_or(0, |bar| GAP / 2 + bar.width(panel.picture.height as i64));
    let width = panels.iter().map(|panel| {
        let title = text_width(&panel.title, size);
        (panel.picture.width as i64 + bar_width(panel)).max(title)
    });
    let cell_width = width.max().unwrap_or(0) + GAP;
    let line = size.height();
    let cell_height = panels.iter().map(|panel| panel.picture.height as i64).max().unwrap_or(0) + line + 2 * GAP;
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let head = TextSize::LARGE;
    let sheet_width = (columns as i64 * cell_width + GAP).max(text_width(heading, head) + 2 * GAP);
    let sheet_height = head.height() + 2 * GAP + rows as i64 * cell_height;
    let mut sheet = Picture::filled(sheet_width as usize, sheet_height as usize, BACKGROUND);
    text(&mut sheet, GAP, GAP / 2, heading, head, INK);
    for (at, panel) in panels.iter().enumerate() {
        let x = GAP + (at % columns) as i64 * cell_width;
        let y = head.height() + GAP + (at / columns) as i64 * cell_height;
        text(&mut sheet, x, y, &panel.title, size, INK);
        let top = y + line + GAP / 4;
        paste(&mut sheet, &panel.picture, x, top);
        let (w, h) = (panel.picture.width as i64, panel.picture.height as i64);
        outline(&mut sheet, Rect::new(x - 1, top - 1, w + 2, h + 2), 1, [120; 3], 255);
        if let Some(bar) = bar(panel) {
            bar.draw(&mut sheet, x + w + GAP / 2, top, h);
        }
    }
    sheet
}

fn colour_bar(scale: &ColourScale, size: TextSize) -> ColourBar {
    ColourBar { map: scale.map, low: scale.low, high: scale.high, is_log: scale.is_log, size, ink: INK }
}

/// Copies `from` to `onto` with its top left corner at (`x`, `y`), clipped.
pub fn paste(onto: &mut Picture, from: &Picture, x: i64, y: i64) {
    for row in 0..from.height {
        let target = y + row as i64;
        if target < 0 || target >= onto.height as i64 || x < 0 || x >= onto.width as i64 {
            continue;
        }
        let columns = from.width.min(onto.width - x as usize);
        let at = (target as usize * onto.width + x as usize) * Picture::CHANNELS;
        let line = &from.row(row)[..columns * Picture::CHANNELS];
        onto.data[at..at + line.len()].copy_from_slice(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> ScalarMap {
        ScalarMap { height: 10, width: 20, values: (0..200).map(|at| at as f32).collect() }
    }

    #[test]
    fn both_maps_share_a_scale() {
        let double = ScalarMap { values: ramp().values.iter().map(|v| 2.0 * v).collect(), ..ramp() };
        let scale = ColourScale::of_activations(&[&ramp(), &double]);
        assert!(scale.low < 2.0 && scale.high > 380.0);
        let flat = ScalarMap::zeros(2, 2);
        assert!(ColourScale::of_activations(&[&flat]).high > 0.0 && ColourScale::of_errors(&[&flat]).high > 0.0);
    }

    #[test]
    fn a_sheet_holds_every_panel() {
        let scale = ColourScale::of_activations(&[&ramp()]);
        let panel = Panel { picture: colours(&ramp(), &scale, 100, 50), title: "fp32".into(), scale: Some(scale) };
        let sheet = sheet("heading", &[panel.clone(), panel.clone(), panel], 2);
        assert!(sheet.width > 200 && sheet.height > 150 && sheet.height < 260);
    }

    #[test]
    fn resizing_a_picture_keeps_its_mean() {
        let mut picture = Picture::filled(4, 2, [0; 3]);
        picture.data[..12].fill(200);
        assert_eq!(resized(&picture, 2, 1).data, [100; 6]);
        assert_eq!(resized(&picture, 8, 4).width, 8);
        let mut onto = Picture::filled(3, 3, [7; 3]);
        paste(&mut onto, &picture, 1, 2);
        assert_eq!((onto.pixel(1, 2), onto.pixel(0, 2)), ([200; 3], [7; 3]));
    }
}
