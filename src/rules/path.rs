//! Path of an object: its positions over time, with a bounded number of points.

use super::geometry::{Point, scaled};

/// Most points of a path.
const MAX_POINTS: usize = 96;
/// Distance between two points of a path at first, in box sizes.
const FIRST_STEP: f32 = 0.25;

/// A point of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathPoint {
    /// Monotonic time, in nanoseconds.
    pub at_ns: u64,
    /// x and y as fractions of the picture's width and height.
    pub position: Point,
}

/// The path of an object. A point is kept once the object has moved by a share of its size. When there are too many points,
/// every second one goes and the share doubles.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    points: Vec<PathPoint>,
    latest: PathPoint,
    step: f32,
}

impl Path {
    /// A path that begins at `point`.
    pub fn new(point: PathPoint) -> Self {
        Self { points: vec![point], latest: point, step: FIRST_STEP }
    }

    /// Adds the latest position of an object whose box has `box_size` pixels in a picture of `size`.
    pub fn add(&mut self, point: PathPoint, size: [f32; 2], box_size: f32) {
        self.latest = point;
        let last = self.points.last().unwrap_or(&point).position;
        let (from, to) = (scaled(last, size), scaled(point.position, size));
        let moved = ((to[0] - from[0]).powi(2) + (to[1] - from[1]).powi(2)).sqrt();
        if moved < self.step * box_size {
            return;
        }
        self.points.push(point);
        if self.points.len() >= MAX_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.step *= 2.0;
        }
    }

    /// The points in order of time, with the latest position.
    pub fn points(&self) -> Vec<PathPoint> {
        let mut points = self.points.clone();
        if points.last() != Some(&self.latest) {
            points.push(self.latest);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(step: u64, x: f32) -> PathPoint {
        PathPoint { at_ns: step, position: [x, 0.5] }
    }

    #[test]
    fn a_path_is_bounded_and_has_both_ends() {
        let mut path = Path::new(point(0, 0.0));
        for step in 1..=10_000 {
            path.add(point(step, step as f32 / 10_000.0), [1000.0, 500.0], 1.0);
        }
        let points = path.points();
        assert!((MAX_POINTS / 4..=MAX_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!((points[0], points[points.len() - 1]), (point(0, 0.0), point(10_000, 1.0)));
        let gaps: Vec<f32> = points.windows(2).map(|pair| pair[1].position[0] - pair[0].position[0]).collect();
        assert!(gaps.iter().all(|gap| *gap < 0.05), "{gaps:?}");
    }

    #[test]
    fn an_object_that_stands_has_two_points() {
        let mut path = Path::new(point(0, 0.5));
        for step in 1..=1000 {
            path.add(point(step, 0.5 + 0.001 * (step % 3) as f32), [100.0, 100.0], 20.0);
        }
        assert_eq!(path.points().len(), 2);
        assert_eq!(path.points()[1].at_ns, 1000);
    }
}
