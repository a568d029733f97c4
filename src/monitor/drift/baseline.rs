//! Baseline: figures of the serving artifact's calibration, by step of the plan.
//!
//! In: an artifact. Out: mean and spread of each step's figures over single calibration pictures, and the deviation of a
//! live figure from them, in spreads. The spread is widened for the uncertainty of a mean of few pictures, and by a floor
//! below which a difference is insignificant.

use super::first_layer::FirstLayerError;
use crate::calibrate::{Histogram, PowerProfile, power_db};
use crate::detector::plan::{Plan, StepId};
use crate::error::Result;
use crate::quant::artifact::{Artifact, MeanStd};
use crate::tensor::ImageMoments;

/// Differences that are insignificant. They are added to the spread as independent errors.
struct Floors {
    /// Of the SQNR, in dB.
    sqnr_db: f64,
    /// Of the share of clipped values.
    clipped_share: f64,
    /// Of the number of clipped values of one edge. The coarsest levels of a small picture have hundreds of values, of
    /// which two are a large share.
    clipped_values: f64,
    /// Of the distance of two distributions.
    distance: f64,
    /// Of a share or a distance, relative to its mean. Values near zero vary by their own size, and an edge of few
    /// values is far from the common distribution in every picture.
    relative: f64,
}

const FLOORS: Floors =
    Floors { sqnr_db: 0.35, clipped_share: 3e-4, clipped_values: 3.0, distance: 0.015, relative: 0.3 };

/// Pictures that a spread was estimated from. The artifact does not record their number.
const SPREAD_PICTURES: f64 = 16.0;

/// Figures of the calibration. Lists are by step.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    /// SQNR of the output, in dB.
    pub sqnr_db: Vec<Option<MeanStd>>,
    /// Share of values outside the quantization range.
    pub clipped: Vec<Option<MeanStd>>,
    /// Distance of one picture's distribution from the common one.
    pub distance: Vec<Option<MeanStd>>,
    /// The common distribution of all pictures.
    pub histograms: Vec<Option<Histogram>>,
    /// Signal power of the layers: one profile of generation 0's pictures, and one of each stratum of later calibrations.
    pub power_profiles: Vec<PowerProfile>,
    /// Predictor of the error that another brightness causes; `None` if the artifact has no residual.
    pub first_layer: Option<FirstLayerError>,
    /// Share of the reference's detections that the quantized network matched.
    pub agreement: Option<f64>,
    /// Mean number of the reference's detections in a picture.
    pub objects_per_picture: Option<f64>,
}

impl Baseline {
    /// Reads the baseline of `artifact`, a model of `plan`.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) if a histogram is invalid.
    pub fn from_artifact(artifact: &Artifact<'_>, plan: &Plan) -> Result<Self> {
        let header = artifact.header();
        let empty = || vec![None; plan.steps.len()];
        let (mut sqnr_db, mut clipped, mut distance) = (empty(), empty(), empty());
        let mut histograms = vec![None; plan.steps.len()];
        let profiles = header.calibration.power_profiles.iter();
        let mut power_profiles: Vec<PowerProfile> =
            profiles.map(|&mean_abs_z| PowerProfile { power_db: empty(), mean_abs_z }).collect();
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
            power_profiles
                .iter_mut()
                .zip(&edge.power_db)
                .for_each(|(profile, power)| profile.power_db[step] = Some(*power));
            if let Some(bins) = &edge.histogram {
                let counts = artifact.histogram(edge)?;
                histograms[step] = Some(Histogram::from_stored(bins, &counts).map_err(|e| e.at(&edge.name))?);
            }
        }
        let detections = header.calibration.agreement.filter(|counts| counts.reference > 0);
        let objects_per_picture = detections
            .filter(|counts| counts.pictures > 0)
            .map(|counts| counts.reference as f64 / counts.pictures as f64);
        let agreement = detections.map(|counts| counts.matched as f64 / counts.reference as f64);
        let first_layer = FirstLayerError::from_artifact(artifact, plan)?;
        Ok(Self { sqnr_db, clipped, distance, histograms, power_profiles, first_layer, agreement, objects_per_picture })
    }

    /// Deviation of `sqnr_db` of `step`, in spreads below the mean.
    pub fn sqnr_deviation(&self, step: StepId, sqnr_db: f64) -> Option<f64> {
        let spread = self.sqnr_db[step]?;
        Some((f64::from(spread.mean) - sqnr_db) / widened(spread, FLOORS.sqnr_db))
    }

    /// Deviation of the clipped `share` of `step`, in spreads above the mean; `values` is the number of values.
    pub fn clipped_deviation(&self, step: StepId, share: f64, values: u64) -> Option<f64> {
        let spread = self.clipped[step]?;
        let mean = f64::from(spread.mean);
        let few_values = FLOORS.clipped_values / values.max(1) as f64;
        let widened = widened(spread, FLOORS.clipped_share).hypot(FLOORS.relative * mean).hypot(few_values);
        Some((share - mean) / widened)
    }

    /// Deviation of the distance of `step`, in spreads above the mean.
    pub fn distance_deviation(&self, step: StepId, distance: f64) -> Option<f64> {
        let spread = self.distance[step]?;
        let mean = f64::from(spread.mean);
        Some((distance - mean) / widened(spread, FLOORS.distance).hypot(FLOORS.relative * mean))
    }

    /// The first layer's step, and the predicted deviation of its SQNR in spreads below the mean. The prediction covers
    /// only the error caused by the brightness and colour of `image`.
    pub fn first_layer_deviation(
        &self,
        plan: &Plan,
        image: &ImageMoments,
        histograms: &[Option<Histogram>],
    ) -> Option<(StepId, f64)> {
        let first_layer = self.first_layer.as_ref()?;
        let step = first_layer.step;
        let added = first_layer.relative_error(plan, image, histograms.get(step)?.as_ref()?)?;
        let calibrated = 10f64.powf(-0.1 * f64::from(self.sqnr_db[step]?.mean));
        Some((step, self.sqnr_deviation(step, -10.0 * (calibrated + added).log10())?))
    }

    /// Deviation from the nearest power profile: z-score of the frame's distance among those of the profile's own pictures.
    pub fn power_deviation(&self, histograms: &[Option<Histogram>]) -> Option<f64> {
        let powers: Vec<Option<f64>> = histograms.iter().map(|seen| seen.as_ref().and_then(power_db)).collect();
        self.power_profiles.iter().filter_map(|profile| profile.z_score(&powers)).min_by(f64::total_cmp)
    }
}

/// Standard deviation of a new figure's difference from a mean of [`SPREAD_PICTURES`], combined with `floor`.
fn widened(spread: MeanStd, floor: f64) -> f64 {
    (f64::from(spread.std) * (1.0 + 1.0 / SPREAD_PICTURES).sqrt()).hypot(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clipped_values_of_a_small_edge_are_insignificant_and_a_large_share_is_not() {
        let spread = Some(MeanStd { mean: 0.0001, std: 0.0003 });
        let baseline = Baseline { clipped: vec![spread], ..Baseline::default() };
        let deviation = |share: f64, values: u64| baseline.clipped_deviation(0, share, values).unwrap();
        assert!(deviation(2.0 / 720.0, 720) < 1.0);
        assert!(deviation(0.05, 720) > 4.0);
        assert!(deviation(2.0 / 720.0, 1_000_000) > 4.0, "the same share of many values");
    }
}
