//! Micro-kernels for x86-64, one file an instruction set and number type.

pub mod avx2_ceiling;
pub mod avx2_f32;
pub mod avx2_plain;
pub mod avx2_resample;
pub(super) mod avx2_u8;
pub(super) mod avx2_u8_depthwise;
mod avx2_u8_epilogue;
pub(super) mod avx512_f32;
pub mod avx512_plain;
pub(super) mod avx512_u8_depthwise;
mod avx512_u8_epilogue;
pub(super) mod avx512_vnni_u8;
pub(super) mod avx_vnni_u8;
mod lanes;
pub(super) mod sse41_f32;
pub(super) mod sse41_u8;
pub mod vnni_ceiling;
