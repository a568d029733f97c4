//! Model of an object: painted polygons in metres, and their projection onto a layer.
//!
//! In: polygons, limbs and discs in painting order. Out: [`Model::paint`] projects them onto a [`Layer`] of their size, and
//! returns their box. Round parts face the camera; flat ones have a direction in space.

use super::raster::{Layer, Paint};
use super::view::{NEAR, Point, View};

/// Corners of a half circle.
const ARC: usize = 7;

/// A model: parts in painting order.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    points: Vec<Point>,
    faces: Vec<(usize, usize, Paint)>,
    outline: Vec<[f32; 2]>,
}

/// A rectangle of the picture: left, top, right, bottom in pixels.
pub(super) type Bounds = [f32; 4];

impl Model {
    /// Removes all parts.
    pub(super) fn clear(&mut self) {
        self.points.clear();
        self.faces.clear();
    }

    /// A flat polygon.
    pub(super) fn polygon(&mut self, points: impl IntoIterator<Item = Point>, paint: Paint) {
        let first = self.points.len();
        self.points.extend(points);
        self.faces.push((first, self.points.len(), paint));
    }

    /// A limb from `a` to `b` with these radii and round ends.
    pub(super) fn limb(&mut self, a: Point, b: Point, radii: [f32; 2], paint: Paint) {
        let first = self.points.len();
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length = (dx * dx + dy * dy).sqrt();
        let (dx, dy) = if length > 1e-4 { (dx / length, dy / length) } else { (0.0, 1.0) };
        for (centre, radius, sign) in [(a, radii[0], -1.0f32), (b, radii[1], 1.0)] {
            for step in 0..ARC {
                let (sin, cos) = half_turn(step);
                // From one side over the end to the other.
                let (along, across) = (sin * sign, cos * sign);
                let x = centre[0] + radius * (dx * along - dy * across);
                let y = centre[1] + radius * (dy * along + dx * across);
                self.points.push([x, y, centre[2]]);
            }
        }
        self.faces.push((first, self.points.len(), paint));
    }

    /// An ellipse facing the camera.
    pub(super) fn ellipse(&mut self, centre: Point, radii: [f32; 2], paint: Paint) {
        self.sector(centre, radii, [0, 2 * ARC - 2], paint);
    }

    /// The upper half of an ellipse.
    pub(super) fn dome(&mut self, centre: Point, radii: [f32; 2], paint: Paint) {
        self.sector(centre, radii, [0, ARC - 1], paint);
    }

    fn sector(&mut self, centre: Point, radii: [f32; 2], steps: [usize; 2], paint: Paint) {
        let first = self.points.len();
        for step in steps[0]..=steps[1] {
            let (sin, cos) = turn(step);
            self.points.push([centre[0] + radii[0] * cos, centre[1] + radii[1] * sin, centre[2]]);
        }
        self.faces.push((first, self.points.len(), paint));
    }

    /// A disc, or a ring if `hole` is not 0, standing upright along `heading` (X and Z).
    pub(super) fn wheel(&mut self, centre: Point, heading: [f32; 2], radius: f32, hole: f32, paint: Paint) {
        let first = self.points.len();
        let mut circle = |radius: f32, backwards: bool| {
            for step in 0..=2 * ARC - 2 {
                let (sin, cos) = turn(if backwards { 2 * ARC - 2 - step } else { step });
                let (along, up) = (radius * cos, radius * sin);
                self.points.push([centre[0] + along * heading[0], centre[1] + up, centre[2] + along * heading[1]]);
            }
        };
        circle(radius, false);
        if hole > 0.0 {
            circle(hole, true);
        }
        self.faces.push((first, self.points.len(), paint));
    }

    /// Box of all parts, not clipped to the picture. `None` if no part is beyond the near plane.
    pub(super) fn bounds(&mut self, view: &View) -> Option<Bounds> {
        let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for &(first, last, _) in &self.faces {
            view.outline(&self.points[first..last], &mut self.outline);
            for &[x, y] in &self.outline {
                bounds = [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x), bounds[3].max(y)];
            }
        }
        (bounds[0] < bounds[2] && bounds[1] < bounds[3]).then_some(bounds)
    }

    /// True if a part is nearer than the near plane.
    pub(super) fn is_cut(&self) -> bool {
        self.points.iter().any(|point| point[2] < NEAR)
    }

    /// Paints all parts on `layer`, sized to `bounds` plus `margin` columns at each side, within the picture.
    pub(super) fn paint(&mut self, view: &View, bounds: Bounds, margin: f32, layer: &mut Layer) {
        let (columns, rows) = (view.width as f32, view.height as f32);
        let left = (bounds[0] - margin).floor().clamp(0.0, columns) as i32;
        let right = (bounds[2] + margin).ceil().clamp(0.0, columns) as i32;
        let top = bounds[1].floor().clamp(0.0, rows) as i32;
        let bottom = bounds[3].ceil().clamp(0.0, rows) as i32;
        layer.reset(left, top, right, bottom);
        for (first, last, paint) in &self.faces {
            view.outline(&self.points[*first..*last], &mut self.outline);
            layer.fill(&self.outline, paint);
        }
    }
}

/// Sine and cosine of `step` twelfths of a full turn.
fn turn(step: usize) -> (f32, f32) {
    const HALF: f32 = 0.866_025_4;
    const SINES: [f32; 12] = [0.0, 0.5, HALF, 1.0, HALF, 0.5, 0.0, -0.5, -HALF, -1.0, -HALF, -0.5];
    (SINES[step % 12], SINES[(step + 3) % 12])
}

/// Sine and cosine of `step` sixths of a half turn.
fn half_turn(step: usize) -> (f32, f32) {
    turn(step)
}
