//! What quantizing is asked and what it gives.

use super::observer::Observer;
use super::pictures::Selection;
use super::recipe::{KeepFloat, Recipe};
use super::record::Record;
use crate::detector::int8::Quantized;
use crate::detector::plan::LayerId;
use crate::measure::{Agreement, StepError};

/// Lowest score of the detections whose agreement is counted.
pub const AGREEMENT_SCORE: f32 = 0.5;

/// How to quantize.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Pictures to calibrate with, at most.
    pub count: usize,
    /// Chooses which.
    pub seed: u64,
    /// Precision of the layers.
    pub recipe: Recipe,
    /// How ranges are chosen.
    pub observer: Observer,
    /// Layers to leave in fp32 beyond the recipe's.
    pub keep_float: KeepFloat,
    /// Pictures that bias correction runs over; 0 leaves it out.
    pub correction_pictures: usize,
    /// Pictures that both networks are compared on for the evidence.
    pub evidence_pictures: usize,
    /// Calibrate on pictures that nothing can be learned from.
    pub allow_unfit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            count: 64,
            seed: 0,
            recipe: Recipe::default(),
            observer: Observer::default(),
            keep_float: KeepFloat::default(),
            correction_pictures: 16,
            evidence_pictures: 16,
            allow_unfit: false,
        }
    }
}

/// What quantizing gave.
#[derive(Debug)]
pub struct Outcome {
    /// The artifact's bytes.
    pub bytes: Vec<u8>,
    /// What was observed.
    pub record: Record,
    /// The network itself.
    pub quantized: Quantized,
    /// Error of every step against the reference, over the evidence pictures.
    pub errors: Vec<StepError>,
    /// Each int8 layer's own error, worst first: (layer, SQNR in dB before ReLU). Empty without bias correction.
    pub sensitivity: Vec<(LayerId, f64)>,
    /// Detections of both networks at [`AGREEMENT_SCORE`].
    pub agreement: Agreement,
    /// The reference's at [`AGREEMENT_SCORE`] among the other's of whatever score: an object whose score slips below
    /// the line is still found.
    pub found_again: Agreement,
    /// The pictures.
    pub selection: Selection,
}

/// What is going on, for a progress bar: a phase and how much of it is done.
pub type Progress<'a> = &'a mut (dyn FnMut(&'static str, usize, usize) + Send);
