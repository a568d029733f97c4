//! From a picture to what the network reads: torchvision's `GeneralizedRCNNTransform`.
//!
//! In: a [`Picture`](crate::frame::Picture) or a camera's [`Image`](crate::frame::Image) of any size. Out: a [`Canvas`](crate::tensor::Canvas), resized
//! so that the short side is `min_size` unless the long side would pass `max_size`, and padded to a multiple of 32;
//! either normalized in `f32` or as it is in `u8`. Both come from one sampler, so they differ by one rounding.
//! The canvas carries the sizes that take boxes back to the picture.

mod input;
mod rule;
mod sample;
mod transform;

pub use rule::Rule;
pub use transform::Transform;
