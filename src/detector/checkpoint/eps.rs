//! Which epsilon a checkpoint's frozen batch norms were trained with, and how much it matters.
//!
//! In: what the user, the file and its weights say. Out: [`Eps`]: the value, why, and by how much the largest folded
//! scale would differ under the other of the two values in use. torchvision trains with 1e-5, but evaluates its own
//! COCO_V1 weights with 0.0 (`overwrite_eps` in `torchvision/models/detection/_utils.py`): no state dict says which.

use std::borrow::Cow;

use serde::Serialize;

use super::super::architecture::Architecture;
use crate::error::{Error, Kind, Result};

/// What torchvision's COCO_V1 weights want.
const COCO_V1: f64 = 0.0;

/// What everything else was trained with.
const USUAL: f64 = 1e-5;

/// How the published COCO_V1 file's SHA-256 begins: its name ends with these digits.
const COCO_V1_SHA256: &str = "258fb6c6";

/// COCO's categories with their gaps, and the background.
const COCO_CLASSES: usize = 91;

/// A relative change of a folded scale that moves detections.
const NOTICEABLE: f64 = 1e-3;

/// Why an epsilon was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpsReason {
    /// The user said so.
    Given,
    /// The file's metadata says so.
    Metadata,
    /// The file is torchvision's COCO_V1: by its hash, or by 91 classes under names from before torchvision 0.13.
    CocoV1,
    /// Nothing says otherwise.
    Usual,
}

/// The epsilon of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Eps {
    /// Added to the variance.
    pub value: f64,
    /// Why this value.
    pub reason: EpsReason,
    /// The other value it might have been.
    pub alternative: f64,
    /// The largest relative change of a folded scale γ / √(σ² + eps) if the alternative were right; `None` where it
    /// has no bound, because a variance is 0.
    pub largest_change: Option<f64>,
    /// The batch norm where that is.
    pub where_largest: String,
}

/// What is known about a file when its epsilon is chosen.
pub(super) struct Evidence<'a> {
    pub(super) given: Option<f64>,
    pub(super) metadata: Option<f64>,
    pub(super) sha256: &'a str,
    pub(super) old_names: bool,
    pub(super) architecture: &'a Architecture,
}

impl Eps {
    /// Chooses; `read` gives a tensor's values.
    ///
    /// # Errors
    /// [`Kind::Data`] if a variance of 0 meets an epsilon of 0, which no scale can be folded from, or if `read` fails.
    pub(super) fn choose<'v>(evidence: &Evidence<'_>, read: impl Fn(&str) -> Result<Cow<'v, [f32]>>) -> Result<Self> {
        let is_coco = evidence.sha256.starts_with(COCO_V1_SHA256)
            || (evidence.old_names && evidence.architecture.classes == COCO_CLASSES);
        let (value, reason) = match (evidence.given, evidence.metadata) {
            (Some(given), _) => (given, EpsReason::Given),
            (None, Some(stored)) => (stored, EpsReason::Metadata),
            (None, None) if is_coco => (COCO_V1, EpsReason::CocoV1),
            (None, None) => (USUAL, EpsReason::Usual),
        };
        let alternative = if value == COCO_V1 { USUAL } else { COCO_V1 };
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

    /// What to warn of: a value that was guessed and moves the output.
    pub fn warning(&self) -> Option<String> {
        let guessed = matches!(self.reason, EpsReason::CocoV1 | EpsReason::Usual);
        if !guessed || self.largest_change.is_some_and(|change| change < NOTICEABLE) {
            return None;
        }
        let change = match self.largest_change {
            Some(change) => format!("by up to {:.2} %", change * 100.0),
            None => "without bound".to_owned(),
        };
        let why = match self.reason {
            EpsReason::CocoV1 => "the file looks like torchvision's COCO_V1",
            _ => "nothing in the file says otherwise",
        };
        Some(format!(
            "batch norm eps {:?} was chosen because {why}; were it {:?}, scales would differ {change} ({}): give \
             --bn-eps if you know it",
            self.value, self.alternative, self.where_largest
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::architecture::tests::narrow;
    use super::*;

    fn choose(given: Option<f64>, old_names: bool, classes: usize, variance: f32) -> Result<Eps> {
        let architecture = Architecture { classes, ..narrow() };
        let evidence = Evidence { given, metadata: None, sha256: "00", old_names, architecture: &architecture };
        Eps::choose(&evidence, |_| Ok(Cow::Owned(vec![1.0, variance])))
    }

    #[test]
    fn coco_v1_is_91_classes_under_old_names() {
        assert_eq!(choose(None, true, 91, 1.0).unwrap().value, 0.0);
        assert_eq!(choose(None, false, 91, 1.0).unwrap().value, 1e-5);
        assert_eq!(choose(None, true, 4, 1.0).unwrap().value, 1e-5);
        assert_eq!(choose(Some(1e-3), true, 91, 1.0).unwrap().reason, EpsReason::Given);
    }

    #[test]
    fn a_guess_that_matters_is_warned_of_with_its_size() {
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
