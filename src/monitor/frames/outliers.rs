//! Outliers: frames that differ from both the frame before and the frame after, while those two are alike.
//!
//! In: the frames of each camera, in order of time. Out: the numbers of the outliers. Weather and brightness change and
//! stay for minutes. A single frame that differs far more than the camera's frames usually do is another camera's
//! picture, a decoding error or a flash. This holds even if the frame alone shows a plausible scene. Frames are
//! compared only within [`MAX_GAP_US`]. The thresholds come from 385 road pictures and from the synthetic street.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::Picture;

/// Longest time between two frames that are compared, in microseconds: ten minutes.
const MAX_GAP_US: i64 = 600 * 1_000_000;
/// Fewest pairs of frames that estimate the usual difference.
const MIN_PAIRS: usize = 8;
/// Lower quartile of |a − b| for two values of a normal distribution, in its standard deviations: 0.3186 · √2.
const DIFFERENCE_QUARTILE: f64 = 0.4506;
/// Features of a picture.
const FEATURES: usize = 9;
/// Columns of the areas that form a layout.
const LAYOUT_COLUMNS: usize = 8;
/// Rows of the areas that form a layout.
const LAYOUT_ROWS: usize = 6;

/// Thresholds of an outlier.
struct OutlierThresholds {
    /// Least distance of a feature from the mean of its neighbours, in standard deviations. Frames of the street reach
    /// 20, at most one in forty. Pictures of other roads reach 9, single ones 13; an office among frames of a street 14
    /// and more.
    min_deviations: f64,
    /// Least distance relative to the feature. A lorry that approaches changes less, except in one frame of a hundred.
    min_relative: f64,
    /// Least value that `min_relative` is applied to, in grey levels.
    min_level: f64,
    /// Largest difference of the two neighbours, relative to the distance.
    max_neighbour_difference: f64,
    /// Least correlation of the neighbours' layouts: they show one scene.
    min_neighbour_correlation: f64,
    /// A layout with less correlation to its neighbours shows another scene. Upside down, the street has 0.15 to 0.40;
    /// its negative has less than −0.9. A lorry in front of the lens leaves 0.32 and more, and in one frame of a hundred
    /// less than 0.55.
    max_scene_correlation: f64,
}

const THRESHOLDS: OutlierThresholds = OutlierThresholds {
    min_deviations: 12.0,
    min_relative: 0.25,
    min_level: 2.0,
    max_neighbour_difference: 0.5,
    min_neighbour_correlation: 0.8,
    max_scene_correlation: 0.45,
};

/// Mean, standard deviation and mean difference of horizontal neighbours, of each channel, in grey levels.
type Features = [f64; FEATURES];
/// Mean sum of the channels in each area.
type Layout = [f64; LAYOUT_COLUMNS * LAYOUT_ROWS];

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
    let mut sums = [0u64; LAYOUT_COLUMNS * LAYOUT_ROWS];
    let mut counts = [0u64; LAYOUT_COLUMNS * LAYOUT_ROWS];
    for y in 0..picture.height {
        for (x, pixel) in picture.row(y).as_chunks::<3>().0.iter().enumerate() {
            let area = y * LAYOUT_ROWS / picture.height * LAYOUT_COLUMNS + x * LAYOUT_COLUMNS / picture.width;
            sums[area] += pixel.iter().map(|&value| u64::from(value)).sum::<u64>();
            counts[area] += 1;
        }
    }
    std::array::from_fn(|area| sums[area] as f64 / counts[area].max(1) as f64)
}

/// Pearson correlation; 0 if one layout is constant.
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

/// Measurements of one frame.
struct MeasuredFrame {
    at_us: i64,
    /// Number of the call of [`OutlierDetector::add`].
    number: usize,
    features: Features,
    layout: Layout,
}

/// Detects outliers among the frames of several cameras.
#[derive(Default)]
pub struct OutlierDetector {
    cameras: BTreeMap<usize, Vec<MeasuredFrame>>,
    count: usize,
}

impl OutlierDetector {
    /// Adds the next frame of a camera, captured at `at_us` microseconds.
    pub fn add(&mut self, camera: usize, at_us: i64, picture: &Picture) {
        let frame = MeasuredFrame { at_us, number: self.count, features: features(picture), layout: layout(picture) };
        self.cameras.entry(camera).or_default().push(frame);
        self.count += 1;
    }

    /// Numbers of the outliers, in the order in which frames were added.
    pub fn outliers(&self) -> BTreeSet<usize> {
        self.cameras.values().flat_map(|frames| outliers_of_camera(frames)).collect()
    }
}

/// Numbers of the outliers among `frames`.
fn outliers_of_camera(frames: &[MeasuredFrame]) -> Vec<usize> {
    let deviations: [Option<f64>; FEATURES] = std::array::from_fn(|feature| usual_deviation(frames, feature));
    let is_outlier = |around: &&[MeasuredFrame]| {
        let [before, frame, after] = around else { return false };
        let is_near = frame.at_us - before.at_us <= MAX_GAP_US && after.at_us - frame.at_us <= MAX_GAP_US;
        let has_outlying_feature = || {
            deviations.iter().enumerate().any(|(feature, deviation)| {
                let values = [before, frame, after].map(|frame| frame.features[feature]);
                deviation.is_some_and(|deviation| is_outlying(values, deviation))
            })
        };
        is_near && (has_outlying_feature() || shows_another_scene([before, frame, after].map(|frame| &frame.layout)))
    };
    frames.windows(3).filter(is_outlier).map(|around| around[1].number).collect()
}

