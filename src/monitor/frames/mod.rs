//! Sampled frames: selection, usability check, storage, and the split into calibration and validation frames.
//!
//! ```text
//! detector thread        monitor thread
//! frame ─► sampler ─►    usability ─► reservoir ─► outliers ─► holdout ─► calibration frames
//!                            │            │                       └─────► validation frames
//!                            ▼            ▼
//!                       camera_fault    disk
//! ```
//!
//! 1. `sampler` takes one frame of each camera a period, with the frame after it.
//! 2. `usability` accepts a frame or names the damage: covered, noise, strobe, overexposed, incomplete, frozen.
//!    `camera_fault` reports a camera whose frames are all unusable.
//! 3. `reservoir` stores usable frames within a limit of memory, spread over brightness and time. `disk` stores them
//!    in a folder as well, if the configuration allows it.
//! 4. A recalibration removes `outliers`, which differ from the frames before and after them.
//! 5. `holdout` divides the rest into frames that choose ranges and frames that test them.
//!
//! This wing uses no other wing of the monitor.

pub(in crate::monitor) mod camera_fault;
pub(in crate::monitor) mod disk;
pub(in crate::monitor) mod holdout;
pub(in crate::monitor) mod outliers;
pub(in crate::monitor) mod reservoir;
pub(in crate::monitor) mod sampler;
pub(in crate::monitor) mod usability;
