//! The only SIMD of the crate.

pub mod geometry;
pub mod isa;
