//! Depth-first groups: consecutive steps that run together, a band of rows at a time.
//!
//! In: the steps, the shapes of a canvas size, the size of the second-level cache. Out: groups whose maps do not fit the
//! cache, and the rows of a band for which all that the group reads and writes at a time does. The maps between the
//! steps of a group are never written as a whole: each step keeps the rows that the steps behind it still read.

use std::ops::Range;

use super::model::PackedLayer;
use super::{EdgeStorage, Int8Model};
use crate::detector::plan::{LayerId, LayerKind, Op, Plan, StepId};
use crate::kernel::cache::second_level;
use crate::kernel::conv_u8::skip_rows;
use crate::kernel::pool_u8;
use crate::quant::Precision;
use crate::tensor::Shape;

/// Most steps of a group: those of a residual block and the stem before it.
pub(super) const MAX_STEPS: usize = 8;
/// Most outputs of a group: objectness and deltas of a level.
pub(super) const MAX_OUTPUTS: usize = 2;
/// Most rows of a band. More would save nothing.
const MOST_ROWS: usize = 32;

/// What decides which steps run depth-first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthFirst {
    /// Bytes of the second-level cache. Maps that fit it stay there in any case.
    pub cache: usize,
    /// Least output pixels of a band. Fewer would leave too large a part of the last tile empty.
    pub least_pixels: usize,
}

impl DepthFirst {
    /// For the CPU that this program runs on.
    pub fn of_this_cpu() -> Self {
        Self { cache: second_level(), least_pixels: 448 }
    }
}

/// Steps that run together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The steps. Those that no other of them reads are its outputs, written as whole maps of equally many rows.
    pub steps: Range<StepId>,
    /// Output rows of a band.
    pub rows: usize,
    /// By step: most rows of its map that are kept at a time; 0 for an output.
    pub(super) kept: Vec<usize>,
}

/// Bytes that a frame moves between the steps' maps, the weights and the CPU, from shapes: what a step reads and writes
/// if no cache holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// By step: bytes read and written where every step runs by itself.
    pub steps: Vec<[usize; 2]>,
    /// The same, with the maps between the steps of a group left out, and what several of them read counted once.
    pub depth_first: Vec<[usize; 2]>,
}

impl Traffic {
    /// The traffic of a frame of these shapes.
    pub(super) fn new(model: &Int8Model, shapes: &[Shape], groups: &[Group]) -> Self {
        let plan = &model.plan;
        let map = |step: StepId| row_bytes(model, shapes, step) * shapes[step].height;
        let weights = |step: StepId| plan.steps[step].layer().map_or(0, |layer| weight_bytes(model, layer));
        let alone = |step: StepId| {
            let inputs = plan.steps[step].inputs.iter().map(|&input| map(input)).sum::<usize>();
            [inputs + weights(step), map(step)]
        };
        let steps: Vec<[usize; 2]> = (0..plan.steps.len()).map(alone).collect();
        let mut depth_first = steps.clone();
        for group in groups {
            let mut seen = Vec::new();
            for step in group.steps.clone() {
                let mut read = weights(step);
                for &input in plan.steps[step].inputs.iter().filter(|&input| !group.steps.contains(input)) {
                    if !seen.contains(&input) {
                        seen.push(input);
                        read += map(input);
                    }
                }
                depth_first[step] = [read, if group.is_output(step) { map(step) } else { 0 }];
            }
        }
        Self { steps, depth_first }
    }

    /// Bytes read and written by all steps, one by one and depth-first.
    pub fn totals(&self) -> [usize; 2] {
        [&self.steps, &self.depth_first].map(|steps| steps.iter().flatten().sum())
    }
}

/// What a group computes in one band.
#[derive(Debug, Clone, Default)]
pub(super) struct BandRows {
    /// By step of the group: rows that are kept after the band.
    pub kept: [Range<usize>; MAX_STEPS],
    /// By step: the rows among them that are new.
    pub new: [Range<usize>; MAX_STEPS],
}

