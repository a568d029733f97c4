//! What the biases of a step lack where its input is another.
//!
//! In: pictures were altered in several ways (darker, noisier, …), and for each way it is known by how much the means of
//! the step's input channels moved, and what the rounded weights then make of the means of its output channels (the
//! [`super::Residual`] times the movement). Out: for any other movement what is missing, by the altered pictures that come
//! nearest to it together. Weights rounded to s8 err by Δw · x: what the mean of x brings is a shift, which bias
//! correction takes away in the light of the calibration pictures and brings back in another. The matrix of all residuals
//! would tell exactly and is a third of the weights; a few movements are less than a hundredth.

/// The numbers of one row as s8, of a common step.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    scale: f32,
    values: Vec<i8>,
}

impl Row {
    fn of(values: &[f64]) -> Self {
        let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        let scale = (largest / 127.0) as f32;
        // Where a step is too small to divide by, the row is nothing.
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

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// For every way: movement of the input channels' means, and what the bias of every output channel then lacks.
    ways: Vec<(Row, Row)>,
}

/// A [`Response`] as an artifact keeps it: for every way the steps of both rows, and the rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredResponse {
    /// `[way][input, bias]`.
    pub scales: Vec<f32>,
    /// `[way][in]`.
    pub inputs: Vec<i8>,
    /// `[way][out]`.
    pub biases: Vec<i8>,
}

impl Response {
    /// Of the movements of the input channels' means, and what the biases lack by each.
    pub fn of(ways: &[(Vec<f64>, Vec<f64>)]) -> Self {
        Self { ways: ways.iter().map(|(input, bias)| (Row::of(input), Row::of(bias))).collect() }
    }

    /// As an artifact keeps it.
    pub fn stored(&self) -> StoredResponse {
        let mut stored = StoredResponse::default();
        for (input, bias) in &self.ways {
            stored.scales.extend([input.scale, bias.scale]);
            stored.inputs.extend(&input.values);
            stored.biases.extend(&bias.values);
        }
        stored
    }

    /// From [`Response::stored`], for so many input and output channels.
    pub fn from_stored(stored: &StoredResponse, channels: usize, out: usize) -> Self {
        let rows = stored.inputs.chunks_exact(channels.max(1)).zip(stored.biases.chunks_exact(out.max(1)));
        let ways = rows.zip(stored.scales.as_chunks::<2>().0).map(|((input, bias), &[of_input, of_bias])| {
            let row = |scale, values: &[i8]| Row { scale, values: values.to_vec() };
            (row(of_input, input), row(of_bias, bias))
        });
        Self { ways: ways.collect() }
    }

    /// What the bias of every output channel lacks, before ReLU, where the means of the input channels have moved by
    /// `movement`: least squares over the ways, Σ cᵢ · biasᵢ with c = (M Mᵀ + ridge)⁻¹ M · movement. What no way comes
    /// near to changes nothing.
    pub fn shift(&self, movement: &[f64]) -> Vec<f64> {
        let count = self.ways.len();
        let mut system = vec![vec![0.0; count + 1]; count];
        for (i, (one, _)) in self.ways.iter().enumerate() {
            for (j, (other, _)) in self.ways.iter().enumerate() {
                let scale = f64::from(other.scale);
                system[i][j] = one.dot(|at| f64::from(other.values[at]) * scale);
            }
            system[i][count] = one.dot(|at| movement.get(at).copied().unwrap_or(0.0));
        }
        for (i, row) in system.iter_mut().enumerate() {
            // Ways resemble each other: without this, noise would be answered by two of them against each other.
            row[i] *= 1.0 + RIDGE;
        }
        let parts = solve(system);
        let out = self.ways.first().map_or(0, |(_, bias)| bias.values.len());
        let of_channel = |at: usize| {
            let one =
                |(part, (_, bias)): (&f64, &(Row, Row))| part * f64::from(bias.values[at]) * f64::from(bias.scale);
            parts.iter().zip(&self.ways).map(one).sum()
        };
        (0..out).map(of_channel).collect()
    }
}

/// How much a coefficient costs, of the square of its own way.
const RIDGE: f64 = 0.02;

/// The solution of a positive definite `system` with its right side in the last column; 0 where a row is nothing.
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

    /// What a matrix of residuals makes of a movement.
    fn exact(movement: &[f64]) -> Vec<f64> {
        let residual = |out: usize, at: usize| ((out * 31 + at * 17) % 13) as f64 / 13.0 - 0.5;
        (0..5).map(|out| movement.iter().enumerate().map(|(at, m)| residual(out, at) * m).sum()).collect()
    }

    fn way(seed: usize) -> Vec<f64> {
        (0..8).map(|at| ((at * 7 + seed * 5) % 11) as f64 - 5.0).collect()
    }

    #[test]
    fn what_lies_between_the_ways_is_known_and_the_rest_is_not_guessed() {
        let ways: Vec<(Vec<f64>, Vec<f64>)> = (0..3).map(|seed| (way(seed), exact(&way(seed)))).collect();
        let response = Response::of(&ways);
        let mixed: Vec<f64> = (0..8).map(|at| 0.7 * way(0)[at] + 0.4 * way(2)[at]).collect();
        let power: f64 = exact(&mixed).iter().map(|shift| shift * shift).sum();
        let off: f64 = response.shift(&mixed).iter().zip(exact(&mixed)).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(off < 0.01 * power, "{off} of {power}");
        assert!(response.shift(&[0.0; 8]).iter().all(|shift| *shift == 0.0));
        assert!(Response::default().shift(&mixed).is_empty());
        // A way that is nothing says nothing.
        let idle = Response::of(&[(vec![0.0; 8], vec![0.0; 5])]);
        assert_eq!(idle.shift(&mixed), [0.0; 5]);
    }

    #[test]
    fn what_is_stored_comes_back() {
        let ways: Vec<(Vec<f64>, Vec<f64>)> = (0..3).map(|seed| (way(seed), exact(&way(seed)))).collect();
        let response = Response::of(&ways);
        let stored = response.stored();
        assert_eq!((stored.scales.len(), stored.inputs.len(), stored.biases.len()), (6, 24, 15));
        assert_eq!(Response::from_stored(&stored, 8, 5), response);
    }
}
