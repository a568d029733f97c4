//! What the serving artifact says of its own calibration, by step of the plan.
//!
//! In: an artifact. Out: for every step what its error and its counters were on single pictures of the calibration, and
//! from a live figure by how many spreads it is off. The spread is widened by what few pictures leave unknown, and by a
//! floor below which a difference means nothing.

use super::first_layer::FirstLayerError;
use crate::calibrate::{Histogram, PowerProfile, power_db};
use crate::detector::plan::Plan;
use crate::error::Result;
use crate::quant::artifact::{Artifact, MeanStd};
use crate::tensor::ImageMoments;

/// SQNR that differs by less, in dB, is the same.
const SQNR_FLOOR: f64 = 0.35;
/// The same for the share of clipped values.
const CLIPPED_FLOOR: f64 = 3e-4;
/// So many values of an edge clipped, more or less, are nothing: the coarsest levels of a small picture have hundreds
/// of values in all, of which two are a large share.
const CLIPPED_VALUES: f64 = 3.0;
/// The same as above for the distance of two distributions.
const DISTANCE_FLOOR: f64 = 0.015;
/// Of a mean share or distance: figures near zero jump by their own size, and an edge of few values is far from the
/// distribution of all pictures in every single one.
const RELATIVE: f64 = 0.3;
/// Pictures that spreads were taken over, where nobody wrote down how many.
const PICTURES: f64 = 16.0;

/// By step of the plan.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    /// SQNR of the output in dB.
    pub sqnr_db: Vec<Option<MeanStd>>,
    /// Share of values outside the quantization range.
    pub clipped: Vec<Option<MeanStd>>,
    /// Distance of one picture's distribution from all of them.
    pub distance: Vec<Option<MeanStd>>,
    /// The distribution of all pictures.
    pub histogram: Vec<Option<Histogram>>,
    /// How strong the layers are on what it was made for: generation 0's pictures, and every light of the frames since.
    pub scenes: Vec<PowerProfile>,
    /// What tells of an error that comes with another light.
    pub light: Option<FirstLayerError>,
    /// Share of the reference's detections that were found again.
    pub agreement: Option<f64>,
    /// The reference's detections in a picture, on average.
    pub objects: Option<f64>,
}

impl Baseline {
    /// Reads it.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) where a histogram is none.
    pub fn from_artifact(artifact: &Artifact<'_>, plan: &Plan) -> Result<Self> {
        let header = artifact.header();
        let empty = || vec![None; plan.steps.len()];
        let (mut sqnr_db, mut clipped, mut distance) = (empty(), empty(), empty());
        let mut histogram = vec![None; plan.steps.len()];
        let scenes = header.calibration.power_profiles.iter();
        let mut scenes: Vec<PowerProfile> =
            scenes.map(|&mean_abs_z| PowerProfile { power_db: empty(), mean_abs_z }).collect();
        for (id, layer) in plan.layers.iter().enumerate() {
            let users = plan.steps.iter().enumerate().filter(|(_, step)| step.layer() == Some(id));
            let spreads = artifact.step(&layer.name).map(|step| step.sqnr_db.clone()).unwrap_or_default();
            for ((user, _), spread) in users.zip(spreads) {
                sqnr_db[user] = Some(spread);
            }
        }
        for edge in &header.edges {
            let Some(step) = plan.find(&edge.name) else { continue };
            (clipped[step], distance[step]) = (edge.clipped, edge.distance);
            scenes.iter_mut().zip(&edge.power_db).for_each(|(scene, power)| scene.power_db[step] = Some(*power));
            if let Some(bins) = &edge.histogram {
                let counts = artifact.histogram(edge)?;
                histogram[step] = Some(Histogram::from_stored(bins, &counts).map_err(|e| e.at(&edge.name))?);
            }
        }
        let agreement = header.calibration.agreement.filter(|counts| counts.reference > 0);
        let objects = agreement.filter(|counts| counts.pictures > 0);
        let objects = objects.map(|counts| counts.reference as f64 / counts.pictures as f64);
        let agreement = agreement.map(|counts| counts.matched as f64 / counts.reference as f64);
        let light = FirstLayerError::of(artifact, plan)?;
        Ok(Self { sqnr_db, clipped, distance, histogram, scenes, light, agreement, objects })
    }

    /// By how many spreads `sqnr_db` of `step` is below what it was.
    pub fn sqnr_off(&self, step: usize, sqnr_db: f64) -> Option<f64> {
        let spread = self.sqnr_db[step]?;
        Some((f64::from(spread.mean) - sqnr_db) / widened(spread, SQNR_FLOOR))
    }

    /// By how many spreads the clipped share of `step`, of so many `values`, is above what it was.
    pub fn clipped_off(&self, step: usize, share: f64, values: u64) -> Option<f64> {
        let spread = self.clipped[step]?;
        let mean = f64::from(spread.mean);
        let few = CLIPPED_VALUES / values.max(1) as f64;
        Some((share - mean) / widened(spread, CLIPPED_FLOOR).hypot(RELATIVE * mean).hypot(few))
    }

    /// By how many spreads the distance of `step` is above what it was.
    pub fn distance_off(&self, step: usize, distance: f64) -> Option<f64> {
        let spread = self.distance[step]?;
        let mean = f64::from(spread.mean);
        Some((distance - mean) / widened(spread, DISTANCE_FLOOR).hypot(RELATIVE * mean))
    }

    /// The first layer, and by how many spreads its SQNR is expected to be below what it was, for nothing but the light
    /// of `image`.
    pub fn light_off(
        &self,
        plan: &Plan,
        image: &ImageMoments,
        histograms: &[Option<Histogram>],
    ) -> Option<(usize, f64)> {
        let light = self.light.as_ref()?;
        let step = light.step;
        let error = light.error(plan, image, histograms.get(step)?.as_ref()?)?;
        let measured = 10f64.powf(-0.1 * f64::from(self.sqnr_db[step]?.mean));
        Some((step, self.sqnr_off(step, -10.0 * (measured + error).log10())?))
    }

    /// By how many deviations a frame is farther from the scene that is nearest than single pictures of that are.
    pub fn scene_off(&self, histograms: &[Option<Histogram>]) -> Option<f64> {
        let powers: Vec<Option<f64>> = histograms.iter().map(|seen| seen.as_ref().and_then(power_db)).collect();
        self.scenes.iter().filter_map(|scene| scene.z_score(&powers)).min_by(f64::total_cmp)
    }
}

/// The deviation of a new figure from a mean of few, and the floor.
fn widened(spread: MeanStd, floor: f64) -> f64 {
    (f64::from(spread.std) * (1.0 + 1.0 / PICTURES).sqrt()).hypot(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clipped_values_of_a_small_edge_are_nothing_and_a_large_share_is() {
        let spread = Some(MeanStd { mean: 0.0001, std: 0.0003 });
        let evidence = Baseline { clipped: vec![spread], ..Baseline::default() };
        let off = |share: f64, values: u64| evidence.clipped_off(0, share, values).unwrap();
        assert!(off(2.0 / 720.0, 720) < 1.0);
        assert!(off(0.05, 720) > 4.0);
        assert!(off(2.0 / 720.0, 1_000_000) > 4.0, "the same share of many values");
    }
}
