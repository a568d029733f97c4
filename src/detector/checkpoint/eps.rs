//! Epsilon of a checkpoint's batch norms: chosen, with the effect of a wrong choice.
//!
//! In: the user's options, the file's metadata, hash and names, and its variances. Out: [`EpsChoice`]: the values, the
//! reason, and the largest change of a folded scale under the other possible value. torchvision trains with 1e-5, but
//! evaluates its own first COCO weights of `fasterrcnn_resnet50_fpn` with 0.0 (`overwrite_eps` in
//! `torchvision/models/detection/_utils.py`). A MobileNetV3 built without `norm_layer` has 1e-3. No state dict records
//! which one applies. `num_batches_tracked` shows a `BatchNorm2d`, which never has 0.

use std::borrow::Cow;

use serde::Serialize;

use super::super::network::{Architecture, Body, Version};
use super::super::plan::Part;
use super::super::settings::BatchNormEps;
use super::builders::DetectorBuilder;
use super::coco;
use super::settings_file::EpsByPart;
use crate::error::{Error, Kind, Result};

/// The epsilon of torchvision's first COCO weights of `fasterrcnn_resnet50_fpn`.
const COCO_V1: f64 = 0.0;

/// torchvision's default for training.
const DEFAULT: f64 = 1e-5;

/// The epsilon of a MobileNetV3 built without `norm_layer`.
const MOBILENET_V3: f64 = 1e-3;

/// The smallest relative change of a folded scale that is worth a warning: it moves detections.
const NOTICEABLE: f64 = 1e-3;

/// Reason for the choice of an epsilon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpsReason {
    /// Given by the user.
    Given,
    /// Given by the settings file.
    Settings,
    /// Given by the file's metadata.
    Metadata,
    /// The file is torchvision's COCO_V1: by its hash, or by 91 classes under names from before torchvision 0.13.
    CocoV1,
    /// The default of a MobileNetV3 that was built without `norm_layer`.
    MobilenetV3,
    /// torchvision's default; the file has no sign of another value.
    #[serde(rename = "usual")]
    Default,
}

/// The epsilons of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpsChoice {
    /// Added to the variances.
    #[serde(flatten)]
    pub value: BatchNormEps,
    /// Reason for the body's value.
    pub reason: EpsReason,
    /// The other value that the body may have been trained with, if there is one.
    pub alternative: Option<f64>,
    /// Largest relative change of a folded scale γ / √(σ² + eps) under the alternative; `None` if it is unbounded,
    /// because a variance is 0.
    pub largest_change: Option<f64>,
    /// Batch norm with that change.
    pub where_largest: String,
}

/// Facts about a file that decide its epsilons.
pub(super) struct EpsEvidence<'a> {
    /// The user's option.
    pub(super) given: Option<f64>,
    /// The user's settings file.
    pub(super) settings: EpsByPart,
    /// The file's metadata key.
    pub(super) metadata: Option<f64>,
    /// Of the file, in hexadecimal.
    pub(super) sha256: &'a str,
    /// True if tensor names are those before torchvision 0.13.
    pub(super) has_old_names: bool,
    /// True if the body counts batches (`num_batches_tracked`), so that its batch norms are no frozen ones.
    pub(super) is_tracked: bool,
    /// Of the file's network.
    pub(super) architecture: &'a Architecture,
    /// The builder that is assumed.
    pub(super) builder: Option<DetectorBuilder>,
}

impl EpsEvidence<'_> {
    /// The body's epsilon, the reason, and the other value in use.
    fn body(&self) -> (f64, EpsReason, Option<f64>) {
        let Self { architecture, builder, is_tracked, .. } = *self;
        let is_first = builder == Some(DetectorBuilder::Resnet50Fpn);
        let is_mobilenet_v3 = matches!(&architecture.body, Body::MobileNet(body) if body.version == Version::V3);
        // The COCO_V1 weights are recognized by their hash, or, if they were saved again, by their number of classes under
        // old names.
        let is_coco = self.sha256.starts_with(DetectorBuilder::Resnet50Fpn.coco_sha256())
            || (self.has_old_names && architecture.classes == coco::CLASSES);
        let other = if is_tracked { None } else { Some(COCO_V1).filter(|_| is_first) };
        let usual = match (is_mobilenet_v3 && is_tracked, builder) {
            // The builder passes a plain `BatchNorm2d`; built otherwise, MobileNetV3 has its own.
            (true, Some(_)) => (DEFAULT, EpsReason::Default, Some(MOBILENET_V3)),
            (true, None) => (MOBILENET_V3, EpsReason::MobilenetV3, Some(DEFAULT)),
            (false, _) if is_first && is_coco && !is_tracked => (COCO_V1, EpsReason::CocoV1, Some(DEFAULT)),
            (false, _) => (DEFAULT, EpsReason::Default, other),
        };
        // The user's word is final, then the file's.
        match (self.given, self.metadata) {
            (Some(given), _) => (given, EpsReason::Given, usual.2),
            (None, _) if self.settings.has_body() => {
                (self.settings.over(BatchNormEps::all(usual.0)).body, EpsReason::Settings, usual.2)
            }
            (None, Some(stored)) => (stored, EpsReason::Metadata, usual.2),
            (None, None) => usual,
        }
    }
}

