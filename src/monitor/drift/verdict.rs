//! Drift verdict: decides after each pass whether the network's figures have left the range of the calibration.
//!
//! In: after each pass, the deviation of each step from the baseline, in spreads. Out: a [`DriftVerdict`]. Each step
//! has its own exponential moving average, which starts at zero. So one odd frame raises nothing, and a steady shift of
//! one step among a hundred is detected within a few passes. A zoomed camera or an infrared lamp moves every layer a
//! little and none far, so the deviation of all layers together is averaged too. Drift is raised at one threshold and
//! cleared below a lower one.

use crate::detector::plan::StepId;

/// Weight of the newest pass. After n passes with a deviation z, the average is z · (1 − 0.7ⁿ).
const NEWEST_WEIGHT: f64 = 0.3;
/// Limit of a single deviation, in spreads: one broken pass raises no drift, and a far one is cleared within eight passes.
const MAX_DEVIATION: f64 = 10.0;

/// State of drift over the passes of one generation.
#[derive(Debug, Clone)]
pub struct DriftState {
    raise_threshold: f64,
    clear_threshold: f64,
    /// Moving average of each step; `None` before it was measured.
    averages: Vec<Option<f64>>,
    /// Moving average of all layers together.
    all_layers: f64,
    is_raised: bool,
    passes: u64,
}

/// Verdict after a pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftVerdict {
    /// True if drift is raised.
    pub drifting: bool,
    /// True if this pass raised or cleared it.
    pub changed: bool,
    /// The step with the largest average.
    pub worst_step: StepId,
    /// The average that the verdict depends on, in spreads.
    pub score: f64,
    /// True if the score is that of all layers together, not of the worst step.
    pub by_all_layers: bool,
}

impl DriftState {
    /// No drift, over `steps` steps. Thresholds are in spreads.
    pub fn new(steps: usize, raise_threshold: f64, clear_threshold: f64) -> Self {
        Self {
            raise_threshold,
            clear_threshold,
            averages: vec![None; steps],
            all_layers: 0.0,
            is_raised: false,
            passes: 0,
        }
    }

    /// Adds one pass: the deviation of each step, `None` if it was not measured, and of all layers together.
    pub fn update(&mut self, steps: &[Option<f64>], all_layers: Option<f64>) -> DriftVerdict {
        self.passes += 1;
        for (average, deviation) in self.averages.iter_mut().zip(steps) {
            if let Some(deviation) = deviation.filter(|deviation| !deviation.is_nan()) {
                *average = Some(averaged(average.unwrap_or(0.0), deviation));
            }
        }
        if let Some(deviation) = all_layers.filter(|deviation| !deviation.is_nan()) {
            self.all_layers = averaged(self.all_layers, deviation);
        }
        let measured = self.averages.iter().enumerate().filter_map(|(step, average)| Some((step, (*average)?)));
        let (worst_step, worst_average) =
            measured.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).unwrap_or((0, 0.0));
        // A step beyond the threshold is the more specific finding.
        let by_all_layers = self.all_layers > worst_average && worst_average < self.raise_threshold;
        let score = if by_all_layers { self.all_layers } else { worst_average };
        let was_raised = self.is_raised;
        self.is_raised = score >= if was_raised { self.clear_threshold } else { self.raise_threshold };
        DriftVerdict {
            drifting: self.is_raised,
            changed: self.is_raised != was_raised,
            worst_step,
            score,
            by_all_layers,
        }
    }

    /// True if drift is raised.
    pub fn is_raised(&self) -> bool {
        self.is_raised
    }

    /// Passes so far.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// Average from which drift is raised, in spreads.
    pub fn raise_threshold(&self) -> f64 {
        self.raise_threshold
    }

    /// The average of each step.
    pub fn averages(&self) -> &[Option<f64>] {
        &self.averages
    }

    /// Steps whose average is at or above the threshold for raising.
    pub fn steps_over(&self) -> impl Iterator<Item = StepId> {
        let is_over =
            |(step, average): (usize, &Option<f64>)| average.filter(|a| *a >= self.raise_threshold).map(|_| step);
        self.averages.iter().enumerate().filter_map(is_over)
    }

    /// Clears all averages, because another model serves.
    pub fn reset(&mut self) {
        self.averages.fill(None);
        self.all_layers = 0.0;
        self.is_raised = false;
    }
}

/// The average with the newest deviation.
fn averaged(average: f64, deviation: f64) -> f64 {
    average + NEWEST_WEIGHT * (deviation.clamp(-MAX_DEVIATION, MAX_DEVIATION) - average)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_shift_is_raised_within_ten_passes_and_cleared_later() {
        let mut drift = DriftState::new(3, 4.0, 2.0);
        let raised_at = (1..=10).find(|_| drift.update(&[Some(0.5), Some(4.6), None], None).drifting);
        assert!(raised_at.is_some_and(|pass| pass > 3));
        assert_eq!(drift.steps_over().collect::<Vec<_>>(), [1]);
        let still = drift.update(&[Some(0.0), Some(3.0), None], None);
        assert!(still.drifting && !still.changed && still.worst_step == 1, "not cleared above 2");
        let cleared = (1..=10).find(|_| drift.update(&[Some(0.0); 3], None).changed).unwrap();
        assert!(cleared <= 3);
    }

    #[test]
    fn one_odd_pass_is_no_drift() {
        let mut drift = DriftState::new(1, 4.0, 2.0);
        for pass in 0..200 {
            let off = if pass % 9 == 0 { f64::INFINITY } else { 0.3 };
            assert!(!drift.update(&[Some(off)], None).drifting, "pass {pass}");
        }
        assert!(!drift.update(&[Some(f64::NAN)], Some(f64::NAN)).drifting);
    }

    #[test]
    fn many_small_deviations_together_are_drift() {
        let mut drift = DriftState::new(4, 4.0, 2.0);
        let off = [Some(1.5), Some(0.6), Some(0.8), Some(0.7)];
        let raised = (1..=10).find(|_| drift.update(&off, Some(5.4)).drifting);
        assert!(raised.is_some() && drift.steps_over().next().is_none());
        let verdict = drift.update(&off, Some(5.4));
        assert!(verdict.by_all_layers && verdict.worst_step == 0);
        let alone = (0..10).map(|_| drift.update(&[None, Some(6.0)], Some(9.0))).last().unwrap();
        assert!(!alone.by_all_layers && alone.worst_step == 1 && alone.score < 6.0, "{alone:?}");
        let off = [Some(1.5), Some(0.6)];
        assert!((1..=10).any(|_| !drift.update(&off, Some(1.8)).drifting), "as calibrated");
    }
}
