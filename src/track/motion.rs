//! Motion model: a constant-velocity Kalman filter over the centre and the size of a box.
//!
//! Centre x, centre y, width and height are filtered independently, each with the state (value, velocity). Lengths are in
//! pixels, times in seconds. Every noise is a share of the box's size, so that distance and resolution do not matter.

/// Standard deviation of a detected coordinate, in box sizes.
const MEASUREMENT_NOISE: f32 = 0.05;
/// Standard deviation of the initial velocity, in box sizes a second.
const INITIAL_VELOCITY_NOISE: f32 = 4.0;
/// Process noise: standard deviation of the acceleration, in box sizes a second squared, of x, y, width and height. Sizes
/// change less than positions.
const ACCELERATION_NOISE: [f32; 4] = [4.0, 4.0, 1.0, 1.0];
/// Smallest and largest width or height of a prediction, in those of the last measurement. The box of a walking person
/// widens and narrows with every step; extrapolated, it would vanish.
const SIZE_RANGE: [f32; 2] = [0.6, 1.6];
/// Time constant, in seconds, by which the velocity decays while an object is unseen. Without it, the prediction of an
/// object that left the picture would never come to rest.
const VELOCITY_DECAY_S: f32 = 1.0;

/// Filter state of one coordinate.
#[derive(Debug, Clone, Copy)]
struct FilterState {
    value: f32,
    velocity: f32,
    /// Variance of `value`, covariance, variance of `velocity`.
    covariance: [f32; 3],
}

impl FilterState {
    /// Prediction over `dt` seconds with white acceleration noise.
    fn predict(&mut self, dt: f32, acceleration: f32) {
        let [p, c, v] = self.covariance;
        let q = acceleration * acceleration;
        self.value += self.velocity * dt;
        self.covariance =
            [p + 2.0 * c * dt + v * dt * dt + q * dt.powi(4) / 4.0, c + v * dt + q * dt.powi(3) / 2.0, v + q * dt * dt];
    }

    /// Measurement update with standard deviation `deviation`.
    fn correct(&mut self, measured: f32, deviation: f32) {
        let [p, c, v] = self.covariance;
        let innovation = p + deviation * deviation;
        if innovation <= 0.0 {
            return;
        }
        let (gain, gain_velocity) = (p / innovation, c / innovation);
        let error = measured - self.value;
        self.value += gain * error;
        self.velocity += gain_velocity * error;
        self.covariance = [(1.0 - gain) * p, (1.0 - gain) * c, v - gain_velocity * c];
    }
}

/// Filtered position, size and velocity of one object.
#[derive(Debug, Clone, Copy)]
pub struct Motion {
    /// Centre x, centre y, width, height.
    states: [FilterState; 4],
    /// √(width · height) of the last measurement.
    size: f32,
    /// Width and height of the last measurement.
    measured: [f32; 2],
}

/// Centre x, centre y, width and height of `[x0, y0, x1, y1]`.
fn centre_and_size(bbox: &[f32; 4]) -> [f32; 4] {
    [(bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0, bbox[2] - bbox[0], bbox[3] - bbox[1]]
}

fn size(bbox: &[f32; 4]) -> f32 {
    let [_, _, width, height] = centre_and_size(bbox);
    (width * height).max(1.0).sqrt()
}

impl Motion {
    /// Motion at rest at `bbox`, with an uncertain velocity.
    pub fn new(bbox: &[f32; 4]) -> Self {
        let size = size(bbox);
        let (p, v) = (MEASUREMENT_NOISE * size, INITIAL_VELOCITY_NOISE * size);
        let covariance = [p * p, 0.0, v * v];
        let [x, y, width, height] = centre_and_size(bbox);
        let states = [x, y, width, height].map(|value| FilterState { value, velocity: 0.0, covariance });
        Self { states, size, measured: [width, height] }
    }

    /// Predicts `dt` seconds ahead. `unseen` means that the previous frame had no detection of it.
    pub fn predict(&mut self, dt: f32, unseen: bool) {
        for (state, acceleration) in self.states.iter_mut().zip(ACCELERATION_NOISE) {
            state.predict(dt, acceleration * self.size);
            if unseen {
                state.velocity *= (-dt / VELOCITY_DECAY_S).exp();
            }
        }
    }

    /// Corrects the state by a detection at `bbox`.
    pub fn correct(&mut self, bbox: &[f32; 4]) {
        self.size = size(bbox);
        self.measured = [bbox[2] - bbox[0], bbox[3] - bbox[1]];
        for (state, measured) in self.states.iter_mut().zip(centre_and_size(bbox)) {
            state.correct(measured, MEASUREMENT_NOISE * self.size);
        }
    }

    /// Changes the unit of lengths: the picture has `x` times as many columns and `y` times as many rows as before.
    pub fn rescale(&mut self, x: f32, y: f32) {
        for (state, factor) in self.states.iter_mut().zip([x, y, x, y]) {
            state.value *= factor;
            state.velocity *= factor;
            state.covariance = state.covariance.map(|value| value * factor * factor);
        }
        self.size *= (x * y).sqrt();
        self.measured = [self.measured[0] * x, self.measured[1] * y];
    }

    /// Current estimate as `[x0, y0, x1, y1]`, at least one pixel wide and high.
    pub fn bbox(&self) -> [f32; 4] {
        let [x, y, width, height] = self.states.map(|state| state.value);
        let within = |side: f32, measured: f32| {
            let [least, most] = SIZE_RANGE.map(|share| share * measured.max(1.0));
            side.clamp(least, most).max(1.0)
        };
        let (width, height) = (within(width, self.measured[0]), within(height, self.measured[1]));
        [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_velocity_is_estimated_from_boxes() {
        let at = |t: f32| [100.0 + 300.0 * t, 50.0, 160.0 + 300.0 * t, 90.0];
        let mut motion = Motion::new(&at(0.0));
        for step in 1..=5 {
            motion.predict(0.1, false);
            motion.correct(&at(step as f32 * 0.1));
        }
        motion.predict(0.1, false);
        let (seen, wanted) = (motion.bbox(), at(0.6));
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert!((seen - wanted).abs() < 3.0, "{seen} for {wanted}");
        }
    }

    #[test]
    fn the_prediction_of_a_box_that_narrows_stays_as_wide_as_one() {
        let mut motion = Motion::new(&[500.0, 180.0, 531.0, 240.0]);
        for x in [[510.0, 537.0], [512.0, 524.0]] {
            motion.predict(0.1, false);
            motion.correct(&[x[0], 180.0, x[1], 240.0]);
        }
        motion.predict(0.1, false);
        let [x0, _, x1, _] = motion.bbox();
        assert!(x1 - x0 >= 7.0, "{:?}", motion.bbox());
    }

    #[test]
    fn the_prediction_of_an_unseen_object_comes_to_rest() {
        let mut motion = Motion::new(&[0.0, 0.0, 10.0, 10.0]);
        motion.predict(0.1, false);
        motion.correct(&[10.0, 0.0, 20.0, 10.0]);
        for _ in 0..1000 {
            motion.predict(0.1, true);
        }
        assert!(motion.bbox()[0] < 200.0, "{:?}", motion.bbox());
    }
}
