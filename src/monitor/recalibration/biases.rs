//! Biases of a candidate, and the limit on their shift from generation 0's.
//!
//! In: generation 0's biases, proposed ones, and the calibration baseline of generation 0. Out: the proposed biases,
//! scaled back where their shift would add to the error on generation 0's pictures. Biases fitted to frames of
//! something else (a test card, garbage) are wrong on those pictures by all of their shift. No comparison measures it,
//! because the pictures are not on the device. Their baseline is: signal power and SQNR of every step. A shift far
//! below that error has no effect.

use crate::detector::int8::{InputMeans, Quantized};
use crate::monitor::drift::baseline::Baseline;

/// Limit on the relative power of the shifts, summed over the steps. A step's power is the mean square of its shifts
/// over the mean square of its error on generation 0's pictures. A night on the synthetic street needs 0.15, nearly all
/// of it in the first layer; a test card 6.9. With a limit of 0.15 that card cost the clear street 0.35 dB instead of
/// 5.3 dB.
const MAX_RELATIVE_SHIFT_POWER: f64 = 0.1;

/// Biases by step, and the input means that they were corrected at.
#[derive(Clone)]
pub struct Biases {
    values: Vec<Vec<f32>>,
    reference_means: InputMeans,
}

impl Biases {
    /// Biases `values` by step, corrected at the input means `reference_means`.
    pub fn new(values: Vec<Vec<f32>>, reference_means: InputMeans) -> Self {
        Self { values, reference_means }
    }

    /// The biases of `network`.
    pub fn of(network: &Quantized) -> Self {
        Self { values: network.biases.clone(), reference_means: network.reference_means.clone() }
    }

    /// By step, one value per output channel.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// The input means that these biases were corrected at.
    pub fn reference_means(&self) -> &InputMeans {
        &self.reference_means
    }

    /// Writes these biases into `network`.
    pub fn put(&self, network: &mut Quantized) {
        network.biases.clone_from(&self.values);
        network.reference_means.clone_from(&self.reference_means);
    }

    /// These biases, moved back towards `initial` as far as the limit requires.
    #[must_use]
    pub fn limited(mut self, initial: &Self, baseline: &Baseline) -> Self {
        let kept = limit(&mut self.values, &initial.values, baseline);
        self.reference_means = initial.reference_means.interpolate(&self.reference_means, kept);
        self
    }
}

/// Moves `biases` (one list per step) towards `initial` until their relative shift power is within the limit. All steps are
/// scaled alike: a layer's shift may compensate for that of another. Returns the share of the shift that is kept.
fn limit(biases: &mut [Vec<f32>], initial: &[Vec<f32>], baseline: &Baseline) -> f64 {
    let mut power = 0.0;
    for (step, (biases, initial)) in biases.iter().zip(initial).enumerate() {
        let (Some(sqnr_db), Some(histogram)) = (baseline.sqnr_db[step], &baseline.histograms[step]) else { continue };
        let error = histogram.mean_square() * 10f64.powf(-0.1 * f64::from(sqnr_db.mean));
        let shifts: f64 = biases.iter().zip(initial).map(|(new, old)| f64::from(new - old).powi(2)).sum();
        if error > 0.0 && !biases.is_empty() {
            power += shifts / biases.len() as f64 / error;
        }
    }
    if power <= MAX_RELATIVE_SHIFT_POWER || power.is_nan() {
        return 1.0;
    }
    // Power is quadratic in the shift.
    let kept = (MAX_RELATIVE_SHIFT_POWER / power).sqrt();
    for (biases, initial) in biases.iter_mut().zip(initial) {
        biases.iter_mut().zip(initial).for_each(|(new, old)| *new = old + kept as f32 * (*new - old));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::HistogramBuilder;
    use crate::quant::artifact::MeanStd;

    #[test]
    fn a_shift_within_the_error_stays_and_a_larger_one_is_cut() {
        let mut builder = HistogramBuilder::new();
        builder.observe(&[-1.0, 1.0]).unwrap();
        let baseline = Baseline {
            // An error of a hundredth of the power: 0.01.
            sqnr_db: vec![Some(MeanStd { mean: 20.0, std: 1.0 }), None],
            histograms: vec![Some(builder.finish()), None],
            ..Baseline::default()
        };
        let initial = vec![vec![1.0, -1.0], vec![0.0]];
        let mut biases = vec![vec![1.01, -1.0], vec![9.0]];
        assert_eq!(limit(&mut biases, &initial, &baseline), 1.0);
        assert_eq!(biases, [vec![1.01, -1.0], vec![9.0]], "far below the error, and where nothing is known");
        biases[0] = vec![2.0, -2.0];
        assert!(limit(&mut biases, &initial, &baseline) < 0.2);
        let shift = biases[0][0] - 1.0;
        assert!((shift - (MAX_RELATIVE_SHIFT_POWER * 0.01).sqrt() as f32).abs() < 1e-3, "{shift}");
        assert!((biases[0][1] + 1.0 + shift).abs() < 1e-6 && (biases[1][0] - 9.0 * shift).abs() < 1e-4);
    }
}
