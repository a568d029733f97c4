//! Statistics collectors: taps that count the values of every edge while a network runs.

mod fp32;
mod int8;

pub use fp32::{Fp32Collector, PictureStatistics};
pub use int8::Int8Collector;
