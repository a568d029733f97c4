//! Int8 executor: runs frames through the quantized network, step by step, in reused buffers.

use std::sync::Arc;

use super::buffers::Buffers;
use super::frame::FrameLayout;
use super::model::{MAX_LEVELS, PackedLayer};
use super::{EdgeStorage, Int8Model};
use crate::detector::detection::Detection;
use crate::detector::detections::DetectionStage;
use crate::detector::plan::{LayerId, Op, Step, StepId};
use crate::detector::proposals::{LevelHead, ProposalStage};
use crate::detector::tap::{Activation, NoTap, Tap, TapRequest, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation as ActivationFunction;
use crate::kernel::conv_u8::{ConvInput, ConvOutput, Epilogue, SkipInput, convolve, convolve_observed};
use crate::kernel::pointwise_u8::{self, Requantization};
use crate::kernel::roi_align_u8::{RoiAlignParamsU8, RoiLevelU8, roi_align};
use crate::kernel::{pool_f32, pool_u8};
use crate::quant::{Precision, QuantParams, multiplier};
use crate::tensor::{Canvas, Fit, Shape};

/// A tap that requests more of a step than its output, and its request.
type TappedStep<'a> = Option<(&'a mut dyn Tap, TapRequest)>;

/// Runs frames through an [`Int8Model`]. Owns every buffer; a frame with the size of the last one allocates nothing.
#[derive(Debug)]
pub struct Int8Executor {
    pub(super) model: Arc<Int8Model>,
    pub(super) layout: Option<FrameLayout>,
    pub(super) buffers: Buffers,
    pub(super) proposals: Vec<[f32; 4]>,
    pub(super) level_of: Vec<u8>,
    detections: Vec<Detection>,
    proposal_stage: ProposalStage,
    detection_stage: DetectionStage,
    keep_features: bool,
    next: StepId,
}

impl Int8Executor {
    /// An executor without buffers; they are allocated for the first frame.
    pub fn new(model: Arc<Int8Model>) -> Self {
        let settings = &model.plan.settings;
        Self {
            proposal_stage: ProposalStage::new(settings),
            detection_stage: DetectionStage::new(&settings.roi),
            layout: None,
            buffers: Buffers::default(),
            proposals: Vec::new(),
            level_of: Vec::new(),
            detections: Vec::new(),
            keep_features: false,
            next: 0,
            model,
        }
    }

    /// The same executor, which keeps the pyramid until the next frame, so that the second stage can run again on other
    /// proposals.
    #[must_use]
    pub fn keeping_features(mut self) -> Self {
        self.keep_features = true;
        self.layout = None;
        self
    }

    /// The model it runs.
    pub fn model(&self) -> &Arc<Int8Model> {
        &self.model
    }

    /// Runs the whole network over `canvas` (RGBx) on the current rayon pool. Detections are in canvas pixels, best first.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the number of bytes does not match the canvas's fit.
    pub fn detect(&mut self, canvas: &Canvas<u8>) -> Result<&[Detection]> {
        self.detect_with(canvas, &mut NoTap)
    }

    /// [`Int8Executor::detect`] with a tap.
    ///
    /// # Errors
    /// As [`Int8Executor::detect`].
    pub fn detect_with(&mut self, canvas: &Canvas<u8>, tap: &mut dyn Tap) -> Result<&[Detection]> {
        self.begin(canvas)?;
        while self.advance(tap)?.is_some() {}
        Ok(&self.detections)
    }

