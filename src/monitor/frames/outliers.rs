//! Which frames are unlike those just before and after them, which are like each other?
//!
//! In: the frames of a camera in order of time. Out: which of them are glitches. Weather and light come and stay for
//! minutes. What is there in one frame and gone in the next, far beyond what this camera's frames differ by, is another
//! camera's picture, badly decoded, or a flash, even where it looks like a scene by itself. Only frames within
//! [`NEAR_US`] of each other are compared. Limits come from 385 road pictures and the synthetic street.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::Picture;

/// Frames farther apart in time say nothing of each other: ten minutes.
const NEAR_US: i64 = 600 * 1_000_000;
/// By so many deviations a glitch is off the mean of its neighbours. The street's frames are by 20, one in forty or
/// fewer; pictures of other roads each by 9, single ones by 13; an office among frames of a street by 14 and more.
const FAR: f64 = 12.0;
/// And by this share of what that feature is: a lorry that comes close changes them by less, but for one in a hundred.
const FAR_SHARE: f64 = 0.25;
/// Its neighbours differ by no more than this share of it.
const ALIKE: f64 = 0.5;
/// A feature is taken to deviate by at least this share of what it is, and shares are of at least so many grey levels.
const FLOOR: (f64, f64) = (0.01, 2.0);
/// The lower quartile of what two normally distributed values differ by, in their deviations: 0.3186 · √2.
const QUARTILE: f64 = 0.4506;
/// Fewest pairs that tell what frames differ by.
const FEWEST: usize = 8;
/// Numbers that a picture is known by.
const FEATURES: usize = 9;
/// Columns and rows of areas whose light makes the layout of a picture.
const LAYOUT: (usize, usize) = (8, 6);
/// Neighbours whose layouts correlate by at least the first show one scene; what correlates with them by less than the
/// second is another: upside down (0.15 to 0.40 on the street), its negative (below −0.9). A lorry before the lens leaves
/// 0.32 and more, in one frame of a hundred less than 0.55.
const SCENE: (f64, f64) = (0.8, 0.45);

/// Of each channel the mean, the deviation, and the mean step from one pixel to the next, in grey levels.
type Features = [f64; FEATURES];
/// Mean light of each area, in any unit.
type Layout = [f64; LAYOUT.0 * LAYOUT.1];

fn features(picture: &Picture) -> Features {
    let (mut sums, mut squares, mut steps) = ([0u64; 3], [0u64; 3], [0u64; 3]);
    for y in 0..picture.height {
        let row = picture.row(y).as_chunks::<3>().0;
        for (at, pixel) in row.iter().enumerate() {
            let next = row.get(at + 1).unwrap_or(pixel);
            for channel in 0..3 {
                let value = u64::from(pixel[channel]);
                sums[channel] += value;
                squares[channel] += value * value;
                steps[channel] += u64::from(pixel[channel].abs_diff(next[channel]));
            }
        }
    }
    let pixels = (picture.width * picture.height).max(1) as f64;
    let mut features = [0.0; FEATURES];
    for channel in 0..3 {
        let mean = sums[channel] as f64 / pixels;
        features[channel] = mean;
        features[3 + channel] = (squares[channel] as f64 / pixels - mean * mean).max(0.0).sqrt();
        features[6 + channel] = steps[channel] as f64 / pixels;
    }
    features
}

fn layout(picture: &Picture) -> Layout {
    let (mut sums, mut counts) = ([0u64; LAYOUT.0 * LAYOUT.1], [0u64; LAYOUT.0 * LAYOUT.1]);
    for y in 0..picture.height {
        for (x, pixel) in picture.row(y).as_chunks::<3>().0.iter().enumerate() {
            let area = y * LAYOUT.1 / picture.height * LAYOUT.0 + x * LAYOUT.0 / picture.width;
            sums[area] += pixel.iter().map(|&value| u64::from(value)).sum::<u64>();
            counts[area] += 1;
        }
    }
    std::array::from_fn(|area| sums[area] as f64 / counts[area].max(1) as f64)
}

/// Pearson's; 0 where one of them is flat.
fn correlation(one: &Layout, other: &Layout) -> f64 {
    let centred = |layout: &Layout| {
        let mean = layout.iter().sum::<f64>() / layout.len() as f64;
        layout.map(|value| value - mean)
    };
    let (one, other) = (centred(one), centred(other));
    let product = |a: &Layout, b: &Layout| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = (product(&one, &one) * product(&other, &other)).sqrt();
    if norm > 0.0 { product(&one, &other) / norm } else { 0.0 }
}

/// A frame, by when it came and the number it was added under.
struct Frame {
    at_us: i64,
    number: usize,
    features: Features,
    layout: Layout,
}

/// Frames of some cameras.
#[derive(Default)]
pub struct OutlierDetector {
    cameras: BTreeMap<usize, Vec<Frame>>,
    count: usize,
}

impl OutlierDetector {
    /// Adds the next frame of a camera.
    pub fn add(&mut self, camera: usize, at_us: i64, picture: &Picture) {
        let frame = Frame { at_us, number: self.count, features: features(picture), layout: layout(picture) };
        self.cameras.entry(camera).or_default().push(frame);
        self.count += 1;
    }

    /// Which are glitches, by the order in which they were added.
    pub fn outliers(&self) -> BTreeSet<usize> {
        self.cameras.values().flat_map(|frames| of_camera(frames)).collect()
    }
}

