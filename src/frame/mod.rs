//! Pictures: what a camera or a file gives.
//!
//! In: JPEG and PNG, from files or memory, and a camera's own bytes. Out: [`Picture`], eight bits of red, green and blue
//! a pixel, turned upright by its EXIF orientation; or [`Image`], which keeps a camera's bytes until somebody looks. A
//! file that cannot be shown whole is refused: half a picture must not be taken for what the camera saw.

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

pub use folder::pictures_in;
pub use image::{Image, Rows, View};
pub use picture::{MAX_PIXELS, Picture};
pub use raw::{Matrix, PixelFormat, Range, Raw};
pub use size::size_of;
pub use slot::{Frame, Put, Slots};
pub use turn::Turn;