impl EpsChoice {
    /// Chooses the epsilons; `read` gives a tensor's values.
    ///
    /// # Errors
    /// [`Kind::Data`] if a variance of 0 meets an epsilon of 0, which has no folded scale, or if `read` fails.
    pub(super) fn choose<'v>(
        evidence: &EpsEvidence<'_>,
        read: impl Fn(&str) -> Result<Cow<'v, [f32]>>,
    ) -> Result<Self> {
        let (body, reason, alternative) = evidence.body();
        // Pyramid and heads have batch norms only in the second generation, which never overwrites their default.
        let others = evidence.given.or(evidence.metadata).unwrap_or(DEFAULT);
        let value = BatchNormEps { body, ..evidence.settings.over(BatchNormEps::all(others)) };
        // The effect of a wrong choice: the batch norm whose scale changes most. Small variances change most.
        let mut largest = (0.0, String::new());
        for layer in evidence.architecture.layers() {
            let Some(norm) = &layer.batch_norm else { continue };
            let (name, eps) = (format!("{norm}.running_var"), value.of(layer.part));
            let alternative = alternative.filter(|_| layer.part == Part::Body).unwrap_or(eps);
            for (channel, &variance) in read(&name)?.iter().enumerate() {
                let variance = f64::from(variance);
                if variance + eps <= 0.0 {
                    let text = format!(
                        "tensor {name} holds 0 at element {channel}, which has no scale with a batch norm eps of 0; \
                         give the eps it was trained with, as --bn-eps 1e-5"
                    );
                    return Err(Error::new(Kind::Data, text));
                }
                let change = (((variance + eps) / (variance + alternative)).sqrt() - 1.0).abs();
                if change > largest.0 {
                    largest = (change, norm.clone());
                }
            }
        }
        let (change, where_largest) = largest;
        Ok(Self { value, reason, alternative, largest_change: Some(change).filter(|c| c.is_finite()), where_largest })
    }

    /// A warning if the value was guessed and the alternative would move detections.
    pub fn warning(&self) -> Option<String> {
        let is_guess = matches!(self.reason, EpsReason::CocoV1 | EpsReason::Default | EpsReason::MobilenetV3);
        let alternative = self.alternative.filter(|_| is_guess)?;
        if self.largest_change.is_some_and(|change| change < NOTICEABLE) {
            return None;
        }
        let change = match self.largest_change {
            Some(change) => format!("by up to {:.2} %", change * 100.0),
            None => "without bound".to_owned(),
        };
        let why = match self.reason {
            EpsReason::CocoV1 => "the file looks like torchvision's COCO_V1",
            EpsReason::MobilenetV3 => "a MobileNetV3 built without norm_layer has it",
            _ => "the file records none",
        };
        Some(format!(
            "batch norm eps {:?} was chosen because {why}; with {:?}, scales would differ {change} ({}): give --bn-eps if \
             you know it",
            self.value.body, alternative, self.where_largest
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::network::tests::narrow;
    use super::*;

    fn choose(given: Option<f64>, old_names: bool, classes: usize, variance: f32) -> Result<EpsChoice> {
        choose_with(|evidence| evidence.given = given, old_names, classes, variance)
    }

    fn choose_with(
        change: impl Fn(&mut EpsEvidence<'_>),
        has_old_names: bool,
        classes: usize,
        variance: f32,
    ) -> Result<EpsChoice> {
        let architecture = Architecture { classes, ..narrow() };
        let mut evidence = EpsEvidence {
            given: None,
            settings: EpsByPart::default(),
            metadata: None,
            sha256: "00",
            has_old_names,
            is_tracked: false,
            architecture: &architecture,
            builder: Some(DetectorBuilder::Resnet50Fpn),
        };
        change(&mut evidence);
        EpsChoice::choose(&evidence, |_| Ok(Cow::Owned(vec![1.0, variance])))
    }

    #[test]
    fn coco_v1_is_91_classes_under_old_names() {
        assert_eq!(choose(None, true, 91, 1.0).unwrap().value.body, 0.0);
        assert_eq!(choose(None, false, 91, 1.0).unwrap().value, BatchNormEps::all(1e-5));
        assert_eq!(choose(None, true, 4, 1.0).unwrap().value.body, 1e-5);
        assert_eq!(choose(Some(1e-3), true, 91, 1.0).unwrap().reason, EpsReason::Given);
        // The COCO weights of the second generation are called COCO_V1, too.
        let second = |evidence: &mut EpsEvidence<'_>| evidence.builder = Some(DetectorBuilder::Resnet50FpnV2);
        assert_eq!(choose_with(second, true, 91, 1.0).unwrap().value.body, 1e-5);
    }

    #[test]
    fn a_guess_with_an_effect_gives_a_warning_with_its_size() {
        assert_eq!(choose(None, false, 4, 1.0).unwrap().warning(), None);
        assert_eq!(choose(Some(1e-5), false, 4, 1e-4).unwrap().warning(), None);
        // √(1.1e-4 / 1e-4) − 1.
        let eps = choose(None, false, 4, 1e-4).unwrap();
        assert!((eps.largest_change.unwrap() - 0.0488).abs() < 1e-4);
        assert!(eps.warning().unwrap().contains("by up to 4.88 % (backbone.body.bn1)"));
        assert!(choose(None, false, 4, 0.0).unwrap().warning().unwrap().contains("without bound"));
    }

    #[test]
    fn a_batch_norm_that_counts_batches_never_has_0() {
        let tracked = |evidence: &mut EpsEvidence<'_>| evidence.is_tracked = true;
        let eps = choose_with(tracked, true, 91, 1e-4).unwrap();
        assert_eq!((eps.value.body, eps.alternative, eps.warning()), (1e-5, None, None));
    }

    #[test]
    fn no_variance_and_no_eps_is_refused() {
        let error = choose(Some(0.0), false, 4, 0.0).unwrap_err();
        assert!(error.message().starts_with("tensor backbone.body.bn1.running_var holds 0 at element 1"));
    }
}
