//! Which part of what an edge was seen to hold the 256 levels shall cover.
//!
//! In: the [`EdgeStatistics`] of an edge. Out: a [`Range`], always with zero in it and never wider than what was seen.
//! Every observer but the moving average looks at the merged histogram only and so cannot depend on any order.

mod entropy;
mod l2;
mod mse;

use std::fmt;
use std::str::FromStr;

use crate::calibrate::histogram::Histogram;
use crate::error::{Error, Kind, Result};
use crate::quant::{Range, Scheme};

pub use mse::quantization_mse;

/// Everything observers look at: one edge over a set of pictures.
#[derive(Debug, Clone, Default)]
pub struct EdgeStatistics {
    merged: Histogram,
    extremes: Vec<Range>,
}

impl EdgeStatistics {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one picture. The moving average follows the order of these calls: sort the pictures by name.
    pub fn add(&mut self, picture: &Histogram) {
        if picture.is_empty() {
            return;
        }
        self.merged.merge(picture);
        self.extremes.push(Range::new(picture.min(), picture.max()));
    }

    /// All pictures together.
    pub fn merged(&self) -> &Histogram {
        &self.merged
    }

    /// The range of every picture, in the order they were added.
    pub fn extremes(&self) -> &[Range] {
        &self.extremes
    }
}

/// A way to choose a range.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Observer {
    /// Everything seen.
    MinMax,
    /// The extremes of each picture, averaged as PyTorch does: the first picture's, then each next one's with weight
    /// 0.01.
    MovingAverage,
    /// Leaves out at most (100 − p) % of the values at either end.
    Percentile(f64),
    /// Least Kullback–Leibler divergence between the values and their 256 levels.
    Entropy,
    /// PyTorch's histogram observer: quantiles drawn in from both ends as long as the L2 error of 256 cells falls.
    #[default]
    L2,
    /// Least squared error of the very grid that will be used.
    Mse,
}

/// Share of the values kept at each end where the percentile observer is given without a number.
const DEFAULT_PERCENTILE: f64 = 99.99;

impl Observer {
    /// The names that [`FromStr`] takes, the percentile without its number.
    pub const NAMES: [&'static str; 6] = ["min-max", "moving-average", "percentile", "entropy", "l2", "mse"];

    /// The range for `seen`, to be laid out under `scheme`. Without any value it is empty at zero.
    pub fn range(&self, seen: &EdgeStatistics, scheme: Scheme) -> Range {
        let merged = seen.merged();
        if merged.is_empty() {
            return Range::new(0.0, 0.0);
        }
        let all = Range::new(merged.min(), merged.max());
        let chosen = match *self {
            Self::MinMax => all,
            Self::MovingAverage => moving_average(seen.extremes()),
            Self::Percentile(share) => percentile(merged, share),
            Self::Entropy => entropy::range(merged),
            Self::L2 => l2::range(merged),
            Self::Mse => mse::range(merged, scheme),
        };
        // Bins end a little beyond the values in them.
        Range::new(chosen.min.max(all.min), chosen.max.min(all.max))
    }
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinMax => "min-max",
            Self::MovingAverage => "moving-average",
            Self::Percentile(share) => return write!(f, "percentile:{share}"),
            Self::Entropy => "entropy",
            Self::L2 => "l2",
            Self::Mse => "mse",
        })
    }
}

impl FromStr for Observer {
    type Err = Error;

    /// A name of [`Observer::NAMES`]; `percentile` may be followed by `:` and a number in (50, 100].
    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        match (name, number) {
            ("min-max", None) => Ok(Self::MinMax),
            ("moving-average", None) => Ok(Self::MovingAverage),
            ("percentile", None) => Ok(Self::Percentile(DEFAULT_PERCENTILE)),
            ("percentile", Some(number)) => match number.parse() {
                Ok(share) if share > 50.0 && share <= 100.0 => Ok(Self::Percentile(share)),
                _ => {
                    Err(Error::new(Kind::Usage, format!("percentile `{number}` is not a number above 50, at most 100")))
                }
            },
            ("entropy", None) => Ok(Self::Entropy),
            ("l2", None) => Ok(Self::L2),
            ("mse", None) => Ok(Self::Mse),
            _ => Err(Error::new(
                Kind::Usage,
                format!(
                    "there is no observer `{text}`: choose one of {} (percentile:99.9 sets the percentage)",
                    Self::NAMES.join(", ")
                ),
            )),
        }
    }
}

fn moving_average(pictures: &[Range]) -> Range {
    const WEIGHT: f64 = 0.01;
    let mut pictures = pictures.iter().map(|range| (f64::from(range.min), f64::from(range.max)));
    let first = pictures.next().unwrap_or((0.0, 0.0));
    let (min, max) =
        pictures.fold(first, |(low, high), (min, max)| (low + WEIGHT * (min - low), high + WEIGHT * (max - high)));
    Range::new(min as f32, max as f32)
}

