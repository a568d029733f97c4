//! Which input channels should be neighbours.
//!
//! A filter's scale has to grow where two heavy weights of one sign meet in a pair. Channels of an edge may be stored
//! in any order as long as its producer and all its consumers agree, and then heavy weights can be paired with light
//! or opposite ones. In: the filter banks of every consumer of an edge. Out: an order of its channels with which less
//! precision is lost. The search is a fixed sequence of swaps, so the same weights always give the same order.

use super::weights::FilterBank;

/// Swaps tried per channel; beyond, hardly any is still accepted.
const TRIES: usize = 64;

/// An order of the input channels that all `banks` share: position k is to hold channel `order[k]`. Where nothing can
/// be gained (an odd number of channels, or fewer than four) it is the order there is.
pub fn pair_order(banks: &[FilterBank]) -> Vec<usize> {
    let channels = banks.first().map_or(0, |bank| bank.channels);
    if channels < 4 || channels % 2 == 1 || banks.iter().any(|bank| bank.channels != channels) {
        return (0..channels).collect();
    }
    let mut search = Search::new(banks, channels);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..TRIES * channels {
        let filter = random.below(search.filters.len());
        let worst = search.filters[filter].top[0];
        let other = random.below(channels / 2);
        // Where no pair of the filter is too heavy there is nothing to gain; but the sequence goes on.
        let cross = random.below(2);
        if worst.0 > 1.0 && worst.1 != other {
            search.try_swap(worst.1, other, cross);
        }
    }
    search.pairs.into_iter().flatten().collect()
}

/// Per channel, every weight divided by the largest that its filter's pairs may sum to without widening the step.
struct Columns {
    values: Vec<Vec<f32>>,
    /// First value and number of taps of every filter.
    spans: Vec<(usize, usize)>,
}

impl Columns {
    fn new(banks: &[FilterBank], channels: usize) -> Self {
        let mut values = vec![Vec::new(); channels];
        let mut spans = Vec::new();
        for bank in banks {
            for filter in bank.values.chunks(bank.depth()) {
                let largest = filter.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
                let factor = if largest > 0.0 { 127.0 / (128.0 * largest) } else { 0.0 };
                spans.push((values[0].len(), filter.len() / channels));
                for tap in filter.chunks(channels) {
                    values.iter_mut().zip(tap).for_each(|(column, w)| column.push(w * factor));
                }
            }
        }
        Self { values, spans }
    }

    /// By how much the pair of two channels would widen each filter's step.
    fn ratios(&self, a: usize, b: usize, out: &mut [f32]) {
        let (a, b) = (&self.values[a], &self.values[b]);
        for (ratio, &(start, taps)) in out.iter_mut().zip(&self.spans) {
            let sums = a[start..][..taps].iter().zip(&b[start..][..taps]);
            *ratio = sums.fold(0.0f32, |heaviest, (a, b)| heaviest.max((a + b).abs()));
        }
    }
}

/// The heaviest pairs of a filter, and what it weighs in the cost.
#[derive(Clone, Copy)]
struct Filter {
    /// Ratio and pair, heaviest first: three, so that two can be taken out.
    top: [(f32, usize); 3],
    weight: f32,
}

impl Filter {
    /// The heaviest ratio among all pairs but two.
    fn without(&self, a: usize, b: usize) -> f32 {
        self.top.iter().find(|(_, pair)| *pair != a && *pair != b).map_or(0.0, |(ratio, _)| *ratio)
    }

    /// Error power of the filter's weights relative to a step that no pair widens.
    fn cost(&self, ratio: f32) -> f32 {
        self.weight * ratio.max(1.0) * ratio.max(1.0)
    }
}

struct Search {
    columns: Columns,
    pairs: Vec<[usize; 2]>,
    /// Ratios of every pair, a row each.
    ratios: Vec<Vec<f32>>,
    filters: Vec<Filter>,
    scratch: [Vec<f32>; 2],
}

impl Search {
    fn new(banks: &[FilterBank], channels: usize) -> Self {
        let columns = Columns::new(banks, channels);
        let pairs: Vec<[usize; 2]> = (0..channels / 2).map(|pair| [2 * pair, 2 * pair + 1]).collect();
        let count = columns.spans.len();
        let ratios = pairs.iter().map(|&[a, b]| {
            let mut row = vec![0.0; count];
            columns.ratios(a, b, &mut row);
            row
        });
        let ratios = ratios.collect();
        // Every bank counts alike, however many filters it has.
        let weights = banks.iter().flat_map(|bank| std::iter::repeat_n(1.0 / bank.out as f32, bank.out));
        let filters = weights.map(|weight| Filter { top: [(0.0, usize::MAX); 3], weight }).collect();
        let scratch = [vec![0.0; count], vec![0.0; count]];
        let mut search = Self { columns, pairs, ratios, filters, scratch };
        search.rank(|_| true);
        search
    }