    /// Copies a canvas into the input buffer; the first layer is next.
    ///
    /// # Errors
    /// As [`Int8Executor::detect`].
    pub fn begin(&mut self, canvas: &Canvas<u8>) -> Result<()> {
        let Fit { canvas_height, canvas_width, .. } = canvas.fit;
        let image = self.model.plan.key_steps.image;
        let fits = canvas.channels == 4 && canvas.two_bytes == self.model.wide[image];
        if !fits || canvas.data.len() != canvas.values() {
            let (of, due) = (if canvas.two_bytes { 2 } else { 1 }, if self.model.wide[image] { 2 } else { 1 });
            let text = format!(
                "a canvas of {canvas_height}×{canvas_width} RGBx, {of} bytes a value, holds {} bytes; {due} are read",
                canvas.data.len()
            );
            return Err(Error::new(Kind::Internal, text));
        }
        self.reserve(canvas.fit);
        if let Some(slot) = self.layout.as_ref().and_then(|layout| layout.bytes.of[image]) {
            self.buffers.bytes[slot][..canvas.data.len()].copy_from_slice(&canvas.data);
        }
        self.next = image + 1;
        Ok(())
    }

    /// Allocates buffers for a frame with the geometry `fit`, without a canvas: outputs are set by [`Int8Executor::put`].
    pub fn reserve(&mut self, fit: Fit) {
        let same = |layout: &FrameLayout| {
            let known = &layout.fit;
            (known.canvas_height, known.canvas_width, known.height) == (fit.canvas_height, fit.canvas_width, fit.height)
        };
        match &mut self.layout {
            Some(layout) if same(layout) => layout.fit = fit,
            _ => {
                let layout = FrameLayout::new(&self.model, fit, self.keep_features);
                self.buffers.resize(&layout);
                self.layout = Some(layout);
            }
        }
    }

    /// Runs the next step. Returns the step, `None` at the end.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the shapes of a step's inputs do not match, which the plan excludes.
    pub fn advance(&mut self, tap: &mut dyn Tap) -> Result<Option<StepId>> {
        let step = self.next;
        if step >= self.model.plan.steps.len() {
            return Ok(None);
        }
        self.compute(step, tap)?;
        self.next += 1;
        Ok(Some(step))
    }

    /// The detections of the last frame, in canvas pixels.
    pub fn detections(&self) -> &[Detection] {
        &self.detections
    }

    /// The proposals of the last frame: x0, y0, x1, y1 in canvas pixels, best first.
    pub fn proposals(&self) -> &[[f32; 4]] {
        &self.proposals
    }

    /// Sets the proposals, at most as many as the settings allow.
    pub fn put_proposals(&mut self, proposals: &[[f32; 4]]) {
        self.proposals.clear();
        let most = self.model.plan.settings.rpn.post_nms_top_n;
        self.proposals.extend(proposals.iter().take(most));
    }

    /// Runs any step on the present contents of its inputs' buffers, and keeps its output.
    ///
    /// # Errors
    /// As [`Int8Executor::advance`].
    pub fn compute(&mut self, step: StepId, tap: &mut dyn Tap) -> Result<()> {
        let Some(layout) = &self.layout else { return Err(Error::new(Kind::Internal, "no canvas was given")) };
        let fit = layout.fit;
        let request = tap.request(step);
        match self.model.plan.steps[step].op {
            Op::Image => {}
            Op::Layer { layer, activation, skip } => {
                let tapped = match request {
                    TapRequest::Raw | TapRequest::Clipping => Some((&mut *tap as &mut dyn Tap, request)),
                    TapRequest::Nothing | TapRequest::Output => None,
                };
                self.layer(step, layer, activation, skip, tapped)?
            }
            Op::MaxPool | Op::Subsample => self.pool(step)?,
            Op::Activate(_) | Op::GlobalMean | Op::Scale
                if self.model.mixed_precision.precision[step] != Precision::Int8Static =>
            {
                self.mixed_elementwise(step)?;
            }
            Op::Activate(_) | Op::GlobalMean | Op::Scale => self.elementwise(step)?,
            Op::RoiAlign => self.roi_align(step)?,
            Op::Proposals => {
                let inputs = &self.model.plan.steps[step].inputs;
                let levels = inputs.len() / 2;
                let heads = (0..levels).map(|level| {
                    let shape = layout.shapes[inputs[level]];
                    LevelHead {
                        rows: shape.height,
                        columns: shape.width,
                        objectness: self.buffers.floats(layout, inputs[level], shape.len()),
                        deltas: self.buffers.floats(layout, inputs[levels + level], shape.len() * 4),
                    }
                });
                self.proposal_stage.run(heads, &fit, &mut self.proposals);
                return Ok(());
            }
            Op::Detections => {
                let inputs = &self.model.plan.steps[step].inputs;
                let [logits, deltas] = [inputs[0], inputs[1]].map(|id| (id, self.shape(layout, id).len()));
                let logits = self.buffers.floats(layout, logits.0, logits.1);
                let deltas = self.buffers.floats(layout, deltas.0, deltas.1);
                self.detection_stage.run(logits, deltas, &self.proposals, &fit, &mut self.detections);
                return Ok(());
            }
        }
        if request != TapRequest::Nothing
            && let Some(activation) = self.activation(step)
        {
            tap.observe(step, &activation);
        }
        Ok(())
    }

