//! In which arithmetic a step runs.

use serde::{Deserialize, Serialize};

/// The arithmetic of a step, by the names the artifact stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// u8 × s8 with exact 32-bit sums, the input on the grid found in calibration.
    Int8Static,
    /// u8 × s8, the input laid on a grid of its own each time; f32 out. Linear layers only.
    Int8Dynamic,
    /// f32 throughout.
    Fp32,
}

impl Precision {
    /// Whether its weights are s8.
    pub const fn is_int8(self) -> bool {
        !matches!(self, Self::Fp32)
    }

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8Static => "int8",
            Self::Int8Dynamic => "int8-dynamic",
            Self::Fp32 => "fp32",
        }
    }
}
