//! Where everything of one canvas size lives: shapes, slots, level scales.

use super::slots::{Slots, Tenant};
use super::{Edge, Int8Model};
use crate::detector::plan::Op;
use crate::detector::roi_align::{LevelMapper, level_scale};
use crate::tensor::{Fit, Shape};

/// The layout of one canvas size. Depends on the unpadded rows too, through the scales of the levels.
#[derive(Debug)]
pub(super) struct FrameLayout {
    pub fit: Fit,
    /// By step, for the largest number of proposals.
    pub shapes: Vec<Shape>,
    /// Slots of outputs stored in bytes.
    pub bytes: Slots,
    /// Slots of outputs stored in f32.
    pub floats: Slots,
    /// Canvas pixels to feature map cells, by level that RoIAlign reads.
    pub scales: Vec<f32>,
    pub rule: LevelMapper,
}

impl FrameLayout {
    /// The layout for a frame that lies like `fit`. With `keep_features`, what RoIAlign reads outlives it, so that the
    /// second stage can be run again.
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
        let tenants = |wanted: fn(Edge) -> bool| -> Vec<Option<Tenant>> {
            let tenant = |id: usize| {
                // A canvas pixel is RGBx.
                let len = match model.mixture.edges[id] {
                    Edge::Pixels => shapes[id].pixels() * 4,
                    _ => shapes[id].len(),
                };
                wanted(model.mixture.edges[id]).then(|| Tenant { len, life: id..=last_reader[id] })
            };
            (0..plan.steps.len()).map(tenant).collect()
        };
        let bytes = Slots::plan(&tenants(|edge| matches!(edge, Edge::U8(_) | Edge::Pixels)));
        let floats = Slots::plan(&tenants(|edge| edge == Edge::F32));
        let roi_align = plan.key_steps.roi_features;
        let levels = plan.steps[roi_align].inputs.iter().filter(|&&input| plan.steps[input].op != Op::Proposals);
        let scales: Vec<f32> = levels.map(|&input| level_scale(shapes[input].height, &fit)).collect();
        let rule = LevelMapper::new(&plan.settings.roi, &scales);
        Self { fit, shapes, bytes, floats, scales, rule }
    }

    /// The shape of a step's output when there are `proposals` of them.
    pub fn shape(&self, model: &Int8Model, step: usize, proposals: usize) -> Shape {
        let shape = self.shapes[step];
        if step <= model.plan.key_steps.proposals {
            return shape;
        }
        let most = model.plan.settings.rpn.post_nms_top_n.max(1);
        Shape { height: shape.height / most * proposals, ..shape }
    }
}
