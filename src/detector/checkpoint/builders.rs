//! torchvision's builder functions of Faster R-CNN, and the settings that each of them sets.
//!
//! In: an architecture. Out: the builder it comes of, and that builder's hyper-parameters, which no state dict holds
//! (`torchvision/models/detection/faster_rcnn.py`).

use std::str::FromStr;

use serde::Serialize;

use super::super::network::{Architecture, Body, BoxHead, Neck, Version};
use super::super::settings::{AnchorSettings, Settings};
use crate::error::{Error, Kind, Result};

/// A builder function of torchvision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DetectorBuilder {
    /// Also for other ResNets with a pyramid, as `resnet_fpn_backbone` makes them.
    #[serde(rename = "fasterrcnn_resnet50_fpn")]
    Resnet50Fpn,
    /// The second generation: batch norm in pyramid and box head, two convolutions in the proposal head.
    #[serde(rename = "fasterrcnn_resnet50_fpn_v2")]
    Resnet50FpnV2,
    /// MobileNetV3-Large for pictures of 800 pixels.
    #[serde(rename = "fasterrcnn_mobilenet_v3_large_fpn")]
    MobilenetV3LargeFpn,
    /// MobileNetV3-Large for pictures of 320 pixels.
    #[serde(rename = "fasterrcnn_mobilenet_v3_large_320_fpn")]
    MobilenetV3Large320Fpn,
}

/// Anchors at a cell of torchvision's default: one size, three ratios.
const DEFAULT_ANCHORS: usize = 3;
/// Levels of torchvision's default anchors.
const DEFAULT_LEVELS: usize = 5;
/// Anchors at a cell of the MobileNets and of detectors with one level: five sizes, three ratios.
const MANY_ANCHORS: usize = 15;

impl DetectorBuilder {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Resnet50Fpn, Self::Resnet50FpnV2, Self::MobilenetV3LargeFpn, Self::MobilenetV3Large320Fpn];

    /// torchvision's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resnet50Fpn => "fasterrcnn_resnet50_fpn",
            Self::Resnet50FpnV2 => "fasterrcnn_resnet50_fpn_v2",
            Self::MobilenetV3LargeFpn => "fasterrcnn_mobilenet_v3_large_fpn",
            Self::MobilenetV3Large320Fpn => "fasterrcnn_mobilenet_v3_large_320_fpn",
        }
    }

    /// First eight digits of the SHA-256 of the COCO weights, which torchvision puts into the file's name.
    pub const fn coco_sha256(self) -> &'static str {
        match self {
            Self::Resnet50Fpn => "258fb6c6",
            Self::Resnet50FpnV2 => "dd69338a",
            Self::MobilenetV3LargeFpn => "fb6a3cc7",
            Self::MobilenetV3Large320Fpn => "907ea3f9",
        }
    }

    /// Builders whose weights have the parts of `architecture`; the one to assume first.
    pub fn candidates(architecture: &Architecture) -> Vec<Self> {
        let Architecture { body, neck: Neck::Fpn(pyramid), box_head, .. } = architecture else { return Vec::new() };
        let is_first_generation =
            !pyramid.batch_norm && architecture.proposal_head.convs == 1 && matches!(box_head, BoxHead::Mlp { .. });
        let (levels, anchors) = (architecture.features().len(), architecture.anchors_per_cell());
        let has_default_anchors = (levels, anchors) == (DEFAULT_LEVELS, DEFAULT_ANCHORS);
        match body {
            Body::ResNet(_) if is_first_generation && has_default_anchors => vec![Self::Resnet50Fpn],
            Body::ResNet(_)
                if pyramid.batch_norm
                    && architecture.proposal_head.convs == 2
                    && matches!(box_head, BoxHead::Conv { .. })
                    && has_default_anchors =>
            {
                vec![Self::Resnet50FpnV2]
            }
            Body::MobileNet(body)
                if body.version == Version::V3 && is_first_generation && (levels, anchors) == (3, MANY_ANCHORS) =>
            {
                vec![Self::MobilenetV3Large320Fpn, Self::MobilenetV3LargeFpn]
            }
            _ => Vec::new(),
        }
    }

    /// The builder's settings.
    pub fn settings(self, architecture: &Architecture) -> Settings {
        let mut settings = constructor_settings(architecture);
        match self {
            Self::Resnet50Fpn | Self::Resnet50FpnV2 => {}
            Self::MobilenetV3LargeFpn => settings.rpn.score_threshold = 0.05,
            Self::MobilenetV3Large320Fpn => {
                settings.rpn.score_threshold = 0.05;
                (settings.rpn.pre_nms_top_n, settings.rpn.post_nms_top_n) = (150, 150);
                (settings.transform.min_size, settings.transform.max_size) = (vec![320], 640);
            }
        }
        settings
    }
}

impl FromStr for DetectorBuilder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|builder| builder.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(
                Kind::Usage,
                format!("{name:?} is no builder of torchvision that is known; expected one of {names}"),
            )
        })
    }
}

/// Settings of torchvision's constructor `FasterRCNN`. The anchors are empty where no rule of torchvision gives them.
pub(super) fn constructor_settings(architecture: &Architecture) -> Settings {
    let features = architecture.features();
    let (levels, anchors) = (features.len(), architecture.anchors_per_cell());
    let ratios = vec![0.5, 1.0, 2.0];
    let anchors = match (levels, anchors) {
        (DEFAULT_LEVELS, DEFAULT_ANCHORS) => AnchorSettings::default(),
        (_, MANY_ANCHORS) => AnchorSettings {
            sizes: vec![vec![32.0, 64.0, 128.0, 256.0, 512.0]; levels],
            aspect_ratios: vec![ratios; levels],
        },
        _ => AnchorSettings { sizes: Vec::new(), aspect_ratios: Vec::new() },
    };
    let mut settings = Settings { anchors, ..Settings::default() };
    settings.roi.levels.retain(|level| features.contains(level));
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resnet_with_a_pyramid_is_torchvisions() {
        let architecture = Architecture::resnet50_fpn(91);
        assert_eq!(DetectorBuilder::candidates(&architecture), [DetectorBuilder::Resnet50Fpn]);
        assert_eq!(DetectorBuilder::Resnet50Fpn.settings(&architecture), Settings::default());
        assert_eq!("fasterrcnn_resnet50_fpn_v2".parse::<DetectorBuilder>().unwrap(), DetectorBuilder::Resnet50FpnV2);
        assert_eq!("resnet".parse::<DetectorBuilder>().unwrap_err().kind(), Kind::Usage);
    }
}
