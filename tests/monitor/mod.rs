//! The monitor by scenario, on the pattern camera's street and the demo model: nights, weathers, a week, poison, bad swaps
//! and sudden death, each with and without the full-precision checkpoint. Time is made up; the frames are a function of
//! it.

mod cost;
mod daemon;
mod death;
mod device;
mod drift;
mod example;
mod recalibrate;
mod shared;
mod unseen;
mod world;
