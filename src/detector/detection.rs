//! Detections of a picture.

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Class, from 1; 0 is the background, which is never detected. The label has index `class_id` − 1.
    pub class_id: u32,
    /// Softmax probability of the class, 0 to 1.
    pub score: f32,
    /// x0, y0, x1, y1 in pixels: of the canvas in the detector's output, of the frame after mapping back.
    pub bbox: [f32; 4],
}
