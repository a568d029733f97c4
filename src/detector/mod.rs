//! The network, written once as data, and what runs it.

pub mod anchors;
pub mod architecture;
pub mod boxes;
pub mod checkpoint;
pub mod detection;
pub mod detections;
pub mod fp32;
pub mod nms;
pub mod plan;
pub mod proposals;
pub mod roi_align;
pub mod settings;
pub mod tap;
pub mod weights;
