//! Bias shift model: predicts the bias shift of a step from the change of its mean input.
//!
//! In: for each of a few perturbations of the calibration pictures, the change of the step's mean input and the bias
//! shift that it causes. Out: for any other change the predicted bias shift. Ridge regression writes the change as a
//! linear combination of the known ones. The known bias shifts are combined with the same coefficients.

/// A row of numbers in s8 with a common scale.
#[derive(Debug, Clone, PartialEq)]
struct QuantizedRow {
    scale: f32,
    values: Vec<i8>,
}

impl QuantizedRow {
    fn of(values: &[f64]) -> Self {
        let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let scale = (largest / 127.0) as f32;
        // A scale too small to divide by gives a row of zeros.
        if !scale.is_normal() {
            return Self { scale: 0.0, values: vec![0; values.len()] };
        }
        let rounded = |value: &f64| (value / f64::from(scale)).round_ties_even().clamp(-127.0, 127.0) as i8;
        Self { scale, values: values.iter().map(rounded).collect() }
    }

    fn dot(&self, other: impl Fn(usize) -> f64) -> f64 {
        let sum: f64 = self.values.iter().enumerate().map(|(at, &value)| f64::from(value) * other(at)).sum();
        sum * f64::from(self.scale)
    }
}

/// Measured effect of one perturbation on a step.
#[derive(Debug, Clone, PartialEq)]
pub struct PerturbationEffect {
    /// Change of the mean of every input channel.
    pub input_change: Vec<f64>,
    /// Bias shift of every output channel, before the activation function.
    pub bias_shift: Vec<f64>,
}

/// Effect of one perturbation as the model keeps it.
#[derive(Debug, Clone, PartialEq)]
struct QuantizedEffect {
    input_change: QuantizedRow,
    bias_shift: QuantizedRow,
}

/// Linear model of the bias shift of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BiasShiftModel {
    effects: Vec<QuantizedEffect>,
}

/// A [`BiasShiftModel`] as an artifact stores it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredBiasShiftModel {
    /// `[perturbation][2]`: scale of the input change, scale of the bias shift.
    pub scales: Vec<f32>,
    /// `[perturbation][in]`: change of the mean input, in units of its scale.
    pub input_changes: Vec<i8>,
    /// `[perturbation][out]`: bias shift, in units of its scale.
    pub bias_shifts: Vec<i8>,
}

impl StoredBiasShiftModel {
    /// Number of perturbations.
    pub fn perturbations(&self) -> usize {
        self.scales.len() / 2
    }
}

impl BiasShiftModel {
    /// The model of the measured `effects`, all of one step.
    pub fn new(effects: &[PerturbationEffect]) -> Self {
        let quantized = |effect: &PerturbationEffect| QuantizedEffect {
            input_change: QuantizedRow::of(&effect.input_change),
            bias_shift: QuantizedRow::of(&effect.bias_shift),
        };
        Self { effects: effects.iter().map(quantized).collect() }
    }

    /// The form in which an artifact stores it.
    pub fn stored(&self) -> StoredBiasShiftModel {
        let mut stored = StoredBiasShiftModel::default();
        for QuantizedEffect { input_change, bias_shift } in &self.effects {
            stored.scales.extend([input_change.scale, bias_shift.scale]);
            stored.input_changes.extend(&input_change.values);
            stored.bias_shifts.extend(&bias_shift.values);
        }
        stored
    }

    /// Inverse of [`BiasShiftModel::stored`] for a step with so many input and output channels.
    pub fn from_stored(stored: &StoredBiasShiftModel, in_channels: usize, out_channels: usize) -> Self {
        let row = |scale, values: &[i8]| QuantizedRow { scale, values: values.to_vec() };
        let rows = (stored.input_changes.chunks_exact(in_channels.max(1)))
            .zip(stored.bias_shifts.chunks_exact(out_channels.max(1)));
        let effects = rows.zip(stored.scales.as_chunks::<2>().0).map(
            |((input_change, bias_shift), &[input_scale, bias_scale])| QuantizedEffect {
                input_change: row(input_scale, input_change),
                bias_shift: row(bias_scale, bias_shift),
            },
        );
        Self { effects: effects.collect() }
    }

