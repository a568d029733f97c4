//! Stored form of architecture and settings in the formats `checkpoint/1` and `artifact/1`.
//!
//! Only ResNets with 18, 34, 50 or 101 layers, a pyramid of five levels and two fully connected layers had a form there.
//! The forms are read only.

use serde::Deserialize;

use super::network::{
    Architecture, Block, Body, BoxHead, Children, ExtraLevels, Neck, ProposalHead, Pyramid, ResNet, Stage,
};
use super::settings::{AnchorSettings, RoiSettings, RpnSettings, Settings, TransformSettings};

/// Number of pyramid levels: P2 … P6.
const LEVELS: usize = 5;

/// [`Architecture`] as it was stored.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename = "Architecture")]
pub struct ArchitectureV1 {
    depth: u8,
    stem: usize,
    stages: [StageV1; 4],
    fpn: usize,
    anchors_per_cell: usize,
    roi_output: usize,
    head: usize,
    classes: usize,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename = "Stage")]
struct StageV1 {
    middle: usize,
    output: usize,
}

/// [`AnchorSettings`] as they were stored: the same ratios on every level.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename = "AnchorSettings")]
pub struct AnchorSettingsV1 {
    sizes: [Vec<f64>; LEVELS],
    aspect_ratios: Vec<f64>,
}

/// [`RoiSettings`] as they were stored: without levels.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename = "RoiSettings")]
pub struct RoiSettingsV1 {
    score_threshold: f64,
    nms_threshold: f64,
    max_detections: usize,
    min_size: f64,
    box_weights: [f64; 4],
    max_growth: f64,
    sampling_ratio: usize,
    canonical_scale: f64,
    canonical_level: u32,
    level_eps: f64,
}

/// [`Settings`] as they were stored in an artifact.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename = "Settings")]
pub struct SettingsV1 {
    transform: TransformSettings,
    anchors: AnchorSettingsV1,
    rpn: RpnSettings,
    roi: RoiSettingsV1,
}

impl TryFrom<ArchitectureV1> for Architecture {
    type Error = String;

    fn try_from(stored: ArchitectureV1) -> Result<Self, String> {
        let (block, blocks) = match stored.depth {
            18 => (Block::Basic, [2, 2, 2, 2]),
            34 => (Block::Basic, [3, 4, 6, 3]),
            50 => (Block::Bottleneck, [3, 4, 6, 3]),
            101 => (Block::Bottleneck, [3, 4, 23, 3]),
            other => return Err(format!("depth is {other}; it must be 18, 34, 50 or 101")),
        };
        let stage =
            |(stage, blocks): (StageV1, usize)| Stage { blocks, middle: stage.middle, groups: 1, output: stage.output };
        let body = ResNet {
            module: "backbone.body".to_owned(),
            children: Children::Named,
            block,
            stem: stored.stem,
            stages: stored.stages.into_iter().zip(blocks).map(stage).collect(),
            returned: vec![1, 2, 3, 4],
        };
        Ok(Self {
            body: Body::ResNet(body),
            neck: Neck::Fpn(Pyramid { channels: stored.fpn, batch_norm: false, extra: ExtraLevels::Pool }),
            proposal_head: ProposalHead { convs: 1, anchors_per_cell: stored.anchors_per_cell },
            roi_output: stored.roi_output,
            box_head: BoxHead::Mlp { fc6: stored.head, fc7: stored.head },
            classes: stored.classes,
        })
    }
}

impl From<AnchorSettingsV1> for AnchorSettings {
    fn from(AnchorSettingsV1 { sizes, aspect_ratios }: AnchorSettingsV1) -> Self {
        Self { sizes: sizes.into(), aspect_ratios: vec![aspect_ratios; LEVELS] }
    }
}

impl From<RoiSettingsV1> for RoiSettings {
    fn from(stored: RoiSettingsV1) -> Self {
        Self {
            levels: RoiSettings::default().levels,
            score_threshold: stored.score_threshold,
            nms_threshold: stored.nms_threshold,
            max_detections: stored.max_detections,
            min_size: stored.min_size,
            box_weights: stored.box_weights,
            max_growth: stored.max_growth,
            sampling_ratio: stored.sampling_ratio,
            canonical_scale: stored.canonical_scale,
            canonical_level: stored.canonical_level,
            level_eps: stored.level_eps,
        }
    }
}

impl From<SettingsV1> for Settings {
    fn from(SettingsV1 { transform, anchors, rpn, roi }: SettingsV1) -> Self {
        Self { transform, anchors: anchors.into(), rpn, roi: roi.into() }
    }
}
