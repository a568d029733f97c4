//! Epsilon of a checkpoint's frozen batch norms: chosen, with the effect of a wrong choice.
//!
//! In: the user's option, the file's metadata, hash and names, and its variances. Out: [`BatchNormEps`]: the value, the
//! reason, and the largest change of a folded scale under the other of the two values in use. torchvision trains with
//! 1e-5, but evaluates its own COCO_V1 weights with 0.0 (`overwrite_eps` in `torchvision/models/detection/_utils.py`).
//! No state dict records which one applies.

use std::borrow::Cow;

use serde::Serialize;

use super::super::architecture::Architecture;
use crate::error::{Error, Kind, Result};

/// The epsilon of torchvision's COCO_V1 weights.
const COCO_V1: f64 = 0.0;

/// torchvision's default for training.
const DEFAULT: f64 = 1e-5;

/// First digits of the SHA-256 of the published COCO_V1 file; its name ends with them.
const COCO_V1_SHA256: &str = "258fb6c6";

/// Classes of COCO: category ids up to 90, unused ones included, and the background.
const COCO_CLASSES: usize = 91;

/// The smallest relative change of a folded scale that is worth a warning: it moves detections.
const NOTICEABLE: f64 = 1e-3;

/// Why an epsilon was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpsReason {
    /// Given by the user.
    Given,
    /// Given by the file's metadata.
    Metadata,
    /// The file is torchvision's COCO_V1: by its hash, or by 91 classes under names from before torchvision 0.13.
    CocoV1,
    /// torchvision's default; the file has no sign of another value.
    #[serde(rename = "usual")]
    Default,
}

/// The epsilon of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchNormEps {
    /// Added to the variance.
    pub value: f64,
    /// Reason for this value.
    pub reason: EpsReason,
    /// The other value in use.
    pub alternative: f64,
    /// Largest relative change of a folded scale γ / √(σ² + eps) under the alternative; `None` if it is unbounded,
    /// because a variance is 0.
    pub largest_change: Option<f64>,
    /// Batch norm with that change.
    pub where_largest: String,
}

/// Facts about a file that decide its epsilon.
pub(super) struct EpsEvidence<'a> {
    /// The user's option.
    pub(super) given: Option<f64>,
    /// The file's metadata key.
    pub(super) metadata: Option<f64>,
    /// Of the file, in hexadecimal.
    pub(super) sha256: &'a str,
    /// True if tensor names are those before torchvision 0.13.
    pub(super) has_old_names: bool,
    /// Of the file's network.
    pub(super) architecture: &'a Architecture,
}

impl BatchNormEps {
    /// Chooses the epsilon; `read` gives a tensor's values.
    ///
    /// # Errors
    /// [`Kind::Data`] if a variance of 0 meets an epsilon of 0, which has no folded scale, or if `read` fails.
    pub(super) fn choose<'v>(
        evidence: &EpsEvidence<'_>,
        read: impl Fn(&str) -> Result<Cow<'v, [f32]>>,
    ) -> Result<Self> {
        // The user's word is final, then the file's. Otherwise the COCO_V1 weights are recognized by their hash, or, if
        // they were saved again, by their number of classes under old names.
        let is_coco = evidence.sha256.starts_with(COCO_V1_SHA256)
            || (evidence.has_old_names && evidence.architecture.classes == COCO_CLASSES);
        let (value, reason) = match (evidence.given, evidence.metadata) {
            (Some(given), _) => (given, EpsReason::Given),
            (None, Some(stored)) => (stored, EpsReason::Metadata),
            (None, None) if is_coco => (COCO_V1, EpsReason::CocoV1),
            (None, None) => (DEFAULT, EpsReason::Default),
        };
        let alternative = if value == COCO_V1 { DEFAULT } else { COCO_V1 };
        // The effect of a wrong choice: the batch norm whose scale changes most. Small variances change most.
        let mut largest = (0.0, String::new());
        for (name, _) in evidence.architecture.expected() {
            let Some(norm) = name.strip_suffix(".running_var") else { continue };
            for (channel, &variance) in read(&name)?.iter().enumerate() {
                let variance = f64::from(variance);
                if variance + value <= 0.0 {
                    let text = format!(
                        "tensor {name} holds 0 at element {channel}, which has no scale with a batch norm eps of 0; \
                         give the eps it was trained with, as --bn-eps 1e-5"
                    );
                    return Err(Error::new(Kind::Data, text));
                }
                let change = (((variance + value) / (variance + alternative)).sqrt() - 1.0).abs();
                if change > largest.0 {
                    largest = (change, norm.to_owned());
                }
            }
        }
        let (change, where_largest) = largest;
        Ok(Self { value, reason, alternative, largest_change: Some(change).filter(|c| c.is_finite()), where_largest })
    }

    /// A warning if the value was guessed and the alternative would move detections.
    pub fn warning(&self) -> Option<String> {
        let is_guess = matches!(self.reason, EpsReason::CocoV1 | EpsReason::Default);
        if !is_guess || self.largest_change.is_some_and(|change| change < NOTICEABLE) {
            return None;
        }
        let change = match self.largest_change {
            Some(change) => format!("by up to {:.2} %", change * 100.0),
            None => "without bound".to_owned(),
        };
        let why = match self.reason {
            EpsReason::CocoV1 => "the file looks like torchvision's COCO_V1",
            _ => "the file records none",
        };
        Some(format!(
            "batch norm eps {:?} was chosen because {why}; with {:?}, scales would differ {change} ({}): give --bn-eps if \
             you know it",
            self.value, self.alternative, self.where_largest
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::architecture::tests::narrow;
    use super::*;

    fn choose(given: Option<f64>, old_names: bool, classes: usize, variance: f32) -> Result<BatchNormEps> {
        let architecture = Architecture { classes, ..narrow() };
        let evidence =
            EpsEvidence { given, metadata: None, sha256: "00", has_old_names: old_names, architecture: &architecture };
        BatchNormEps::choose(&evidence, |_| Ok(Cow::Owned(vec![1.0, variance])))
    }

    #[test]
    fn coco_v1_is_91_classes_under_old_names() {
        assert_eq!(choose(None, true, 91, 1.0).unwrap().value, 0.0);
        assert_eq!(choose(None, false, 91, 1.0).unwrap().value, 1e-5);
        assert_eq!(choose(None, true, 4, 1.0).unwrap().value, 1e-5);
        assert_eq!(choose(Some(1e-3), true, 91, 1.0).unwrap().reason, EpsReason::Given);
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
    fn no_variance_and_no_eps_is_refused() {
        let error = choose(Some(0.0), false, 4, 0.0).unwrap_err();
        assert!(error.message().starts_with("tensor backbone.body.bn1.running_var holds 0 at element 1"));
    }
}