impl BandRows {
    /// The rows of the band that ends the outputs at `rows`, where `self` has those of the band before; the first one
    /// follows the default.
    pub fn next(&self, plan: &Plan, shapes: &[Shape], group: &Group, rows: &Range<usize>) -> Self {
        let mut band = Self::default();
        let first = group.steps.start;
        for step in group.steps.clone().rev() {
            let at = step - first;
            if group.is_output(step) {
                band.new[at] = rows.clone();
            } else {
                // Rows that were computed before stay; steps behind this one asked for those of `kept`.
                let known = self.kept[at].end.max(band.kept[at].start);
                band.new[at] = known.min(band.kept[at].end)..band.kept[at].end;
            }
            for (place, &input) in plan.steps[step].inputs.iter().enumerate() {
                if input >= first {
                    let read = rows_read(plan, shapes, step, place, &band.new[at]);
                    band.kept[input - first] = hull(&band.kept[input - first], &read);
                }
            }
        }
        band
    }
}

impl Group {
    /// True if `step`, one of the group, is an output of it.
    pub fn is_output(&self, step: StepId) -> bool {
        self.kept[step - self.steps.start] == 0
    }
}

/// The groups of a canvas size, in order.
pub(super) fn groups(model: &Int8Model, shapes: &[Shape], settings: DepthFirst) -> Vec<Group> {
    let plan = &model.plan;
    let mut groups = Vec::new();
    let mut first = 0;
    while first < plan.key_steps.proposals {
        let ends = (first + 2..=(first + MAX_STEPS).min(plan.key_steps.proposals)).rev();
        let found = ends.filter_map(|end| group(model, shapes, first..end, settings)).next();
        first = found.as_ref().map_or(first + 1, |group| group.steps.end);
        groups.extend(found);
    }
    groups
}

/// The group of these steps, if they can run together and it pays.
fn group(model: &Int8Model, shapes: &[Shape], steps: Range<StepId>, settings: DepthFirst) -> Option<Group> {
    let DepthFirst { cache, least_pixels } = settings;
    let plan = &model.plan;
    if !steps.clone().all(|step| can_run_in_bands(model, step)) {
        return None;
    }
    let mut kept = Vec::with_capacity(steps.len());
    let mut height = None;
    for step in steps.clone() {
        let readers = || (0..plan.steps.len()).filter(|&reader| plan.steps[reader].inputs.contains(&step));
        let is_read_within = readers().any(|reader| steps.contains(&reader));
        if is_read_within && !readers().all(|reader| steps.contains(&reader)) {
            return None;
        }
        if !is_read_within && height.replace(shapes[step].height).is_some_and(|height| height != shapes[step].height) {
            return None;
        }
        // Floats leave the convolutions.
        if is_read_within && !matches!(model.mixed_precision.storage[step], EdgeStorage::U8(_)) {
            return None;
        }
        kept.push(usize::from(is_read_within));
    }
    let outputs = kept.iter().filter(|&&rows| rows == 0).count();
    if outputs == kept.len() || outputs > MAX_OUTPUTS {
        return None;
    }
    // Every step but the first reads another one of the group: otherwise they have nothing in common.
    let is_linked = |step: StepId| plan.steps[step].inputs.iter().any(|input| steps.contains(input));
    let common = plan.steps[steps.start].inputs[0];
    let shares_input = |step: StepId| plan.steps[step].inputs.contains(&common);
    if !steps.clone().skip(1).all(|step| is_linked(step) || shares_input(step)) {
        return None;
    }
    let height = height?;
    let mut group = Group { steps, rows: 0, kept };
    let maps: usize = group.steps.clone().map(|step| row_bytes(model, shapes, step) * shapes[step].height).sum();
    if maps <= cache || weights(model, &group) > cache / 4 {
        return None;
    }
    let columns = group.steps.clone().filter(|&step| group.is_output(step)).map(|step| shapes[step].width).min()?;
    let least = least_pixels.div_ceil(columns.max(1));
    // All of a band should stay in the cache beside what passes through it.
    let fits = |rows: usize| held_bytes(model, shapes, &group, rows).1 + weights(model, &group) <= cache / 4 * 3;
    group.rows = (least..=MOST_ROWS.min(height / 2)).rev().find(|&rows| fits(rows))?;
    group.kept = held_bytes(model, shapes, &group, group.rows).0;
    Some(group)
}

