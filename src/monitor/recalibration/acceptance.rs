//! Acceptance test of a candidate: is it better, and does it harm nothing?
//!
//! In: the quality records of the candidate, the serving model and generation 0 on frames that calibrated nothing. The
//! predicted losses on generation 0's own pictures. Out: an [`AcceptanceDecision`] with every number and, if it is a
//! refusal, every reason. [`AcceptanceThresholds`] lists the rules. A candidate is accepted if no stratum got worse,
//! and something got better by a margin and beyond chance. Its loss against generation 0 is limited as well, so a chain
//! of small losses cannot lead away from it.
//!
//! "Better" is the mean over all strata. If that mean does not fall, it may also be the mean over the frames in drift.

use serde::Serialize;

use crate::monitor::drift::quality::QualityRecord;
use crate::monitor::frames::reservoir::{describe_stratum, is_drift_stratum};

/// Thresholds of acceptance. A quality is the mean SQNR over the steps in dB, averaged over the strata.
///
/// | threshold | value | reason |
/// |---|---:|---|
/// | `min_gain_db` | 0.15 dB | predictions on a ResNet-50 were off by 0.12 dB; ranges alone gain less at night |
/// | `max_stratum_loss_db` | 0.4 dB | a night must not cost the day |
/// | `max_initial_loss_db` | 0.5 dB | no chain of small losses may lead away from generation 0 |
/// | `max_agreement_loss` | 0.02 | errors may fall while detections are lost |
/// | `min_detections` | 20 | a share of fewer detections is chance |
///
/// A gain must also exceed what chance gives on so few frames: the one-sided 95 % limit of Student's t. Agreement may fall
/// by one standard error more than the threshold.
pub struct AcceptanceThresholds {
    /// Least gain in quality, measured or predicted, in dB.
    pub min_gain_db: f64,
    /// Most that one stratum may lose against the serving model, in dB.
    pub max_stratum_loss_db: f64,
    /// Most that may be lost against generation 0, in dB. It applies to the holdout frames, and to the predicted loss
    /// on generation 0's own pictures as the mean over the edges.
    pub max_initial_loss_db: f64,
    /// Most that the matched share of the detections may lose.
    pub max_agreement_loss: f64,
    /// Fewest reference detections whose matched share counts.
    pub min_detections: u64,
}

/// The thresholds in use.
pub const LIMITS: AcceptanceThresholds = AcceptanceThresholds {
    min_gain_db: 0.15,
    max_stratum_loss_db: 0.4,
    max_initial_loss_db: 0.5,
    max_agreement_loss: 0.02,
    min_detections: 20,
};

/// The measurements that a decision rests on.
#[derive(Debug, Clone)]
pub struct AcceptanceCase {
    /// Quality of the candidate.
    pub candidate: QualityRecord,
    /// Quality of the serving model.
    pub serving: QualityRecord,
    /// Quality of generation 0.
    pub initial: QualityRecord,
    /// Predicted loss of the candidate on generation 0's pictures, mean over the edges, in dB.
    pub initial_loss_db: f64,
    /// True if quality was measured against the reference and detections are compared with its own. Else quality was
    /// predicted, and detections are compared with the serving model's.
    pub with_reference: bool,
}

/// Gain of a candidate over some strata, in dB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QualityGain {
    /// Mean quality of the candidate minus that of the serving model.
    pub gain_db: f64,
    /// Its standard error.
    pub error_db: f64,
    /// Least gain that is worth a change and beyond chance.
    pub needed_db: f64,
}

impl QualityGain {
    /// Gain of `case`'s candidate over the serving model in the `selected` strata.
    fn of(case: &AcceptanceCase, selected: fn(usize) -> bool) -> Self {
        let AcceptanceCase { candidate, serving, .. } = case;
        let gain_db = candidate.quality_where_db(selected) - serving.quality_where_db(selected);
        let error = candidate.gain_error(serving, selected);
        let error_db = error.map_or(f64::INFINITY, |error| error.standard_error_db);
        let chance_db = error.map_or(f64::INFINITY, |error| student_t_95(error.degrees_of_freedom) * error_db);
        Self { gain_db, error_db, needed_db: chance_db.max(LIMITS.min_gain_db) }
    }

    fn is_enough(&self) -> bool {
        self.gain_db >= self.needed_db
    }

    /// The reason why this gain, measured `with_reference` or predicted, is too small. `place` names the frames it was
    /// gained on.
    fn shortfall(&self, with_reference: bool, place: &str) -> String {
        let Self { gain_db, needed_db, .. } = self;
        let gains = if with_reference { "it gains" } else { "it should gain" };
        let min_gain_db = LIMITS.min_gain_db;
        if *gain_db < min_gain_db {
            return format!("{gains} {gain_db:.2} dB{place}, less than the {min_gain_db} dB that a change must gain");
        }
        format!("{gains} {gain_db:.2} dB{place}, less than the {needed_db:.2} dB that chance may give on so few frames")
    }
}

