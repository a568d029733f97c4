//! Scenarios of the monitor on the synthetic street with the demo model, each with and without the full-precision
//! checkpoint: nights, weathers, a week, poisoned frames, bad generations, a killed process. Time is simulated; the
//! frames are a function of it.

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