    /// Shape of the output of `step` with the present number of proposals.
    pub(super) fn shape(&self, layout: &FrameLayout, step: StepId) -> Shape {
        layout.shape(&self.model, step, self.proposals.len())
    }

    /// The output of `step`, until a later step reuses its buffer; `None` for pixels, proposals and detections.
    pub fn activation(&self, step: StepId) -> Option<Activation<'_>> {
        let layout = self.layout.as_ref()?;
        let shape = self.shape(layout, step);
        let values = match self.model.mixed_precision.storage[step] {
            EdgeStorage::U8(owner) => {
                let QuantParams { scale, zero_point, .. } = self.model.edge_qparams[owner]?;
                let data = self.bytes(layout, step, shape.len());
                if self.model.wide[step] {
                    let (high, low) = data.split_at(shape.len());
                    Values::U16 { high, low, scale, zero_point }
                } else {
                    Values::U8 { data, scale, zero_point }
                }
            }
            EdgeStorage::F32 => Values::F32(self.buffers.floats(layout, step, shape.len())),
            EdgeStorage::Pixels | EdgeStorage::Boxes => return None,
        };
        let (valid_height, valid_width) = self.model.plan.valid(step, shape, &layout.fit);
        Some(Activation { shape, valid_height, valid_width, values })
    }

    /// The bytes of `len` values of a step's output: of a wide one all high bytes, then all low ones.
    pub(super) fn bytes(&self, layout: &FrameLayout, step: StepId, len: usize) -> &[u8] {
        self.buffers.bytes(layout, step, if self.model.wide[step] { 2 * len } else { len })
    }

    /// Runs a layer in its precision.
    fn layer(
        &mut self,
        step: StepId,
        layer: LayerId,
        activation: ActivationFunction,
        skip: bool,
        tapped: TappedStep<'_>,
    ) -> Result<()> {
        let model = Arc::clone(&self.model);
        match (&model.layers[layer], &model.epilogues[step]) {
            (PackedLayer::Int8(packed), Some(epilogue)) => self.convolve((step, layer), packed, epilogue, skip, tapped),
            (PackedLayer::Int8(_), None) => Err(Error::new(Kind::Internal, "an int8 step without an epilogue")),
            (other, _) => {
                let raw = tapped.filter(|(_, request)| *request == TapRequest::Raw).map(|(tap, _)| tap);
                self.mixed_layer((step, layer), other, activation, skip, raw)
            }
        }
    }

    /// Runs a layer in static int8.
    fn convolve(
        &mut self,
        (step, layer): (StepId, LayerId),
        packed: &crate::kernel::conv_u8::PackedU8,
        epilogue: &Epilogue,
        skip: bool,
        tapped: TappedStep<'_>,
    ) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let inputs = &self.model.plan.steps[step].inputs;
        let shape = self.shape(layout, step);
        let from = self.shape(layout, inputs[0]);
        let (count, height, width) = self.model.plan.layers[layer].maps_read(from);
        let stored = self.model.stored_len(inputs[0], from);
        let skip_shape = skip.then(|| self.shape(layout, inputs[1]));
        let mut output = self.buffers.take(layout, step);
        if shape.is_empty() {
            self.buffers.put_back(layout, step, output);
            return Ok(());
        }
        let data = self.buffers.bytes(layout, inputs[0], stored);
        let input = ConvInput { data, count, height, width };
        let skip = match skip_shape {
            None => SkipInput::None,
            Some(Shape { height, width, .. }) => {
                let len = skip_shape.map_or(0, |shape| shape.len());
                match self.model.mixed_precision.storage[inputs[1]] {
                    EdgeStorage::F32 => {
                        SkipInput::F32 { data: self.buffers.floats(layout, inputs[1], len), height, width }
                    }
                    _ if self.model.wide[inputs[1]] => {
                        SkipInput::U16 { data: self.bytes(layout, inputs[1], len), height, width }
                    }
                    _ => SkipInput::U8 { data: self.bytes(layout, inputs[1], len), height, width },
                }
            }
        };
        let target = match self.model.mixed_precision.storage[step] {
            EdgeStorage::F32 => ConvOutput::F32(&mut output.floats[..shape.len()]),
            _ if self.model.wide[step] => ConvOutput::U16(&mut output.bytes[..2 * shape.len()]),
            _ => ConvOutput::U8(&mut output.bytes[..shape.len()]),
        };
        let done = match tapped {
            None => convolve(packed, epilogue, input, skip, target),
            Some((tap, TapRequest::Clipping)) => convolve_observed(packed, epilogue, input, skip, target, &())
                .map(|clipped| tap.observe_clipped(step, clipped.below, clipped.above)),
            Some((tap, _)) => {
                let scale = self.model.qparams(step).map_or(1.0, |qparams| qparams.levels().0);
                let scale = epilogue.raw_scale(scale);
                let raw = super::raw::RawValues::new(shape, scale);
                let clipped = convolve_observed(packed, epilogue, input, skip, target, &raw);
                clipped.map(|clipped| {
                    let values = raw.into_values();
                    let (valid_height, valid_width) = self.model.plan.valid(step, shape, &layout.fit);
                    tap.observe_clipped(step, clipped.below, clipped.above);
                    let values = Values::F32(&values);
                    tap.observe_raw(step, &Activation { shape, valid_height, valid_width, values });
                })
            }
        };
        self.buffers.put_back(layout, step, output);
        done
    }

    /// Runs a step without weights on bytes.
    fn elementwise(&mut self, step: StepId) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let Step { op, inputs, .. } = &self.model.plan.steps[step];
        let qparams = |step: StepId| {
            let missing = || Error::new(Kind::Internal, "an elementwise step reads or writes other than bytes");
            self.model.qparams(step).ok_or_else(missing)
        };
        let (source, target) = (qparams(inputs[0])?, qparams(step)?);
        let gates = match inputs.get(1) {
            Some(&gates) => Some((gates, qparams(gates)?)),
            None => None,
        };
        let from = self.shape(layout, inputs[0]);
        let len = self.shape(layout, step).len();
        let isa = self.model.isa;
        let mut output = self.buffers.take(layout, step);
        let (data, out) = (self.buffers.bytes(layout, inputs[0], from.len()), &mut output.bytes[..len]);
        match (*op, gates) {
            (Op::Activate(activation), _) => {
                let table = std::array::from_fn(|q| target.quantize(activation.apply(source.value(q as u8))));
                pointwise_u8::look_up(&table, data, out);
            }
            (Op::Scale, Some((id, gate))) => {
                let multiplier = multiplier(source.scale, gate.scale, target.scale);
                let requantization = Requantization { multiplier, zero_point: target.zero_point };
                let gates = self.buffers.bytes(layout, id, from.channels);
                let zero_points = [source.zero_point, gate.zero_point];
                pointwise_u8::scale_channels(isa, data, gates, zero_points, requantization, out);
            }
            _ => {
                let pixels = from.pixels();
                let multiplier = (f64::from(source.scale) / (pixels as f64 * f64::from(target.scale))) as f32;
                let requantization = Requantization { multiplier, zero_point: target.zero_point };
                pointwise_u8::global_mean(isa, data, pixels, source.zero_point, requantization, out);
            }
        }
        self.buffers.put_back(layout, step, output);
        Ok(())
    }

    /// Runs a pooling or subsampling step.
    fn pool(&mut self, step: StepId) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let source = self.model.plan.steps[step].inputs[0];
        let from = layout.shapes[source];
        let Shape { height, width, channels } = from;
        let len = layout.shapes[step].len();
        let is_maximum = self.model.plan.steps[step].op == Op::MaxPool;
        let mut output = self.buffers.take(layout, step);
        match self.model.mixed_precision.storage[step] {
            EdgeStorage::F32 => {
                let (x, y) = (self.buffers.floats(layout, source, from.len()), &mut output.floats[..len]);
                match is_maximum {
                    true => pool_f32::max_pool(self.model.isa, x, height, width, channels, y),
                    false => pool_f32::subsample(x, height, width, channels, y),
                }
            }
            _ => {
                let bytes = if self.model.wide[step] { 2 * len } else { len };
                let (x, y) = (self.bytes(layout, source, from.len()), &mut output.bytes[..bytes]);
                match (is_maximum, self.model.wide[step]) {
                    (true, true) => pool_u8::max_pool_16(self.model.isa, x, height, width, channels, y),
                    (true, false) => pool_u8::max_pool(self.model.isa, x, height, width, channels, y),
                    (false, _) => {
                        let planes = x.chunks_exact(from.len().max(1)).zip(y.chunks_exact_mut(len.max(1)));
                        planes.for_each(|(x, y)| pool_u8::subsample(x, height, width, channels, y));
                    }
                }
            }
        }
        self.buffers.put_back(layout, step, output);
        Ok(())
    }

    /// Runs RoIAlign.
    fn roi_align(&mut self, step: StepId) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        self.level_of.clear();
        self.level_of.extend(self.proposals.iter().map(|&corners| layout.level_mapper.level(corners) as u8));
        if self.model.mixed_precision.precision[step] != Precision::Int8Static {
            return self.mixed_roi_align(step);
        }
        let Some(qparams) = self.model.qparams(step) else {
            return Err(Error::new(Kind::Internal, "RoIAlign has no output quantization parameters"));
        };
        let plan = Arc::clone(&self.model.plan);
        let inputs = &plan.steps[step].inputs[..layout.scales.len()];
        if inputs.iter().any(|&id| self.model.qparams(id).is_none()) {
            return Err(Error::new(Kind::Internal, "RoIAlign reads a level that is not stored in bytes"));
        }
        let mut output = self.buffers.take(layout, step);
        let len = self.shape(layout, step).len();
        let params = RoiAlignParamsU8 {
            channels: plan.architecture.feature_channels(),
            window: plan.architecture.roi_output,
            sampling_ratio: plan.settings.roi.sampling_ratio,
            scale: qparams.scale,
            zero_point: qparams.zero_point,
        };
        let level = |number: usize| {
            let id = inputs[number];
            let shape = layout.shapes[id];
            // Every level has them, as was seen above.
            let (scale, zero_point) =
                self.model.qparams(id).map_or((1.0, 0), |qparams| (qparams.scale, qparams.zero_point));
            RoiLevelU8 {
                data: self.buffers.bytes(layout, id, shape.len()),
                height: shape.height,
                width: shape.width,
                spatial_scale: layout.scales[number],
                scale,
                zero_point,
            }
        };
        let levels: [RoiLevelU8<'_>; MAX_LEVELS] = std::array::from_fn(|number| level(number.min(inputs.len() - 1)));
        let levels = &levels[..inputs.len()];
        let out = &mut output.bytes[..len];
        let done = roi_align(self.model.isa, levels, params, &self.proposals, &self.level_of, out);
        self.buffers.put_back(layout, step, output);
        done
    }
}
