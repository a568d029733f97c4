//! Vectors of f32, one implementation an instruction set, and what kernels share over them.
//!
//! A kernel that is generic over [`LanesF32`] is inlined into a function that enables an instruction set, once for each
//! set. The portable implementations are here, the others in `x86` and `aarch64`.

use super::activation::Activation;

/// A vector of f32.
///
/// # Safety
///
/// Of every function: the CPU has the vector's instruction set; pointers are valid for [`LanesF32::LANES`] values.
pub trait LanesF32: Copy {
    /// Values of a vector; a power of two.
    const LANES: usize;
    /// True if there are 32 registers of vectors, otherwise 16.
    const MANY: bool;

    /// `value` in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// The values from `from` on.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes the values to `to`.
    unsafe fn store(self, to: *mut f32);
    /// self + other
    unsafe fn plus(self, other: Self) -> Self;
    /// self − other
    unsafe fn minus(self, other: Self) -> Self;
    /// self · other
    unsafe fn times(self, other: Self) -> Self;
    /// self / other
    unsafe fn over(self, other: Self) -> Self;
    /// self + a · b; rounded once where the instruction set can do that, otherwise twice.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    /// The larger value; `other` where self is NaN.
    unsafe fn larger(self, other: Self) -> Self;
    /// The smaller value.
    unsafe fn smaller(self, other: Self) -> Self;
    /// Lane `i` gets what lane `i ^ DISTANCE` has. `DISTANCE` is 1, 2 or 4, and less than [`LanesF32::LANES`].
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self;
}

/// [`Activation::apply`] of every lane, to the bit.
///
/// # Safety
///
/// As for [`LanesF32`].
#[inline(always)]
pub unsafe fn activate<V: LanesF32>(activation: Activation, x: V) -> V {
    // SAFETY: as the caller promises.
    unsafe {
        let zero = V::splat(0.0);
        let six = V::splat(6.0);
        match activation {
            Activation::Identity => x,
            Activation::Relu => x.larger(zero),
            Activation::Relu6 => x.larger(zero).smaller(six),
            Activation::Hardswish => x.times(x.plus(V::splat(3.0)).larger(zero).smaller(six)).over(six),
            Activation::Hardsigmoid => x.plus(V::splat(3.0)).larger(zero).smaller(six).over(six),
        }
    }
}

/// One value at a time, for maps with fewer channels than a vector has lanes.
impl LanesF32 for f32 {
    const LANES: usize = 1;
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait says.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait says.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        self
    }
}

/// The oracle's vector: plain Rust, which the compiler may vectorise as the target allows.
impl LanesF32 for [f32; 8] {
    const LANES: usize = 8;
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the trait says; an array of f32 is aligned as one.
        unsafe { *from.cast() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the trait says.
        unsafe { *to.cast() = self }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - other[lane])
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }
    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] / other[lane])
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] < other[lane] { self[lane] } else { other[lane] })
    }
    #[inline(always)]
    unsafe fn swapped<const DISTANCE: usize>(self) -> Self {
        std::array::from_fn(|lane| self[lane ^ DISTANCE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_give_the_bits_of_the_function() {
        let values = [-4.0, -3.0, -1.7, 0.0, 0.3, 2.9, 6.1, 9.0];
        let all =
            [Activation::Identity, Activation::Relu, Activation::Relu6, Activation::Hardswish, Activation::Hardsigmoid];
        for activation in all {
            // SAFETY: arrays need no instruction set.
            let vector = unsafe { activate(activation, values) };
            assert_eq!(vector, values.map(|x| activation.apply(x)), "{activation:?}");
        }
    }
}
