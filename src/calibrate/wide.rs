//! Wide parts: edges of two bytes a value and weights of two digits, chosen by what they do at the end of the features.
//!
//! All later layers inherit an early error, so a few wide parts near the picture bring the whole network closer to fp32.
//! A wide edge costs its readers a second pass over their products, wide weights cost their layer one. In: a quantized
//! network in which nothing is wide, and pictures. Out: the [`WideParts`] that lower the error of the pyramid most for
//! their cost. They stay within a share of the time of a frame and of the size of the weights.
//!
//! The effect of each candidate is measured on its own: the network runs with every part wide but that one. What the
//! maps of the proposal network then differ from fp32 is that part's error alone, as a share of their signal. Errors of
//! single parts add up, because rounding errors of different tensors are almost uncorrelated. Making one part of a
//! narrow network wide would show less: all later values round differently, which hides a small effect. The pictures are
//! resized to half the side: a quarter of the work, and errors travel through the layers as at full size.

use std::str::FromStr;
use std::sync::Arc;

use super::pictures::{CalibrationPicture, PictureLoader};
use super::recipe::names_in;
use crate::detector::fp32::{Fp32Model, Fp32Run};
use crate::detector::int8::{EdgeStorage, Int8Executor, Int8Model, LayerWeights, Quantized};
use crate::detector::plan::{LayerId, Op, Plan, StepId};
use crate::detector::tap::{Activation, NoTap, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::isa::Isa;
use crate::measure::StepError;
use crate::preprocess::{Transform, TransformParams};
use crate::quant::{Precision, QuantParams};
use crate::tensor::{Canvas, Fit, Shape};

/// Rule that chooses the wide parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Wide {
    /// The parts with the largest effect for their cost, which add at most this share of the time of a frame.
    Budget(f64),
    /// This number of parts, the largest effect for their cost first.
    Count(usize),
    /// Weights and inputs of the layers with one of these names, or whose names begin with one and a dot.
    Named(Vec<String>),
}

impl Default for Wide {
    /// 15 % of the time of a frame.
    fn default() -> Self {
        Self::Budget(0.15)
    }
}

impl Wide {
    /// True if the choice depends on pictures.
    pub fn needs_pictures(&self) -> bool {
        match self {
            Self::Budget(share) => *share > 0.0,
            Self::Count(count) => *count > 0,
            Self::Named(_) => false,
        }
    }
}

impl FromStr for Wide {
    type Err = Error;

    /// Parses `15%` as a budget, `3` as a count, anything else as names separated by commas.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Count(count));
        }
        if let Some(percent) = text.strip_suffix('%') {
            let wrong = || Error::new(Kind::Usage, format!("{text:?} is not a budget such as 15%, of 0 to 200 %"));
            let share = percent.trim().parse().map(|percent: f64| percent / 100.0).map_err(|_| wrong())?;
            return if (0.0..=2.0).contains(&share) { Ok(Self::Budget(share)) } else { Err(wrong()) };
        }
        Ok(Self::Named(names_in(text)))
    }
}

/// A part that may be wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WidePart {
    /// The output of a step: the image, or a layer.
    Edge(StepId),
    /// The weights of a layer.
    Weights(LayerId),
}

impl WidePart {
    /// Exchanges this part of two networks that differ in widths only.
    fn swap(self, one: &mut Quantized, other: &mut Quantized) {
        match self {
            Self::Edge(step) if step == one.plan.key_steps.image => {
                std::mem::swap(&mut one.wide_canvas, &mut other.wide_canvas);
            }
            Self::Edge(step) => std::mem::swap(&mut one.edge_qparams[step], &mut other.edge_qparams[step]),
            Self::Weights(layer) => {
                std::mem::swap(&mut one.layers[layer].weights, &mut other.layers[layer].weights);
            }
        }
    }
}

/// The wide parts of a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WideParts(pub Vec<WidePart>);

impl WideParts {
    /// True if the output of `step` is wide.
    pub fn has_edge(&self, step: StepId) -> bool {
        self.0.contains(&WidePart::Edge(step))
    }

    /// True if the weights of `layer` are wide.
    pub fn has_weights(&self, layer: LayerId) -> bool {
        self.0.contains(&WidePart::Weights(layer))
    }

    /// Weights and inputs of the layers that `names` name or are the beginning of.
    ///
    /// # Errors
    /// [`Kind::Usage`] with a name that no layer in static int8 has.
    pub fn named(quantized: &Quantized, names: &[String]) -> Result<Self> {
        let plan = &quantized.plan;
        let storage = quantized.mixed_precision().storage;
        let mut parts = Vec::new();
        for name in names {
            let before = parts.len();
            for (id, step) in plan.steps.iter().enumerate() {
                let Some(layer) = step.layer().filter(|&layer| is_static(quantized, layer)) else { continue };
                if !plan.layers[layer].is_or_is_below(name) {
                    continue;
                }
                parts.push(WidePart::Weights(layer));
                let owners = plan.steps[id].inputs.iter().filter_map(|&input| owner(plan, &storage, input));
                parts.extend(owners.map(WidePart::Edge));
            }
            if parts.len() == before {
                let text = format!("--wide {name}: no layer in int8 has this name or begins with it");
                return Err(Error::new(Kind::Usage, text));
            }
        }
        Ok(Self(each_once(parts)))
    }
}

