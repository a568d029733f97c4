//! Statistics collectors: taps that count the values of every edge while a network runs.

mod channel_maxima;
mod fp32;
mod int8;

pub(super) use channel_maxima::ChannelMaxima;
pub use fp32::{Fp32Collector, PictureStatistics};
pub use int8::Int8Collector;
