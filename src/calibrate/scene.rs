//! How strong the layers are on what a model was calibrated for, and how far from that a frame is.
//!
//! In: of single pictures the mean square of every layer's output. Out: a [`Scene`], and of any other picture by how many
//! deviations it is off, all layers together. How the values of one layer are distributed differs from one picture to
//! the next, the more so the more varied the pictures are; that most layers are far from their middle at once does not.
//! So pictures of many places, whose single layers tell nothing, still tell a night. What is not in the pictures' middle
//! is no fault: how far each of them was from it is part of the scene.

use super::evidence::{mean, no_narrower, spread};
use super::histogram::Histogram;
use crate::quant::artifact::Spread;

/// Powers that differ by less, in dB, are the same.
const POWER_FLOOR_DB: f64 = 0.2;
/// A single layer counts at most so many deviations.
const MOST: f64 = 10.0;
/// The same as the first for how far a picture is, in deviations.
const APART_FLOOR: f64 = 0.1;
/// Fewest pictures that make a scene by themselves: of fewer nobody knows how far the next one is.
const FEWEST: usize = 12;

/// Mean square of the values of one edge on one picture, in dB; `None` where there is nothing but zeros.
pub fn power_db(histogram: &Histogram) -> Option<f64> {
    let power = histogram.mean_square();
    (power > 0.0).then(|| 10.0 * power.log10())
}

/// What pictures of one kind have in common. Lists are by edge, in whatever order the caller has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Power of each edge in dB, over single pictures; `None` where one of them had none.
    pub power_db: Vec<Option<Spread>>,
    /// How far apart single pictures are: the mean over the edges of by how many deviations each is off.
    pub apart: Spread,
}

impl Scene {
    /// Of pictures, each the powers of its edges in dB. It is no narrower than `at_least`: a handful of frames does not
    /// know how much there can be. `None` of too few pictures, or where they have no edge in common.
    pub fn of(pictures: &[Vec<Option<f64>>], at_least: Option<&Self>) -> Option<Self> {
        let fewest = if at_least.is_some() { 1 } else { FEWEST };
        let edges = pictures.first().filter(|_| pictures.len() >= fewest)?.len();
        let of_edge = |edge: usize| {
            let powers: Option<Vec<f64>> =
                pictures.iter().map(|picture| picture.get(edge).copied().flatten()).collect();
            let least = at_least.and_then(|scene| scene.power_db.get(edge).copied().flatten());
            Some(no_narrower(spread(&powers?)?, least))
        };
        let power_db = (0..edges).map(of_edge).collect();
        let mut scene = Self { power_db, apart: Spread { mean: 0.0, deviation: 0.0 } };
        let apart: Option<Vec<f64>> = pictures.iter().map(|picture| scene.apart(picture)).collect();
        scene.apart = no_narrower(spread(&apart?)?, at_least.map(|scene| scene.apart));
        scene.apart.mean = scene.apart.mean.max(at_least.map_or(0.0, |scene| scene.apart.mean));
        Some(scene)
    }

    /// How far a picture of these powers is: the mean over the edges of by how many deviations each is off.
    fn apart(&self, picture: &[Option<f64>]) -> Option<f64> {
        let pairs = self.power_db.iter().zip(picture).filter_map(|(spread, power)| Some(((*spread)?, (*power)?)));
        mean(pairs.map(|(known, power)| {
            let deviation = f64::from(known.deviation).hypot(POWER_FLOOR_DB);
            ((power - f64::from(known.mean)).abs() / deviation).min(MOST)
        }))
    }

    /// By how many deviations such a picture is farther than single pictures of this scene are.
    pub fn off(&self, picture: &[Option<f64>]) -> Option<f64> {
        let deviation = f64::from(self.apart.deviation).hypot(APART_FLOOR);
        Some((self.apart(picture)? - f64::from(self.apart.mean)) / deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forty layers that follow one light, each a little in its own way.
    fn picture(light: f64, seed: u64) -> Vec<Option<f64>> {
        let own = |edge: u64| (seed * 7919 + edge * 104_729) % 101;
        (0..40).map(|edge| Some(light * (1.0 + edge as f64 / 40.0) + own(edge) as f64 / 100.0)).collect()
    }

    #[test]
    fn pictures_of_many_lights_still_tell_what_is_beyond_them() {
        let pictures: Vec<_> = (0..24).map(|at| picture(f64::from(at % 7), at as u64)).collect();
        let scene = Scene::of(&pictures, None).unwrap();
        let off = |light: f64| (100..110).map(|seed| scene.off(&picture(light, seed)).unwrap()).sum::<f64>() / 10.0;
        assert!(off(3.0).abs() < 2.0 && off(6.0) < 2.0, "{} {}", off(3.0), off(6.0));
        assert!(off(11.0) > 4.0 && off(-5.0) > 4.0, "{} {}", off(11.0), off(-5.0));
    }

    #[test]
    fn what_is_hardly_known_is_no_narrower_than_what_is() {
        let wide =
            Scene::of(&(0..24).map(|at| picture(f64::from(at % 7), at as u64)).collect::<Vec<_>>(), None).unwrap();
        let frames: Vec<_> = (0..12).map(|at| picture(20.0, at)).collect();
        let (narrow, held) = (Scene::of(&frames, None).unwrap(), Scene::of(&frames, Some(&wide)).unwrap());
        let near = picture(22.0, 40);
        assert!(narrow.off(&near).unwrap() > 4.0 && held.off(&near).unwrap() < 3.0);
        assert!(held.off(&picture(3.0, 40)).unwrap() > 4.0);
    }

    #[test]
    fn edges_without_power_and_too_few_pictures_say_nothing() {
        let mut pictures: Vec<_> = (0..12).map(|at| picture(1.0, at)).collect();
        pictures[3][5] = None;
        let scene = Scene::of(&pictures, None).unwrap();
        assert!(scene.power_db[5].is_none() && scene.power_db[6].is_some());
        assert!(scene.off(&[None, None]).is_none());
        assert!(Scene::of(&pictures[..3], None).is_none() && Scene::of(&vec![vec![None]; 12], None).is_none());
        assert!(power_db(&Histogram::new()).is_none());
    }
}
