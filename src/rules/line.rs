//! Crossing of a line by one object.

use super::geometry::{Point, crosses, distance_to_segment, scaled, side};
use super::{MARGIN, NEAR_BORDER};

/// An object's relation to one line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LineState(Option<Crossing>);

/// A crossing that does not count yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Crossing {
    to_right: bool,
    at_ns: u64,
    /// Frames since then, with the first.
    frames: u32,
}

/// A crossing that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossed {
    /// True if the object is to the right of the line now.
    pub to_right: bool,
    /// Time of the first frame on this side.
    pub at_ns: u64,
}

/// A step of an object, as fractions of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Position in the frame before in which the object was seen.
    pub from: Option<Point>,
    /// Position now.
    pub to: Point,
    /// Time of this frame.
    pub at_ns: u64,
    /// Columns and rows of the picture.
    pub size: [f32; 2],
    /// Root of the area of the box, in pixels.
    pub box_size: f32,
}

impl LineState {
    /// Takes a step of the object. Returns a crossing once it counts: the object went over the line between its ends, and
    /// was on the other side since.
    pub fn update(&mut self, line: [Point; 2], step: Step, inertia: u32) -> Option<Crossed> {
        let [a, b] = line.map(|point| scaled(point, step.size));
        let to = scaled(step.to, step.size);
        let is_right = side(a, b, to) > 0.0;
        if step.from.is_some_and(|from| crosses(a, b, scaled(from, step.size), to)) {
            self.0 = match self.0 {
                // It went back before the crossing counted.
                Some(crossing) if crossing.to_right != is_right => None,
                _ => Some(Crossing { to_right: is_right, at_ns: step.at_ns, frames: 0 }),
            };
        }
        let crossing = self.0.as_mut()?;
        if crossing.to_right != is_right {
            // It went back around an end of the line.
            self.0 = None;
            return None;
        }
        crossing.frames = crossing.frames.saturating_add(1);
        let is_away = distance_to_segment(a, b, to) >= MARGIN * step.box_size;
        if crossing.frames < inertia || !is_away && crossing.frames < inertia.saturating_mul(NEAR_BORDER) {
            return None;
        }
        self.end()
    }

    /// The crossing that was still to count. It counts if the object ends here.
    pub fn end(&mut self) -> Option<Crossed> {
        self.0.take().map(|crossing| Crossed { to_right: crossing.to_right, at_ns: crossing.at_ns })
    }
}
