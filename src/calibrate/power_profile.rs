//! Power profile: mean square of every layer's output on pictures of one kind, and the distance of a picture from it.
//!
//! In: for each of several pictures the power (mean square) of every edge in dB. Out: a [`PowerProfile`], and for any
//! other picture a z score of its distance from the profile.
//!
//! The distribution of a single layer's values varies from picture to picture, the more the more varied the pictures
//! are. Most layers of one picture being far from their mean at the same time is rare. The profile therefore averages
//! the absolute z scores of all layers. It also stores how far the calibration pictures themselves are, because
//! pictures unlike the mean are part of the distribution.

use super::histogram::Histogram;
use super::summary::{mean, mean_std, with_min_std};
use crate::quant::artifact::MeanStd;

/// Differences of power below this, in dB, are negligible: added in quadrature to the standard deviation.
const POWER_FLOOR_DB: f64 = 0.2;
/// Largest absolute z score of a single layer.
const MAX_ABS_Z: f64 = 10.0;
/// Differences of the mean absolute z score below this are negligible: added in quadrature to its standard deviation.
const MEAN_ABS_Z_FLOOR: f64 = 0.1;
/// Fewest pictures from which a profile is computed without another one as lower limit of the deviations.
const MIN_PICTURES: usize = 12;

/// Mean square of the values of one edge on one picture, in dB; `None` where all values are zero.
pub fn power_db(histogram: &Histogram) -> Option<f64> {
    let power = histogram.mean_square();
    (power > 0.0).then(|| 10.0 * power.log10())
}

/// Power profile of pictures of one kind. Lists are by edge, in the caller's order.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerProfile {
    /// Power of each edge in dB, over single pictures; `None` where a picture had none.
    pub power_db: Vec<Option<MeanStd>>,
    /// Mean absolute z score of a picture's edges, over single pictures.
    pub mean_abs_z: MeanStd,
}

impl PowerProfile {
    /// Profile of `pictures`, each given by the powers of its edges in dB. Standard deviations are at least those of
    /// `at_least`, since a handful of frames underestimates them. `None` where there are fewer than 12 pictures (1 with
    /// `at_least`), or where they have no edge in common.
    pub fn of(pictures: &[Vec<Option<f64>>], at_least: Option<&Self>) -> Option<Self> {
        let min_pictures = if at_least.is_some() { 1 } else { MIN_PICTURES };
        let edges = pictures.first().filter(|_| pictures.len() >= min_pictures)?.len();
        let of_edge = |edge: usize| {
            let powers: Option<Vec<f64>> =
                pictures.iter().map(|picture| picture.get(edge).copied().flatten()).collect();
            let least = at_least.and_then(|profile| profile.power_db.get(edge).copied().flatten());
            Some(with_min_std(mean_std(&powers?)?, least))
        };
        let power_db = (0..edges).map(of_edge).collect();
        let mut profile = Self { power_db, mean_abs_z: MeanStd { mean: 0.0, std: 0.0 } };
        // How far the pictures themselves are from the profile.
        let distances: Option<Vec<f64>> = pictures.iter().map(|picture| profile.mean_abs_z(picture)).collect();
        let least = at_least.map(|profile| profile.mean_abs_z);
        profile.mean_abs_z = with_min_std(mean_std(&distances?)?, least);
        profile.mean_abs_z.mean = profile.mean_abs_z.mean.max(least.map_or(0.0, |least| least.mean));
        Some(profile)
    }

    /// Mean over the edges of the absolute z score of the power, each at most [`MAX_ABS_Z`]. `None` without common
    /// edges.
    fn mean_abs_z(&self, picture: &[Option<f64>]) -> Option<f64> {
        let pairs = self.power_db.iter().zip(picture).filter_map(|(known, power)| Some(((*known)?, (*power)?)));
        mean(pairs.map(|(known, power)| {
            let deviation = f64::from(known.std).hypot(POWER_FLOOR_DB);
            ((power - f64::from(known.mean)).abs() / deviation).min(MAX_ABS_Z)
        }))
    }

    /// z score of the distance of a picture with these powers, against the distances of single calibration pictures.
    pub fn z_score(&self, picture: &[Option<f64>]) -> Option<f64> {
        let deviation = f64::from(self.mean_abs_z.std).hypot(MEAN_ABS_Z_FLOOR);
        Some((self.mean_abs_z(picture)? - f64::from(self.mean_abs_z.mean)) / deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty layers whose power follows one brightness, each with a small deviation of its own.
    fn picture(brightness: f64, seed: u64) -> Vec<Option<f64>> {
        let own = |edge: u64| (seed * 7919 + edge * 104_729) % 101;
        (0..40).map(|edge| Some(brightness * (1.0 + edge as f64 / 40.0) + own(edge) as f64 / 100.0)).collect()
    }

    #[test]
    fn pictures_beyond_the_range_of_varied_ones_stand_out() {
        let pictures: Vec<_> = (0..24).map(|at| picture(f64::from(at % 7), at as u64)).collect();
        let profile = PowerProfile::of(&pictures, None).unwrap();
        let z_score = |brightness: f64| {
            (100..110).map(|seed| profile.z_score(&picture(brightness, seed)).unwrap()).sum::<f64>() / 10.0
        };
        assert!(z_score(3.0).abs() < 2.0 && z_score(6.0) < 2.0, "{} {}", z_score(3.0), z_score(6.0));
        assert!(z_score(11.0) > 4.0 && z_score(-5.0) > 4.0, "{} {}", z_score(11.0), z_score(-5.0));
    }

    #[test]
    fn deviations_of_few_pictures_are_at_least_those_of_many() {
        let many: Vec<_> = (0..24).map(|at| picture(f64::from(at % 7), at as u64)).collect();
        let wide = PowerProfile::of(&many, None).unwrap();
        let frames: Vec<_> = (0..12).map(|at| picture(20.0, at)).collect();
        let (narrow, widened) =
            (PowerProfile::of(&frames, None).unwrap(), PowerProfile::of(&frames, Some(&wide)).unwrap());
        let near = picture(22.0, 40);
        assert!(narrow.z_score(&near).unwrap() > 4.0 && widened.z_score(&near).unwrap() < 3.0);
        assert!(widened.z_score(&picture(3.0, 40)).unwrap() > 4.0);
    }

    #[test]
    fn edges_without_power_and_too_few_pictures_give_nothing() {
        let mut pictures: Vec<_> = (0..12).map(|at| picture(1.0, at)).collect();
        pictures[3][5] = None;
        let profile = PowerProfile::of(&pictures, None).unwrap();
        assert!(profile.power_db[5].is_none() && profile.power_db[6].is_some());
        assert!(profile.z_score(&[None, None]).is_none());
        assert!(PowerProfile::of(&pictures[..3], None).is_none());
        assert!(PowerProfile::of(&vec![vec![None]; 12], None).is_none());
        assert!(power_db(&Histogram::new()).is_none());
    }
}
