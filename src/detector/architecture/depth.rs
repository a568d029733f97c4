//! Depth of the ResNet body.

use serde::{Deserialize, Serialize};

/// Depth of the ResNet body, serialized as its number of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Depth {
    /// Basic blocks, 2-2-2-2.
    R18,
    /// Basic blocks, 3-4-6-3.
    R34,
    /// Bottleneck blocks, 3-4-6-3.
    R50,
    /// Bottleneck blocks, 3-4-23-3.
    R101,
}

impl Depth {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::R18, Self::R34, Self::R50, Self::R101];

    /// Blocks of each of the four stages.
    pub const fn blocks(self) -> [usize; 4] {
        match self {
            Self::R18 => [2, 2, 2, 2],
            Self::R34 | Self::R50 => [3, 4, 6, 3],
            Self::R101 => [3, 4, 23, 3],
        }
    }

    /// True for bottleneck blocks (1×1, 3×3, 1×1), false for basic ones (3×3, 3×3).
    pub const fn is_bottleneck(self) -> bool {
        matches!(self, Self::R50 | Self::R101)
    }
}

impl From<Depth> for u8 {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::R18 => 18,
            Depth::R34 => 34,
            Depth::R50 => 50,
            Depth::R101 => 101,
        }
    }
}

impl TryFrom<u8> for Depth {
    type Error = String;

    fn try_from(layers: u8) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|&depth| u8::from(depth) == layers)
            .ok_or_else(|| format!("depth is {layers}; it must be 18, 34, 50 or 101"))
    }
}
