//! What the detector says about a picture.

/// One object found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index into the model's labels; 0 is the background and never reported.
    pub class_id: u32,
    /// Softmax score, 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels; of the canvas when it leaves the detector, of the frame once mapped back.
    pub bbox: [f32; 4],
}
