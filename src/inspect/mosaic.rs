//! Both models side by side: detections above, mean maps below, on one frozen scale.

use super::map::Map;
use super::models::{Found, Pair};
use super::panel::{ColourScale, Panel, colours, resized, sheet};
use crate::detector::detection::Detection;
use crate::draw::{Mark, marks};
use crate::frame::Picture;

/// A panel's size at most: two beside each other are read on one screen.
const MOST: (usize, usize) = (960, 720);

/// The size of `picture` within `most` columns and rows, never enlarged.
pub fn size_within(picture: &Picture, most: (usize, usize)) -> (usize, usize) {
    let (width, height) = (picture.width.max(1), picture.height.max(1));
    let factor = (most.0 as f64 / width as f64).min(most.1 as f64 / height as f64).min(1.0);
    let scaled = |side: usize| ((side as f64 * factor).round() as usize).max(1);
    (scaled(width), scaled(height))
}

/// The detections of `found` from `score` on, drawn on a copy of `picture`.
fn drawn(picture: &Picture, pair: &Pair, found: &[Detection], score: f32) -> Picture {
    let mark = |one: &Detection| Mark {
        bbox: one.bbox,
        class: one.class_id as usize,
        text: format!("{} {:.2}", pair.label(one.class_id), one.score),
    };
    let all: Vec<Mark> = found.iter().filter(|one| one.score >= score).map(mark).collect();
    let mut copy = picture.clone();
    marks(&mut copy, &all);
    copy
}

/// The 2×2 sheet of one picture, called `heading`; `what` tells of which values the maps are.
pub fn mosaic(
    [heading, what]: [&str; 2],
    picture: &Picture,
    pair: &Pair,
    found: &Found,
    maps: [&Map; 2],
    scale: &ColourScale,
    score: f32,
) -> Picture {
    let (width, height) = size_within(picture, MOST);
    let words = ["fp32", pair.rows[1].precision];
    let mut panels = Vec::with_capacity(4);
    for (found, word) in found.iter().zip(words) {
        let count = found.iter().filter(|one| one.score >= score).count();
        let plural = if count == 1 { "" } else { "s" };
        let title = format!("{word}: {count} object{plural} of score {score} or more");
        let picture = resized(&drawn(picture, pair, found, score), width, height);
        panels.push(Panel { picture, title, scale: None });
    }
    for (map, word) in maps.into_iter().zip(words) {
        let picture = colours(map, scale, width, height);
        let title = format!("{word}: mean over steps of the channels' maximum, {what}");
        panels.push(Panel { picture, title, scale: Some(*scale) });
    }
    sheet(heading, &panels, 2)
}
