//! The integration tests, in one binary: every binary more would link the library and its dependencies once more.
//!
//! `cargo test --test suite FILTER` runs those whose path holds FILTER, such as `parity::` or `monitor::drift::`.
//! `tests/int8` is a binary of its own, because it replaces the global allocator.

mod architecture;
#[cfg(feature = "demo")]
mod check_config;
mod checkpoint;
mod config;
mod detect;
mod documents;
mod evaluate;
mod frame;
mod golden;
mod kernels_f32;
mod kernels_u8;
#[cfg(feature = "demo")]
mod monitor;
mod networks;
mod networks_int8;
mod parity;
mod pattern;
mod peers;
mod preprocess;
#[cfg(feature = "demo")]
mod privacy;
mod quantize;
mod regions_f32;
mod replay;
mod roi_align_u8;
mod rules;
mod run;
mod scenes;
#[cfg(feature = "demo")]
mod secrets;
mod setup;
mod timing_f32;
mod timing_u8;
mod tracking;
mod weight_error;
