//! Pictures and frames: decoding, pixel formats, rotation, and the slots between capture and detection.
//!
//! In: JPEG and PNG from files or memory, and raw bytes of cameras. Out: [`Picture`], upright RGB with 8 bits a channel;
//! or [`Image`], which converts raw bytes on demand. A truncated file is an error: a partial picture must not be taken for
//! the scene.

mod blacken;
mod decode;
mod encode;
mod folder;
mod image;
mod jpeg;
mod picture;
mod raw;
mod sideways;
mod size;
mod slot;
mod turn;

pub use folder::PictureFolder;
pub use image::{Image, Rows, View};
pub use picture::{MAX_PIXELS, Picture, check_size};
pub use raw::{Matrix, PixelFormat, Range, Raw};
pub use size::{PictureSize, size_of};
pub use slot::{Frame, Put, Slots};
pub use turn::Turn;
