//! The monitor by scenario, on a synthetic street and a narrow network: nights, weathers, a week, poison, bad swaps and
//! sudden death, each with and without the full-precision checkpoint. Time is made up; the frames are a function of it.

#[path = "../golden/mod.rs"]
#[allow(dead_code)]
mod golden;

mod daemon;
mod death;
mod device;
mod drift;
mod recalibrate;
mod world;
