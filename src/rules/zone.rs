//! Presence of one object in one zone.

use super::geometry::{Point, contains, distance_to_border, scaled};
use super::line::Step;
use super::{Heading, MARGIN, NEAR_BORDER};

/// An object's relation to one zone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Presence {
    /// Time of the entry, while the object is in the zone.
    pub entered_ns: Option<u64>,
    /// True once its loitering was reported.
    pub has_loitered: bool,
    flip: Option<Flip>,
}

/// A change that does not count yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Flip {
    at_ns: u64,
    /// Position before it.
    from: Option<Point>,
    frames: u32,
}

/// A change that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flipped {
    /// Time of the first frame after it.
    pub at_ns: u64,
    /// Direction of the object; `None` if it was first seen after the change.
    pub heading: Option<Heading>,
    /// Time of the entry, if the object has left.
    pub left_after: Option<u64>,
}

impl Presence {
    /// Takes a step of the object. Returns its entry or exit once that counts.
    pub fn update(&mut self, polygon: &[Point], step: Step, inertia: u32) -> Option<Flipped> {
        let is_inside = contains(polygon, step.to);
        if is_inside == self.entered_ns.is_some() {
            self.flip = None;
            return None;
        }
        let flip = self.flip.get_or_insert(Flip { at_ns: step.at_ns, from: step.from, frames: 0 });
        flip.frames = flip.frames.saturating_add(1);
        // An object that begins in a zone crosses no border.
        let is_away = flip.from.is_none() || distance_to_border(polygon, step.to, step.size) >= MARGIN * step.box_size;
        if flip.frames < inertia || !is_away && flip.frames < inertia.saturating_mul(NEAR_BORDER) {
            return None;
        }
        let (at_ns, from) = (flip.at_ns, flip.from);
        let heading = from.and_then(|from| Heading::between(scaled(from, step.size), scaled(step.to, step.size)));
        let left_after = self.entered_ns.take();
        *self = Self { entered_ns: is_inside.then_some(at_ns), ..Self::default() };
        Some(Flipped { at_ns, heading, left_after })
    }
}