/// The numbers of the glitches among `frames`.
fn of_camera(frames: &[Frame]) -> Vec<usize> {
    let usual: [Option<f64>; FEATURES] = std::array::from_fn(|feature| usual(frames, feature));
    let is_glitch = |around: &&[Frame]| {
        let [before, frame, after] = around else { return false };
        let near = frame.at_us - before.at_us <= NEAR_US && after.at_us - frame.at_us <= NEAR_US;
        let stands_out = || {
            usual.iter().enumerate().any(|(feature, usual)| {
                let [before, is, after] = [before, frame, after].map(|frame| frame.features[feature]);
                usual.is_some_and(|usual| stands_out(before, is, after, usual))
            })
        };
        near && (stands_out() || shows_another([before, frame, after].map(|frame| &frame.layout)))
    };
    frames.windows(3).filter(is_glitch).map(|around| around[1].number).collect()
}

/// The deviation of a feature of frames near each other, by the lower quartile of how much they differ: so it is that of
/// whole frames, whether every fifth is a glitch, every third or every second (then frames alike are two apart).
fn usual(frames: &[Frame], feature: usize) -> Option<f64> {
    let of_lag = |lag: usize| {
        let pairs = frames.windows(lag + 1).map(|run| (&run[0], &run[lag]));
        let near = pairs.filter(|(one, other)| other.at_us - one.at_us <= NEAR_US);
        let mut apart: Vec<f64> =
            near.map(|(one, other)| (one.features[feature] - other.features[feature]).abs()).collect();
        apart.sort_by(f64::total_cmp);
        (apart.len() >= FEWEST).then(|| apart[apart.len() / 4] / QUARTILE)
    };
    [1, 2].into_iter().filter_map(of_lag).min_by(f64::total_cmp)
}

fn stands_out(before: f64, is: f64, after: f64, usual: f64) -> bool {
    let around = 0.5 * (before + after);
    let off = (is - around).abs();
    let level = is.max(around).max(FLOOR.1);
    (before - after).abs() <= ALIKE * off && off >= FAR_SHARE * level && off > FAR * usual.max(FLOOR.0 * level)
}

fn shows_another([before, is, after]: [&Layout; 3]) -> bool {
    let around = std::array::from_fn(|area| before[area] + after[area]);
    correlation(before, after) >= SCENE.0 && correlation(is, &around) < SCENE.1
}

#[cfg(test)]
mod tests {
    use super::super::usability::tests::scene;
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    fn found(count: usize, apart_us: i64, picture: impl Fn(usize) -> Picture) -> Vec<usize> {
        let mut glitches = OutlierDetector::default();
        (0..count).for_each(|at| glitches.add(0, at as i64 * apart_us, &picture(at)));
        glitches.outliers().into_iter().collect()
    }

    /// Clouds pass: the light wanders by a tenth.
    fn wandering(at: usize) -> Picture {
        scene(1.0 + 0.05 * (at * 7 % 5) as f64 / 4.0, at as u32)
    }

    fn reddened(mut picture: Picture) -> Picture {
        picture.data.iter_mut().skip(1).step_by(3).for_each(|green| *green /= 2);
        picture
    }

    #[test]
    fn what_comes_and_goes_is_a_glitch() {
        for every in [2, 3, 5, 9] {
            let mixed = |at: usize| if at % every == 1 { reddened(wandering(at)) } else { wandering(at) };
            let expected: Vec<usize> = (1..29).filter(|at| at % every == 1).collect();
            let found = found(30, MINUTE, mixed);
            // Where every second is one, nobody knows which.
            assert!(if every == 2 { found.len() == 28 } else { found == expected }, "{every}: {found:?}");
        }
        assert!(found(30, MINUTE, wandering).is_empty());
    }

    fn upside_down(mut picture: Picture) -> Picture {
        picture.data.as_chunks_mut::<3>().0.reverse();
        picture
    }

    #[test]
    fn another_layout_is_a_glitch_and_stays_none() {
        let mixed = |at: usize| if at % 5 == 2 { upside_down(wandering(at)) } else { wandering(at) };
        assert_eq!(found(20, MINUTE, mixed), [2, 7, 12, 17]);
        assert!(found(20, MINUTE, |at| upside_down(wandering(at))).is_empty());
        assert_eq!(found(6, MINUTE, mixed), [2], "few frames tell it too");
    }

    #[test]
    fn what_comes_and_stays_is_none() {
        assert!(found(30, MINUTE, |at| scene(if at < 15 { 1.0 } else { 0.2 }, at as u32)).is_empty());
        assert!(found(40, MINUTE, |at| scene(1.0 - 0.02 * at as f64, at as u32)).is_empty());
        assert!(found(30, MINUTE, reddened_all).is_empty());
    }

    fn reddened_all(at: usize) -> Picture {
        reddened(wandering(at))
    }

    #[test]
    fn hours_apart_nothing_is_told() {
        let night = |at: usize| if at % 3 == 1 { scene(0.1, at as u32) } else { wandering(at) };
        assert!(found(30, 60 * MINUTE, night).is_empty());
        assert!(found(9, MINUTE, night).is_empty(), "too few");
    }

    #[test]
    fn cameras_are_looked_at_one_by_one() {
        let mut glitches = OutlierDetector::default();
        for at in 0..30 {
            glitches.add(at % 2, at as i64 * MINUTE, &if at % 2 == 0 { wandering(at) } else { reddened_all(at) });
        }
        assert!(glitches.outliers().is_empty());
        assert!(OutlierDetector::default().outliers().is_empty());
    }
}