    /// Finds the heaviest pairs again, of the filters that `stale` says.
    fn rank(&mut self, stale: impl Fn(&Filter) -> bool) {
        for (at, filter) in self.filters.iter_mut().enumerate() {
            if !stale(filter) {
                continue;
            }
            let mut top = [(-1.0f32, usize::MAX); 3];
            for (pair, row) in self.ratios.iter().enumerate() {
                if row[at] > top[2].0 {
                    top[2] = (row[at], pair);
                    top.sort_by(|a, b| b.0.total_cmp(&a.0));
                }
            }
            filter.top = top;
        }
    }

    /// Exchanges one channel of pair `a` for one of pair `b`, if that costs less.
    fn try_swap(&mut self, a: usize, b: usize, cross: usize) {
        let ([a0, a1], [b0, b1]) = (self.pairs[a], self.pairs[b]);
        let (first, second) = if cross == 0 { ([a0, b0], [a1, b1]) } else { ([a0, b1], [a1, b0]) };
        let [one, two] = &mut self.scratch;
        self.columns.ratios(first[0], first[1], one);
        self.columns.ratios(second[0], second[1], two);
        let mut gain = 0.0f32;
        for (filter, (one, two)) in self.filters.iter().zip(one.iter().zip(two.iter())) {
            let rest = filter.without(a, b);
            gain += filter.cost(filter.top[0].0) - filter.cost(rest.max(*one).max(*two));
        }
        if gain <= 0.0 {
            return;
        }
        (self.pairs[a], self.pairs[b]) = (first, second);
        for (at, filter) in self.filters.iter_mut().enumerate() {
            let touched = filter.top.iter().any(|(_, pair)| *pair == a || *pair == b);
            if touched || one[at].max(two[at]) > filter.top[2].0 {
                // Marked for ranking.
                filter.top[0].1 = usize::MAX;
            }
        }
        std::mem::swap(&mut self.ratios[a], one);
        std::mem::swap(&mut self.ratios[b], two);
        self.rank(|filter| filter.top[0].1 == usize::MAX);
    }
}

/// xorshift64*: any sequence serves, as long as it is always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * bound as u64) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::{Granularity, ScaleRule};

    fn reordered(bank: &FilterBank, order: &[usize]) -> Vec<f32> {
        bank.values.chunks(bank.channels).flat_map(|tap| order.iter().map(|&channel| tap[channel])).collect()
    }

    #[test]
    fn heavy_neighbours_are_parted() {
        // The pair (0, 1) doubles the step; any other partner is light.
        let values = [1.0, 1.0, 0.1, -0.1, 0.05, 0.0];
        let bank = FilterBank { values: &values, out: 1, channels: 6 };
        let order = pair_order(&[bank]);
        let values = reordered(&bank, &order);
        let bank = FilterBank { values: &values, out: 1, channels: 6 };
        let scale = bank.quantize(ScaleRule::PairMaximum, Granularity::PerChannel, &[]).unwrap().scales[0];
        assert!(scale < 1.15 / 127.0, "{scale} {order:?}");
    }

    #[test]
    fn it_is_an_order_of_all_channels_and_always_the_same() {
        let values: Vec<f32> = (0..8 * 9 * 32).map(|i| ((i * 7919 % 1013) as f32 / 506.0 - 1.0).powi(3)).collect();
        let bank = FilterBank { values: &values, out: 8, channels: 32 };
        let order = pair_order(&[bank, bank]);
        assert_eq!(order, pair_order(&[bank, bank]));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..32));
        let scales = |values: &[f32]| {
            let bank = FilterBank { values, out: 8, channels: 32 };
            bank.quantize(ScaleRule::PairMaximum, Granularity::PerChannel, &[]).unwrap().scales.iter().sum::<f32>()
        };
        assert!(scales(&reordered(&bank, &order)) < scales(&values));
    }

    #[test]
    fn odd_channels_stay_as_they_are() {
        let bank = FilterBank { values: &[1.0; 3 * 49], out: 1, channels: 3 };
        assert_eq!(pair_order(&[bank]), [0, 1, 2]);
        assert!(pair_order(&[]).is_empty());
    }
}
