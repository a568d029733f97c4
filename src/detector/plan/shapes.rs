//! Shapes, multiply-adds and valid extents of every step for a given canvas.

use super::{Op, Plan, StepId};
use crate::tensor::{Fit, Shape};

impl Plan {
    /// The output shape of every step for a padded canvas of `height` × `width` and this many proposals.
    ///
    /// Proposals are rows of 4. RoI features are maps one window wide, with the windows of all proposals stacked
    /// vertically. Detections are rows of 6 (box, score, class), at most `max_detections`.
    pub fn shapes(&self, height: usize, width: usize, proposals: usize) -> Vec<Shape> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.steps.len());
        let window = self.architecture.roi_output;
        for step in &self.steps {
            let input = |n: usize| shapes[step.inputs[n]];
            let shape = match step.op {
                Op::Image => Shape::new(height, width, 3),
                Op::Layer { layer, .. } => {
                    let layer = &self.layers[layer];
                    let (count, height, width) = layer.maps_read(input(0));
                    let (rows, columns) = layer.geometry.output(height, width);
                    Shape::new(count * rows, columns, layer.geometry.out_channels)
                }
                Op::MaxPool | Op::Subsample => {
                    let from = input(0);
                    Shape::new(from.height.div_ceil(2), from.width.div_ceil(2), from.channels)
                }
                Op::Activate(_) | Op::Scale => input(0),
                Op::GlobalMean => Shape::new(1, 1, input(0).channels),
                Op::Proposals => Shape::new(proposals, 1, 4),
                Op::RoiAlign => Shape::new(proposals * window, window, self.architecture.feature_channels()),
                Op::Detections => Shape::new(self.settings.roi.max_detections, 1, 6),
            };
            shapes.push(shape);
        }
        shapes
    }

    /// Multiply-adds of every step for the shapes of [`Plan::shapes`]: convolutions and linear layers only.
    pub fn macs(&self, shapes: &[Shape]) -> Vec<u64> {
        let of_step = |id: StepId| {
            let layer = self.steps[id].layer()?;
            Some(shapes[id].pixels() as u64 * self.layers[layer].geometry.weights() as u64)
        };
        (0..self.steps.len()).map(|id| of_step(id).unwrap_or(0)).collect()
    }

    /// Rows and columns of a step's output that are computed from the picture, not from padding alone: the picture's
    /// share of the canvas, rounded up. Rows of proposals are all valid.
    pub fn valid(&self, step: StepId, shape: Shape, fit: &Fit) -> (usize, usize) {
        if step >= self.key_steps.proposals {
            return (shape.height, shape.width);
        }
        (
            (shape.height * fit.height).div_ceil(fit.canvas_height.max(1)),
            (shape.width * fit.width).div_ceil(fit.canvas_width.max(1)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Layer, Part, Plan};
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    /// A KITTI frame, 375×1242, is resized to 402×1333 and padded to 416×1344.
    #[test]
    fn multiply_adds_of_a_kitti_frame() {
        let plan = Plan::new(Architecture::resnet50_fpn(10), Settings::default());
        let shapes = plan.shapes(416, 1344, 1000);
        let macs = plan.macs(&shapes);
        let of_part = |part| {
            let steps = plan.steps.iter().zip(&macs);
            steps.filter(|(step, _)| step.part == part).map(|(_, &macs)| macs as f64).sum::<f64>() / 1e9
        };
        let [body, fpn, rpn, roi] = Part::ALL.map(of_part);
        assert!(((body + fpn + rpn + roi) / 118.8 - 1.0).abs() < 1e-3);
        // The parts are known to one decimal.
        for (found, wanted) in [(body, 45.5), (fpn, 31.7), (rpn, 27.6), (roi, 13.9)] {
            assert!((found - wanted).abs() <= 0.051, "{found} GMAC, expected {wanted}");
        }
    }

    #[test]
    fn parameters_are_torchvisions() {
        // The count torchvision publishes for FasterRCNN_ResNet50_FPN_Weights.COCO_V1.
        let plan = Plan::new(Architecture::resnet50_fpn(91), Settings::default());
        assert_eq!(plan.layers.iter().map(Layer::parameters).sum::<u64>(), 41_755_286);
    }

    #[test]
    fn every_step_follows_its_inputs_and_has_its_own_name() {
        let plan = Plan::new(Architecture::resnet50_fpn(91), Settings::default());
        let mut names = std::collections::HashSet::new();
        for (id, step) in plan.steps.iter().enumerate() {
            assert!(step.inputs.iter().all(|&input| input < id), "{}", step.name);
            assert!(names.insert(&step.name), "{}", step.name);
            assert_eq!(plan.find(&step.name), Some(id));
        }
    }
}