/// `parts` in their order, without those that came before.
fn each_once(parts: Vec<WidePart>) -> Vec<WidePart> {
    let is_first = |(at, part): (usize, &WidePart)| (!parts[..at].contains(part)).then_some(*part);
    parts.iter().enumerate().filter_map(is_first).collect()
}

/// True if `layer` runs in static int8.
fn is_static(quantized: &Quantized, layer: LayerId) -> bool {
    quantized.layers[layer].precision == Precision::Int8Static
}

/// The step whose output `input` moves or is, where it can be wide.
fn owner(plan: &Plan, storage: &[EdgeStorage], input: StepId) -> Option<StepId> {
    match storage[input] {
        EdgeStorage::Pixels => Some(input),
        EdgeStorage::U8(owner) if plan.steps[owner].layer().is_some() => Some(owner),
        _ => None,
    }
}

/// A network and the wide forms of its parts.
pub(super) struct WideSearch<'a> {
    /// The fp32 network.
    pub(super) reference: &'a Fp32Model,
    /// By step: quantization parameters of a wide output.
    pub(super) edge_qparams: &'a [Option<QuantParams>],
    /// Wide weights of a layer.
    pub(super) weights: &'a dyn Fn(LayerId) -> Result<LayerWeights>,
    /// Instruction set to run on.
    pub(super) isa: Isa,
}

/// A candidate with its effect and its cost.
struct Candidate {
    part: WidePart,
    /// Share of the squared error of a level that is the part's, averaged over the levels.
    gain: f64,
    /// Share of the time of a frame.
    cost: f64,
}

impl WideSearch<'_> {
    /// Chooses wide parts of `narrow`, in which nothing is wide, on `pictures`, as `wide` says. `narrow` is changed and
    /// changed back.
    ///
    /// # Errors
    /// Errors of the pictures and of either network.
    pub(super) fn choose(
        &self,
        narrow: &mut Quantized,
        wide: &Wide,
        loader: &mut PictureLoader<'_>,
        pictures: &[CalibrationPicture],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<WideParts> {
        let Self { reference, isa, .. } = *self;
        let (budget, most) = match wide {
            Wide::Named(names) => return WideParts::named(narrow, names),
            Wide::Budget(share) => (*share, usize::MAX),
            Wide::Count(count) => (f64::INFINITY, *count),
        };
        if most == 0 || budget <= 0.0 || pictures.is_empty() {
            return Ok(WideParts::default());
        }
        let prepared = prepare_pictures(reference, loader, pictures)?;
        let costs = Costs::new(narrow, prepared[0].full_size);
        let parts = candidates(narrow);

        // Every part wide.
        let mut variant = narrow.clone();
        for &part in &parts {
            match part {
                WidePart::Edge(step) if step == narrow.plan.key_steps.image => variant.wide_canvas = true,
                WidePart::Edge(step) => variant.edge_qparams[step] = self.edge_qparams[step],
                WidePart::Weights(layer) => variant.layers[layer].weights = (self.weights)(layer)?,
            }
        }
        let base = Int8Model::new(&variant, isa)?;
        // The remaining error belongs to no candidate: above all it is the rounding of the levels themselves.
        let least = errors(base.clone(), &prepared)?;

        // Each part narrow in turn.
        let mut errors_of = Vec::with_capacity(parts.len());
        for (done, &part) in parts.iter().enumerate() {
            progress(done, parts.len());
            part.swap(&mut variant, narrow);
            let model = match part {
                WidePart::Edge(_) => base.with_quant_params(&variant)?,
                WidePart::Weights(layer) => base.with_weights(&variant, layer)?,
            };
            part.swap(&mut variant, narrow);
            let own = errors(model, &prepared)?.into_iter().zip(&least).map(|(error, least)| (error - least).max(0.0));
            errors_of.push(own.collect::<Vec<f64>>());
        }
        let mut totals = vec![0.0; narrow.plan.levels.len()];
        errors_of.iter().for_each(|of| totals.iter_mut().zip(of).for_each(|(total, error)| *total += error));
        let candidate = |(&part, errors): (&WidePart, &Vec<f64>)| {
            let shares = errors.iter().zip(&totals).filter(|(_, total)| **total > 0.0);
            let gain = shares.map(|(error, total)| error / total).sum::<f64>() / totals.len().max(1) as f64;
            Candidate { part, gain, cost: costs.share(&narrow.plan, part) }
        };
        let mut candidates: Vec<Candidate> = parts.iter().zip(&errors_of).map(candidate).collect();
        candidates.sort_by(|a, b| (b.gain / b.cost).total_cmp(&(a.gain / a.cost)));
        let mut parts = WideParts::default();
        let (mut spent, mut grown) = (0.0, 0.0);
        for Candidate { part, gain, cost } in candidates {
            let growth = costs.growth(&narrow.plan, part);
            let fits = spent + cost <= budget && grown + growth <= GROWTH * budget;
            if gain > 0.0 && fits && parts.0.len() < most {
                spent += cost;
                grown += growth;
                parts.0.push(part);
            }
        }
        Ok(parts)
    }
}

