//! Mosaic: both models side by side, with detections above and mean maps below, on one fixed colour scale.

use super::labels::{AnnotatedBox, LabelMatches};
use super::models::ModelPair;
use super::panel::{ColourScale, Panel, PanelSize, colours, resized, sheet};
use super::picture_maps::PairMeans;
use crate::detector::detection::Detection;
use crate::draw::{Colour, Mark, marks};
use crate::frame::Picture;
use crate::measure::PairDetections;

/// Largest size of a panel, so that two fit side by side on a screen.
const LARGEST_PANEL: PanelSize = PanelSize { width: 960, height: 720 };

/// Colour of annotated objects that a model finds.
const FOUND: Colour = [255; 3];
/// Colour of annotated objects that it does not find.
const MISSED: Colour = [255, 40, 160];
/// Colour of regions to ignore.
const REGION: Colour = [150; 3];

/// Labels of a picture.
pub struct MosaicLabels {
    /// The annotated boxes.
    pub boxes: Vec<AnnotatedBox>,
    /// Comparison of the reference and of the quantized network.
    pub matches: [LabelMatches; 2],
}

/// Dashed boxes for the labels: white if found, pink with a label if missed, grey for regions to ignore.
fn label_marks(boxes: &[AnnotatedBox], matches: &LabelMatches) -> Vec<Mark> {
    let mark = |(label, is_found): (&AnnotatedBox, &Option<bool>)| {
        let (colour, text) = match is_found {
            None => (REGION, String::new()),
            Some(true) => (FOUND, String::new()),
            Some(false) => (MISSED, format!("missed {}", label.class)),
        };
        Mark { bbox: label.bbox, colour, is_dashed: true, text }
    };
    boxes.iter().zip(&matches.is_found).map(mark).collect()
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
    /// Labels, if the picture has them.
    pub labels: Option<&'a MosaicLabels>,
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
        // Boxes and labels are drawn at the size of the panel, which keeps the text sharp.
        let plain = resized(self.picture, size.width, size.height);
        let scale = size.width as f32 / self.picture.width.max(1) as f32;
        let mut model = 0;
        let with_boxes = models.map(|(name, detections, _)| {
            let drawn: Vec<&Detection> = detections.iter().filter(|one| one.score >= score).collect();
            let mark = |one: &&Detection| {
                let text = format!("{} {:.2}", pair.label(one.class_id), one.score);
                Mark::of_class(one.bbox, one.class_id as usize, text)
            };
            let mut all: Vec<Mark> = drawn.iter().map(mark).collect();
            let plural = if drawn.len() == 1 { "" } else { "s" };
            let mut title = format!("{name}: {} object{plural} of score {score} or more", drawn.len());
            if let Some(MosaicLabels { boxes, matches }) = self.labels {
                let matches = &matches[model];
                all.extend(label_marks(boxes, matches));
                title.push_str(&format!(", {} of {} labels found", matches.counts.found, matches.counts.labels));
            }
            model += 1;
            all.iter_mut().for_each(|mark| mark.bbox = mark.bbox.map(|edge| edge * scale));
            let mut picture = plain.clone();
            marks(&mut picture, &all);
            Panel { picture, title, scale: None }
        });
        let with_maps = models.map(|(name, _, map)| Panel {
            picture: colours(map, self.scale, size.width, size.height),
            title: format!("{name}: mean over steps of the channels' maximum, {}", self.values),
            scale: Some(*self.scale),
        });
        sheet(self.heading, &[with_boxes, with_maps].concat(), 2)
    }
}
