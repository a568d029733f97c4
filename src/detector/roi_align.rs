//! Which pyramid level a proposal is read from, and the scale of each level, as torchvision's `MultiScaleRoIAlign`.

use super::boxes::area;
use super::settings::RoiSettings;
use crate::tensor::Fit;

/// Chooses levels for proposals on one canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LevelRule {
    canonical_scale: f32,
    canonical_level: f32,
    eps: f32,
    finest: i32,
    count: i32,
}

/// The scale from canvas pixels to a level's grid: the power of two nearest to rows ÷ unpadded rows.
///
/// torchvision computes it from the first picture a model sees and keeps it; a fresh model is what this equals.
pub fn level_scale(rows: usize, fit: &Fit) -> f32 {
    let ratio = (rows as f64 / fit.height.max(1) as f64) as f32;
    libm::exp2f(libm::log2f(ratio).round_ties_even())
}

impl LevelRule {
    /// The rule for levels with these scales, finest first.
    pub fn new(settings: &RoiSettings, scales: &[f32]) -> Self {
        Self {
            canonical_scale: settings.canonical_scale as f32,
            canonical_level: settings.canonical_level as f32,
            eps: settings.level_eps as f32,
            finest: scales.first().map_or(2, |&scale| -libm::log2f(scale) as i32),
            count: scales.len() as i32,
        }
    }

    /// The level of a box, counted from 0 at the finest: ⌊k₀ + log₂(√area / s₀) + eps⌋, clamped.
    pub fn level(&self, corners: [f32; 4]) -> usize {
        let size = area(corners).sqrt();
        let level = (self.canonical_level + libm::log2f(size / self.canonical_scale) + self.eps).floor();
        // A box without area has level −∞, which the cast saturates.
        (level as i32).clamp(self.finest, self.finest + self.count - 1).abs_diff(self.finest) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fall_on_the_papers_levels() {
        let rule = LevelRule::new(&RoiSettings::default(), &[0.25, 0.125, 0.0625, 0.03125]);
        let level = |side: f32| rule.level([0.0, 0.0, side, side]);
        assert_eq!([16.0, 111.0, 112.0, 223.0, 224.0, 448.0, 2000.0].map(level), [0, 0, 1, 1, 2, 3, 3]);
        assert_eq!(level(0.0), 0);
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