/// True for the steps whose rows can be computed apart: static int8 over one map, and maxima of bytes.
fn can_run_in_bands(model: &Int8Model, step: StepId) -> bool {
    let plan = &model.plan;
    match plan.steps[step].op {
        Op::Layer { layer, .. } => {
            plan.layers[layer].kind == LayerKind::Convolution
                && model.mixed_precision.precision[step] == Precision::Int8Static
        }
        Op::MaxPool => matches!(model.mixed_precision.storage[step], EdgeStorage::U8(_)),
        _ => false,
    }
}

/// Rows of input number `place` that `rows` of a step read.
fn rows_read(plan: &Plan, shapes: &[Shape], step: StepId, place: usize, rows: &Range<usize>) -> Range<usize> {
    let height = shapes[plan.steps[step].inputs[place]].height;
    match plan.steps[step].op {
        Op::Layer { layer, .. } if place == 0 => plan.layers[layer].geometry.rows_read(rows, height),
        Op::Layer { .. } => skip_rows(rows, shapes[step].height, height),
        _ => pool_u8::rows_read(rows, height),
    }
}

/// Most rows of each step's map that are kept at a time, 0 for outputs, and all bytes that a band of so many output rows
/// reads and writes.
fn held_bytes(model: &Int8Model, shapes: &[Shape], group: &Group, rows: usize) -> (Vec<usize>, usize) {
    let plan = &model.plan;
    let first = group.steps.start;
    let height = group.steps.clone().filter(|&step| group.is_output(step)).map(|step| shapes[step].height).max();
    let mut kept = vec![0; group.steps.len()];
    let mut most = 0;
    let mut band = BandRows::default();
    for start in (0..height.unwrap_or(0)).step_by(rows.max(1)) {
        let end = height.unwrap_or(0).min(start + rows);
        // A stripe may begin here, without the rows of the band before.
        let alone = BandRows::default().next(plan, shapes, group, &(start..end));
        band = band.next(plan, shapes, group, &(start..end));
        for band in [&alone, &band] {
            let mut bytes = 0;
            for step in group.steps.clone() {
                let at = step - first;
                kept[at] = kept[at].max(band.kept[at].len());
                bytes += row_bytes(model, shapes, step) * band.kept[at].len().max(band.new[at].len());
                for (place, &input) in plan.steps[step].inputs.iter().enumerate().filter(|&(_, &input)| input < first) {
                    let read = rows_read(plan, shapes, step, place, &band.new[at]);
                    bytes += row_bytes(model, shapes, input) * read.len();
                }
            }
            most = most.max(bytes);
        }
    }
    (kept, most)
}

/// Bytes of the weights of a group.
fn weights(model: &Int8Model, group: &Group) -> usize {
    let layers = group.steps.clone().filter_map(|step| model.plan.steps[step].layer());
    layers.map(|layer| weight_bytes(model, layer)).sum()
}

/// Bytes of the weights of a layer.
fn weight_bytes(model: &Int8Model, layer: LayerId) -> usize {
    let weights = model.plan.layers[layer].geometry.weights();
    match &model.layers[layer] {
        PackedLayer::Int8(packed) if packed.has_low_digits() => 2 * weights,
        PackedLayer::Int8(_) | PackedLayer::Dynamic { .. } => weights,
        PackedLayer::Fp32(_) => weights * size_of::<f32>(),
    }
}

/// Bytes of a row of a step's map.
pub(super) fn row_bytes(model: &Int8Model, shapes: &[Shape], step: StepId) -> usize {
    let Shape { width, channels, .. } = shapes[step];
    let value = match model.mixed_precision.storage[step] {
        EdgeStorage::F32 | EdgeStorage::Boxes => size_of::<f32>(),
        EdgeStorage::U8(_) | EdgeStorage::Pixels if model.wide[step] => 2,
        EdgeStorage::U8(_) | EdgeStorage::Pixels => 1,
    };
    // A pixel of the canvas is RGBx.
    let channels = if model.mixed_precision.storage[step] == EdgeStorage::Pixels { 4 } else { channels };
    width * channels * value
}

/// The least range that holds both, of which one may be empty.
fn hull(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => a.start.min(b.start)..a.end.max(b.end),
    }
}
