//! Hyper-parameters of a Faster R-CNN: resizing, anchors, thresholds, box coders.
//!
//! In: the header of a checkpoint or an artifact, or [`Settings::default`], the values of torchvision's
//! `fasterrcnn_resnet50_fpn`. Out: one plain value that every stage takes its parameters from. Nothing is optional in the
//! stored form: a header with a missing or unknown key is refused.
//!
//! Numbers are `f64` where Python has a float. torchvision compares f32 tensors with Python floats in places, such as
//! its NMS; a threshold that is rounded first could change the result.

use serde::{Deserialize, Serialize};

use super::network::Architecture;
use super::plan::step::Part;
use crate::error::{Error, Kind, Result};

/// All hyper-parameters of the detector.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Preprocessing.
    pub transform: TransformSettings,
    /// Anchors of the region proposal network.
    pub anchors: AnchorSettings,
    /// The region proposal network.
    pub rpn: RpnSettings,
    /// The second stage.
    pub roi: RoiSettings,
}

/// Preprocessing of a picture (`GeneralizedRCNNTransform`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformSettings {
    /// Lengths of the shorter side after resizing, in pixels; inference uses the last. Default 800.
    pub min_size: Vec<u32>,
    /// Maximum of the longer side after resizing, in pixels. Default 1333.
    pub max_size: u32,
    /// Mean that is subtracted from red, green and blue in [0, 1].
    pub mean: [f64; 3],
    /// Standard deviation that the difference is divided by.
    pub std: [f64; 3],
    /// The canvas is padded right and bottom to a multiple of this, in pixels. Default 32.
    pub size_divisor: u32,
}

/// Anchor shapes (`AnchorGenerator`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorSettings {
    /// Side lengths in canvas pixels at aspect ratio 1, for each level. Default 32, 64, 128, 256, 512.
    pub sizes: Vec<Vec<f64>>,
    /// Height over width, for each level. Default 0.5, 1, 2 on every level.
    pub aspect_ratios: Vec<Vec<f64>>,
}

/// Parameters of the region proposal network (`RegionProposalNetwork`, values for inference).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RpnSettings {
    /// Number of best anchors kept on each level before NMS. Default 1000.
    pub pre_nms_top_n: usize,
    /// Number of proposals kept of all levels after NMS. Default 1000.
    pub post_nms_top_n: usize,
    /// IoU with a better box of its level above which a box is suppressed. Default 0.7.
    pub nms_threshold: f64,
    /// Minimum width and height of a proposal, in canvas pixels. Default 1e-3.
    pub min_size: f64,
    /// Minimum objectness probability of a proposal. Default 0.
    pub score_threshold: f64,
    /// Divisors of dx, dy, dw, dh. Default 1, 1, 1, 1.
    pub box_weights: [f64; 4],
    /// Maximum growth of a box in a direction: dw and dh are clamped at its natural logarithm. Default 1000 / 16.
    pub max_growth: f64,
}

/// Parameters of the second stage (`RoIHeads` and `MultiScaleRoIAlign`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoiSettings {
    /// Names of the feature maps that RoIAlign reads; those that the network has count. Default 0, 1, 2, 3.
    pub levels: Vec<String>,
    /// Score that a detection must exceed. Default 0.05.
    pub score_threshold: f64,
    /// IoU with a better box of its class above which a box is suppressed. Default 0.5.
    pub nms_threshold: f64,
    /// Maximum number of detections of a picture. Default 100.
    pub max_detections: usize,
    /// Minimum width and height of a detection, in canvas pixels. Default 1e-2.
    pub min_size: f64,
    /// Divisors of dx, dy, dw, dh. Default 10, 10, 5, 5.
    pub box_weights: [f64; 4],
    /// Maximum growth of a box in a direction: dw and dh are clamped at its natural logarithm. Default 1000 / 16.
    pub max_growth: f64,
    /// RoIAlign's samples along each side of a bin. Default 2.
    pub sampling_ratio: usize,
    /// Size (√area, canvas pixels) of the proposals that are pooled from `canonical_level`. Default 224.
    pub canonical_scale: f64,
    /// Pyramid level of `canonical_scale`: 4 is P4. Default 4.
    pub canonical_level: u32,
    /// Added to the level before it is rounded down. Default 1e-6.
    pub level_eps: f64,
}

