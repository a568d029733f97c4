//! Layout of one canvas size: shapes, buffers, level scales.

use super::bands::BandBuffers;
use super::groups::{DepthFirst, Group, groups};
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
    /// Groups of steps that run depth-first.
    pub groups: Vec<Group>,
    /// Their buffers.
    pub band_buffers: BandBuffers,
}

impl FrameLayout {
    /// The layout for a frame with the geometry `fit`. With `keep_features`, the inputs of RoIAlign live until the end of
    /// the frame, so that the second stage can run again. Without `depth_first`,
    /// every step runs by itself.
    pub fn new(model: &Int8Model, fit: Fit, keep_features: bool, depth_first: Option<DepthFirst>) -> Self {
        let plan = &model.plan;
        let proposals = plan.settings.rpn.post_nms_top_n;
        let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, proposals);
        let mut last_reader: Vec<usize> = (0..plan.steps.len()).collect();
        for (id, step) in plan.steps.iter().enumerate() {
            for &input in &step.inputs {
                last_reader[input] = id;
            }
        }
        let groups = depth_first.map_or_else(Vec::new, |settings| groups(model, &shapes, settings));
        let mut first_writer: Vec<usize> = (0..plan.steps.len()).collect();
        for group in &groups {
            // All that a group reads and writes is in use from its first step to its last.
            for step in group.steps.clone() {
                first_writer[step] = group.steps.start;
                for &input in &plan.steps[step].inputs {
                    last_reader[input] = last_reader[input].max(group.steps.end - 1);
                }
            }
        }
        if keep_features {
            for &input in &plan.steps[plan.key_steps.roi_features].inputs {
                last_reader[input] = plan.steps.len();
            }
        }
        let lifetimes = |is_stored: fn(EdgeStorage) -> bool| -> Vec<Option<Lifetime>> {
            let lifetime = |id: usize| {
                // A pixel of the canvas is RGBx.
                let len = match model.mixed_precision.storage[id] {
                    EdgeStorage::Pixels => shapes[id].pixels() * 4,
                    _ => shapes[id].len(),
                };
                let len = if model.wide[id] { 2 * len } else { len };
                is_stored(model.mixed_precision.storage[id])
                    .then(|| Lifetime { len, steps: first_writer[id]..=last_reader[id] })
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
        let band_buffers = BandBuffers::new(model, &shapes, &groups, rayon::current_num_threads());
        Self { fit, shapes, bytes, floats, scales, level_mapper, groups, band_buffers }
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
