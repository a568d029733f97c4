//! Is the candidate better, and is it safe?
//!
//! In: on frames that calibrated nothing, how the candidate, the serving model and generation 0 did; and what
//! generation 0's own pictures would lose. Out: a [`Decision`] with every number and, if it is a refusal, every reason.
//! Kept only if no light got worse, something got better by a margin and beyond chance, and generation 0 is not left
//! behind: step by step no chain of small losses can lead away from it (no ratchet). Better is what gains on average
//! over all lights, or where drift was raised and no less on that average.

use serde::Serialize;

use crate::monitor::drift::quality::{GainError, QualityRecord};
use crate::monitor::frames::reservoir::{describe_stratum, is_drift_stratum};

/// What the mean over the steps must gain, in dB, where it matters: as measured beside the reference, and as expected
/// without it. What drafts really gained on a ResNet-50 differed from what they were expected to by about 0.12 dB.
const GAIN_DB: (f64, f64) = (0.1, 0.15);
/// And by how many standard errors: what a few frames gain and the others do not is chance, or a few frames' own. The
/// fewer degrees of freedom (one, two, … and any more), the more: Student's t, of which chance exceeds one in twenty.
const CERTAIN: ([f64; 5], f64) = ([6.31, 2.92, 2.35, 2.13, 2.02], 2.0);
/// What the mean of one stratum may lose, in dB.
const STRATUM_LOSS_DB: f64 = 0.4;
/// What may be lost against generation 0, in dB.
const RATCHET_DB: f64 = 0.5;
/// What generation 0's own pictures may lose on their worst edge, in dB of expected error.
const EDGE_LOSS_DB: f64 = 1.0;
/// What the share of detections found again may lose, and what is a gain, beyond what counting so few leaves to chance.
const AGREEMENT: (f64, f64) = (0.02, 0.03);
/// Fewest reference detections whose share says something.
pub const FEWEST_DETECTIONS: u64 = 20;

/// Everything the judgement rests on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The new model.
    pub candidate: QualityRecord,
    /// The one that serves.
    pub serving: QualityRecord,
    /// Generation 0.
    pub first: QualityRecord,
    /// By edge, what generation 0's pictures would lose by the new quantization parameters, in dB of expected error.
    pub first_losses_db: Vec<(String, f64)>,
    /// Whether the reference was there: detections are compared with its own then, else with the serving model's.
    pub with_reference: bool,
}

/// What a candidate gains somewhere, in dB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gain {
    /// Mean quality of the candidate over the serving model.
    pub gain_db: f64,
    /// Its standard error.
    pub error_db: f64,
    /// What it must be at least: worth a change, and beyond chance.
    pub needed_db: f64,
}

impl Gain {
    /// Of `case`'s candidate over the serving model, over the strata that are `meant`.
    fn of(case: &Case, meant: fn(usize) -> bool) -> Self {
        let Case { candidate, serving, .. } = case;
        let gain_db = candidate.quality_where_db(meant) - serving.quality_where_db(meant);
        let (error_db, chance_db) = candidate.gain_error(serving, meant).map_or(
            (f64::INFINITY, f64::INFINITY),
            |GainError { standard_error_db, degrees_of_freedom }| {
                let factor = CERTAIN.0.get(degrees_of_freedom - 1).unwrap_or(&CERTAIN.1);
                (standard_error_db, factor * standard_error_db)
            },
        );
        Self { gain_db, error_db, needed_db: chance_db.max(case.worth_db()) }
    }

    fn is_enough(&self) -> bool {
        self.gain_db >= self.needed_db
    }

    /// Why it is not enough for `case`, if it is not.
    fn lack(&self, case: &Case, place: &str) -> String {
        let Self { gain_db, needed_db, .. } = self;
        let worth_db = case.worth_db();
        let (gains, alone) =
            if case.with_reference { ("it gains", "") } else { ("it should gain", " without the checkpoint") };
        if *gain_db < worth_db {
            return format!(
                "{gains} {gain_db:.2} dB{place}, less than the {worth_db} dB that a change must be worth{alone}"
            );
        }
        format!("{gains} {gain_db:.2} dB{place}, less than the {needed_db:.2} dB that chance may give on so few frames")
    }
}

/// The judgement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// Whether it is kept.
    pub accepted: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Mean quality of the candidate over the serving model, over all lights, in dB.
    pub gain_db: f64,
    /// Its standard error.
    pub gain_error_db: f64,
    /// What it must be at least: worth a change, and beyond chance.
    pub gain_needed_db: f64,
    /// The same three over what came while drift was raised, if anything did.
    pub in_drift: Option<Gain>,
    /// The least of any stratum.
    pub worst_stratum_gain_db: f64,
    /// Mean quality over generation 0.
    pub gain_over_first_db: f64,
    /// What generation 0's pictures lose, on average over the edges.
    pub first_loss_db: f64,
    /// The edge where they lose most.
    pub first_worst_edge: String,
    /// How much there.
    pub first_worst_edge_db: f64,
    /// Share of detections found again: candidate, serving.
    pub agreement: [Option<f64>; 2],
    /// Detections that this rests on.
    pub detections: u64,
}

