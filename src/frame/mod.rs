//! Pictures: what a camera or a file gives, upright and in RGB.
//!
//! In: JPEG and PNG, from files or memory. Out: [`Picture`], eight bits of red, green and blue a pixel, turned upright
//! by its EXIF orientation. A file that cannot be shown whole is refused: half a picture must not be taken for what
//! the camera saw.

mod decode;
mod encode;
mod folder;
mod jpeg;
mod picture;
mod slot;

pub use folder::pictures_in;
pub use picture::{MAX_PIXELS, Picture};
pub use slot::{Frame, Put, Slots};
