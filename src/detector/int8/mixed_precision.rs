//! Mixed precision: the precision of every step and the storage of its output, from the precision of every layer.
//!
//! An output is stored in bytes unless its producer and every reader work in f32. The heads (objectness, deltas, logits)
//! always give f32. Pooling and subsampling only move values: their output has the storage and the quantization
//! parameters of their input. RoIAlign and elementwise steps have the precision of the steps that read them.

use super::Quantized;
use crate::detector::plan::{Op, Plan, StepId};
use crate::quant::Precision;

/// Storage of a step's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeStorage {
    /// Pixels of the u8 canvas.
    Pixels,
    /// Bytes with the quantization parameters of this step: the step itself, or the one whose values it moves.
    U8(StepId),
    /// Full precision.
    F32,
    /// Proposals or detections.
    Boxes,
}

/// Precision of every step, and storage of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MixedPrecision {
    /// By step: its precision.
    pub precision: Vec<Precision>,
    /// By step: the storage of its output.
    pub storage: Vec<EdgeStorage>,
}

impl MixedPrecision {
    /// From the precision of every layer of `plan`.
    pub fn new(plan: &Plan, layers: &[Precision]) -> Self {
        let precision = step_precision(plan, layers);
        let mut readers: Vec<Vec<StepId>> = vec![Vec::new(); plan.steps.len()];
        for (id, step) in plan.steps.iter().enumerate() {
            for &input in &step.inputs {
                readers[input].push(id);
            }
        }
        // A step's output is needed in bytes if it works in int8 or a reader does. Backwards, so that pooling steps know
        // the needs of their readers.
        let is_int8 = |id: StepId| precision[id] == Precision::Int8Static;
        let is_head =
            |id: StepId| readers[id].iter().all(|&r| matches!(plan.steps[r].op, Op::Proposals | Op::Detections));
        let mut needs_bytes = vec![false; plan.steps.len()];
        for id in (0..plan.steps.len()).rev() {
            let moves_to = |&r: &StepId| matches!(plan.steps[r].op, Op::MaxPool | Op::Subsample) && needs_bytes[r];
            needs_bytes[id] = match plan.steps[id].op {
                Op::Image | Op::Proposals | Op::Detections => false,
                Op::Layer { .. } if is_head(id) => false,
                Op::Layer { .. } | Op::RoiAlign | Op::Activate(_) | Op::GlobalMean | Op::Scale => {
                    is_int8(id) || readers[id].iter().any(|r| is_int8(*r) || moves_to(r))
                }
                Op::MaxPool | Op::Subsample => readers[id].iter().any(|r| is_int8(*r) || moves_to(r)),
            };
        }
        // Forwards, so that pooling steps take over the storage of their input.
        let mut storage: Vec<EdgeStorage> = Vec::with_capacity(plan.steps.len());
        for (id, step) in plan.steps.iter().enumerate() {
            storage.push(match step.op {
                Op::Image => EdgeStorage::Pixels,
                Op::Proposals | Op::Detections => EdgeStorage::Boxes,
                Op::MaxPool | Op::Subsample => storage[step.inputs[0]],
                _ if needs_bytes[id] => EdgeStorage::U8(id),
                _ => EdgeStorage::F32,
            });
        }
        Self { precision, storage }
    }

    /// True if every layer of `plan` runs in static int8, so that results are the same on every CPU.
    pub fn is_exact(&self, plan: &Plan) -> bool {
        let layers = plan.steps.iter().zip(&self.precision).filter(|(step, _)| step.layer().is_some());
        layers.into_iter().all(|(_, precision)| *precision == Precision::Int8Static)
    }

    /// True if the output of `step` in `network` is wide: of two bytes a value.
    pub fn is_wide(&self, step: StepId, network: &Quantized) -> bool {
        match self.storage[step] {
            EdgeStorage::U8(owner) => network.edge_qparams[owner].is_some_and(|qparams| qparams.two_bytes),
            EdgeStorage::Pixels => network.wide_canvas,
            EdgeStorage::F32 | EdgeStorage::Boxes => false,
        }
    }

    /// Steps whose outputs have quantization parameters of their own, in order.
    pub fn quantized_steps(&self) -> impl Iterator<Item = StepId> + '_ {
        self.storage.iter().enumerate().filter(|&(id, &storage)| storage == EdgeStorage::U8(id)).map(|(id, _)| id)
    }
}

