//! How far new biases may go.
//!
//! In: generation 0's biases, new ones, and what generation 0 recorded about its own pictures. Out: the new ones, held
//! back where they would add to the error that those pictures have. A bias made for frames that show something else (a
//! test card, garbage) is wrong for them by all that it was moved, and no comparison would tell: they are not on the
//! device. What is known of them is how strong each step's values are and how much of that is error; a shift far below
//! that error is lost in it.

use crate::monitor::drift::baseline::Baseline;

/// What the mean square of each step's shifts may be, of the mean square of the error that it has on generation 0's
/// pictures, added up over the steps. A night on the synthetic street asks for 0.15, nearly all of it in the first layer,
/// a test card for 6.9; held to 0.15, that card cost the clear street 0.35 dB instead of 5.3 dB.
const BUDGET: f64 = 0.1;

/// Brings `biases` (one list a step) nearer to `first`, all in the same measure, if they are too far: what one layer's
/// shift brought another's may rely on. Returns the share of their way that they keep.
pub fn restrain(biases: &mut [Vec<f32>], first: &[Vec<f32>], evidence: &Baseline) -> f64 {
    let mut asked = 0.0;
    for (step, (biases, first)) in biases.iter().zip(first).enumerate() {
        let (Some(sqnr_db), Some(histogram)) = (evidence.sqnr_db[step], &evidence.histogram[step]) else { continue };
        let error = histogram.mean_square() * 10f64.powf(-0.1 * f64::from(sqnr_db.mean));
        let shifts: f64 = biases.iter().zip(first).map(|(new, old)| f64::from(new - old).powi(2)).sum();
        if error > 0.0 && !biases.is_empty() {
            asked += shifts / biases.len() as f64 / error;
        }
    }
    if asked <= BUDGET || asked.is_nan() {
        return 1.0;
    }
    let share = (BUDGET / asked).sqrt();
    for (biases, first) in biases.iter_mut().zip(first) {
        biases.iter_mut().zip(first).for_each(|(new, old)| *new = old + share as f32 * (*new - old));
    }
    share
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
        let evidence = Baseline {
            // An error of a hundredth of the power: 0.01.
            sqnr_db: vec![Some(MeanStd { mean: 20.0, std: 1.0 }), None],
            histogram: vec![Some(builder.finish()), None],
            ..Baseline::default()
        };
        let first = vec![vec![1.0, -1.0], vec![0.0]];
        let mut biases = vec![vec![1.01, -1.0], vec![9.0]];
        assert_eq!(restrain(&mut biases, &first, &evidence), 1.0);
        assert_eq!(biases, [vec![1.01, -1.0], vec![9.0]], "far below the error, and where nothing is known");
        biases[0] = vec![2.0, -2.0];
        assert!(restrain(&mut biases, &first, &evidence) < 0.2);
        let shift = biases[0][0] - 1.0;
        assert!((shift - (BUDGET * 0.01).sqrt() as f32).abs() < 1e-3, "{shift}");
        assert!((biases[0][1] + 1.0 + shift).abs() < 1e-6 && (biases[1][0] - 9.0 * shift).abs() < 1e-4);
    }
}