/// Added to the variance of every batch norm before the square root: w′ = w · γ / √(σ² + eps).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNormEps {
    /// In the body.
    pub body: f64,
    /// In the feature pyramid.
    pub pyramid: f64,
    /// In the heads of both stages.
    pub heads: f64,
}

impl BatchNormEps {
    /// The same value everywhere.
    pub const fn all(eps: f64) -> Self {
        Self { body: eps, pyramid: eps, heads: eps }
    }

    /// The value of the layers of `part`.
    pub const fn of(&self, part: Part) -> f64 {
        match part {
            Part::Body => self.body,
            Part::Fpn => self.pyramid,
            Part::Rpn | Part::Roi => self.heads,
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the value and its valid range.
    pub fn check(&self) -> Result<()> {
        for (part, eps) in [("body", self.body), ("pyramid", self.pyramid), ("heads", self.heads)] {
            require(&format!("batch_norm_eps.{part}"), (0.0..=1.0).contains(&eps), eps, "from 0 to 1")?;
        }
        Ok(())
    }
}

impl Default for TransformSettings {
    fn default() -> Self {
        Self {
            min_size: vec![800],
            max_size: 1333,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            size_divisor: 32,
        }
    }
}

impl Default for AnchorSettings {
    fn default() -> Self {
        let sizes = [32.0, 64.0, 128.0, 256.0, 512.0];
        Self { sizes: sizes.map(|size| vec![size]).into(), aspect_ratios: vec![vec![0.5, 1.0, 2.0]; sizes.len()] }
    }
}

impl Default for RpnSettings {
    fn default() -> Self {
        Self {
            pre_nms_top_n: 1000,
            post_nms_top_n: 1000,
            nms_threshold: 0.7,
            min_size: 1e-3,
            score_threshold: 0.0,
            box_weights: [1.0; 4],
            max_growth: 62.5,
        }
    }
}

impl Default for RoiSettings {
    fn default() -> Self {
        Self {
            levels: ["0", "1", "2", "3"].map(String::from).into(),
            score_threshold: 0.05,
            nms_threshold: 0.5,
            max_detections: 100,
            min_size: 1e-2,
            box_weights: [10.0, 10.0, 5.0, 5.0],
            max_growth: 62.5,
            sampling_ratio: 2,
            canonical_scale: 224.0,
            canonical_level: 4,
            level_eps: 1e-6,
        }
    }
}

impl TransformSettings {
    /// Length of the shorter side for inference, in pixels: the last of `min_size`, as in torchvision.
    pub fn test_min_size(&self) -> u32 {
        self.min_size.last().copied().unwrap_or(800)
    }
}

/// The largest picture side in a header, in pixels: limits the allocations that a damaged file can cause.
const MAX_SIDE: u32 = 16_384;

/// The largest number of proposals or detections in a header.
const MAX_BOXES: usize = 100_000;

impl Settings {
    /// Checks every value, and that there are as many anchors a cell as `architecture` has outputs for.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the value and its valid range.
    pub fn check(&self, architecture: &Architecture) -> Result<()> {
        let Self { transform, anchors, rpn, roi } = self;
        let side = |name: &str, value: u32| {
            require(name, (1..=MAX_SIDE).contains(&value), value, &format!("from 1 to {MAX_SIDE}"))
        };
        require("transform.min_size", !transform.min_size.is_empty(), "empty", "one size or more")?;
        transform.min_size.iter().try_for_each(|&size| side("transform.min_size", size))?;
        side("transform.max_size", transform.max_size)?;
        let divisor = transform.size_divisor;
        let is_size = (1..=1024).contains(&divisor);
        require("transform.size_divisor", is_size, divisor, "from 1 to 1024")?;
        for channel in 0..3 {
            let (mean, std) = (transform.mean[channel], transform.std[channel]);
            require("transform.mean", (0.0..=1.0).contains(&mean), mean, "from 0 to 1")?;
            require("transform.std", (1e-3..=1e3).contains(&std), std, "from 0.001 to 1000")?;
        }
        let features = architecture.features();
        check_anchors(anchors, features.len(), architecture.anchors_per_cell())?;

        for (name, value) in [
            ("rpn.nms_threshold", rpn.nms_threshold),
            ("rpn.score_threshold", rpn.score_threshold),
            ("roi.score_threshold", roi.score_threshold),
            ("roi.nms_threshold", roi.nms_threshold),
        ] {
            require(name, (0.0..=1.0).contains(&value), value, "from 0 to 1")?;
        }
        for (name, value) in [
            ("rpn.pre_nms_top_n", rpn.pre_nms_top_n),
            ("rpn.post_nms_top_n", rpn.post_nms_top_n),
            ("roi.max_detections", roi.max_detections),
        ] {
            require(name, (1..=MAX_BOXES).contains(&value), value, &format!("from 1 to {MAX_BOXES}"))?;
        }
        for (name, value) in
            [("rpn.min_size", rpn.min_size), ("roi.min_size", roi.min_size), ("roi.level_eps", roi.level_eps)]
        {
            require(name, value.is_finite() && value >= 0.0, value, "zero or more")?;
        }
        for (name, value) in [("rpn.max_growth", rpn.max_growth), ("roi.max_growth", roi.max_growth)] {
            require(name, (1.0..=1e6).contains(&value), value, "from 1 to 1000000")?;
        }
        for (name, weights) in [("rpn.box_weights", rpn.box_weights), ("roi.box_weights", roi.box_weights)] {
            for weight in weights {
                require(name, (1e-3..=1e3).contains(&weight), weight, "from 0.001 to 1000")?;
            }
        }
        require("roi.sampling_ratio", (1..=16).contains(&roi.sampling_ratio), roi.sampling_ratio, "from 1 to 16")?;
        let scale = roi.canonical_scale;
        require("roi.canonical_scale", scale.is_finite() && scale > 0.0, scale, "above 0")?;
        require("roi.canonical_level", roi.canonical_level <= 16, roi.canonical_level, "from 0 to 16")?;
        let pooled = roi.levels.iter().filter(|level| features.contains(level)).count();
        require("roi.levels", pooled > 0, format!("{:?}", roi.levels), &format!("some of {features:?}"))
    }
}

/// Checks the anchors of `levels` levels: `each` at a cell, as the proposal head has outputs.
fn check_anchors(anchors: &AnchorSettings, levels: usize, each: usize) -> Result<()> {
    let AnchorSettings { sizes, aspect_ratios } = anchors;
    for (name, found) in [("anchors.sizes", sizes.len()), ("anchors.aspect_ratios", aspect_ratios.len())] {
        let valid = format!("{levels} lists, one a level that the proposal head reads");
        require(name, found == levels, format!("{found} lists"), &valid)?;
    }
    for (sizes, ratios) in sizes.iter().zip(aspect_ratios) {
        require(
            "anchors",
            sizes.len().saturating_mul(ratios.len()) == each,
            format!("{} sizes × {} ratios", sizes.len(), ratios.len()),
            &format!("{each} a cell, as rpn.head.cls_logits has outputs"),
        )?;
        for &size in sizes {
            require("anchors.sizes", (1.0..=1e5).contains(&size), size, "from 1 to 100000")?;
        }
        for &ratio in ratios {
            require("anchors.aspect_ratios", (0.01..=100.0).contains(&ratio), ratio, "from 0.01 to 100")?;
        }
    }
    Ok(())
}

/// Fails unless `holds`, naming the value and its valid range.
fn require(name: &str, holds: bool, found: impl std::fmt::Display, valid: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::new(Kind::Data, format!("{name} is {found}; it must be {valid}")))
}

#[cfg(test)]
mod tests {
    use super::super::network::tests::narrow;
    use super::*;

    #[test]
    fn the_defaults_pass_and_survive_json() {
        let settings = Settings::default();
        settings.check(&narrow()).unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn anchors_must_match_the_head() {
        let mut settings = Settings::default();
        settings.anchors.aspect_ratios[0].push(3.0);
        let error = settings.check(&narrow()).unwrap_err();
        assert_eq!(
            error.message(),
            "anchors is 1 sizes × 4 ratios; it must be 3 a cell, as rpn.head.cls_logits has outputs"
        );
    }

    #[test]
    fn not_a_number_is_refused() {
        let mut settings = Settings::default();
        settings.roi.score_threshold = f64::NAN;
        assert!(settings.check(&narrow()).is_err());
    }

    #[test]
    fn an_unknown_or_missing_number_is_refused() {
        let mut value = serde_json::to_value(Settings::default()).unwrap();
        value["rpn"]["surprise"] = 1.into();
        assert!(serde_json::from_value::<Settings>(value.clone()).is_err());
        value["rpn"].as_object_mut().unwrap().remove("surprise");
        value["rpn"].as_object_mut().unwrap().remove("min_size");
        assert!(serde_json::from_value::<Settings>(value).is_err());
    }
}
