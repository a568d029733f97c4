//! Run of one frame through the plan in full precision, step by step.
//!
//! The buffer of an output is reused as soon as its last reader has run, so only live tensors are held. A clone of a
//! [`StepOutput::Map`] that outlives its readers therefore changes. Outputs can also be set by the caller: tests feed a
//! stage its golden input, [`measure`](crate::measure) runs two executors in lockstep.

use candle_core::{DType, Device, InplaceOp2, Tensor};

use super::buffers::PooledTensor;
use super::{Fp32Model, Layers, Operations, ops};
use crate::detector::detection::Detection;
use crate::detector::detections::DetectionStage;
use crate::detector::plan::{LayerId, Op, Plan, StepId};
use crate::detector::proposals::{LevelHead, ProposalStage};
use crate::detector::roi_align::{LevelMapper, level_scale};
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation as ActivationFunction;
use crate::tensor::{Canvas, Fit, Shape};

/// Output of a step.
#[derive(Debug, Clone)]
pub enum StepOutput {
    /// `[height][width][channels]`, f32, contiguous.
    Map(Tensor),
    /// Proposals: x0, y0, x1, y1 in canvas pixels, best first.
    Boxes(Vec<[f32; 4]>),
    /// Detections in canvas pixels, best first.
    Detections(Vec<Detection>),
}

/// State of a run: outputs that are alive, and the next step.
#[derive(Debug)]
pub struct Fp32Run<'m> {
    model: &'m Fp32Model,
    fit: Fit,
    values: Vec<Option<StepOutput>>,
    /// By step: the pooled buffer of its output, if any.
    buffers: Vec<Option<Tensor>>,
    /// By step: the number of readers that have not run yet.
    waiting: Vec<usize>,
    next: StepId,
}

impl<'m> Fp32Run<'m> {
    /// A run over `canvas`, before its first step.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the number of values does not match the canvas's fit.
    pub fn new(model: &'m Fp32Model, canvas: &Canvas<f32>) -> Result<Self> {
        let Fit { canvas_height, canvas_width, .. } = canvas.fit;
        let tensor = Tensor::from_slice(&canvas.data, (canvas_height, canvas_width, 3), &Device::Cpu)?;
        let mut run = Self::empty(model, canvas.fit);
        run.put(model.plan.key_steps.image, StepOutput::Map(tensor));
        Ok(run)
    }

    /// A run without any output, for a frame with the geometry `fit`; outputs are set by [`Fp32Run::put`].
    pub fn empty(model: &'m Fp32Model, fit: Fit) -> Self {
        let steps = model.plan.steps.len();
        model.buffers.set_canvas((fit.canvas_height, fit.canvas_width));
        let (values, buffers) = (vec![None; steps], vec![None; steps]);
        Self { model, fit, values, buffers, waiting: model.plan.readers(), next: 0 }
    }

    /// The step that [`Fp32Run::advance`] runs next; `None` at the end.
    pub fn next_step(&self) -> Option<StepId> {
        (self.next < self.values.len()).then_some(self.next)
    }

    /// Geometry of the canvas and the frame.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// A step's output, while it is alive.
    pub fn value(&self, step: StepId) -> Option<&StepOutput> {
        self.values[step].as_ref()
    }

    /// The network.
    pub fn plan(&self) -> &Plan {
        &self.model.plan
    }

