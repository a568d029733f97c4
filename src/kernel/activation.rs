//! Activation functions that follow a convolution, as PyTorch computes them.

use serde::{Deserialize, Serialize};

/// An activation function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x · min(max(x + 3, 0), 6) / 6
    Hardswish,
    /// min(max(x + 3, 0), 6) / 6
    Hardsigmoid,
}

impl Activation {
    /// True where the value depends on `x`: an error there reaches what follows.
    #[inline]
    pub fn passes(self, x: f32) -> bool {
        match self {
            Self::Identity => true,
            Self::Relu => x > 0.0,
            Self::Relu6 => x > 0.0 && x < 6.0,
            Self::Hardswish => x > -3.0,
            Self::Hardsigmoid => x > -3.0 && x < 3.0,
        }
    }

    /// True if the function is 0 over a range of values.
    pub fn cuts_off(self) -> bool {
        self != Self::Identity
    }

    /// The slope of its rising part: 1, or 1/6 of hardsigmoid.
    pub fn slope(self) -> f64 {
        if self == Self::Hardsigmoid { 1.0 / 6.0 } else { 1.0 }
    }

    /// The function's value at `x`.
    #[inline]
    #[allow(clippy::manual_clamp)] // `clamp` keeps NaN, where the kernels' ReLU gives 0
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.max(0.0).min(6.0),
            Self::Hardswish => x * (x + 3.0).max(0.0).min(6.0) / 6.0,
            Self::Hardsigmoid => (x + 3.0).max(0.0).min(6.0) / 6.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Activation;

    #[test]
    fn values_are_pytorchs() {
        // torch.nn.functional.hardswish, hardsigmoid, relu6 at these points.
        let at = [-4.0, -3.0, -1.5, 0.0, 1.5, 3.0, 9.0];
        assert_eq!(at.map(|x| Activation::Hardswish.apply(x)), [0.0, 0.0, -0.375, 0.0, 1.125, 3.0, 9.0]);
        assert_eq!(at.map(|x| Activation::Hardsigmoid.apply(x)), [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(at.map(|x| Activation::Relu6.apply(x)), [0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 6.0]);
        assert_eq!(at.map(|x| Activation::Relu.apply(x)), [0.0, 0.0, 0.0, 0.0, 1.5, 3.0, 9.0]);
        assert_eq!(at.map(|x| Activation::Identity.apply(x)), at);
    }
}
