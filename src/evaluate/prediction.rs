//! Prediction: one detection of a model, in the classes and numbers of an evaluation.

use super::bounds::Bounds;

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index of its class in [`Classes::names`](super::Classes::names).
    pub class: usize,
    /// Score, 0 to 1.
    pub score: f64,
    /// Box in pixels of the upright picture.
    pub bounds: Bounds,
}
