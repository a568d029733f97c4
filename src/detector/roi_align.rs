//! Level mapper: the pyramid level that a proposal is pooled from, and the scale of each level, as torchvision's
//! `MultiScaleRoIAlign` computes them (`torchvision/ops/poolers.py`).

use super::boxes::area;
use super::settings::RoiSettings;
use crate::tensor::Fit;

/// Maps proposals to levels on one canvas: torchvision's `LevelMapper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelMapper {
    canonical_scale: f32,
    canonical_level: f32,
    eps: f32,
    finest: i32,
    coarsest: i32,
}

/// The scale from canvas pixels to a level's cells: the power of two nearest to the level's rows ÷ the unpadded rows of
/// the canvas (`_infer_scale`).
///
/// torchvision computes it from the first picture of a model and keeps it; this is the value of a new model.
pub fn level_scale(rows: usize, fit: &Fit) -> f32 {
    let ratio = (rows as f64 / fit.height.max(1) as f64) as f32;
    libm::exp2f(libm::log2f(ratio).round_ties_even())
}

impl LevelMapper {
    /// The mapper for levels with these scales, finest first. Levels of the same scale, as those of
    /// `fasterrcnn_mobilenet_v3_large_fpn`, have one number: every box is pooled from the first of them.
    pub fn new(settings: &RoiSettings, scales: &[f32]) -> Self {
        Self {
            canonical_scale: settings.canonical_scale as f32,
            canonical_level: settings.canonical_level as f32,
            eps: settings.level_eps as f32,
            finest: scales.first().map_or(2, |&scale| -libm::log2f(scale) as i32),
            coarsest: scales.last().map_or(2, |&scale| -libm::log2f(scale) as i32),
        }
    }

    /// Level of a box (x0, y0, x1, y1 in canvas pixels), 0 for the finest: ⌊k₀ + log₂(√area / s₀) + eps⌋, clamped to
    /// the levels that exist. s₀ is the canonical scale and k₀ the canonical level (equation 1 of the FPN paper).
    pub fn level(&self, corners: [f32; 4]) -> usize {
        let size = area(corners).sqrt();
        let level = (self.canonical_level + libm::log2f(size / self.canonical_scale) + self.eps).floor();
        // The level of a box without area is −∞; the cast saturates it.
        (level as i32).max(self.finest).min(self.coarsest).abs_diff(self.finest) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_on_the_papers_levels() {
        let rule = LevelMapper::new(&RoiSettings::default(), &[0.25, 0.125, 0.0625, 0.03125]);
        let level = |side: f32| rule.level([0.0, 0.0, side, side]);
        assert_eq!([16.0, 111.0, 112.0, 223.0, 224.0, 448.0, 2000.0].map(level), [0, 0, 1, 1, 2, 3, 3]);
        assert_eq!(level(0.0), 0);
    }

    #[test]
    fn levels_of_one_scale_are_one() {
        let rule = LevelMapper::new(&RoiSettings::default(), &[0.03125, 0.03125]);
        assert_eq!([1.0, 224.0, 448.0, 5000.0].map(|side: f32| rule.level([0.0, 0.0, side, side])), [0; 4]);
    }

    #[test]
    fn scales_come_from_unpadded_rows() {
        let fit = Fit {
            frame_height: 375,
            frame_width: 1242,
            height: 402,
            width: 1333,
            canvas_height: 416,
            canvas_width: 1344,
        };
        assert_eq!([104, 52, 26, 13].map(|rows| level_scale(rows, &fit)), [0.25, 0.125, 0.0625, 0.03125]);
    }
}
