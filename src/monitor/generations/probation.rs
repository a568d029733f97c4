//! The first passes of a new generation, beside the one before it.
//!
//! In: the same live frames through both. Out: whether the new one stands its trial: what was decided on kept frames must
//! hold on those that come, or the change is taken back.

use crate::monitor::drift::quality::QualityRecord;

/// Passes after which it has stood the trial.
pub const PASSES: u32 = 12;
/// Passes before it can be taken back.
const LEAST: u32 = 4;
/// Mean quality that it may lose, in dB.
const LOSS_DB: f64 = 0.4;
/// Share of detections found again that it may lose.
const AGREEMENT: f64 = 0.1;
/// Fewest detections whose share says something.
const FEWEST_DETECTIONS: u64 = 10;

/// A trial under way.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    passes: u32,
    new: QualityRecord,
    old: QualityRecord,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Not known yet.
    Open,
    /// It stood it.
    Stood,
    /// It failed, for this reason.
    Failed(String),
}

impl Trial {
    /// Adds a frame: how both did.
    pub fn add(&mut self, new: QualityRecord, old: QualityRecord) {
        self.passes += 1;
        self.new.merge(new);
        self.old.merge(old);
    }

    /// Mean quality of the new one over the old one, in dB.
    pub fn gain_db(&self) -> f64 {
        self.new.quality_db() - self.old.quality_db()
    }

    /// Passes so far.
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        if self.passes >= LEAST {
            let gain = self.gain_db();
            if gain < -LOSS_DB {
                let passes = self.passes;
                return Outcome::Failed(format!("over {passes} live frames it is {:.2} dB worse than before", -gain));
            }
            let (new, old) = (&self.new.agreement, &self.old.agreement);
            if new.reference() >= FEWEST_DETECTIONS
                && let (Some(new), Some(old)) = (new.matched_share(), old.matched_share())
                && new < old - AGREEMENT
            {
                let (new, old) = (100.0 * new, 100.0 * old);
                return Outcome::Failed(format!("it finds {new:.1} % of the detections again, before {old:.1} %"));
            }
        }
        if self.passes >= PASSES { Outcome::Stood } else { Outcome::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Agreement;

    fn record(quality: f64, matched: u64) -> QualityRecord {
        let mut record = QualityRecord::default();
        let agreement = Agreement { matched, vanished: 5 - matched, ..Agreement::default() };
        record.add(0, Some(quality), Some(agreement));
        record
    }

    #[test]
    fn worse_on_live_frames_fails_and_as_good_stands() {
        let run = |new: (f64, u64), old: (f64, u64)| {
            let mut trial = Trial::default();
            loop {
                trial.add(record(new.0, new.1), record(old.0, old.1));
                match trial.outcome() {
                    Outcome::Open => {}
                    end => return (end, trial.passes()),
                }
            }
        };
        assert_eq!(run((20.0, 5), (20.2, 5)), (Outcome::Stood, PASSES));
        let (outcome, passes) = run((18.0, 5), (20.2, 5));
        assert!(matches!(outcome, Outcome::Failed(why) if why.contains("2.20 dB worse")) && passes == LEAST);
        assert!(matches!(run((21.0, 2), (20.0, 5)).0, Outcome::Failed(why) if why.contains("40.0 %")));
    }
}
