//! Random model and picture from a fixed seed, for a benchmark without files.

use crate::detector::checkpoint::{Checkpoint, CheckpointHeader, TensorData};
use crate::detector::network::Architecture;
use crate::detector::settings::{BatchNormEps, Settings};
use crate::error::Result;
use crate::frame::Picture;
use crate::random::Random;

/// torchvision's ResNet-50 FPN detector with 91 classes and random weights. Their scale keeps the variance of the
/// activations and makes the proposal network give the largest number of proposals.
pub(super) fn checkpoint() -> Result<Checkpoint> {
    let architecture = Architecture::resnet50_fpn(91);
    let labels = (1..architecture.classes).map(|class| format!("class_{class}")).collect();
    let header = CheckpointHeader {
        architecture,
        labels,
        settings: Settings::default(),
        batch_norm_eps: BatchNormEps::all(1e-5),
        source_sha256: "0".repeat(64),
    };
    Checkpoint::build(&header, |name, shape| {
        let len: usize = shape.iter().product();
        let mut random = Random::named(name);
        let mut normals = |scale: f32| (0..len).map(|_| random.normal() * scale).collect();
        let fan_in: usize = shape.iter().skip(1).product();
        Ok(TensorData::F32(match name.rsplit('.').next() {
            Some("weight") if shape.len() > 1 => normals((gain(name) / fan_in as f32).sqrt()),
            Some("running_var") => vec![1.0; len],
            // A small last norm of each block keeps the residual sum from growing.
            Some("weight") if name.contains("bn3") => vec![0.3; len],
            Some("weight") => vec![1.0; len],
            _ => normals(0.05),
        }))
    })
}

/// Variance of a layer's output for inputs of variance 1.
fn gain(name: &str) -> f32 {
    match name {
        _ if name.starts_with("rpn.head.bbox_pred") || name.contains("box_predictor.bbox_pred") => 0.05,
        _ if name.contains("cls_score") => 4.0,
        _ if name.contains("cls_logits") || name.contains("fpn") => 1.0,
        _ => 2.0,
    }
}

/// A picture with gradients, edges and noise.
pub(super) fn picture(width: usize, height: usize) -> Result<Picture> {
    let mut random = Random::named("picture");
    let mut data = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let block = ((x / 37) * 7 + (y / 23) * 13) % 97;
            for channel in 0..3 {
                let smooth = 90.0 + 60.0 * (y as f32 / height as f32) + (block * (channel + 1)) as f32 % 71.0;
                data.push((smooth + random.normal() * 6.0).clamp(0.0, 255.0) as u8);
            }
        }
    }
    Picture::new(width, height, data)
}