/// Precision by step: a layer's own; that of RoIAlign and of an elementwise step is static int8 if a step that reads it
/// is in static int8; all others compute in f32.
fn step_precision(plan: &Plan, layers: &[Precision]) -> Vec<Precision> {
    let mut precision = vec![Precision::Fp32; plan.steps.len()];
    // Readers come later, so backwards.
    for id in (0..plan.steps.len()).rev() {
        let is_read_in_int8 = || {
            let mut readers = plan.steps.iter().zip(&precision).filter(|(step, _)| step.inputs.contains(&id));
            readers.any(|(_, precision)| *precision == Precision::Int8Static)
        };
        precision[id] = match plan.steps[id].op {
            Op::Layer { layer, .. } => layers[layer],
            Op::RoiAlign | Op::Activate(_) | Op::GlobalMean | Op::Scale if is_read_in_int8() => Precision::Int8Static,
            _ => Precision::Fp32,
        };
    }
    precision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::plan::Part;
    use crate::detector::settings::Settings;

    fn plan() -> Plan {
        Plan::new(Architecture::resnet50_fpn(4), Settings::default())
    }

    fn storage(plan: &Plan, mixed_precision: &MixedPrecision, name: &str) -> EdgeStorage {
        mixed_precision.storage[plan.find(name).unwrap()]
    }

    #[test]
    fn all_int8_leaves_only_the_heads_in_f32() {
        let plan = plan();
        let mixed_precision = MixedPrecision::new(&plan, &vec![Precision::Int8Static; plan.layers.len()]);
        let floats: Vec<_> = plan
            .steps
            .iter()
            .zip(&mixed_precision.storage)
            .filter(|(_, storage)| **storage == EdgeStorage::F32)
            .map(|(s, _)| &s.name)
            .collect();
        assert_eq!(floats.len(), 12, "{floats:?}");
        let conv1 = plan.find("backbone.body.conv1").unwrap();
        assert_eq!(storage(&plan, &mixed_precision, "backbone.body.maxpool"), EdgeStorage::U8(conv1));
    }

    #[test]
    fn the_papers_precisions_keep_the_pyramid_in_f32_after_byte_stages() {
        let plan = plan();
        let layers: Vec<_> = plan
            .layers
            .iter()
            .map(|layer| match layer.part {
                Part::Body => Precision::Int8Static,
                Part::Roi => Precision::Int8Dynamic,
                Part::Fpn | Part::Rpn => Precision::Fp32,
            })
            .collect();
        let mixed_precision = MixedPrecision::new(&plan, &layers);
        assert!(matches!(storage(&plan, &mixed_precision, "backbone.body.layer4.2.conv3"), EdgeStorage::U8(_)));
        for name in ["backbone.fpn.inner_blocks.0.0", "backbone.fpn.layer_blocks.2.0", "backbone.fpn.extra_blocks"] {
            assert_eq!(storage(&plan, &mixed_precision, name), EdgeStorage::F32, "{name}");
        }
        assert_eq!(storage(&plan, &mixed_precision, "roi_heads.box_roi_pool"), EdgeStorage::F32);
        assert_eq!(storage(&plan, &mixed_precision, "roi_heads.box_head.fc6"), EdgeStorage::F32);
    }

    #[test]
    fn an_f32_step_between_int8_ones_reads_and_writes_bytes() {
        let plan = plan();
        let layers: Vec<_> = plan
            .layers
            .iter()
            .map(|layer| {
                let float = layer.name == "backbone.body.layer2.1.conv2" || layer.name == "backbone.body.conv1";
                if float { Precision::Fp32 } else { Precision::Int8Static }
            })
            .collect();
        let mixed_precision = MixedPrecision::new(&plan, &layers);
        assert!(matches!(storage(&plan, &mixed_precision, "backbone.body.layer2.1.conv1"), EdgeStorage::U8(_)));
        assert!(matches!(storage(&plan, &mixed_precision, "backbone.body.layer2.1.conv2"), EdgeStorage::U8(_)));
        // The stem's output is read through the pooling by int8 layers.
        assert!(matches!(storage(&plan, &mixed_precision, "backbone.body.conv1"), EdgeStorage::U8(_)));
    }
}