/// Decision about a candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AcceptanceDecision {
    /// True if the candidate shall serve.
    pub accepted: bool,
    /// The reasons of a refusal.
    pub reasons: Vec<String>,
    /// Mean quality of the candidate minus that of the serving model, over all strata, in dB.
    pub gain_db: f64,
    /// Its standard error.
    pub gain_error_db: f64,
    /// Least gain that is worth a change and beyond chance.
    pub gain_needed_db: f64,
    /// The gain over the strata in drift, if there are any.
    pub in_drift: Option<QualityGain>,
    /// Gain of the stratum that gains least, in dB.
    pub worst_stratum_gain_db: f64,
    /// Mean quality of the candidate minus that of generation 0, in dB.
    #[serde(rename = "gain_over_first_db")]
    pub gain_over_initial_db: f64,
    /// Predicted loss on generation 0's pictures, mean over the edges, in dB.
    #[serde(rename = "first_loss_db")]
    pub initial_loss_db: f64,
    /// Matched share of the detections: candidate, serving model.
    pub agreement: [Option<f64>; 2],
    /// Count of reference detections behind these shares.
    pub detections: u64,
}

impl AcceptanceCase {
    /// Decides about the candidate.
    pub fn decide(&self) -> AcceptanceDecision {
        let (candidate, serving) = (self.candidate.by_stratum(), self.serving.by_stratum());
        let gains = candidate.iter().filter_map(|(&s, quality)| Some((s, quality - serving.get(&s)?)));
        let worst = gains.min_by(|a, b| a.1.total_cmp(&b.1));
        let all = QualityGain::of(self, |_| true);
        let has_drift = candidate.keys().any(|&stratum| is_drift_stratum(stratum));
        let in_drift = has_drift.then(|| QualityGain::of(self, is_drift_stratum));
        let over_initial = self.candidate.quality_db() - self.initial.quality_db();
        let shares = [&self.candidate, &self.serving].map(|record| record.agreement.matched_share());
        let detections = self.candidate.agreement.reference();

        let mut reasons = Vec::new();
        if worst.is_none() || !all.gain_db.is_finite() {
            reasons.push("nothing could be compared".to_owned());
        }
        // No stratum pays for another.
        if let Some((stratum, gain)) = worst.filter(|(_, gain)| *gain < -LIMITS.max_stratum_loss_db) {
            reasons.push(format!("{} it is {:.2} dB worse than the serving model", describe_stratum(stratum), -gain));
        }
        // A gain in drift suffices (fog and low contrast need it), but only if all strata together lose nothing.
        if all.gain_db < 0.0 && in_drift.is_some_and(|gain| gain.is_enough()) {
            reasons.push(format!("over all strata it is {:.2} dB worse", -all.gain_db));
        }
        // Generation 0 stays the standard, whatever serves by now.
        if over_initial < -LIMITS.max_initial_loss_db {
            reasons.push(format!("it is {:.2} dB worse than generation 0", -over_initial));
        }
        if self.initial_loss_db > LIMITS.max_initial_loss_db {
            reasons.push(format!("generation 0's pictures would lose {:.2} dB", self.initial_loss_db));
        }
        let better = all.is_enough() || in_drift.is_some_and(|gain| gain.is_enough());
        // Errors may fall while detections are lost.
        if detections >= LIMITS.min_detections
            && let [Some(new), Some(old)] = shares
        {
            let chance = share_error(new, old, detections);
            if new < old - LIMITS.max_agreement_loss - chance {
                let (new, old) = (new * 100.0, old * 100.0);
                reasons.push(format!("{new:.1} % of the detections are matched, {old:.1} % by the serving model"));
            }
        }
        if !better && reasons.is_empty() {
            let shortfall = |gain: QualityGain| gain.shortfall(self.with_reference, " where drift was raised");
            reasons.push(in_drift.map_or_else(|| all.shortfall(self.with_reference, ""), shortfall));
        }
        AcceptanceDecision {
            accepted: reasons.is_empty(),
            reasons,
            gain_db: all.gain_db,
            gain_error_db: all.error_db,
            gain_needed_db: all.needed_db,
            in_drift,
            worst_stratum_gain_db: worst.map_or(f64::INFINITY, |(_, gain)| gain),
            gain_over_initial_db: over_initial,
            initial_loss_db: self.initial_loss_db,
            agreement: shares,
            detections,
        }
    }
}

/// One-sided 95 % quantile of Student's t; 2.0 for more than five degrees of freedom.
fn student_t_95(degrees_of_freedom: usize) -> f64 {
    match degrees_of_freedom {
        0 => f64::INFINITY,
        1 => 6.31,
        2 => 2.92,
        3 => 2.35,
        4 => 2.13,
        5 => 2.02,
        _ => 2.0,
    }
}