impl Decision {
    /// Whether it would be worth it, if it did not harm something else: less of it may do.
    pub fn costs_too_much(&self) -> bool {
        !self.accepted && (self.gain_db >= self.gain_needed_db || self.in_drift.is_some_and(|gain| gain.is_enough()))
    }
}

impl Case {
    fn worth_db(&self) -> f64 {
        if self.with_reference { GAIN_DB.0 } else { GAIN_DB.1 }
    }

    /// Judges.
    pub fn judge(&self) -> Decision {
        let (candidate, serving) = (self.candidate.by_stratum(), self.serving.by_stratum());
        let gains = candidate.iter().filter_map(|(&s, quality)| Some((s, quality - serving.get(&s)?)));
        let least = gains.min_by(|a, b| a.1.total_cmp(&b.1));
        let worst = least.map_or(f64::INFINITY, |(_, gain)| gain);
        let all = Gain::of(self, |_| true);
        let has_drift = candidate.keys().any(|&stratum| is_drift_stratum(stratum));
        let in_drift = has_drift.then(|| Gain::of(self, is_drift_stratum));
        let over_first = self.candidate.quality_db() - self.first.quality_db();
        let losses = &self.first_losses_db;
        let first_loss = losses.iter().map(|(_, db)| db).sum::<f64>() / losses.len().max(1) as f64;
        let worst_edge = losses.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let (edge, edge_db) = worst_edge.map_or((String::new(), 0.0), |(name, db)| (name.clone(), *db));
        let shares = [&self.candidate, &self.serving].map(|record| record.agreement.matched_share());
        let detections = self.candidate.agreement.reference();

        let mut reasons = Vec::new();
        if least.is_none() || !all.gain_db.is_finite() {
            reasons.push("nothing could be compared".to_owned());
        }
        if let Some((stratum, gain)) = least.filter(|(_, gain)| *gain < -STRATUM_LOSS_DB) {
            reasons.push(format!("{} it is {:.2} dB worse than the serving model", describe_stratum(stratum), -gain));
        }
        if all.gain_db < 0.0 && in_drift.is_some_and(|gain| gain.is_enough()) {
            reasons.push(format!("over all lights it is {:.2} dB worse", -all.gain_db));
        }
        if over_first < -RATCHET_DB {
            reasons.push(format!("it is {:.2} dB worse than generation 0", -over_first));
        }
        if first_loss > RATCHET_DB {
            reasons.push(format!("what generation 0 was calibrated on would lose {first_loss:.2} dB"));
        }
        if edge_db > EDGE_LOSS_DB {
            reasons.push(format!("what generation 0 was calibrated on would lose {edge_db:.2} dB at {edge}"));
        }
        let mut better = all.is_enough() || in_drift.is_some_and(|gain| gain.is_enough());
        if detections >= FEWEST_DETECTIONS
            && let [Some(new), Some(old)] = shares
        {
            let chance = chance(new, old, detections);
            if new < old - AGREEMENT.0 - chance {
                let (new, old) = (new * 100.0, old * 100.0);
                reasons.push(format!("{new:.1} % of the detections are found again, {old:.1} % by the serving model"));
            }
            better |= self.with_reference && new >= old + AGREEMENT.1 + chance;
        }
        if !better && reasons.is_empty() {
            reasons
                .push(in_drift.map_or_else(|| all.lack(self, ""), |gain| gain.lack(self, " where drift was raised")));
        }
        Decision {
            accepted: reasons.is_empty(),
            reasons,
            gain_db: all.gain_db,
            gain_error_db: all.error_db,
            gain_needed_db: all.needed_db,
            in_drift,
            worst_stratum_gain_db: worst,
            gain_over_first_db: over_first,
            first_loss_db: first_loss,
            first_worst_edge: edge,
            first_worst_edge_db: edge_db,
            agreement: shares,
            detections,
        }
    }
}

