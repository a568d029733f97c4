//! Extents, multiply-adds and padding of every step, for a given canvas.

use super::{Op, Plan, StepId};
use crate::tensor::{Fit, Shape};

impl Plan {
    /// The output shape of every step for a padded canvas of `height` × `width` and this many proposals.
    ///
    /// Proposals are rows of 4; RoI features are maps one window wide, the windows one below the other; detections
    /// are rows of 6 (box, score, class), at most `max_detections`.
    pub fn shapes(&self, height: usize, width: usize, proposals: usize) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.steps.len());
        let window = self.architecture.roi_output;
        for step in &self.steps {
            let input = |n: usize| shapes[step.inputs[n]];
            let shape = match step.op {
                Op::Image => Shape::new(height, width, 3),
                Op::Layer { layer, .. } => {
                    let geometry = &self.layers[layer].geometry;
                    let from = input(0);
                    if from.channels == geometry.in_channels {
                        let (rows, columns) = geometry.output(from.height, from.width);
                        Shape::new(rows, columns, geometry.out_channels)
                    } else {
                        // The box head's first layer reads a whole window as one row.
                        Shape::new(from.len() / geometry.in_channels, 1, geometry.out_channels)
                    }
                }
                Op::MaxPool | Op::Subsample => {
                    let from = input(0);
                    Shape::new(from.height.div_ceil(2), from.width.div_ceil(2), from.channels)
                }
                Op::Proposals => Shape::new(proposals, 1, 4),
                Op::RoiAlign => Shape::new(proposals * window, window, self.architecture.fpn),
                Op::Detections => Shape::new(self.settings.roi.max_detections, 1, 6),
            };
            shapes.push(shape);
        }
        shapes
    }

    /// Multiply-adds of every step, given the shapes of [`Plan::shapes`]: convolutions and linear layers only.
    pub fn macs(&self, shapes: &[Shape]) -> Vec<u64> {
        let of_step = |id: StepId| {
            let layer = self.steps[id].layer()?;
            Some(shapes[id].pixels() as u64 * self.layers[layer].geometry.weights() as u64)
        };
        (0..self.steps.len()).map(|id| of_step(id).unwrap_or(0)).collect()
    }

    /// Rows and columns of a step's output that show the picture rather than padding: the share of the canvas that
    /// is picture, rounded up. Rows of proposals are all valid.
    pub fn valid(&self, step: StepId, shape: Shape, fit: &Fit) -> (usize, usize) {
        if step >= self.landmarks.proposals {
            return (shape.height, shape.width);
        }
        (
            (shape.height * fit.height).div_ceil(fit.canvas_height.max(1)),
            (shape.width * fit.width).div_ceil(fit.canvas_width.max(1)),
        )
    }
}
