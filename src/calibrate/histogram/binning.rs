//! Binning: histogram bins are 2^k wide and start at multiples of 2^k, for every edge and picture.
//!
//! Bin i of exponent k covers [i · 2^k, (i + 1) · 2^k). Bins 2i and 2i + 1 of exponent k together are bin i of exponent
//! k + 1, so coarsening is exact: it is a shift of the index. The exponent follows from the extremes of the values
//! only: it is the smallest with which zero and all values lie in at most [`BINS`] bins. Therefore merging histograms
//! is associative and commutative.

/// Most bins of a histogram. At least half of them are used where the values, not the smallest exponent, decide.
pub const BINS: usize = 2048;

/// Bin width of a histogram, 2^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Binning {
    exponent: i32,
}

impl Binning {
    /// Smallest width: that of the smallest normal f32. Subnormal values share the two bins at zero.
    pub const FINEST: Self = Self { exponent: f32::MIN_EXP - 1 };

    /// Largest width that finite values need: 2 · 2^128 divided by 2048 bins.
    pub const COARSEST: Self = Self { exponent: f32::MAX_EXP + 2 - BINS.ilog2() as i32 };

    /// Bins 2^`exponent` wide; `None` outside the exponents that histograms use.
    pub fn new(exponent: i32) -> Option<Self> {
        (Self::FINEST.exponent..=Self::COARSEST.exponent).contains(&exponent).then_some(Self { exponent })
    }

    /// The narrowest bins of which at most [`BINS`] hold zero, `min` and `max`. Both are finite.
    pub fn covering(min: f32, max: f32) -> Self {
        let (min, max) = (min.min(0.0), max.max(0.0));
        // With a smaller exponent the wider side alone has too many bins.
        let top = exponent_of(max.max(-min)) - BINS.ilog2() as i32;
        let mut binning = Self { exponent: top.clamp(Self::FINEST.exponent, Self::COARSEST.exponent) };
        while binning.index(max) - binning.index(min) >= BINS as i64 {
            binning.exponent += 1;
        }
        binning
    }

    /// Exponent k of the bin width 2^k.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// Bin width, a power of two, exact.
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

/// floor(log2 x) of a finite x ≥ 0; for zero and subnormals that of the smallest normal number.
fn exponent_of(x: f32) -> i32 {
    let biased = (x.to_bits() >> 23) & 0xff;
    (biased.max(1) as i32) - 127
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_contain_their_values() {
        let binning = Binning::new(-3).unwrap();
        let cases = [(0.0, 0), (-0.0, 0), (0.124, 0), (0.125, 1), (-1e-45, -1), (-0.125, -1), (-0.126, -2)];
        for (x, index) in cases {
            assert_eq!(binning.index(x), index, "{x}");
        }
        assert_eq!(binning.lower(-2), -0.25);
    }

    #[test]
    fn the_exponent_is_the_smallest_that_fits() {
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
    fn the_extremes_of_f32_have_an_exponent() {
        assert_eq!(Binning::covering(0.0, 0.0), Binning::FINEST);
        assert_eq!(Binning::covering(-1e-45, 1e-40), Binning::FINEST);
        for (min, max) in [(0.0, f32::MAX), (f32::MIN, 0.0), (f32::MIN, f32::MAX), (5.0, 5.0), (-2.0, -2.0)] {
            let binning = Binning::covering(min, max);
            assert!(Binning::new(binning.exponent()).is_some());
            assert!(binning.index(max.max(0.0)) - binning.index(min.min(0.0)) < BINS as i64);
        }
    }
}
