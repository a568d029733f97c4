//! Scenarios of the monitor on the synthetic street with the demo model: nights, weathers, a week, poisoned frames, bad
//! generations and a killed process, each with and without the full-precision checkpoint. Time is simulated; the frames
//! are a function of it.

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