/// The tightest range on bin edges with at most (100 − `share`) % of the values above it, and as many below.
fn percentile(histogram: &Histogram, share: f64) -> Range {
    let allowed = histogram.total() as f64 * ((100.0 - share) / 100.0);
    let bins: Vec<(i64, u64)> = histogram.bins().collect();
    let low = first_beyond(bins.iter(), allowed);
    let high = first_beyond(bins.iter().rev(), allowed);
    let binning = histogram.binning();
    Range::new(binning.lower(low) as f32, binning.lower(high + 1) as f32)
}

/// The first bin with which more than `allowed` values were passed.
fn first_beyond<'a>(mut bins: impl Iterator<Item = &'a (i64, u64)>, allowed: f64) -> i64 {
    let mut passed = 0.0;
    let found = bins.find(|(_, count)| {
        passed += *count as f64;
        passed > allowed
    });
    found.map_or(0, |(index, _)| *index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::HistogramBuilder;
    use proptest::prelude::*;

    fn statistics(pictures: &[Vec<f32>]) -> EdgeStatistics {
        let mut seen = EdgeStatistics::new();
        for values in pictures {
            let mut builder = HistogramBuilder::new();
            builder.observe(values).unwrap();
            seen.add(&builder.finish());
        }
        seen
    }

    const ALL: [Observer; 6] = [
        Observer::MinMax,
        Observer::MovingAverage,
        Observer::Percentile(99.9),
        Observer::Entropy,
        Observer::L2,
        Observer::Mse,
    ];

    #[test]
    fn names_lead_to_observers_and_back() {
        for observer in ALL {
            assert_eq!(observer.to_string().parse::<Observer>().unwrap(), observer);
        }
        for name in Observer::NAMES {
            assert!(name.parse::<Observer>().unwrap().to_string().starts_with(name));
        }
        let message = "histogram".parse::<Observer>().unwrap_err().to_string();
        assert!(Observer::NAMES.iter().all(|name| message.contains(name)), "{message}");
        assert!("percentile:101".parse::<Observer>().is_err() && "l2:3".parse::<Observer>().is_err());
    }

    #[test]
    fn an_edge_that_was_never_written_has_an_empty_range() {
        for observer in ALL {
            assert_eq!(observer.range(&EdgeStatistics::new(), Scheme::Affine), Range::new(0.0, 0.0));
            assert_eq!(observer.range(&statistics(&[vec![0.0; 9]]), Scheme::Affine), Range::new(0.0, 0.0));
        }
    }

    #[test]
    fn the_moving_average_starts_at_the_first_picture() {
        let seen = statistics(&[vec![0.0, 1.0], vec![-1.0, 3.0]]);
        let range = Observer::MovingAverage.range(&seen, Scheme::Affine);
        assert!((range.min + 0.01).abs() < 1e-7 && (range.max - 1.02).abs() < 1e-6, "{range:?}");
    }

    #[test]
    fn a_percentile_leaves_out_what_it_may() {
        let values: Vec<f32> = (0..1000).map(|i| if i < 999 { i as f32 / 1000.0 } else { 100.0 }).collect();
        let seen = statistics(&[values]);
        assert_eq!(Observer::Percentile(100.0).range(&seen, Scheme::Affine).max, 100.0);
        let range = Observer::Percentile(99.85).range(&seen, Scheme::Affine);
        assert!((0.998..1.1).contains(&range.max), "{range:?}");
    }

    #[test]
    fn searches_cut_a_lonely_outlier() {
        let mut values: Vec<f32> = (0..200_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        values.push(6.0);
        let seen = statistics(&[values]);
        // The squared error of one value far outside still counts, so that search cuts less.
        for (observer, most) in [(Observer::Entropy, 2.0), (Observer::L2, 2.0), (Observer::Mse, 5.0)] {
            let range = observer.range(&seen, Scheme::Affine);
            assert!((0.9..most).contains(&range.max), "{observer}: {range:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_observer_depends_on_order_or_batches(
            mut pictures in prop::collection::vec(prop::collection::vec(-4.0f32..9.0, 1..60), 1..6),
            signed: bool,
        ) {
            if !signed {
                pictures.iter_mut().flatten().for_each(|x| *x = x.max(0.0));
            }
            let seen = statistics(&pictures);
            let mut turned = pictures.clone();
            turned.reverse();
            let turned = statistics(&turned);
            let joined = statistics(&[pictures.concat()]);
            for observer in ALL {
                for &scheme in Scheme::ALL {
                    let range = observer.range(&seen, scheme);
                    prop_assert!(range.min <= 0.0 && range.max >= 0.0);
                    prop_assert!(signed || range.min == 0.0);
                    prop_assert!(range.min >= seen.merged().min().min(0.0) && range.max <= seen.merged().max().max(0.0));
                    if observer != Observer::MovingAverage {
                        prop_assert_eq!(range, observer.range(&turned, scheme));
                        prop_assert_eq!(range, observer.range(&joined, scheme));
                    }
                }
            }
        }
    }
}