/// The parts that may be wide: those that the maps of the proposal network depend on.
fn candidates(quantized: &Quantized) -> Vec<WidePart> {
    let plan = &quantized.plan;
    let storage = quantized.mixed_precision().storage;
    let mut is_needed = vec![false; plan.steps.len()];
    plan.levels.iter().for_each(|level| is_needed[level.step] = true);
    let mut parts = Vec::new();
    for id in (0..plan.steps.len()).rev().filter(|&id| id < plan.key_steps.proposals) {
        if !is_needed[id] {
            continue;
        }
        let inputs = &plan.steps[id].inputs;
        inputs.iter().for_each(|&input| is_needed[input] = true);
        let Some(layer) = plan.steps[id].layer().filter(|&layer| is_static(quantized, layer)) else { continue };
        let edges = inputs.iter().filter_map(|&input| owner(plan, &storage, input)).map(WidePart::Edge);
        parts.extend(edges.chain([WidePart::Weights(layer)]));
    }
    each_once(parts)
}

/// A picture at half the side, and the reference's maps of every level.
struct PreparedPicture {
    pixels: Canvas<u8>,
    wide_pixels: Canvas<u8>,
    levels: Vec<(Shape, (usize, usize), Vec<f32>)>,
    /// The canvas at full size.
    full_size: Fit,
}

fn prepare_pictures(
    reference: &Fp32Model,
    loader: &mut PictureLoader<'_>,
    pictures: &[CalibrationPicture],
) -> Result<Vec<PreparedPicture>> {
    let plan = reference.plan();
    let full = TransformParams::from(&plan.settings.transform);
    let half = |side: u32| side.div_ceil(2);
    let params = TransformParams { min_size: half(full.min_size), max_size: half(full.max_size), ..full };
    let mut transform = Transform::new(params)?;
    let last = last_level(plan);
    let prepare = |picture: &CalibrationPicture| {
        let picture = (loader.open)(picture)?;
        let (mut normalized, mut pixels) = (Canvas::empty(3), Canvas::empty(4));
        let mut wide_pixels = Canvas { two_bytes: true, ..Canvas::empty(4) };
        transform.to_f32(&picture, &mut normalized)?;
        transform.to_u8(&picture, &mut pixels)?;
        transform.to_u8(&picture, &mut wide_pixels)?;
        let mut run = Fp32Run::new(reference, &normalized)?;
        let mut levels = vec![(Shape::new(0, 0, 0), (0, 0), Vec::new()); plan.levels.len()];
        while let Some(step) = run.advance(&mut NoTap)? {
            if let Some(at) = plan.levels.iter().position(|level| level.step == step) {
                run.with_activation(step, |map| {
                    if let Values::F32(values) = map.values {
                        levels[at] = (map.shape, (map.valid_height, map.valid_width), values.to_vec());
                    }
                })?;
            }
            if step == last {
                break;
            }
        }
        let full_size = full.fit(picture.width, picture.height)?;
        Ok(PreparedPicture { pixels, wide_pixels, levels, full_size })
    };
    pictures.iter().map(prepare).collect()
}

/// The last step that a level is the output of.
fn last_level(plan: &Plan) -> StepId {
    plan.levels.iter().map(|level| level.step).max().unwrap_or(0)
}

/// By level: mean over the pictures of the squared error, relative to the signal.
fn errors(model: Int8Model, prepared: &[PreparedPicture]) -> Result<Vec<f64>> {
    let plan = Arc::clone(model.plan());
    let last = last_level(&plan);
    let is_wide = model.is_wide(plan.key_steps.image);
    let mut executor = Int8Executor::new(Arc::new(model)).keeping_features();
    let mut errors = vec![0.0; plan.levels.len()];
    for prepare in prepared {
        executor.begin(if is_wide { &prepare.wide_pixels } else { &prepare.pixels })?;
        while executor.advance(&mut NoTap)?.is_some_and(|step| step != last) {}
        let levels = plan.levels.iter().zip(&prepare.levels).zip(&mut errors);
        for ((level, (shape, (valid_height, valid_width), values)), sum) in levels {
            let Some(found) = executor.activation(level.step) else { continue };
            let values = Values::F32(values);
            let (valid_height, valid_width) = (*valid_height, *valid_width);
            let mut error = StepError::default();
            error.add(&Activation { shape: *shape, valid_height, valid_width, values }, &found);
            if let Some(db) = error.sqnr_db().filter(|db| db.is_finite()) {
                *sum += 10f64.powf(-0.1 * db) / prepared.len() as f64;
            }
        }
    }
    Ok(errors)
}

