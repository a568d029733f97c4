//! The network as data, and its executors.
//!
//! [`network`] has the parts of a network and [`plan`] its steps; [`checkpoint`] and [`weights`] read the parameters; [`fp32`] is the reference executor,
//! [`int8`] the quantized one. Both share the stages that are not convolutions: [`anchors`], [`boxes`], [`nms`],
//! [`proposals`], [`roi_align`], [`detections`]. [`Detector`] is the whole: a model file in, detections out. A
//! [`tap::Tap`] observes the activations in between.

pub mod anchors;
pub mod boxes;
pub mod checkpoint;
pub mod demo;
mod detect;
pub mod detection;
pub mod detections;
pub mod equalization;
pub mod fp32;
pub mod int8;
pub mod network;
pub mod nms;
pub mod plan;
pub mod proposals;
pub mod roi_align;
pub mod settings;
pub mod tap;
mod version_1;
pub mod weights;

pub use detect::{Detector, DetectorOptions, ModelDescription, ModelSummary, describe, thread_pool};
