//! Range choice: the range of an edge for generation 0's values and the recent ones together.
//!
//! In: generation 0's histogram of an edge, and those of the recent frames by stratum. Out: the range with the lowest
//! expected error relative to the signal. Generation 0 has half of the weight, the strata the other half, evenly. A range
//! by which generation 0's own pictures lose more than `max_initial_loss_db` is not taken. So a night does not narrow what
//! the morning needs, and a bright day does not outweigh the night. The error is [`relative_quantization_error`]: it grows with wide
//! ranges as well as with clipping.

use std::collections::BTreeMap;

use crate::calibrate::{EdgeStatistics, Histogram, Observer};
use crate::monitor::drift::predicted_error::relative_quantization_error;
use crate::quant::{QuantParams, Range, Scheme};

/// Limits of the search for a range.
struct RangeLimits {
    /// Most that generation 0's pictures may lose, in dB of expected error.
    max_initial_loss_db: f64,
    /// Least gain that is worth a new range, as a share of the expected error.
    min_gain: f64,
    /// Factors by which the ends of the best range are stretched in search of a better one.
    stretches: [f64; 5],
}

const LIMITS: RangeLimits =
    RangeLimits { max_initial_loss_db: 0.3, min_gain: 0.05, stretches: [0.7, 0.84, 1.0, 1.19, 1.41] };

/// Histograms of the values of one edge.
#[derive(Debug, Clone, Default)]
pub struct EdgeHistograms {
    /// On generation 0's pictures.
    pub initial: Option<Histogram>,
    /// On the recent frames, by stratum.
    pub strata: BTreeMap<usize, Histogram>,
}

/// A range and the quantization parameters that cover it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeChoice {
    /// The range.
    pub range: Range,
    /// The quantization parameters.
    pub qparams: QuantParams,
}

impl RangeChoice {
    /// The choice of `range`, for values of one or two bytes.
    pub fn of(range: Range, two_bytes: bool) -> Self {
        Self { range, qparams: QuantParams::covering(range, Scheme::Affine).with_two_bytes(two_bytes) }
    }

    /// The choice `share` of the way from this one to `other`; unchanged where they are the same.
    #[must_use]
    pub fn towards(&self, other: &Self, share: f32) -> Self {
        if self == other || share >= 1.0 {
            return *other;
        }
        let between = |from: f32, to: f32| from + share * (to - from);
        let (from, to) = (self.range, other.range);
        Self::of(Range::new(between(from.min, to.min), between(from.max, to.max)), self.qparams.two_bytes)
    }
}

impl EdgeHistograms {
    /// Expected relative error of `qparams`, weighted as the module's documentation says.
    pub fn expected(&self, qparams: &QuantParams) -> f64 {
        let strata = self.strata.values().filter(|histogram| !histogram.is_empty());
        let errors: Vec<f64> = strata.map(|histogram| relative_quantization_error(histogram, qparams)).collect();
        let recent = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        match &self.initial {
            Some(initial) if errors.is_empty() => relative_quantization_error(initial, qparams),
            Some(initial) => 0.5 * (relative_quantization_error(initial, qparams) + recent),
            None => recent,
        }
    }

