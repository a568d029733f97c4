//! Convolution of u8 activations with s8 weights, exact in i32, requantized as it is written.
//!
//! In: an NHWC map of bytes, weights packed once ([`PackedU8`]) and what becomes of the sums ([`Epilogue`]). Out: an
//! NHWC map of bytes or of f32. The bytes are the same on every instruction set and at any number of threads. Sums are
//! exact integers, and no sum is ever split among threads. The epilogue multiplies, adds and rounds one value at a time
//! in a fixed order, without fused multiply-add.
//!
//! Output pixels are rows, output channels columns, filter taps × input channels the depth. A block of output pixels
//! has a table of pointers on the stack, one for each pixel and tap. A tap outside the picture points at a row of zero
//! points. Nothing is copied and nothing allocated. A linear layer is a 1×1 convolution whose pixels are its rows.
//!
//! A panel's channels read a part of each pixel's: all of them, those of their groups, or their own where the
//! convolution is depthwise. Depthwise kernels take the same tiles.
//!
//! Values may be of two bytes (*wide*): a map is then two maps, all high bytes and after them all low ones. A value is
//! `(256 · high + low − (256 · z + 128)) · s / 256`. So the high bytes alone are the nearest levels of a map of one
//! byte with scale s and zero point z. Weights may have two digits, `(high + low / 128) · s`. The same micro-kernels
//! run over the low bytes and over the low digits, and the [`Epilogue`] says how their sums are joined.
//!
//! [`KERNELS_U8`] and [`DEPTHWISE_U8`] list the micro-kernels; dispatch, tests and timings are derived from them.

mod driver;
mod dynamic;
mod epilogue;
mod map;
mod micro;
mod pack;
mod point;
mod raw_observer;
mod scalar;
mod table;

pub use driver::{convolve, convolve_observed};
pub use dynamic::quantize_dynamic;
pub use epilogue::{Epilogue, EpilogueSpec, OutputKind, SkipKind, is_curved};
pub use map::{ConvInput, ConvOutput, SkipInput};
pub use micro::KernelU8;
pub use pack::{PackedU8, pair_safe};
pub use raw_observer::{Clipped, RawObserver};
pub use table::{DEPTHWISE_U8, KERNELS_U8};

pub(crate) use micro::{Curve, MAX_MR, SkipTile, TileOutput, TileU8};
