//! Whether the network's error has left the range it had when it was calibrated.
//!
//! In: after every pass, by how many spreads of the evidence each step is off. Out: a [`DriftVerdict`]. Each step has its own
//! moving average, so that one odd frame is no drift and a steady shift of one step among a hundred is seen within a few
//! passes; the average begins at "as calibrated". A shift may also move every layer a little and none far (a camera
//! that was zoomed, an infrared lamp): what all of them are off together is averaged too. Raised above one threshold,
//! cleared below a lower one.

use serde::Serialize;

/// Weight of the newest pass. A step that is off by z for n passes has an average of z · (1 − 0.7ⁿ).
const WEIGHT: f64 = 0.3;
/// A single figure counts at most so many spreads: one broken pass must not raise drift by itself.
const MOST: f64 = 10.0;

/// The state of drift.
#[derive(Debug, Clone)]
pub struct DriftState {
    raise: f64,
    clear: f64,
    averages: Vec<Option<f64>>,
    together: f64,
    raised: bool,
    passes: u64,
}

/// What the averages say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DriftVerdict {
    /// Whether the network drifts.
    pub drifting: bool,
    /// Whether that has just changed.
    pub changed: bool,
    /// The step that is off most, by its number in the plan.
    pub worst: usize,
    /// By how many spreads, averaged.
    pub score: f64,
    /// Whether that is less the worst step than all layers together.
    pub together: bool,
}

impl DriftState {
    /// No drift, over `steps` steps.
    pub fn new(steps: usize, raise: f64, clear: f64) -> Self {
        Self { raise, clear, averages: vec![None; steps], together: 0.0, raised: false, passes: 0 }
    }

    /// Takes in one pass: for each step by how many spreads it is off, `None` where it was not seen, and by how many all
    /// of them are together.
    pub fn update(&mut self, off: &[Option<f64>], together: Option<f64>) -> DriftVerdict {
        self.passes += 1;
        for (average, off) in self.averages.iter_mut().zip(off) {
            if let Some(off) = off.filter(|off| !off.is_nan()) {
                let before = average.unwrap_or(0.0);
                *average = Some(before + WEIGHT * (off.clamp(-MOST, MOST) - before));
            }
        }
        let seen = self.averages.iter().enumerate().filter_map(|(step, average)| Some((step, (*average)?)));
        let (worst, score) = seen.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).unwrap_or((0, 0.0));
        if let Some(off) = together.filter(|off| !off.is_nan()) {
            self.together += WEIGHT * (off.clamp(-MOST, MOST) - self.together);
        }
        // A step that is over by itself says more than all of them.
        let together = self.together > score && score < self.raise;
        let score = if together { self.together } else { score };
        let before = self.raised;
        self.raised = if before { score >= self.clear } else { score >= self.raise };
        DriftVerdict { drifting: self.raised, changed: self.raised != before, worst, score, together }
    }

    /// Whether drift is raised.
    pub fn is_raised(&self) -> bool {
        self.raised
    }

    /// Passes so far.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// The average of every step.
    pub fn averages(&self) -> &[Option<f64>] {
        &self.averages
    }

    /// Steps whose average is above the threshold for raising.
    pub fn steps_over(&self) -> impl Iterator<Item = usize> {
        let over = |(step, average): (usize, &Option<f64>)| average.filter(|a| *a >= self.raise).map(|_| step);
        self.averages.iter().enumerate().filter_map(over)
    }

    /// Begins anew: another model serves.
    pub fn reset(&mut self) {
        self.averages.fill(None);
        self.together = 0.0;
        self.raised = false;
    }
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
        assert!(still.drifting && !still.changed && still.worst == 1, "not cleared above 2");
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
    fn many_layers_that_are_a_little_off_are_drift_together() {
        let mut drift = DriftState::new(4, 4.0, 2.0);
        let off = [Some(1.5), Some(0.6), Some(0.8), Some(0.7)];
        let raised = (1..=10).find(|_| drift.update(&off, Some(5.4)).drifting);
        assert!(raised.is_some() && drift.steps_over().next().is_none());
        let verdict = drift.update(&off, Some(5.4));
        assert!(verdict.together && verdict.worst == 0);
        let alone = (0..10).map(|_| drift.update(&[None, Some(6.0)], Some(9.0))).last().unwrap();
        assert!(!alone.together && alone.worst == 1 && alone.score < 6.0, "{alone:?}");
        let off = [Some(1.5), Some(0.6)];
        assert!((1..=10).any(|_| !drift.update(&off, Some(1.8)).drifting), "as calibrated");
    }
}
