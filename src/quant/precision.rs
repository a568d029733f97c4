//! In which arithmetic a step runs.

use serde::{Deserialize, Serialize};

/// The arithmetic of one step, by the names the artifact stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// u8 activations on a grid fixed by calibration, s8 weights, exact 32-bit sums.
    Int8,
    /// s8 weights; the input's grid is measured anew at each call, the output is f32. Linear layers only.
    Int8Dynamic,
    /// Full precision.
    Fp32,
}

impl Precision {
    /// The name in tables and in the artifact.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int8Dynamic => "int8_dynamic",
            Self::Fp32 => "fp32",
        }
    }
}
