//! Which cameras have shown nothing fit to be watched for so long that somebody should look.
//!
//! In: of every sample whether it was fit. Out: a sentence for the status while a camera is blind: a lens cap, a hand, a
//! frozen decoder. The frames themselves are still detected in.

use super::usability::Reason;

/// So many unfit samples of a camera in a row, and it is blind.
const SAMPLES: u32 = 10;

/// Counts, camera by camera.
#[derive(Debug, Default)]
pub struct Blind {
    /// Unfit samples in a row, and why the last one was.
    cameras: Vec<(u32, Option<Reason>)>,
}

impl Blind {
    /// Of so many cameras, all of which see.
    pub fn new(cameras: usize) -> Self {
        Self { cameras: vec![(0, None); cameras] }
    }

    /// Takes in a sample of `camera`. Returns whether there is news.
    pub fn sample(&mut self, camera: usize, unfit: Option<Reason>) -> bool {
        let Some((count, reason)) = self.cameras.get_mut(camera) else { return false };
        let before = (*count >= SAMPLES).then_some(*reason);
        *count = if unfit.is_some() { count.saturating_add(1) } else { 0 };
        *reason = unfit;
        before != (*count >= SAMPLES).then_some(*reason)
    }

    /// What there is to tell of the cameras of these names.
    pub fn told(&self, names: &[String]) -> Option<String> {
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
        let mut blind = Blind::new(2);
        let news = |blind: &mut Blind, reason| (0..12).filter(|_| blind.sample(1, reason)).count();
        assert!((0..9).all(|_| !blind.sample(0, Some(Reason::Covered))) && blind.told(&names).is_none());
        assert!(!blind.sample(0, None), "one look is enough");
        assert_eq!(news(&mut blind, Some(Reason::Covered)), 1);
        let told = blind.told(&names).unwrap();
        assert_eq!(told, "camera rear has shown nothing fit to be watched for 10 samples: covered");
        assert_eq!(news(&mut blind, Some(Reason::Frozen)), 1, "for another reason");
        assert_eq!((news(&mut blind, None), blind.told(&names)), (1, None));
        assert!(!blind.sample(2, None), "there is no third camera");
    }
}
