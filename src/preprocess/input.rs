//! The same transform for whichever canvas a model reads.

use super::Transform;
use crate::error::Result;
use crate::frame::View;
use crate::tensor::Input;

impl Transform {
    /// Writes `image` into `input`, whichever kind of canvas that is.
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
