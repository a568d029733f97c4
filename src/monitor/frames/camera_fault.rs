//! Camera faults: cameras that have delivered only unusable frames for some time.
//!
//! In: the result of the usability check of every sample. Out: a message for the status while a camera has a fault, such
//! as a lens cap or a frozen decoder. Detection on its frames continues.

use super::usability::UnusableReason;

/// Consecutive unusable samples of a camera that make a fault.
const FAULT_SAMPLES: u32 = 10;

/// Consecutive unusable samples, by camera.
#[derive(Debug, Default)]
pub struct CameraFaults {
    cameras: Vec<UnusableRun>,
}

/// The latest run of unusable samples of one camera.
#[derive(Debug, Clone, Copy, Default)]
struct UnusableRun {
    samples: u32,
    /// Reason of the latest sample.
    reason: Option<UnusableReason>,
}

impl UnusableRun {
    /// The reason of the fault, if the camera has one.
    fn fault(self) -> Option<UnusableReason> {
        self.reason.filter(|_| self.samples >= FAULT_SAMPLES)
    }
}

impl CameraFaults {
    /// No faults, for this number of cameras.
    pub fn new(cameras: usize) -> Self {
        Self { cameras: vec![UnusableRun::default(); cameras] }
    }

    /// Records a sample of `camera`, with the reason if it is unusable. Returns true if the camera's fault changed.
    pub fn record(&mut self, camera: usize, unusable: Option<UnusableReason>) -> bool {
        let Some(run) = self.cameras.get_mut(camera) else { return false };
        let before = run.fault();
        let samples = if unusable.is_some() { run.samples.saturating_add(1) } else { 0 };
        *run = UnusableRun { samples, reason: unusable };
        before != run.fault()
    }

    /// The status message, with the cameras' `names`; `None` without a fault.
    pub fn message(&self, names: &[String]) -> Option<String> {
        let faults = names.iter().zip(&self.cameras).filter_map(|(name, run)| {
            let reason = run.fault()?.name();
            Some(format!("camera {name} has delivered only unusable frames for {FAULT_SAMPLES} samples: {reason}"))
        });
        let faults: Vec<String> = faults.collect();
        (!faults.is_empty()).then(|| faults.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_camera_is_reported_after_ten_samples_until_it_is_usable_again() {
        let names = ["front".to_owned(), "rear".to_owned()];
        let mut faults = CameraFaults::new(2);
        let changes = |faults: &mut CameraFaults, reason| (0..12).filter(|_| faults.record(1, reason)).count();
        assert!((0..9).all(|_| !faults.record(0, Some(UnusableReason::Covered))) && faults.message(&names).is_none());
        assert!(!faults.record(0, None), "one usable sample ends the run");
        assert_eq!(changes(&mut faults, Some(UnusableReason::Covered)), 1);
        let message = faults.message(&names).unwrap();
        assert_eq!(message, "camera rear has delivered only unusable frames for 10 samples: covered");
        assert_eq!(changes(&mut faults, Some(UnusableReason::Frozen)), 1, "for another reason");
        assert_eq!((changes(&mut faults, None), faults.message(&names)), (1, None));
        assert!(!faults.record(2, None), "there is no third camera");
    }
}