    /// Calls `read` with a step's output, while it is alive and if it is a map.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the tensor is not one of this run's.
    pub fn with_activation(&self, step: StepId, read: impl FnOnce(&Activation<'_>)) -> Result<()> {
        match self.value(step) {
            Some(StepOutput::Map(map)) => self.show(step, map, read),
            _ => Ok(()),
        }
    }

    /// Sets a step's output.
    pub fn put(&mut self, step: StepId, value: StepOutput) {
        self.values[step] = Some(value);
    }

    /// Runs the next step and frees the outputs without a remaining reader. Returns the step, `None` at the end.
    ///
    /// # Errors
    /// [`Kind::Internal`] if shapes do not match, which the plan excludes.
    pub fn advance(&mut self, tap: &mut dyn Tap) -> Result<Option<StepId>> {
        let Some(step) = self.next_step() else { return Ok(None) };
        self.compute(step, tap)?;
        self.next += 1;
        for &input in &self.model.plan.steps[step].inputs {
            self.waiting[input] -= 1;
            if self.waiting[input] == 0 {
                self.drop_value(input);
            }
        }
        Ok(Some(step))
    }

    /// Drops a step's output and releases its buffer.
    fn drop_value(&mut self, step: StepId) {
        self.values[step] = None;
        if let Some(buffer) = self.buffers[step].take() {
            self.model.buffers.release((self.fit.canvas_height, self.fit.canvas_width), buffer);
        }
    }

    /// Runs the remaining steps and returns the detections, in canvas pixels and best first.
    ///
    /// # Errors
    /// As [`Fp32Run::advance`].
    pub fn finish(mut self, tap: &mut dyn Tap) -> Result<Vec<Detection>> {
        while self.advance(tap)?.is_some() {}
        match self.values[self.model.plan.key_steps.detections].take() {
            Some(StepOutput::Detections(detections)) => Ok(detections),
            _ => Err(Error::new(Kind::Internal, "the last step left no detections")),
        }
    }

    /// Runs any step whose inputs are alive, and keeps its output.
    ///
    /// # Errors
    /// [`Kind::Internal`] if an input is missing.
    pub fn compute(&mut self, step: StepId, tap: &mut dyn Tap) -> Result<()> {
        let request = tap.request(step);
        let pooled = match self.model.plan.steps[step].op {
            Op::Image => match self.values[step].take() {
                Some(StepOutput::Map(map)) => unpooled(map),
                _ => return Err(Error::new(Kind::Internal, "the run has no canvas")),
            },
            Op::Layer { layer, activation, skip } => {
                let fused = if request == TapRequest::Raw { ActivationFunction::Identity } else { activation };
                let output = self.layer(step, layer, fused, skip)?;
                if request == TapRequest::Raw {
                    self.show(step, &output.map, |values| tap.observe_raw(step, values))?;
                    output.map.inplace_op1(&ops::Activate(self.model.isa, activation))?;
                }
                output
            }
            Op::MaxPool => match self.operations() {
                Some(operations) => unpooled(operations.max_pool(self.map(step, 0)?)?),
                None => self.halved(step, &ops::MaxPool(self.model.isa))?,
            },
            Op::Subsample => self.halved(step, &ops::Subsample)?,
            Op::Activate(activation) => self.activate(step, activation)?,
            Op::GlobalMean => self.global_mean(step)?,
            Op::Scale => self.scale(step)?,
            Op::RoiAlign => self.roi_align(step)?,
            Op::Proposals => {
                self.values[step] = Some(StepOutput::Boxes(self.proposals(step)?));
                return Ok(());
            }
            Op::Detections => {
                self.values[step] = Some(StepOutput::Detections(self.detections(step)?));
                return Ok(());
            }
        };
        if request != TapRequest::Nothing {
            self.show(step, &pooled.map, |activation| tap.observe(step, activation))?;
        }
        self.values[step] = Some(StepOutput::Map(pooled.map));
        self.buffers[step] = pooled.buffer;
        Ok(())
    }

    /// Operations that replace the kernels, if there are any.
    fn operations(&self) -> Option<&dyn Operations> {
        match &self.model.layers {
            Layers::Kernels(_) => None,
            Layers::Other(operations) => Some(operations.as_ref()),
        }
    }

    /// Runs a pooling operation with stride 2.
    fn halved(&self, step: StepId, op: &impl InplaceOp2) -> Result<PooledTensor> {
        let x = self.map(step, 0)?;
        let (height, width, channels) = x.dims3()?;
        let pooled = self.model.buffers.take((height.div_ceil(2), width.div_ceil(2), channels))?;
        pooled.map.inplace_op2(x, op)?;
        Ok(pooled)
    }

    fn activate(&self, step: StepId, activation: ActivationFunction) -> Result<PooledTensor> {
        let x = self.map(step, 0)?;
        if let Some(operations) = self.operations() {
            return Ok(unpooled(operations.activate(x, activation)?));
        }
        let pooled = self.model.buffers.take(x.dims3()?)?;
        pooled.map.inplace_op2(x, &ops::Activate(self.model.isa, activation))?;
        Ok(pooled)
    }

    fn global_mean(&self, step: StepId) -> Result<PooledTensor> {
        let x = self.map(step, 0)?;
        if let Some(operations) = self.operations() {
            return Ok(unpooled(operations.global_mean(x)?));
        }
        let pooled = self.model.buffers.take((1, 1, x.dim(2)?))?;
        pooled.map.inplace_op2(x, &ops::GlobalMean(self.model.isa))?;
        Ok(pooled)
    }

    fn scale(&self, step: StepId) -> Result<PooledTensor> {
        let (x, gates) = (self.map(step, 0)?, self.map(step, 1)?);
        if let Some(operations) = self.operations() {
            return Ok(unpooled(operations.scale(x, gates)?));
        }
        let pooled = self.model.buffers.take(x.dims3()?)?;
        pooled.map.inplace_op3(x, gates, &ops::Scale(self.model.isa))?;
        Ok(pooled)
    }

    /// Calls `read` with `map` as the activation of `step`.
    fn show(&self, step: StepId, map: &Tensor, read: impl FnOnce(&Activation<'_>)) -> Result<()> {
        let (height, width, channels) = map.dims3()?;
        let shape = Shape::new(height, width, channels);
        let (valid_height, valid_width) = self.model.plan.valid(step, shape, &self.fit);
        ops::with_values(map, |values| {
            read(&Activation { shape, valid_height, valid_width, values: Values::F32(values) });
        })?;
        Ok(())
    }

    /// Input `number` of `step`.
    fn input(&self, step: StepId, number: usize) -> Result<&StepOutput> {
        let inputs = &self.model.plan.steps[step].inputs;
        let value = inputs.get(number).and_then(|&input| self.values[input].as_ref());
        value.ok_or_else(|| self.misfit(step, &format!("runs before its input {number}")))
    }

    fn misfit(&self, step: StepId, what: &str) -> Error {
        Error::new(Kind::Internal, format!("step {} {what}", self.model.plan.steps[step].name))
    }

    fn map(&self, step: StepId, number: usize) -> Result<&Tensor> {
        match self.input(step, number)? {
            StepOutput::Map(tensor) => Ok(tensor),
            _ => Err(self.misfit(step, "reads a map, and its input is none")),
        }
    }

    fn boxes(&self, step: StepId, number: usize) -> Result<&[[f32; 4]]> {
        match self.input(step, number)? {
            StepOutput::Boxes(boxes) => Ok(boxes),
            _ => Err(self.misfit(step, "reads boxes, and its input has none")),
        }
    }

    fn layer(&self, step: StepId, layer: LayerId, activation: ActivationFunction, skip: bool) -> Result<PooledTensor> {
        let planned = &self.model.plan.layers[layer];
        let geometry = planned.geometry;
        let x = self.map(step, 0)?;
        let (height, width, channels) = x.dims3()?;
        let (count, height, width) = planned.maps_read(Shape { height, width, channels });
        let x = x.reshape((count * height, width, geometry.in_channels))?;
        let (rows, columns) = geometry.output(height, width);
        let shape = (count * rows, columns, geometry.out_channels);
        if count * height == 0 {
            return Ok(unpooled(Tensor::zeros((0, columns, geometry.out_channels), DType::F32, &Device::Cpu)?));
        }
        let skip = if skip { Some(self.map(step, 1)?) } else { None };
        match &self.model.layers {
            Layers::Kernels(layers) => {
                let conv = &layers[layer];
                let pooled = self.model.buffers.take(shape)?;
                let op = ops::Convolve { conv, activation, count };
                match skip {
                    None => pooled.map.inplace_op2(&x, &op)?,
                    Some(skip) => pooled.map.inplace_op3(&x, skip, &op)?,
                }
                Ok(pooled)
            }
            Layers::Other(operations) => {
                let sum = operations.layer(layer, &x, skip)?;
                Ok(unpooled(operations.activate(&sum, activation)?))
            }
        }
    }

    fn proposals(&self, step: StepId) -> Result<Vec<[f32; 4]>> {
        let levels = self.model.plan.steps[step].inputs.len() / 2;
        let mut heads: Vec<(usize, usize, Vec<f32>, Vec<f32>)> = Vec::with_capacity(levels);
        for level in 0..levels {
            let (objectness, deltas) = (self.map(step, level)?, self.map(step, levels + level)?);
            let (rows, columns, _) = objectness.dims3()?;
            heads.push((rows, columns, objectness.flatten_all()?.to_vec1()?, deltas.flatten_all()?.to_vec1()?));
        }
        let heads = heads.iter().map(|(rows, columns, objectness, deltas)| LevelHead {
            rows: *rows,
            columns: *columns,
            objectness,
            deltas,
        });
        let mut proposals = Vec::new();
        ProposalStage::new(&self.model.plan.settings).run(heads, &self.fit, &mut proposals);
        Ok(proposals)
    }

    fn roi_align(&self, step: StepId) -> Result<PooledTensor> {
        let plan = &self.model.plan;
        let count = plan.steps[step].inputs.len() - 1;
        let boxes = self.boxes(step, count)?;
        let (window, channels) = (plan.architecture.roi_output, plan.architecture.feature_channels());
        if boxes.is_empty() {
            return Ok(unpooled(Tensor::zeros((0, window, channels), DType::F32, &Device::Cpu)?));
        }
        let mut levels = Vec::with_capacity(count);
        for level in 0..count {
            let features = self.map(step, level)?.clone();
            let scale = level_scale(features.dim(0)?, &self.fit);
            levels.push((features, scale));
        }
        let scales: Vec<f32> = levels.iter().map(|(_, scale)| *scale).collect();
        let mapper = LevelMapper::new(&plan.settings.roi, &scales);
        let level_of: Vec<u8> = boxes.iter().map(|&corners| mapper.level(corners) as u8).collect();
        let sampling_ratio = plan.settings.roi.sampling_ratio;
        let op = ops::RoiAlign { isa: self.model.isa, levels: &levels, level_of: &level_of, window, sampling_ratio };
        let flat: Vec<f32> = boxes.iter().flatten().copied().collect();
        let corners = Tensor::from_vec(flat, (boxes.len(), 4), &Device::Cpu)?;
        let pooled = self.model.buffers.take((boxes.len() * window, window, channels))?;
        pooled.map.inplace_op2(&corners, &op)?;
        Ok(pooled)
    }

    fn detections(&self, step: StepId) -> Result<Vec<Detection>> {
        let logits: Vec<f32> = self.map(step, 0)?.flatten_all()?.to_vec1()?;
        let deltas: Vec<f32> = self.map(step, 1)?.flatten_all()?.to_vec1()?;
        let mut detections = Vec::new();
        let mut stage = DetectionStage::new(&self.model.plan.settings.roi);
        stage.run(&logits, &deltas, self.boxes(step, 2)?, &self.fit, &mut detections);
        Ok(detections)
    }
}

impl Drop for Fp32Run<'_> {
    fn drop(&mut self) {
        for step in 0..self.values.len() {
            self.drop_value(step);
        }
    }
}

/// A tensor of its own.
fn unpooled(map: Tensor) -> PooledTensor {
    PooledTensor { map, buffer: None }
}
