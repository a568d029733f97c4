//! Where histogram bins lie: multiples of 2^k, for every edge and picture the same binning.
//!
//! Bin i of step k covers [i · 2^k, (i + 1) · 2^k). Two neighbouring bins of step k that start at an even index are
//! one bin of step k + 1, so coarsening is exact: it is a shift of the index, and floor(floor(x / a) / 2) =
//! floor(x / 2a). Which k a set of values gets depends on its extremes alone: the smallest at which zero and all values
//! lie in at most [`BINS`] bins. Hence merging is associative and commutative.

/// Most bins a histogram has; at least half of them are in use when the values set the step.
pub const BINS: usize = 2048;

/// The step of a histogram: bins are 2^`exponent` wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binning {
    exponent: i32,
}

impl Binning {
    /// The finest: bins as wide as the smallest normal f32. Subnormal values share the two bins beside zero.
    pub const FINEST: Self = Self { exponent: f32::MIN_EXP - 1 };

    /// The coarsest that finite values can need: 2^128 spans 2 · 2^128 / 2048 a bin.
    pub const COARSEST: Self = Self { exponent: f32::MAX_EXP + 2 - BINS.ilog2() as i32 };

    /// The binning of bins 2^`exponent` wide, if histograms use it.
    pub fn new(exponent: i32) -> Option<Self> {
        (Self::FINEST.exponent..=Self::COARSEST.exponent).contains(&exponent).then_some(Self { exponent })
    }

    /// The finest binning on which zero, `min` and `max` lie in at most [`BINS`] bins. Both are finite.
    pub fn covering(min: f32, max: f32) -> Self {
        let (min, max) = (min.min(0.0), max.max(0.0));
        // Below this step even the wider side alone has too many bins.
        let top = exponent_of(max.max(-min)) - BINS.ilog2() as i32;
        let mut binning = Self { exponent: top.clamp(Self::FINEST.exponent, Self::COARSEST.exponent) };
        while binning.index(max) - binning.index(min) >= BINS as i64 {
            binning.exponent += 1;
        }
        binning
    }

    /// k of the width 2^k.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// Width of a bin, a power of two, exact.
    pub fn width(self) -> f64 {
        2f64.powi(self.exponent)
    }

    /// Index of the bin of a finite `x`: floor(x / 2^k), exact. −0 counts as 0.
    pub fn index(self, x: f32) -> i64 {
        // An f32 times a power of two is exact in f64: no exponent here leaves its range.
        (f64::from(x) * 2f64.powi(-self.exponent)).floor() as i64
    }

    /// Lower end of bin `index`, exact.
    pub fn lower(self, index: i64) -> f64 {
        index as f64 * self.width()
    }
}

/// floor(log2 x) of a finite x ≥ 0; of zero and subnormals that of the smallest normal number.
fn exponent_of(x: f32) -> i32 {
    let biased = (x.to_bits() >> 23) & 0xff;
    (biased.max(1) as i32) - 127
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_what_they_say() {
        let binning = Binning::new(-3).unwrap();
        let cases = [(0.0, 0), (-0.0, 0), (0.124, 0), (0.125, 1), (-1e-45, -1), (-0.125, -1), (-0.126, -2)];
        for (x, index) in cases {
            assert_eq!(binning.index(x), index, "{x}");
        }
        assert_eq!(binning.lower(-2), -0.25);
    }

    #[test]
    fn the_step_is_the_finest_that_fits() {
        for (min, max) in
            [(0.0, 1.0), (-1.0, 1.0), (-0.3, 17.0), (0.0, 2047.0), (0.0, 2048.0), (-1.0, 2047.0), (-3e-3, 0.0)]
        {
            let binning = Binning::covering(min, max);
            assert!(binning.index(max) - binning.index(min) < BINS as i64, "{min} {max}");
            let finer = Binning { exponent: binning.exponent - 1 };
            assert!(finer.index(max) - finer.index(min) >= BINS as i64, "{min} {max}");
        }
    }

    #[test]
    fn the_ends_of_f32_have_a_step() {
        assert_eq!(Binning::covering(0.0, 0.0), Binning::FINEST);
        assert_eq!(Binning::covering(-1e-45, 1e-40), Binning::FINEST);
        for (min, max) in [(0.0, f32::MAX), (f32::MIN, 0.0), (f32::MIN, f32::MAX), (5.0, 5.0), (-2.0, -2.0)] {
            let binning = Binning::covering(min, max);
            assert!(Binning::new(binning.exponent()).is_some());
            assert!(binning.index(max.max(0.0)) - binning.index(min.min(0.0)) < BINS as i64);
        }
    }
}
