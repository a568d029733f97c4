//! The only SIMD of the crate.

pub mod aligned;
pub mod geometry;
pub mod isa;
