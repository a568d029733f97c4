//! Sampled frames: which are taken, which are usable, which are kept, and which are held out for judging.

pub(in crate::monitor) mod camera_fault;
pub(in crate::monitor) mod disk;
pub(in crate::monitor) mod holdout;
pub(in crate::monitor) mod outliers;
pub(in crate::monitor) mod reservoir;
pub(in crate::monitor) mod sampler;
pub(in crate::monitor) mod usability;
