//! Precision of a step.

use serde::{Deserialize, Serialize};

/// Arithmetic of a step. Serialized by the names in the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// u8 × s8 with exact 32-bit sums, the input quantized with the parameters found in calibration.
    Int8Static,
    /// u8 × s8, the input quantized with parameters computed from each input; f32 out. Linear layers only.
    Int8Dynamic,
    /// f32 throughout.
    Fp32,
}

impl Precision {
    /// True if the weights are s8.
    pub const fn is_int8(self) -> bool {
        !matches!(self, Self::Fp32)
    }

    /// Name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8Static => "int8",
            Self::Int8Dynamic => "int8-dynamic",
            Self::Fp32 => "fp32",
        }
    }
}
