//! Pinhole camera above a flat street: projection from metres to pixels.
//!
//! In: points in metres, X to the right of the street's middle, Y up from the ground, Z ahead of the camera. Out:
//! pixels, y downwards, the centre of the first pixel at (0.5, 0.5). The camera looks along Z; it is tilted by shifting
//! the lens, so vertical lines stay vertical. Points nearer than [`NEAR`] are not projected.

use super::random::Random;

/// Near plane, in metres.
pub(super) const NEAR: f32 = 1.2;

/// A point in metres.
pub(super) type Point = [f32; 3];

/// The camera.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// Columns of the picture.
    pub(super) width: usize,
    /// Rows of the picture.
    pub(super) height: usize,
    /// Focal length in pixels.
    pub(super) focal: f32,
    /// Column of the optical axis.
    pub(super) centre: f32,
    /// Row of the horizon.
    pub(super) horizon: f32,
    /// Position of the camera: X and height above the ground, in metres.
    pub(super) eye: [f32; 2],
}

impl View {
    /// A camera for a picture of `width × height`.
    pub(super) fn new(random: &mut Random, width: usize, height: usize) -> Self {
        let (columns, rows) = (width as f32, height as f32);
        // A picture much higher than wide still shows the width of the street.
        let focal = random.range(0.74, 0.96) * columns.max(rows * 0.8);
        let eye = [random.range(-5.0, 5.0), random.range(2.2, 5.2)];
        // A camera at the side is turned slightly towards the middle.
        let centre = columns * (0.5 + eye[0] * 0.025 + random.range(-0.09, 0.09));
        Self { width, height, focal, centre, horizon: rows * random.range(0.24, 0.38), eye }
    }

    /// Projection of a point at least [`NEAR`] ahead.
    pub(super) fn project(&self, point: Point) -> [f32; 2] {
        let scale = self.focal / point[2].max(NEAR);
        [self.centre + (point[0] - self.eye[0]) * scale, self.horizon + (self.eye[1] - point[1]) * scale]
    }

    /// Pixels per metre at a distance.
    pub(super) fn scale(&self, distance: f32) -> f32 {
        self.focal / distance.max(NEAR)
    }

    /// Vector from a point to the camera.
    pub(super) fn towards(&self, point: Point) -> Point {
        [self.eye[0] - point[0], self.eye[1] - point[1], -point[2]]
    }

    /// Clips a polygon at [`NEAR`] and projects it into `out`.
    pub(super) fn outline(&self, polygon: &[Point], out: &mut Vec<[f32; 2]>) {
        out.clear();
        for (index, &to) in polygon.iter().enumerate() {
            let from = polygon[if index == 0 { polygon.len() - 1 } else { index - 1 }];
            let (from_in, to_in) = (from[2] >= NEAR, to[2] >= NEAR);
            if from_in != to_in {
                let share = (NEAR - from[2]) / (to[2] - from[2]);
                let cut = [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share, NEAR];
                out.push(self.project(cut));
            }
            if to_in {
                out.push(self.project(to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View { width: 640, height: 360, focal: 500.0, centre: 320.0, horizon: 100.0, eye: [0.0, 3.0] }
    }

    #[test]
    fn the_horizon_is_at_eye_height() {
        assert_eq!(view().project([0.0, 3.0, 10.0]), [320.0, 100.0]);
        assert_eq!(view().project([2.0, 0.0, 10.0]), [420.0, 250.0]);
    }

    #[test]
    fn what_is_behind_the_camera_is_cut_off() {
        let mut out = Vec::new();
        view().outline(&[[0.0, 0.0, -5.0], [1.0, 0.0, -5.0], [1.0, 0.0, 5.0], [0.0, 0.0, 5.0]], &mut out);
        assert_eq!(out.len(), 4);
        assert!(out.iter().all(|[x, y]| x.is_finite() && *y >= 100.0));
        view().outline(&[[0.0, 0.0, -5.0], [1.0, 0.0, -5.0], [1.0, 1.0, -5.0]], &mut out);
        assert!(out.is_empty());
    }
}
