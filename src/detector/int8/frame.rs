//! Layout of one canvas size: shapes, buffers, level scales.

use super::slots::{BufferSlots, Lifetime};
use super::{EdgeStorage, Int8Model};
use crate::detector::plan::Op;
use crate::detector::roi_align::{LevelMapper, level_scale};
use crate::tensor::{Fit, Shape};

/// The layout of one canvas size. It also depends on the unpadded rows, through the scales of the levels.
#[derive(Debug)]
pub(super) struct FrameLayout {
    pub fit: Fit,
    /// Output shapes by step, for the largest number of proposals.
    pub shapes: Vec<Shape>,
    /// Buffers of outputs stored in bytes.
    pub bytes: BufferSlots,
    /// Buffers of outputs stored in f32.
    pub floats: BufferSlots,
    /// Canvas pixels to feature map cells, by level that RoIAlign reads.
    pub scales: Vec<f32>,
    /// Maps proposals to those levels.
    pub level_mapper: LevelMapper,
}

impl FrameLayout {
    /// The layout for a frame with the geometry `fit`. With `keep_features`, the inputs of RoIAlign live until the end of
    /// the frame, so that the second stage can run again.
    pub fn new(model: &Int8Model, fit: Fit, keep_features: bool) -> Self {
        let plan = &model.plan;
        let proposals = plan.settings.rpn.post_nms_top_n;
        let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, proposals);
        let mut last_reader: Vec<usize> = (0..plan.steps.len()).collect();
        for (id, step) in plan.steps.iter().enumerate() {
            for &input in &step.inputs {
                last_reader[input] = id;
            }
        }
        if keep_features {
            for &input in &plan.steps[plan.key_steps.roi_features].inputs {
                last_reader[input] = plan.steps.len();
            }
        }
        let lifetimes = |is_stored: fn(EdgeStorage) -> bool| -> Vec<Option<Lifetime>> {
            let lifetime = |id: usize| {
                let len = model.stored_len(id, shapes[id]);
                is_stored(model.mixed_precision.storage[id]).then(|| Lifetime { len, steps: id..=last_reader[id] })
            };
            (0..plan.steps.len()).map(lifetime).collect()
        };
        let bytes =
            BufferSlots::assign(&lifetimes(|storage| matches!(storage, EdgeStorage::U8(_) | EdgeStorage::Pixels)));
        let floats = BufferSlots::assign(&lifetimes(|storage| storage == EdgeStorage::F32));
        let roi_align = plan.key_steps.roi_features;
        let levels = plan.steps[roi_align].inputs.iter().filter(|&&input| plan.steps[input].op != Op::Proposals);
        let scales: Vec<f32> = levels.map(|&input| level_scale(shapes[input].height, &fit)).collect();
        let level_mapper = LevelMapper::new(&plan.settings.roi, &scales);
        Self { fit, shapes, bytes, floats, scales, level_mapper }
    }

    /// The shape of a step's output for this number of proposals.
    pub fn shape(&self, model: &Int8Model, step: usize, proposals: usize) -> Shape {
        let shape = self.shapes[step];
        if step <= model.plan.key_steps.proposals {
            return shape;
        }
        let most = model.plan.settings.rpn.post_nms_top_n.max(1);
        Shape { height: shape.height / most * proposals, ..shape }
    }
}
