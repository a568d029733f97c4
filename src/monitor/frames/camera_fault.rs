//! Which cameras have shown nothing fit to be watched for so long that somebody should look.
//!
//! In: of every sample whether it was fit. Out: a sentence for the status while a camera is faults: a lens cap, a hand, a
//! frozen decoder. The frames themselves are still detected in.

use super::usability::UnusableReason;

/// So many unfit samples of a camera in a row, and it is blind.
const SAMPLES: u32 = 10;

/// Counts, camera by camera.
#[derive(Debug, Default)]
pub struct CameraFaults {
    /// Unfit samples in a row, and why the last one was.
    cameras: Vec<(u32, Option<UnusableReason>)>,
}

impl CameraFaults {
    /// Of so many cameras, all of which see.
    pub fn new(cameras: usize) -> Self {
        Self { cameras: vec![(0, None); cameras] }
    }

    /// Takes in a sample of `camera`. Returns whether there is news.
    pub fn record(&mut self, camera: usize, unfit: Option<UnusableReason>) -> bool {
        let Some((count, reason)) = self.cameras.get_mut(camera) else { return false };
        let before = (*count >= SAMPLES).then_some(*reason);
        *count = if unfit.is_some() { count.saturating_add(1) } else { 0 };
        *reason = unfit;
        before != (*count >= SAMPLES).then_some(*reason)
    }

    /// What there is to tell of the cameras of these names.
    pub fn message(&self, names: &[String]) -> Option<String> {
        let blind = names.iter().zip(&self.cameras).filter(|(_, (count, _))| *count >= SAMPLES);
        let told: Vec<String> = blind
            .filter_map(|(name, (_, reason))| {
                let reason = (*reason)?.name();
                Some(format!("camera {name} has shown nothing fit to be watched for {SAMPLES} samples: {reason}"))
            })
            .collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_camera_is_told_after_ten_samples_and_no_longer_once_it_sees() {
        let names = ["front".to_owned(), "rear".to_owned()];
        let mut faults = CameraFaults::new(2);
        let news = |faults: &mut CameraFaults, reason| (0..12).filter(|_| faults.record(1, reason)).count();
        assert!((0..9).all(|_| !faults.record(0, Some(UnusableReason::Covered))) && faults.message(&names).is_none());
        assert!(!faults.record(0, None), "one look is enough");
        assert_eq!(news(&mut faults, Some(UnusableReason::Covered)), 1);
        let told = faults.message(&names).unwrap();
        assert_eq!(told, "camera rear has shown nothing fit to be watched for 10 samples: covered");
        assert_eq!(news(&mut faults, Some(UnusableReason::Frozen)), 1, "for another reason");
        assert_eq!((news(&mut faults, None), faults.message(&names)), (1, None));
        assert!(!faults.record(2, None), "there is no third camera");
    }
}
