//! Observers: choose the quantization range of an edge from its histogram.
//!
//! In: the [`EdgeStatistics`] of an edge. Out: a [`Range`] that contains zero and is never wider than the observed
//! range. All observers but the moving average read only the merged histogram, so their result does not depend on the
//! order of the pictures. Formulas and sources are in the modules of the observers.

mod entropy;
mod l2;
mod min_max;
mod mse;
mod percentile;

use std::fmt;
use std::str::FromStr;

use crate::calibrate::histogram::Histogram;
use crate::error::{Error, Kind, Result};
use crate::quant::{Range, Scheme};

pub use mse::quantization_mse;

/// Statistics of one edge over a set of pictures.
#[derive(Debug, Clone, Default)]
pub struct EdgeStatistics {
    merged: Histogram,
    extremes: Vec<Range>,
}

impl EdgeStatistics {
    /// Statistics of no picture.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the histogram of one picture. The moving average follows the order of these calls: sort pictures by name.
    pub fn add(&mut self, picture: &Histogram) {
        if picture.is_empty() {
            return;
        }
        self.merged.merge(picture);
        self.extremes.push(min_max::min_max(picture));
    }

    /// Histogram of all pictures together.
    pub fn merged(&self) -> &Histogram {
        &self.merged
    }

    /// Range of each picture, in the order they were added.
    pub fn extremes(&self) -> &[Range] {
        &self.extremes
    }
}

/// Rule that chooses the quantization range of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Observer {
    /// Smallest and largest observed value.
    MinMax,
    /// Moving average of the extremes of single pictures, with weight 0.01 for each next picture.
    MovingAverage,
    /// Omits at most (100 − p) % of the values at either end.
    Percentile(f64),
    /// Least Kullback–Leibler divergence of the 256 levels from the values.
    Entropy,
    /// PyTorch's `HistogramObserver`: narrows both ends as long as the L2 error of 256 cells falls.
    L2,
    /// Least mean squared error of the quantization itself. Where channels are equalized, this is nearly the range with
    /// the least error of what reads the edge: weights for the channels gain 0.02 dB more.
    #[default]
    Mse,
}

/// Percentage of the percentile observer where none is given.
const DEFAULT_PERCENTILE: f64 = 99.99;

impl Observer {
    /// Names that [`FromStr`] accepts, the percentile without its number.
    pub const NAMES: [&'static str; 6] = ["min-max", "moving-average", "percentile", "entropy", "l2", "mse"];

    /// The range of an edge with these `statistics`, to be quantized under `scheme`; \[0, 0\] without values.
    pub fn range(&self, statistics: &EdgeStatistics, scheme: Scheme) -> Range {
        let merged = statistics.merged();
        if merged.is_empty() {
            return Range::new(0.0, 0.0);
        }
        let observed = min_max::min_max(merged);
        let chosen = match *self {
            Self::MinMax => observed,
            Self::MovingAverage => min_max::moving_average(statistics.extremes()),
            Self::Percentile(p) => percentile::range(merged, p),
            Self::Entropy => entropy::range(merged),
            Self::L2 => l2::range(merged),
            Self::Mse => mse::range(merged, scheme),
        };
        // The outermost bins reach a little beyond the values in them.
        Range::new(chosen.min.max(observed.min), chosen.max.min(observed.max))
    }
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinMax => "min-max",
            Self::MovingAverage => "moving-average",
            Self::Percentile(p) => return write!(f, "percentile:{p}"),
            Self::Entropy => "entropy",
            Self::L2 => "l2",
            Self::Mse => "mse",
        })
    }
}

impl FromStr for Observer {
    type Err = Error;

    /// Parses a name of [`Observer::NAMES`]; `percentile` may be followed by `:` and a number in (50, 100].
    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        match (name, number) {
            ("min-max", None) => Ok(Self::MinMax),
            ("moving-average", None) => Ok(Self::MovingAverage),
            ("percentile", None) => Ok(Self::Percentile(DEFAULT_PERCENTILE)),
            ("percentile", Some(number)) => match number.parse() {
                Ok(p) if p > 50.0 && p <= 100.0 => Ok(Self::Percentile(p)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::HistogramBuilder;
    use proptest::prelude::*;

    fn statistics(pictures: &[Vec<f32>]) -> EdgeStatistics {
        let mut edge = EdgeStatistics::new();
        for values in pictures {
            let mut builder = HistogramBuilder::new();
            builder.observe(values).unwrap();
            edge.add(&builder.finish());
        }
        edge
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
    fn names_are_parsed_back() {
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
    fn an_edge_without_values_has_an_empty_range() {
        for observer in ALL {
            assert_eq!(observer.range(&EdgeStatistics::new(), Scheme::Affine), Range::new(0.0, 0.0));
            assert_eq!(observer.range(&statistics(&[vec![0.0; 9]]), Scheme::Affine), Range::new(0.0, 0.0));
        }
    }

    #[test]
    fn the_moving_average_starts_at_the_first_picture() {
        let edge = statistics(&[vec![0.0, 1.0], vec![-1.0, 3.0]]);
        let range = Observer::MovingAverage.range(&edge, Scheme::Affine);
        assert!((range.min + 0.01).abs() < 1e-7 && (range.max - 1.02).abs() < 1e-6, "{range:?}");
    }

    #[test]
    fn a_percentile_omits_the_allowed_share() {
        let values: Vec<f32> = (0..1000).map(|i| if i < 999 { i as f32 / 1000.0 } else { 100.0 }).collect();
        let edge = statistics(&[values]);
        assert_eq!(Observer::Percentile(100.0).range(&edge, Scheme::Affine).max, 100.0);
        let range = Observer::Percentile(99.85).range(&edge, Scheme::Affine);
        assert!((0.998..1.1).contains(&range.max), "{range:?}");
    }

    #[test]
    fn searches_clip_a_single_outlier() {
        let mut values: Vec<f32> = (0..200_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        values.push(6.0);
        let edge = statistics(&[values]);
        // The squared error of one distant value still counts, so the search by MSE clips less.
        for (observer, most) in [(Observer::Entropy, 2.0), (Observer::L2, 2.0), (Observer::Mse, 5.0)] {
            let range = observer.range(&edge, Scheme::Affine);
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
            let edge = statistics(&pictures);
            let mut reversed = pictures.clone();
            reversed.reverse();
            let reversed = statistics(&reversed);
            let joined = statistics(&[pictures.concat()]);
            for observer in ALL {
                for &scheme in Scheme::ALL {
                    let range = observer.range(&edge, scheme);
                    prop_assert!(range.min <= 0.0 && range.max >= 0.0);
                    prop_assert!(signed || range.min == 0.0);
                    prop_assert!(range.min >= edge.merged().min().min(0.0) && range.max <= edge.merged().max().max(0.0));
                    if observer != Observer::MovingAverage {
                        prop_assert_eq!(range, observer.range(&reversed, scheme));
                        prop_assert_eq!(range, observer.range(&joined, scheme));
                    }
                }
            }
        }
    }
}
