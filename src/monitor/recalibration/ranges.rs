//! New ranges: what generation 0 saw and what the cameras saw lately, weighed against each other.
//!
//! In: generation 0's histogram of an edge, and those of the frames by stratum of brightness. Out: the range with the
//! least expected error relative to the signal, over generation 0 (half of the weight) and all strata (the other half,
//! evenly), under the one condition that generation 0's own pictures lose next to nothing by it. So a night does not
//! narrow what the morning needs, nor does a bright day drown the night. The error is [`relative_quantization_error`]: it punishes
//! wide ranges as well as clipping.

use std::collections::BTreeMap;

use crate::calibrate::{EdgeStatistics, Histogram, Observer};
use crate::monitor::drift::predicted_error::relative_quantization_error;
use crate::quant::{QuantParams, Range, Scheme};

/// What generation 0's pictures may lose, in dB of expected error.
const LOSS_DB: f64 = 0.3;
/// A gain below this share of the expected error does not justify new quantization parameters.
const WORTH: f64 = 0.05;
/// What the ends of a range are stretched by in search of a better one.
const STRETCHES: [f64; 5] = [0.7, 0.84, 1.0, 1.19, 1.41];

/// The evidence on one edge.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Of generation 0's pictures.
    pub first: Option<Histogram>,
    /// Of the frames, by stratum.
    pub strata: BTreeMap<usize, Histogram>,
}

/// A range and its quantization parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The range.
    pub range: Range,
    /// The quantization parameters that cover it.
    pub qparams: QuantParams,
}

impl Choice {
    /// The quantization parameters that cover `range`.
    pub fn of(range: Range) -> Self {
        Self { range, qparams: QuantParams::covering(range, Scheme::Affine) }
    }

    /// What lies `share` of the way from this one to `other`; itself where they are the same.
    #[must_use]
    pub fn towards(&self, other: &Self, share: f32) -> Self {
        if self == other || share >= 1.0 {
            return *other;
        }
        let between = |from: f32, to: f32| from + share * (to - from);
        let (from, to) = (self.range, other.range);
        Self::of(Range::new(between(from.min, to.min), between(from.max, to.max)))
    }
}

impl Seen {
    /// The expected error of `qparams` over everything, as the module's head says.
    pub fn expected(&self, qparams: &QuantParams) -> f64 {
        let strata = self.strata.values().filter(|histogram| !histogram.is_empty());
        let errors: Vec<f64> = strata.map(|histogram| relative_quantization_error(histogram, qparams)).collect();
        let lately = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        match &self.first {
            Some(first) if errors.is_empty() => relative_quantization_error(first, qparams),
            Some(first) => 0.5 * (relative_quantization_error(first, qparams) + lately),
            None => lately,
        }
    }

    /// The range to take instead of `serving`'s, or `serving`'s own; `original` is generation 0's.
    pub fn choose(&self, observer: Observer, original: Choice, serving: Choice) -> Choice {
        let limit = self
            .first
            .as_ref()
            .map(|first| relative_quantization_error(first, &original.qparams) * 10f64.powf(LOSS_DB / 10.0));
        let bearable = |choice: &Choice| match (&self.first, limit) {
            (Some(first), Some(limit)) => relative_quantization_error(first, &choice.qparams) <= limit,
            _ => true,
        };
        let mut best = if bearable(&serving) { serving } else { original };
        let mut least = self.expected(&best.qparams);
        let worth = least * (1.0 - WORTH);
        let mut ranges = vec![original.range, serving.range];
        let mut mixture = EdgeStatistics::new();
        for histogram in self.first.iter().chain(self.strata.values()) {
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
        let mut consider = |range: Range, best: &mut Choice| {
            let choice = Choice::of(range);
            let expected = self.expected(&choice.qparams);
            if expected < least && expected < worth && bearable(&choice) {
                (*best, least) = (choice, expected);
            }
        };
        for &low in &lows {
            for &high in &highs {
                consider(Range::new(low, high), &mut best);
            }
        }
        let around = best.range;
        for low in STRETCHES {
            for high in STRETCHES {
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

    /// A bell of a width around zero, cut at zero as ReLU does.
    fn relu(width: f32) -> Histogram {
        let mut builder = HistogramBuilder::new();
        let bell = |i: usize| libm::logf(i as f32 / (20_000 - i) as f32) * width;
        builder.observe(&(1..20_000).map(|i| bell(i).max(0.0)).collect::<Vec<_>>()).unwrap();
        builder.finish()
    }

    fn choice_of(histogram: &Histogram) -> Choice {
        let mut seen = EdgeStatistics::new();
        seen.add(histogram);
        Choice::of(Observer::L2.range(&seen, Scheme::Affine))
    }

    #[test]
    fn a_louder_world_widens_and_a_quiet_one_does_not_narrow() {
        let day = relu(1.0);
        let original = choice_of(&day);
        let louder = Seen { first: Some(day.clone()), strata: BTreeMap::from([(3, relu(1.6))]) };
        let wide = louder.choose(Observer::L2, original, original);
        assert!(wide.range.max > original.range.max, "{wide:?} {original:?}");
        assert!(louder.expected(&wide.qparams) < 0.9 * louder.expected(&original.qparams));

        let night = Seen { first: Some(day.clone()), strata: BTreeMap::from([(0, relu(0.05))]) };
        let narrow = night.choose(Observer::L2, original, original);
        let loss =
            relative_quantization_error(&day, &narrow.qparams) / relative_quantization_error(&day, &original.qparams);
        assert!(10.0 * loss.log10() <= LOSS_DB + 1e-9, "{loss}");
    }

    #[test]
    fn the_same_world_changes_nothing() {
        let day = relu(1.0);
        let serving = choice_of(&day);
        let same = Seen { first: Some(day.clone()), strata: BTreeMap::from([(3, relu(1.0)), (4, relu(1.0))]) };
        assert_eq!(same.choose(Observer::L2, serving, serving), serving);
    }

    #[test]
    fn half_of_the_way_lies_in_the_middle() {
        let [from, to] = [Range::new(-1.0, 2.0), Range::new(-1.0, 6.0)].map(Choice::of);
        assert_eq!(from.towards(&to, 0.5).range, Range::new(-1.0, 4.0));
        assert_eq!([from.towards(&to, 1.0), to.towards(&to, 0.5)], [to, to]);
    }

    #[test]
    fn serving_parameters_that_generation_0_does_not_tolerate_are_kept_out() {
        let day = relu(1.0);
        let original = choice_of(&day);
        let ruined = Choice::of(Range::new(0.0, 900.0));
        let seen = Seen { first: Some(day), strata: BTreeMap::new() };
        let chosen = seen.choose(Observer::L2, original, ruined);
        assert!(chosen.range.max <= original.range.max * 1.5, "{chosen:?}");
    }
}
