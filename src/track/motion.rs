//! Where an object is and where it will be: centre and size, each with a constant velocity, each a Kalman filter of two
//! numbers. Lengths are in pixels, time in seconds; every noise is a share of the box's size, so that far and near,
//! coarse and fine pictures behave alike.

/// Standard deviation of a detected coordinate, in box sizes.
const MEASURED: f32 = 0.05;
/// Standard deviation of an unknown velocity, in box sizes a second.
const UNKNOWN: f32 = 4.0;
/// Standard deviation of the acceleration that a constant velocity leaves out, in box sizes a second squared: of the
/// centre, and of width and height, which change less.
const ACCELERATION: [f32; 4] = [4.0, 4.0, 1.0, 1.0];
/// How fast a velocity is forgotten while nothing is seen: what left a picture's edge must not fly on for ever.
const FADE_S: f32 = 1.0;

/// A number, its velocity and their covariance.
#[derive(Debug, Clone, Copy)]
struct Axis {
    at: f32,
    velocity: f32,
    /// Variance of `at`, covariance, variance of `velocity`.
    spread: [f32; 3],
}

impl Axis {
    fn predict(&mut self, dt: f32, acceleration: f32) {
        let [p, c, v] = self.spread;
        let q = acceleration * acceleration;
        self.at += self.velocity * dt;
        self.spread =
            [p + 2.0 * c * dt + v * dt * dt + q * dt.powi(4) / 4.0, c + v * dt + q * dt.powi(3) / 2.0, v + q * dt * dt];
    }

    fn correct(&mut self, seen: f32, deviation: f32) {
        let [p, c, v] = self.spread;
        let innovation = p + deviation * deviation;
        if innovation <= 0.0 {
            return;
        }
        let (gain, gain_velocity) = (p / innovation, c / innovation);
        let error = seen - self.at;
        self.at += gain * error;
        self.velocity += gain_velocity * error;
        self.spread = [(1.0 - gain) * p, (1.0 - gain) * c, v - gain_velocity * c];
    }
}

/// The motion of one box.
#[derive(Debug, Clone, Copy)]
pub struct Motion {
    axes: [Axis; 4],
    /// √(width · height) as last seen.
    size: f32,
}

/// Centre, width and height.
fn measured(bbox: &[f32; 4]) -> [f32; 4] {
    [(bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0, bbox[2] - bbox[0], bbox[3] - bbox[1]]
}

fn size(bbox: &[f32; 4]) -> f32 {
    let [_, _, width, height] = measured(bbox);
    (width * height).max(1.0).sqrt()
}

impl Motion {
    /// At rest at `bbox`, as far as is known.
    pub fn new(bbox: &[f32; 4]) -> Self {
        let size = size(bbox);
        let (p, v) = (MEASURED * size, UNKNOWN * size);
        let axes = measured(bbox).map(|at| Axis { at, velocity: 0.0, spread: [p * p, 0.0, v * v] });
        Self { axes, size }
    }

    /// Moves on by `dt` seconds; `hidden` if it was not seen before that.
    pub fn predict(&mut self, dt: f32, hidden: bool) {
        for (axis, acceleration) in self.axes.iter_mut().zip(ACCELERATION) {
            axis.predict(dt, acceleration * self.size);
            if hidden {
                axis.velocity *= (-dt / FADE_S).exp();
            }
        }
    }

    /// It was seen at `bbox`.
    pub fn correct(&mut self, bbox: &[f32; 4]) {
        self.size = size(bbox);
        for (axis, seen) in self.axes.iter_mut().zip(measured(bbox)) {
            axis.correct(seen, MEASURED * self.size);
        }
    }

    /// Where it is.
    pub fn bbox(&self) -> [f32; 4] {
        let [x, y, width, height] = self.axes.map(|axis| axis.at);
        let (width, height) = (width.max(1.0), height.max(1.0));
        [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_velocity_is_learnt_from_two_boxes_and_kept() {
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
    fn an_object_out_of_sight_comes_to_rest() {
        let mut motion = Motion::new(&[0.0, 0.0, 10.0, 10.0]);
        motion.predict(0.1, false);
        motion.correct(&[10.0, 0.0, 20.0, 10.0]);
        for _ in 0..1000 {
            motion.predict(0.1, true);
        }
        assert!(motion.bbox()[0] < 200.0, "{:?}", motion.bbox());
    }
}