    /// Predicted bias shift of every output channel, before the activation function, where the means of the input
    /// channels change by `input_change`. It is Σ cᵢ · biasᵢ with c = (M Mᵀ + ridge)⁻¹ M · input_change; the rows of M
    /// are the known input changes. A change orthogonal to all known ones gives no shift.
    pub fn bias_shift(&self, input_change: &[f64]) -> Vec<f64> {
        let count = self.effects.len();
        // The normal equations, with the right side in the last column.
        let mut system = vec![vec![0.0; count + 1]; count];
        for (i, QuantizedEffect { input_change: one, .. }) in self.effects.iter().enumerate() {
            for (j, QuantizedEffect { input_change: other, .. }) in self.effects.iter().enumerate() {
                let scale = f64::from(other.scale);
                system[i][j] = one.dot(|at| f64::from(other.values[at]) * scale);
            }
            system[i][count] = one.dot(|at| input_change.get(at).copied().unwrap_or(0.0));
        }
        // Input changes of different perturbations are correlated. Without the ridge, noise would get large
        // coefficients of opposite sign.
        for (i, row) in system.iter_mut().enumerate() {
            row[i] *= 1.0 + RIDGE;
        }
        let coefficients = solve(system);
        let out_channels = self.effects.first().map_or(0, |effect| effect.bias_shift.values.len());
        let of_channel = |at: usize| {
            let term = |(coefficient, effect): (&f64, &QuantizedEffect)| {
                coefficient * f64::from(effect.bias_shift.values[at]) * f64::from(effect.bias_shift.scale)
            };
            coefficients.iter().zip(&self.effects).map(term).sum()
        };
        (0..out_channels).map(of_channel).collect()
    }
}

/// Ridge parameter, relative to the squared length of each input change.
const RIDGE: f64 = 0.02;

/// Solves the positive semidefinite `system`, whose last column is the right side, by Gaussian elimination without
/// pivoting. A coefficient is 0 where the pivot is not positive.
fn solve(mut system: Vec<Vec<f64>>) -> Vec<f64> {
    let count = system.len();
    for i in 0..count {
        let (above, below) = system.split_at_mut(i + 1);
        let pivot = &above[i];
        if pivot[i] <= 0.0 {
            continue;
        }
        for row in below {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(pivot).skip(i).for_each(|(value, of_pivot)| *value -= factor * of_pivot);
        }
    }
    let mut solution = vec![0.0; count];
    for i in (0..count).rev() {
        let rest: f64 = (i + 1..count).map(|j| system[i][j] * solution[j]).sum();
        solution[i] = if system[i][i] > 0.0 { (system[i][count] - rest) / system[i][i] } else { 0.0 };
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact bias shift of `input_change`, by a made-up residual matrix.
    fn exact(input_change: &[f64]) -> Vec<f64> {
        let residual = |out: usize, at: usize| ((out * 31 + at * 17) % 13) as f64 / 13.0 - 0.5;
        (0..5).map(|out| input_change.iter().enumerate().map(|(at, m)| residual(out, at) * m).sum()).collect()
    }

    fn input_change(seed: usize) -> Vec<f64> {
        (0..8).map(|at| ((at * 7 + seed * 5) % 11) as f64 - 5.0).collect()
    }

    fn effects() -> Vec<PerturbationEffect> {
        let effect = |input_change: Vec<f64>| PerturbationEffect { bias_shift: exact(&input_change), input_change };
        (0..3).map(|seed| effect(input_change(seed))).collect()
    }

    #[test]
    fn combinations_of_known_changes_are_predicted_and_others_give_no_shift() {
        let model = BiasShiftModel::new(&effects());
        let mixed: Vec<f64> = (0..8).map(|at| 0.7 * input_change(0)[at] + 0.4 * input_change(2)[at]).collect();
        let power: f64 = exact(&mixed).iter().map(|shift| shift * shift).sum();
        let off: f64 = model.bias_shift(&mixed).iter().zip(exact(&mixed)).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(off < 0.01 * power, "{off} of {power}");
        assert!(model.bias_shift(&[0.0; 8]).iter().all(|shift| *shift == 0.0));
        assert!(BiasShiftModel::default().bias_shift(&mixed).is_empty());
        // A perturbation that changes nothing predicts nothing.
        let idle = BiasShiftModel::new(&[PerturbationEffect { input_change: vec![0.0; 8], bias_shift: vec![0.0; 5] }]);
        assert_eq!(idle.bias_shift(&mixed), [0.0; 5]);
    }

    #[test]
    fn stored_models_are_read_back() {
        let model = BiasShiftModel::new(&effects());
        let stored = model.stored();
        assert_eq!((stored.scales.len(), stored.input_changes.len(), stored.bias_shifts.len()), (6, 24, 15));
        assert_eq!(stored.perturbations(), 3);
        assert_eq!(BiasShiftModel::from_stored(&stored, 8, 5), model);
    }
}
