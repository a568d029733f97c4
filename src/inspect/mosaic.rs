//! Mosaic: both models side by side, with detections above and mean maps below, on one fixed colour scale.

use super::models::ModelPair;
use super::panel::{ColourScale, Panel, PanelSize, colours, resized, sheet};
use super::picture_maps::PairMeans;
use crate::detector::detection::Detection;
use crate::draw::{Mark, marks};
use crate::frame::Picture;
use crate::measure::PairDetections;

/// Largest size of a panel, so that two fit side by side on a screen.
const LARGEST_PANEL: PanelSize = PanelSize { width: 960, height: 720 };

/// The detections with at least `score`, drawn on a copy of `picture`.
fn with_marks(picture: &Picture, pair: &ModelPair, detections: &[Detection], score: f32) -> Picture {
    let mark = |one: &Detection| Mark {
        bbox: one.bbox,
        class: one.class_id as usize,
        text: format!("{} {:.2}", pair.label(one.class_id), one.score),
    };
    let all: Vec<Mark> = detections.iter().filter(|one| one.score >= score).map(mark).collect();
    let mut copy = picture.clone();
    marks(&mut copy, &all);
    copy
}

/// Content of a mosaic.
pub struct Mosaic<'a> {
    /// Heading of the sheet.
    pub heading: &'a str,
    /// Values of the maps, before or after the activation function.
    pub values: &'a str,
    /// The picture.
    pub picture: &'a Picture,
    /// Detections of both networks.
    pub detections: &'a PairDetections,
    /// Mean maps of both networks.
    pub means: &'a PairMeans,
    /// Colour scale of the maps.
    pub scale: &'a ColourScale,
    /// Lowest score of drawn detections.
    pub score: f32,
}

impl Mosaic<'_> {
    /// Draws the 2×2 sheet.
    pub fn draw(&self, pair: &ModelPair) -> Picture {
        let size = LARGEST_PANEL.of(self.picture);
        let PairDetections { reference, int8 } = self.detections;
        let models =
            [("fp32", reference, &self.means.reference), (pair.quantized_row.precision, int8, &self.means.quantized)];
        let score = self.score;
        let with_boxes = models.map(|(name, detections, _)| {
            let count = detections.iter().filter(|one| one.score >= score).count();
            let plural = if count == 1 { "" } else { "s" };
            Panel {
                picture: resized(&with_marks(self.picture, pair, detections, score), size.width, size.height),
                title: format!("{name}: {count} object{plural} of score {score} or more"),
                scale: None,
            }
        });
        let with_maps = models.map(|(name, _, map)| Panel {
            picture: colours(map, self.scale, size.width, size.height),
            title: format!("{name}: mean over steps of the channels' maximum, {}", self.values),
            scale: Some(*self.scale),
        });
        sheet(self.heading, &[with_boxes, with_maps].concat(), 2)
    }
}
