//! The same transform for whichever canvas a model reads.

use super::Transform;
use crate::error::Result;
use crate::frame::Picture;
use crate::tensor::Input;

impl Transform {
    /// Writes `picture` into `input`, whichever kind of canvas that is.
    ///
    /// # Errors
    /// As [`Transform::to_f32`] and [`Transform::to_u8`].
    pub fn fill(&mut self, picture: &Picture, input: &mut Input) -> Result<()> {
        match input {
            Input::F32(canvas) => self.to_f32(picture, canvas),
            Input::U8(canvas) => self.to_u8(picture, canvas),
        }
    }
}
