//! The only SIMD of the crate.

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub mod activation;
pub mod aligned;
pub mod bench_f32;
pub mod bench_u8;
mod bundles;
pub mod ceiling;
pub mod claim;
pub mod colour;
pub mod conv_f32;
pub mod conv_u8;
mod depthwise_f32;
pub mod direct_f32;
pub mod geometry;
pub mod isa;
mod lanes_f32;
mod maps_f32;
mod pack_f32;
pub mod pointwise_f32;
pub mod pointwise_u8;
pub mod pool_f32;
pub mod pool_u8;
mod prefetch;
pub mod resample;
pub mod roi_align_f32;
pub mod roi_align_u8;
mod rows_f32;
mod self_test;
pub mod table_f32;
pub mod tile_f32;
mod tiles_f32;
pub mod two_bytes;
mod winograd_f32;
pub mod winograd_stages_f32;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use self_test::self_test;
