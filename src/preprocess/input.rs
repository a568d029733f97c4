//! The transform into either kind of canvas.

use super::Transform;
use crate::error::Result;
use crate::frame::View;
use crate::tensor::Input;

impl Transform {
    /// Resizes `image` into `input`, normalized for `f32`, as bytes for `u8`.
    ///
    /// # Errors
    /// As [`Transform::to_f32`] and [`Transform::to_u8`].
    pub fn fill<'a>(&mut self, image: impl Into<View<'a>>, input: &mut Input) -> Result<()> {
        match input {
            Input::F32(canvas) => self.to_f32(image, canvas),
            Input::U8(canvas) => self.to_u8(image, canvas),
        }
    }
}
