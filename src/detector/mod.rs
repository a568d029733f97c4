//! The network, written once as data, and what runs it.
//!
//! [`plan`] holds the steps; [`checkpoint`] and [`weights`] bring the numbers; [`fp32`] is the reference executor. The
//! parts that are not convolutions ([`anchors`], [`boxes`], [`nms`], [`proposals`], [`roi_align`], [`detections`]) are
//! shared by every executor. [`Detector`] is the whole: a model file in, detections out; a [`tap::Tap`] sees what
//! happens in between.

pub mod anchors;
pub mod architecture;
pub mod boxes;
pub mod checkpoint;
pub mod demo;
mod detect;
pub mod detection;
pub mod detections;
pub mod fp32;
pub mod int8;
pub mod nms;
pub mod plan;
pub mod proposals;
pub mod roi_align;
pub mod settings;
pub mod tap;
pub mod weights;

pub use detect::{Detector, DetectorOptions, ModelSummary, thread_pool};
