//! Choice of calibration pictures by what they show (`quantize --choose`).
//!
//! In: the histograms of every picture of a folder. Out: the few pictures whose values together are distributed most like
//! those of all pictures. They are found one after the other: each time the picture that brings the mixture closest.
//!
//! Quantization errors count relative to the power of an edge, so distributions are compared by power. The bins of an
//! edge are divided into cells with equal shares of the power of all pictures. The distance of a mixture is Σ |p − q| over
//! all cells of all edges. p is the power of the mixture in a cell and q that of all pictures, both relative to the power
//! of all.

use rayon::prelude::*;

use super::histogram::Histogram;
use super::observer::EdgeStatistics;
use super::record::CalibrationRecord;
use crate::error::Result;

/// Cells of an edge.
const CELLS: usize = 64;

/// Names of the `count` pictures among `names` that together are most like all of `names`, in the order of the names.
///
/// # Errors
/// As [`CalibrationRecord::histograms`].
pub fn choose(record: &CalibrationRecord, names: &[&str], count: usize) -> Result<Vec<String>> {
    if count >= names.len() {
        return Ok(names.iter().map(|name| (*name).to_owned()).collect());
    }
    let all = record.statistics(|name| names.contains(&name))?;
    let cells: Vec<Cells> = all.iter().map(Cells::of).collect();
    let powers = names.iter().map(|name| {
        let histograms = record.histograms(name)?;
        Ok(cells.iter().zip(&histograms).flat_map(|(cells, histogram)| cells.powers(histogram)).collect())
    });
    let powers: Vec<Vec<f32>> = powers.collect::<Result<_>>()?;
    let target: Vec<f32> = cells.iter().zip(&all).flat_map(|(cells, all)| cells.powers(all.merged())).collect();
    let mut chosen = nearest_mixture(&powers, &target, count);
    chosen.sort_by_key(|&at| names[at]);
    Ok(chosen.into_iter().map(|at| names[at].to_owned()).collect())
}

/// Indices of the `count` rows whose mean is nearest to `target`, each the best to add to those before.
fn nearest_mixture(rows: &[Vec<f32>], target: &[f32], count: usize) -> Vec<usize> {
    let mut sum = vec![0.0f32; target.len()];
    let mut left: Vec<usize> = (0..rows.len()).collect();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count && !left.is_empty() {
        let share = 1.0 / (chosen.len() + 1) as f32;
        let distance = |&at: &usize| -> f64 {
            let cells = sum.iter().zip(&rows[at]).zip(target);
            cells.map(|((sum, power), target)| f64::from(((sum + power) * share - target).abs())).sum()
        };
        let distances: Vec<f64> = left.par_iter().map(distance).collect();
        // The first of equal ones.
        let best = (0..left.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b])).unwrap_or(0);
        let best = left.remove(best);
        sum.iter_mut().zip(&rows[best]).for_each(|(sum, power)| *sum += power);
        chosen.push(best);
    }
    chosen
}

/// Cells of an edge: ranges of bins with equal shares of the power of all pictures.
struct Cells {
    /// Width of the bins, 2^`exponent`.
    exponent: i32,
    /// Last bin of every cell but the last, ascending.
    ends: Vec<i64>,
    /// Mean square of all values.
    power: f64,
}

impl Cells {
    fn of(all: &EdgeStatistics) -> Self {
        let all = all.merged();
        let total: f64 = all.squares().map(|(_, squares)| squares).sum();
        let mut ends = Vec::with_capacity(CELLS - 1);
        let mut sum = 0.0;
        for (bin, squares) in all.squares() {
            sum += squares;
            while ends.len() + 1 < CELLS && sum * CELLS as f64 >= total * (ends.len() + 1) as f64 {
                ends.push(bin);
            }
        }
        Self { exponent: all.binning().exponent(), ends, power: all.mean_square() }
    }

    /// The power of `histogram` in every cell, relative to the power of all pictures. Its bins are not wider than theirs.
    fn powers(&self, histogram: &Histogram) -> Vec<f32> {
        let mut powers = vec![0.0f64; CELLS];
        let shift = (self.exponent - histogram.binning().exponent()).clamp(0, 62);
        let scale = 1.0 / (histogram.total().max(1) as f64 * self.power);
        for (bin, squares) in histogram.squares().filter(|_| self.power > 0.0) {
            let cell = self.ends.partition_point(|&end| end < bin >> shift);
            powers[cell] += squares * scale;
        }
        powers.into_iter().map(|power| power as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::histogram::tests::histogram_of;
    use crate::calibrate::record::RecordEdge;

    /// A record of one edge: ten pictures of small values, two of large ones.
    fn record() -> CalibrationRecord {
        let edge = RecordEdge { name: "conv1".into(), channels: 1 };
        let mut record = CalibrationRecord::new("c".repeat(64), vec![edge], Vec::new());
        for at in 0..12u8 {
            let scale = if at < 10 { 1.0 + 0.01 * f32::from(at) } else { 3.0 };
            let values: Vec<f32> = (0..1000).map(|i| scale * (i % 100) as f32 / 100.0).collect();
            record.add(&format!("p{at:02}"), [at; 32], &[histogram_of(&values)], vec![0.0]).unwrap();
        }
        record
    }

    #[test]
    fn rare_and_common_pictures_are_chosen_as_they_occur() {
        let record = record();
        let names: Vec<&str> = record.pictures().collect();
        let chosen = choose(&record, &names, 6).unwrap();
        let rare = chosen.iter().filter(|name| name.as_str() >= "p10").count();
        assert_eq!((chosen.len(), rare), (6, 1), "{chosen:?}");
        assert!(chosen.is_sorted());
        assert_eq!(choose(&record, &names, 6).unwrap(), chosen);
        assert_eq!(choose(&record, &names, 12).unwrap(), names);
        assert_eq!(choose(&record, &names, 99).unwrap(), names);
        // Only those that are named.
        assert!(choose(&record, &names[..4], 2).unwrap().iter().all(|name| name.as_str() < "p04"));
    }

    #[test]
    fn edges_without_values_do_not_count() {
        let edges = ["a", "b"].map(|name| RecordEdge { name: name.into(), channels: 1 });
        let mut record = CalibrationRecord::new("c".repeat(64), edges.to_vec(), Vec::new());
        for at in 0..3u8 {
            let histograms = [histogram_of(&[f32::from(at)]), histogram_of(&[])];
            record.add(&format!("p{at}"), [at; 32], &histograms, vec![0.0; 2]).unwrap();
        }
        assert_eq!(choose(&record, &["p0", "p1", "p2"], 1).unwrap().len(), 1);
    }
}
