//! Options and result of a quantization.

use super::observer::Observer;
use super::pictures::PictureSelection;
use super::recipe::{KeepFloat, Recipe};
use super::record::CalibrationRecord;
use super::wide::{Wide, WideParts};
use crate::detector::int8::Quantized;
use crate::detector::plan::{LayerId, StepId};
use crate::measure::{Agreement, StepError};

/// Lowest score of the detections whose agreement is counted.
pub const AGREEMENT_SCORE: f32 = 0.5;

/// Options of a quantization.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeOptions {
    /// Most pictures to calibrate with.
    pub count: usize,
    /// Seed of the choice among more pictures.
    pub seed: u64,
    /// Observe all pictures and calibrate with those that together are most like all, instead of any.
    pub choose: bool,
    /// Precision of the layers.
    pub recipe: Recipe,
    /// Observer that chooses the ranges.
    pub observer: Observer,
    /// Layers to leave in fp32 in addition to the recipe's.
    pub keep_float: KeepFloat,
    /// Equalize channels, where the recipe is [`Recipe::Lookout`].
    pub equalize: bool,
    /// Edges and weights of two bytes.
    pub wide: Wide,
    /// Most pictures for bias correction; 0 omits it.
    pub correction_pictures: usize,
    /// Most pictures on which both networks are compared.
    pub evidence_pictures: usize,
    /// Calibrate on pictures although they are unusable (`--allow-unfit`).
    pub allow_unfit: bool,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self {
            count: 64,
            seed: 0,
            choose: false,
            recipe: Recipe::default(),
            observer: Observer::default(),
            keep_float: KeepFloat::default(),
            equalize: true,
            wide: Wide::default(),
            correction_pictures: 16,
            evidence_pictures: 16,
            allow_unfit: false,
        }
    }
}

impl QuantizeOptions {
    /// Most pictures to observe.
    pub(super) fn observed_pictures(&self) -> usize {
        if self.choose { usize::MAX } else { self.count }
    }

    /// Text of all options that the names of cached artifacts are hashed from. A changed text makes every cached
    /// artifact useless, so it does not follow the names of types and fields.
    pub(super) fn cache_key(&self) -> String {
        let Self {
            count,
            seed,
            choose,
            recipe,
            observer,
            keep_float,
            equalize,
            wide,
            correction_pictures,
            evidence_pictures,
            allow_unfit,
        } = self;
        let layers = format!("recipe: {recipe:?}, observer: {observer:?}, keep_float: {keep_float:?}");
        let layers = format!("{layers}, equalize: {equalize}, wide: {wide:?}");
        let pictures = format!("correction_pictures: {correction_pictures}, evidence_pictures: {evidence_pictures}");
        format!(
            "Options {{ count: {count}, seed: {seed}, choose: {choose}, {layers}, {pictures}, allow_unfit: {allow_unfit} }}"
        )
    }
}

/// Result of a quantization.
#[derive(Debug)]
pub struct QuantizeOutcome {
    /// Bytes of the artifact.
    pub bytes: Vec<u8>,
    /// Observed histograms and means.
    pub record: CalibrationRecord,
    /// The quantized network.
    pub quantized: Quantized,
    /// Its edges and weights of two bytes.
    pub wide: WideParts,
    /// Error of every step against the reference, over the evidence pictures.
    pub errors: Vec<StepError>,
    /// Local error of each int8 layer, worst first: (layer, SQNR in dB before the activation function). Empty without
    /// bias correction.
    pub sensitivity: Vec<(LayerId, f64)>,
    /// Agreement of the detections with score ≥ [`AGREEMENT_SCORE`] in both networks.
    pub agreement: Agreement,
    /// Agreement of the reference's detections with score ≥ [`AGREEMENT_SCORE`] with int8 detections of any score: an
    /// object whose int8 score is just below the threshold is matched.
    pub agreement_any_score: Agreement,
    /// The pictures.
    pub selection: PictureSelection,
}

/// Share of the reference's detections that must be found again, below which a result gets a warning.
const FEW_FOUND_AGAIN: f64 = 0.5;
/// Worst steps that such a warning names.
const NAMED_STEPS: usize = 3;

impl QuantizeOutcome {
    /// Share of the reference's detections that int8 finds again at any score; `None` if the reference found nothing.
    pub fn found_again(&self) -> Option<f64> {
        self.agreement_any_score.matched_share()
    }

    /// A warning with the worst steps, if most of the reference's detections are not found again.
    pub fn warning(&self) -> Option<String> {
        let share = self.found_again().filter(|share| *share < FEW_FOUND_AGAIN)?;
        Some(format!(
            "only {:.0} % of fp32's detections are found again; the worst steps are {}; --keep-float keeps layers in fp32",
            share * 100.0,
            self.worst_names().join(", ")
        ))
    }

    /// The steps with an error and its SQNR in dB, worst first.
    pub fn worst_steps(&self) -> Vec<(StepId, f64)> {
        let figure = |(step, error): (StepId, &StepError)| Some((step, error.sqnr_db()?));
        let mut steps: Vec<(StepId, f64)> = self.errors.iter().enumerate().filter_map(figure).collect();
        steps.sort_by(|a, b| a.1.total_cmp(&b.1));
        steps
    }

    /// The few worst steps, as a warning names them.
    pub fn worst_names(&self) -> Vec<String> {
        let name =
            |(step, sqnr_db): (StepId, f64)| format!("{} ({sqnr_db:.1} dB)", self.quantized.plan.steps[step].name);
        self.worst_steps().into_iter().take(NAMED_STEPS).map(name).collect()
    }
}

/// Progress callback: name of the phase, pictures done, pictures of the phase.
pub type Progress<'a> = &'a mut (dyn FnMut(&'static str, usize, usize) + Send);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_key_is_stable() {
        let key = "Options { count: 64, seed: 0, choose: false, recipe: Lookout, observer: Mse, keep_float: Nothing, \
                   equalize: true, wide: Budget(0.15), \
                   correction_pictures: 16, evidence_pictures: 16, allow_unfit: false }";
        assert_eq!(QuantizeOptions::default().cache_key(), key);
    }
}
