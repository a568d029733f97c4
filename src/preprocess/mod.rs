//! Preprocessing: torchvision's `GeneralizedRCNNTransform`, from a picture to the canvas that the network reads.
//!
//! In: a [`Picture`](crate::frame::Picture) or a camera's [`Image`](crate::frame::Image) of any size. Out: a
//! [`Canvas`](crate::tensor::Canvas). The short side becomes `min_size`, unless the long side would exceed `max_size`.
//! The canvas is padded to a multiple of 32. It is normalized in `f32`, or holds plain bytes in `u8`. One sampler makes
//! both, so they differ by one rounding. The canvas carries the sizes that map boxes back to the picture.

mod input;
mod params;
mod sample;
mod transform;

pub use params::TransformParams;
pub use transform::Transform;