/// Standard error of the difference of two shares of `count`: √(2 p (1 − p) / n) at their mean p.
fn share_error(one: f64, other: f64, count: u64) -> f64 {
    let mean = 0.5 * (one + other);
    (2.0 * mean * (1.0 - mean) / count.max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Agreement;

    fn record(strata: &[(usize, f64)]) -> QualityRecord {
        let mut record = QualityRecord::default();
        for &(stratum, db) in strata {
            // Frames differ; the gain on them does not.
            record.add(stratum, Some(db - 1.0), None);
            record.add(stratum, Some(db + 1.0), None);
        }
        record
    }

    fn case(candidate: &[(usize, f64)], serving: &[(usize, f64)], initial: &[(usize, f64)]) -> AcceptanceCase {
        AcceptanceCase {
            candidate: record(candidate),
            serving: record(serving),
            initial: record(initial),
            initial_loss_db: -0.05,
            with_reference: true,
        }
    }

    #[test]
    fn better_by_a_margin_is_kept() {
        let decision = case(&[(0, 21.0), (4, 25.0)], &[(0, 19.0), (4, 25.1)], &[(0, 19.0), (4, 25.1)]).decide();
        assert!(decision.accepted, "{decision:?}");
        assert!((decision.gain_db - 0.95).abs() < 1e-9 && (decision.worst_stratum_gain_db + 0.1).abs() < 1e-9);
    }

    #[test]
    fn what_gains_where_drift_was_raised_must_not_lose_on_average() {
        let fog = 13;
        let decide = |new: [f64; 2]| {
            case(&[(5, new[0]), (fog, new[1])], &[(5, 25.0), (fog, 20.0)], &[(5, 25.0), (fog, 20.0)]).decide()
        };
        let fog_alone = decide([24.9, 20.2]);
        assert!(fog_alone.accepted, "{fog_alone:?}");
        assert!(fog_alone.in_drift.is_some_and(|gain| (gain.gain_db - 0.2).abs() < 1e-9) && fog_alone.gain_db < 0.1);
        let small = decide([25.1, 20.05]);
        assert!(small.reasons[0].contains("it gains 0.05 dB where drift was raised"), "{small:?}");
        assert!(decide([25.3, 20.05]).accepted, "on average it is worth it");
        let costly = decide([24.7, 20.2]);
        assert!(costly.reasons[0].contains("over all strata it is 0.05 dB worse"), "{costly:?}");
    }

    #[test]
    fn what_one_frame_in_many_gains_is_chance() {
        let few = case(&[(4, 25.0), (4, 25.0), (4, 27.0)], &[(4, 25.0); 3], &[(4, 25.0); 3]).decide();
        assert!(few.reasons[0].contains("the 0.85 dB that chance may give"), "{few:?}");
        let all = case(&[(4, 25.1), (4, 25.2), (4, 25.3)], &[(4, 25.0); 3], &[(4, 25.0); 3]).decide();
        assert!(all.accepted && all.gain_error_db < 0.05, "{all:?}");
        let mut alone = case(&[], &[], &[(4, 25.0)]);
        alone.candidate.add(4, Some(27.0), None);
        alone.serving.add(4, Some(25.0), None);
        assert!(!alone.decide().accepted, "{:?}", alone.decide());
    }

    #[test]
    fn each_way_to_be_refused() {
        let night_only = case(&[(0, 24.0), (4, 24.0)], &[(0, 19.0), (4, 25.0)], &[(0, 19.0), (4, 25.0)]).decide();
        assert!(night_only.reasons[0].contains("of 70 to 100 it is 1.00 dB worse"), "{night_only:?}");
        let idle = case(&[(0, 19.06)], &[(0, 19.0)], &[(0, 19.0)]).decide();
        assert!(idle.reasons[0].contains("it gains 0.06 dB"), "{idle:?}");
        let ratchet = case(&[(0, 19.0)], &[(0, 18.0)], &[(0, 20.0)]).decide();
        assert!(ratchet.reasons[0].contains("1.00 dB worse than generation 0"), "{ratchet:?}");
        let mut unmeasured = case(&[(0, 19.12)], &[(0, 19.0)], &[(0, 19.0)]);
        unmeasured.with_reference = false;
        let predicted = unmeasured.decide();
        assert!(predicted.reasons[0].contains("it should gain 0.12 dB, less than the 0.15 dB"), "{predicted:?}");
        let nothing = case(&[], &[(0, 18.0)], &[]).decide();
        assert!(!nothing.accepted);

        let mut harmed = case(&[(0, 21.0)], &[(0, 19.0)], &[(0, 19.0)]);
        harmed.initial_loss_db = 0.7;
        assert!(harmed.decide().reasons[0].contains("pictures would lose 0.70 dB"), "{:?}", harmed.decide());

        let mut forgetful = case(&[(0, 21.0)], &[(0, 19.0)], &[(0, 19.0)]);
        forgetful.candidate.agreement = Agreement { matched: 34, shifted: 0, vanished: 6, appeared: 0 };
        forgetful.serving.agreement = Agreement { matched: 40, shifted: 0, vanished: 0, appeared: 0 };
        assert!(forgetful.decide().reasons[0].contains("85.0 %"), "{:?}", forgetful.decide());
    }
}
