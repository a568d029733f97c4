//! Error of a step's activation against its reference, as sums that can be added over pictures.

use crate::detector::tap::{Activation, Values};
use crate::precedence::yield_point;

/// Sums over the values of one step, padding excluded; f is a value of the reference, q the other.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepError {
    /// Σ f².
    signal: f64,
    /// Σ (q − f)².
    noise: f64,
    /// Σ q².
    power: f64,
    /// Σ f·q.
    product: f64,
    /// Σ |q − f|.
    absolute: f64,
    /// Σ |f|.
    magnitude: f64,
    count: u64,
}

impl StepError {
    /// Adds one activation: `reference` in f32, `other` in f32 or bytes, both of one shape; other inputs are ignored. The
    /// sums run in order, row by row, so they do not depend on threads.
    pub fn add(&mut self, reference: &Activation<'_>, other: &Activation<'_>) {
        let Values::F32(reference_values) = reference.values else { return };
        let shape = reference.shape;
        if other.shape != shape {
            return;
        }
        let stride = shape.width * shape.channels;
        let valid = reference.valid_width.min(shape.width) * shape.channels;
        for y in 0..reference.valid_height.min(shape.height) {
            yield_point();
            let row = y * stride..y * stride + valid;
            let f = &reference_values[row.clone()];
            match other.values {
                Values::F32(values) => self.add_row(f, values[row].iter().copied()),
                Values::U8 { data, scale, zero_point } => {
                    let zero = i32::from(zero_point);
                    self.add_row(f, data[row].iter().map(|&q| (i32::from(q) - zero) as f32 * scale));
                }
                values @ Values::U16 { .. } => self.add_row(f, row.map(|index| values.real(index))),
            }
        }
    }

    /// Adds a row, summed in f64 on its own so that the order of sums is that of rows.
    fn add_row(&mut self, reference: &[f32], other: impl Iterator<Item = f32>) {
        let mut row = [0.0f64; 6];
        for (&f, q) in reference.iter().zip(other) {
            let (f, q) = (f64::from(f), f64::from(q));
            let difference = q - f;
            row[0] += f * f;
            row[1] += difference * difference;
            row[2] += q * q;
            row[3] += f * q;
            row[4] += difference.abs();
            row[5] += f.abs();
        }
        self.signal += row[0];
        self.noise += row[1];
        self.power += row[2];
        self.product += row[3];
        self.absolute += row[4];
        self.magnitude += row[5];
        self.count += reference.len() as u64;
    }

    /// Adds the sums of another picture.
    pub fn merge(&mut self, other: &Self) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.power += other.power;
        self.product += other.product;
        self.absolute += other.absolute;
        self.magnitude += other.magnitude;
        self.count += other.count;
    }

    /// Signal-to-quantization-noise ratio in dB: 10·log₁₀(Σf² / Σ(q − f)²). `None` without signal; infinite without
    /// noise.
    pub fn sqnr_db(&self) -> Option<f64> {
        (self.signal > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }

    /// Mean absolute error Σ|q − f| / n, in units of the activation.
    pub fn mean_absolute(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.absolute / self.count as f64 }
    }

    /// Σ|q − f| / Σ|f|.
    pub fn relative(&self) -> Option<f64> {
        (self.magnitude > 0.0).then(|| self.absolute / self.magnitude)
    }

    /// Cosine similarity of the two activations: Σfq / √(Σf² Σq²). `None` if either is 0.
    pub fn cosine(&self) -> Option<f64> {
        let norms = (self.signal * self.power).sqrt();
        (norms > 0.0).then(|| self.product / norms)
    }

    /// Number of values compared.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn activation<'a>(values: Values<'a>, shape: Shape, valid: [usize; 2]) -> Activation<'a> {
        Activation { shape, valid_height: valid[0], valid_width: valid[1], values }
    }

    #[test]
    fn figures_of_a_known_error() {
        let shape = Shape::new(1, 2, 1);
        let mut error = StepError::default();
        error.add(
            &activation(Values::F32(&[3.0, 4.0]), shape, [1, 2]),
            &activation(Values::U8 { data: &[13, 13], scale: 1.0, zero_point: 10 }, shape, [1, 2]),
        );
        // f = (3, 4), q = (3, 3).
        assert!((error.sqnr_db().unwrap() - 10.0 * 25.0f64.log10()).abs() < 1e-12);
        assert_eq!(error.mean_absolute(), 0.5);
        assert!((error.relative().unwrap() - 1.0 / 7.0).abs() < 1e-12);
        assert!((error.cosine().unwrap() - 21.0 / (25.0f64 * 18.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn padding_does_not_count() {
        let shape = Shape::new(2, 2, 1);
        let mut error = StepError::default();
        error.add(
            &activation(Values::F32(&[1.0, 9.0, 9.0, 9.0]), shape, [1, 1]),
            &activation(Values::F32(&[1.0, 0.0, 0.0, 0.0]), shape, [1, 1]),
        );
        assert_eq!(error.count(), 1);
        assert_eq!(error.sqnr_db(), Some(f64::INFINITY));
    }
}