/// Standard deviation of a feature between frames near each other; `None` of too few frames. The lower quartile of the
/// differences estimates it, because outliers are in the upper part of them. With lag 1 this holds up to one outlier in
/// three. If every second frame is one, frames alike are two apart; so lag 2 is estimated too and the smaller one counts.
fn usual_deviation(frames: &[MeasuredFrame], feature: usize) -> Option<f64> {
    let of_lag = |lag: usize| {
        let pairs = frames.windows(lag + 1).map(|run| (&run[0], &run[lag]));
        let near = pairs.filter(|(one, other)| other.at_us - one.at_us <= MAX_GAP_US);
        let mut differences: Vec<f64> =
            near.map(|(one, other)| (one.features[feature] - other.features[feature]).abs()).collect();
        differences.sort_by(f64::total_cmp);
        (differences.len() >= MIN_PAIRS).then(|| differences[differences.len() / 4] / DIFFERENCE_QUARTILE)
    };
    [1, 2].into_iter().filter_map(of_lag).min_by(f64::total_cmp)
}

/// True if a feature is far from its neighbours, by its usual `deviation` and relative to its value, and they agree.
fn is_outlying([before, value, after]: [f64; 3], deviation: f64) -> bool {
    let neighbours = 0.5 * (before + after);
    let distance = (value - neighbours).abs();
    let level = value.max(neighbours).max(THRESHOLDS.min_level);
    (before - after).abs() <= THRESHOLDS.max_neighbour_difference * distance
        && distance >= THRESHOLDS.min_relative * level
        && distance > THRESHOLDS.min_deviations * deviation
}

/// True if the neighbours show one scene and the frame between them another.
fn shows_another_scene([before, layout, after]: [&Layout; 3]) -> bool {
    let neighbours = std::array::from_fn(|area| before[area] + after[area]);
    correlation(before, after) >= THRESHOLDS.min_neighbour_correlation
        && correlation(layout, &neighbours) < THRESHOLDS.max_scene_correlation
}

#[cfg(test)]
mod tests {
    use super::super::usability::tests::scene;
    use super::*;

    const MINUTE: i64 = 60 * 1_000_000;

    fn outliers(count: usize, apart_us: i64, picture: impl Fn(usize) -> Picture) -> Vec<usize> {
        let mut detector = OutlierDetector::default();
        (0..count).for_each(|at| detector.add(0, at as i64 * apart_us, &picture(at)));
        detector.outliers().into_iter().collect()
    }

    /// Clouds: the brightness varies by a twentieth.
    fn cloudy(at: usize) -> Picture {
        scene(1.0 + 0.05 * (at * 7 % 5) as f64 / 4.0, at as u32)
    }

    fn reddened(mut picture: Picture) -> Picture {
        picture.data.iter_mut().skip(1).step_by(3).for_each(|green| *green /= 2);
        picture
    }

    #[test]
    fn a_change_of_one_frame_is_an_outlier() {
        for every in [2, 3, 5, 9] {
            let mixed = |at: usize| if at % every == 1 { reddened(cloudy(at)) } else { cloudy(at) };
            let expected: Vec<usize> = (1..29).filter(|at| at % every == 1).collect();
            let found = outliers(30, MINUTE, mixed);
            // If every second frame is one, either half may be the outliers.
            assert!(if every == 2 { found.len() == 28 } else { found == expected }, "{every}: {found:?}");
        }
        assert!(outliers(30, MINUTE, cloudy).is_empty());
    }

    fn upside_down(mut picture: Picture) -> Picture {
        picture.data.as_chunks_mut::<3>().0.reverse();
        picture
    }

    #[test]
    fn another_layout_is_an_outlier_unless_it_stays() {
        let mixed = |at: usize| if at % 5 == 2 { upside_down(cloudy(at)) } else { cloudy(at) };
        assert_eq!(outliers(20, MINUTE, mixed), [2, 7, 12, 17]);
        assert!(outliers(20, MINUTE, |at| upside_down(cloudy(at))).is_empty());
        assert_eq!(outliers(6, MINUTE, mixed), [2], "few frames suffice");
    }

    #[test]
    fn a_change_that_stays_is_no_outlier() {
        assert!(outliers(30, MINUTE, |at| scene(if at < 15 { 1.0 } else { 0.2 }, at as u32)).is_empty());
        assert!(outliers(40, MINUTE, |at| scene(1.0 - 0.02 * at as f64, at as u32)).is_empty());
        assert!(outliers(30, MINUTE, all_reddened).is_empty());
    }

    fn all_reddened(at: usize) -> Picture {
        reddened(cloudy(at))
    }

    #[test]
    fn frames_hours_apart_are_not_compared() {
        let night = |at: usize| if at % 3 == 1 { scene(0.1, at as u32) } else { cloudy(at) };
        assert!(outliers(30, 60 * MINUTE, night).is_empty());
        assert!(outliers(9, MINUTE, night).is_empty(), "too few");
    }

    #[test]
    fn a_few_grey_pixels_in_the_dark_are_no_outlier() {
        let dark = |at: usize| {
            let mut picture = Picture::filled(160, 120, [1; 3]);
            picture.data[..if at == 15 { 300 } else { 0 }].fill(5);
            picture
        };
        assert!(outliers(30, MINUTE, dark).is_empty());
    }

    #[test]
    fn cameras_are_compared_one_by_one() {
        let mut detector = OutlierDetector::default();
        for at in 0..30 {
            detector.add(at % 2, at as i64 * MINUTE, &if at % 2 == 0 { cloudy(at) } else { all_reddened(at) });
        }
        assert!(detector.outliers().is_empty());
        assert!(OutlierDetector::default().outliers().is_empty());
    }
}
