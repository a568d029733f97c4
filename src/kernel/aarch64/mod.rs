//! Micro-kernels for AArch64, one file an instruction set and number type.
//!
//! Every AArch64 CPU has Advanced SIMD, so plain Rust is compiled for it already: pooling, RoIAlign, resampling and
//! colour conversion have no files here.

pub mod ceiling;
pub(super) mod dotprod_u8;
mod epilogue_u8;
pub(super) mod i8mm_u8;
mod lanes;
pub(super) mod neon_f32;
pub(super) mod neon_u8;
pub(super) mod neon_u8_depthwise;