/// Cost of a wide part, from shapes alone, so that the choice is the same on every CPU.
struct Costs {
    macs: Vec<u64>,
    /// By step: values of the output.
    values: Vec<u64>,
    storage: Vec<EdgeStorage>,
    total: f64,
    /// Number of weights of all layers.
    weights: f64,
}

/// Multiply-adds that take as long as scaling, rounding and writing one value. With AVX2 it is some 20, with VNNI, which
/// multiplies four times as fast, some 60.
const MACS_OF_A_VALUE: f64 = 40.0;

/// Time of wide parts, relative to the time of as many multiply-adds and values on the average of the network. They are
/// in early layers, which move more than they compute. With a factor of 1.2, parts of a ResNet-50 for 15 % took 15.6 %
/// with VNNI and 13.9 % with AVX2. Parts for 30 % took 30.6 and 26.1 %.
const WIDE_TIME: f64 = 1.25;

/// Share by which the weights may grow, for each share of the time of a frame. Late layers have most of the weights and
/// little of the time. Without this limit, low digits of `layer3` made a ResNet-50 grow by a megabyte.
const GROWTH: f64 = 1.0 / 12.0;

impl Costs {
    fn new(quantized: &Quantized, fit: Fit) -> Self {
        let plan = &quantized.plan;
        let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, plan.settings.rpn.post_nms_top_n);
        let macs = plan.macs(&shapes);
        let values: Vec<u64> = shapes.iter().map(|shape| shape.len() as u64).collect();
        let layers = (0..plan.steps.len()).filter(|&id| plan.steps[id].layer().is_some());
        let total = layers.map(|id| macs[id] as f64 + MACS_OF_A_VALUE * values[id] as f64).sum();
        let weights = plan.layers.iter().map(|layer| layer.geometry.weights() as f64).sum();
        Self { macs, values, storage: quantized.mixed_precision().storage, total, weights }
    }

    /// Share of the weights that `part` adds.
    fn growth(&self, plan: &Plan, part: WidePart) -> f64 {
        let WidePart::Weights(layer) = part else { return 0.0 };
        plan.layers[layer].geometry.weights() as f64 / self.weights
    }

    /// Cost of another pass over the products of `step`.
    fn pass(&self, step: StepId) -> f64 {
        self.macs[step] as f64 + MACS_OF_A_VALUE * self.values[step] as f64
    }

    /// Share of the time of a frame that `part` adds.
    fn share(&self, plan: &Plan, part: WidePart) -> f64 {
        let layers = plan.steps.iter().enumerate().filter(|(_, step)| step.layer().is_some());
        let cost: f64 = match part {
            WidePart::Weights(layer) => {
                layers.filter(|(_, step)| step.layer() == Some(layer)).map(|(id, _)| self.pass(id)).sum()
            }
            WidePart::Edge(edge) => {
                let is_read = |input: Option<&StepId>| {
                    input.is_some_and(|&input| owner(plan, &self.storage, input) == Some(edge))
                };
                let readers = layers.map(|(id, step)| {
                    let joined = 1.5 * MACS_OF_A_VALUE * self.values[id] as f64;
                    let first = if is_read(step.inputs.first()) { self.pass(id) } else { 0.0 };
                    first + if is_read(step.inputs.get(1)) { joined } else { 0.0 }
                });
                let written = if plan.steps[edge].op == Op::Image { 0.0 } else { self.values[edge] as f64 };
                readers.sum::<f64>() + MACS_OF_A_VALUE * written
            }
        };
        WIDE_TIME * cost / self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_counts_and_names() {
        assert_eq!("15%".parse::<Wide>().unwrap(), Wide::default());
        assert_eq!("3".parse::<Wide>().unwrap(), Wide::Count(3));
        assert_eq!("0".parse::<Wide>().unwrap(), Wide::Count(0));
        let names = vec!["backbone.body.conv1".to_owned(), "backbone.body.layer1".to_owned()];
        assert_eq!("backbone.body.conv1, backbone.body.layer1".parse::<Wide>().unwrap(), Wide::Named(names));
        for wrong in ["x%", "-1%", "300%", "NaN%"] {
            assert!(wrong.parse::<Wide>().is_err(), "{wrong}");
        }
    }
}