/// The standard error of the difference of two shares of `count`: √(2 p (1 − p) / n) at their mean p.
fn chance(one: f64, other: f64, count: u64) -> f64 {
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
            // Frames differ, what is gained on them does not.
            record.add(stratum, Some(db - 1.0), None);
            record.add(stratum, Some(db + 1.0), None);
        }
        record
    }

    fn case(candidate: &[(usize, f64)], serving: &[(usize, f64)], first: &[(usize, f64)]) -> Case {
        Case {
            candidate: record(candidate),
            serving: record(serving),
            first: record(first),
            first_losses_db: vec![("a".into(), 0.1), ("b".into(), -0.2)],
            with_reference: true,
        }
    }

    #[test]
    fn better_by_a_margin_is_kept() {
        let decision = case(&[(0, 21.0), (4, 25.0)], &[(0, 19.0), (4, 25.1)], &[(0, 19.0), (4, 25.1)]).judge();
        assert!(decision.accepted, "{decision:?}");
        assert!((decision.gain_db - 0.95).abs() < 1e-9 && (decision.worst_stratum_gain_db + 0.1).abs() < 1e-9);
        assert_eq!(decision.first_worst_edge, "a");
    }

    #[test]
    fn what_gains_where_drift_was_raised_must_not_lose_on_average() {
        let fog = 13;
        let judge = |new: [f64; 2]| {
            case(&[(5, new[0]), (fog, new[1])], &[(5, 25.0), (fog, 20.0)], &[(5, 25.0), (fog, 20.0)]).judge()
        };
        let fog_alone = judge([24.9, 20.15]);
        assert!(fog_alone.accepted, "{fog_alone:?}");
        assert!(fog_alone.in_drift.is_some_and(|gain| (gain.gain_db - 0.15).abs() < 1e-9) && fog_alone.gain_db < 0.1);
        let little = judge([25.1, 20.05]);
        assert!(little.reasons[0].contains("it gains 0.05 dB where drift was raised"), "{little:?}");
        assert!(judge([25.2, 20.05]).accepted, "on average it is worth it");
        let dear = judge([24.7, 20.2]);
        assert!(dear.reasons[0].contains("over all lights it is 0.05 dB worse") && dear.costs_too_much(), "{dear:?}");
    }

    #[test]
    fn what_one_frame_in_many_gains_is_chance() {
        let few = case(&[(4, 25.0), (4, 25.0), (4, 27.0)], &[(4, 25.0); 3], &[(4, 25.0); 3]).judge();
        assert!(few.reasons[0].contains("the 0.85 dB that chance may give"), "{few:?}");
        let all = case(&[(4, 25.1), (4, 25.2), (4, 25.3)], &[(4, 25.0); 3], &[(4, 25.0); 3]).judge();
        assert!(all.accepted && all.gain_error_db < 0.05, "{all:?}");
        let mut alone = case(&[(4, 27.0)], &[(4, 25.0)], &[(4, 25.0)]);
        for record in [&mut alone.candidate, &mut alone.serving] {
            record.keep_one_frame_per_stratum();
        }
        assert!(!alone.judge().accepted, "{:?}", alone.judge());
    }

    #[test]
    fn each_way_to_be_refused() {
        let night_only = case(&[(0, 24.0), (4, 24.0)], &[(0, 19.0), (4, 25.0)], &[(0, 19.0), (4, 25.0)]).judge();
        assert!(night_only.reasons[0].contains("of 70 to 100 it is 1.00 dB worse"), "{night_only:?}");
        let idle = case(&[(0, 19.06)], &[(0, 19.0)], &[(0, 19.0)]).judge();
        assert!(idle.reasons[0].contains("it gains 0.06 dB"), "{idle:?}");
        let ratchet = case(&[(0, 19.0)], &[(0, 18.0)], &[(0, 20.0)]).judge();
        assert!(ratchet.reasons[0].contains("1.00 dB worse than generation 0"), "{ratchet:?}");
        let mut unmeasured = case(&[(0, 19.12)], &[(0, 19.0)], &[(0, 19.0)]);
        assert!(unmeasured.judge().accepted);
        unmeasured.with_reference = false;
        let told = unmeasured.judge();
        assert!(told.reasons[0].contains("it should gain 0.12 dB, less than the 0.15 dB"), "{told:?}");
        let nothing = case(&[], &[(0, 18.0)], &[]).judge();
        assert!(!nothing.accepted);
        assert!(night_only.costs_too_much() && ratchet.costs_too_much());
        assert!(!idle.costs_too_much() && !nothing.costs_too_much());

        let mut harmed = case(&[(0, 21.0)], &[(0, 19.0)], &[(0, 19.0)]);
        harmed.first_losses_db = vec![("wide".into(), 1.4), ("b".into(), 0.0)];
        assert_eq!(harmed.judge().reasons.len(), 2, "on average and at the edge: {:?}", harmed.judge());

        let mut blind = case(&[(0, 21.0)], &[(0, 19.0)], &[(0, 19.0)]);
        blind.candidate.agreement = Agreement { matched: 34, shifted: 0, vanished: 6, appeared: 0 };
        blind.serving.agreement = Agreement { matched: 40, shifted: 0, vanished: 0, appeared: 0 };
        assert!(blind.judge().reasons[0].contains("85.0 %"), "{:?}", blind.judge());
    }
}