    /// Chooses a range instead of `serving`'s, or `serving`'s own; `initial` is generation 0's.
    pub fn choose(&self, observer: Observer, initial: RangeChoice, serving: RangeChoice) -> RangeChoice {
        let max_loss = 10f64.powf(LIMITS.max_initial_loss_db / 10.0);
        let limit =
            self.initial.as_ref().map(|values| relative_quantization_error(values, &initial.qparams) * max_loss);
        let tolerable = |choice: &RangeChoice| match (&self.initial, limit) {
            (Some(values), Some(limit)) => relative_quantization_error(values, &choice.qparams) <= limit,
            _ => true,
        };
        // A serving range that generation 0's pictures do not tolerate is no starting point.
        let mut best = if tolerable(&serving) { serving } else { initial };
        let mut least = self.expected(&best.qparams);
        let worth = least * (1.0 - LIMITS.min_gain);
        // Two bytes have levels enough for all values: nothing need be clipped.
        let two_bytes = initial.qparams.two_bytes;
        let observer = if two_bytes { Observer::MinMax } else { observer };
        // The ends of every range that some of the values alone would have: the best range lies between them.
        let mut ranges = vec![initial.range, serving.range];
        let mut mixture = EdgeStatistics::new();
        for histogram in self.initial.iter().chain(self.strata.values()) {
            let mut alone = EdgeStatistics::new();
            alone.add(histogram);
            ranges.push(observer.range(&alone, Scheme::Affine));
            mixture.add(histogram);
        }
        ranges.push(observer.range(&mixture, Scheme::Affine));
        let ends = |pick: fn(&Range) -> f32| {
            let mut ends: Vec<f32> = ranges.iter().map(pick).collect();
            ends.sort_by(f32::total_cmp);
            ends.dedup();
            ends
        };
        let (lows, highs) = (ends(|range| range.min), ends(|range| range.max));
        let mut consider = |range: Range, best: &mut RangeChoice| {
            let choice = RangeChoice::of(range, two_bytes);
            let expected = self.expected(&choice.qparams);
            if expected < least && expected < worth && tolerable(&choice) {
                (*best, least) = (choice, expected);
            }
        };
        for &low in &lows {
            for &high in &highs {
                consider(Range::new(low, high), &mut best);
            }
        }
        // No observer weighs the values as `expected` does, so the optimum may lie slightly off their ends.
        let around = best.range;
        for low in LIMITS.stretches {
            for high in LIMITS.stretches {
                let stretched = |end: f32, factor: f64| (f64::from(end) * factor) as f32;
                consider(Range::new(stretched(around.min, low), stretched(around.max, high)), &mut best);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::HistogramBuilder;

    /// Bell-shaped values of a width around zero, cut at zero as ReLU does.
    fn relu(width: f32) -> Histogram {
        let mut builder = HistogramBuilder::new();
        let bell = |i: usize| libm::logf(i as f32 / (20_000 - i) as f32) * width;
        builder.observe(&(1..20_000).map(|i| bell(i).max(0.0)).collect::<Vec<_>>()).unwrap();
        builder.finish()
    }

    fn choice_of(histogram: &Histogram) -> RangeChoice {
        let mut seen = EdgeStatistics::new();
        seen.add(histogram);
        RangeChoice::of(Observer::L2.range(&seen, Scheme::Affine), false)
    }

    #[test]
    fn a_louder_world_widens_and_a_quiet_one_does_not_narrow() {
        let day = relu(1.0);
        let original = choice_of(&day);
        let louder = EdgeHistograms { initial: Some(day.clone()), strata: BTreeMap::from([(3, relu(1.6))]) };
        let wide = louder.choose(Observer::L2, original, original);
        assert!(wide.range.max > original.range.max, "{wide:?} {original:?}");
        assert!(louder.expected(&wide.qparams) < 0.9 * louder.expected(&original.qparams));

        let night = EdgeHistograms { initial: Some(day.clone()), strata: BTreeMap::from([(0, relu(0.05))]) };
        let narrow = night.choose(Observer::L2, original, original);
        let loss =
            relative_quantization_error(&day, &narrow.qparams) / relative_quantization_error(&day, &original.qparams);
        assert!(10.0 * loss.log10() <= LIMITS.max_initial_loss_db + 1e-9, "{loss}");
    }

    #[test]
    fn the_same_world_changes_nothing() {
        let day = relu(1.0);
        let serving = choice_of(&day);
        let same =
            EdgeHistograms { initial: Some(day.clone()), strata: BTreeMap::from([(3, relu(1.0)), (4, relu(1.0))]) };
        assert_eq!(same.choose(Observer::L2, serving, serving), serving);
    }

    #[test]
    fn half_of_the_way_is_the_middle() {
        let [from, to] = [Range::new(-1.0, 2.0), Range::new(-1.0, 6.0)].map(|range| RangeChoice::of(range, false));
        assert_eq!(from.towards(&to, 0.5).range, Range::new(-1.0, 4.0));
        assert_eq!([from.towards(&to, 1.0), to.towards(&to, 0.5)], [to, to]);
    }

    #[test]
    fn a_serving_grid_that_generation_0_does_not_tolerate_is_left() {
        let day = relu(1.0);
        let original = choice_of(&day);
        let ruined = RangeChoice::of(Range::new(0.0, 900.0), false);
        let seen = EdgeHistograms { initial: Some(day), strata: BTreeMap::new() };
        let chosen = seen.choose(Observer::L2, original, ruined);
        assert!(chosen.range.max <= original.range.max * 1.5, "{chosen:?}");
    }
}
