//! What a model found, in the terms of an evaluation.

use super::bounds::Bounds;

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Its class in [`Classes::names`](super::Classes::names).
    pub class: usize,
    /// 0 to 1.
    pub score: f64,
    /// The box in pixels of the upright picture.
    pub bounds: Bounds,
}
