//! One frame through the plan, step by step.
//!
//! A value's memory serves a later step as soon as its last reader has run, so only live tensors are held, and a copy
//! of a [`StepOutput::Map`] that outlives its readers changes. A value can also be put in by hand: tests feed a stage its
//! golden input, the monitor runs two executors in lock-step.

use candle_core::{DType, Device, InplaceOp2, Tensor};

use super::buffers::Filled;
use super::{Fp32Model, LayerOp, ops, stock};
use crate::detector::detection::Detection;
use crate::detector::detections::DetectionStage;
use crate::detector::plan::{LayerId, Op, Plan, StepId};
use crate::detector::proposals::{LevelHead, ProposalStage};
use crate::detector::roi_align::{LevelRule, level_scale};
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::{Error, Kind, Result};
use crate::tensor::{Canvas, Fit, Shape};

/// What a step gives out.
#[derive(Debug, Clone)]
pub enum StepOutput {
    /// `[height][width][channels]`, f32, contiguous.
    Map(Tensor),
    /// Proposals in canvas pixels, best first.
    Boxes(Vec<[f32; 4]>),
    /// Detections in canvas pixels, best first.
    Detections(Vec<Detection>),
}

/// One frame on its way through the network.
#[derive(Debug)]
pub struct Fp32Run<'m> {
    model: &'m Fp32Model,
    fit: Fit,
    values: Vec<Option<StepOutput>>,
    /// By step: the memory of its value, where that is to be used again.
    buffers: Vec<Option<Tensor>>,
    /// Readers that have not run yet, by step.
    waiting: Vec<usize>,
    next: StepId,
}

impl<'m> Fp32Run<'m> {
    /// A run over `canvas`, standing before the first layer.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the canvas holds fewer or more values than it says.
    pub fn new(model: &'m Fp32Model, canvas: &Canvas<f32>) -> Result<Self> {
        let Fit { canvas_height, canvas_width, .. } = canvas.fit;
        let tensor = Tensor::from_slice(&canvas.data, (canvas_height, canvas_width, 3), &Device::Cpu)?;
        let mut run = Self::empty(model, canvas.fit);
        run.put(model.plan.key_steps.image, StepOutput::Map(tensor));
        Ok(run)
    }

    /// A run without any value yet, for a frame that lies like `fit`; values come by [`Fp32Run::put`].
    pub fn empty(model: &'m Fp32Model, fit: Fit) -> Self {
        let steps = model.plan.steps.len();
        model.buffers.serve((fit.canvas_height, fit.canvas_width));
        let (values, buffers) = (vec![None; steps], vec![None; steps]);
        Self { model, fit, values, buffers, waiting: model.plan.readers(), next: 0 }
    }

    /// The step that [`Fp32Run::advance`] runs next; `None` at the end.
    pub fn next_step(&self) -> Option<StepId> {
        (self.next < self.values.len()).then_some(self.next)
    }

    /// How the canvas lies on the frame.
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

    /// Sets a step's output by hand.
    pub fn put(&mut self, step: StepId, value: StepOutput) {
        self.values[step] = Some(value);
    }

    /// Runs the next step and drops what nobody reads any more. Returns the step that ran, `None` at the end.
    ///
    /// # Errors
    /// [`Kind::Internal`] if tensors do not fit together, which the plan rules out.
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

    /// Forgets a step's output; its memory is free for others.
    fn drop_value(&mut self, step: StepId) {
        self.values[step] = None;
        if let Some(buffer) = self.buffers[step].take() {
            self.model.buffers.give_back((self.fit.canvas_height, self.fit.canvas_width), buffer);
        }
    }

    /// Runs every step that is left and returns the detections, in canvas pixels and best first.
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

    /// Runs one step from the values that are there, whatever the order, and keeps its output.
    ///
    /// # Errors
    /// [`Kind::Internal`] if an input is not there.
    pub fn compute(&mut self, step: StepId, tap: &mut dyn Tap) -> Result<()> {
        let request = tap.request(step);
        let plain = |map: Tensor| Filled { map, buffer: None };
        let filled = match self.model.plan.steps[step].op {
            Op::Image => match self.values[step].take() {
                Some(StepOutput::Map(map)) => plain(map),
                _ => return Err(Error::new(Kind::Internal, "the run has no canvas")),
            },
            Op::Layer { layer, relu, skip } => {
                let fused = self.layer(step, layer, relu && request != TapRequest::Raw, skip)?;
                if request == TapRequest::Raw {
                    self.show(step, &fused.map, |activation| tap.observe_raw(step, activation))?;
                    if relu {
                        fused.map.inplace_op1(&ops::Relu)?;
                    }
                }
                fused
            }
            Op::MaxPool if self.is_stock() => plain(stock::max_pool(self.map(step, 0)?)?),
            Op::MaxPool => self.halved(step, &ops::MaxPool(self.model.isa))?,
            Op::Subsample => self.halved(step, &ops::Subsample)?,
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
            self.show(step, &filled.map, |activation| tap.observe(step, activation))?;
        }
        self.values[step] = Some(StepOutput::Map(filled.map));
        self.buffers[step] = filled.buffer;
        Ok(())
    }

    fn is_stock(&self) -> bool {
        matches!(self.model.layers.first(), Some(LayerOp::Stock(_)))
    }

    /// Runs a pooling operation that halves both sides.
    fn halved(&self, step: StepId, op: &impl InplaceOp2) -> Result<Filled> {
        let x = self.map(step, 0)?;
        let (height, width, channels) = x.dims3()?;
        let filled = self.model.buffers.take((height.div_ceil(2), width.div_ceil(2), channels))?;
        filled.map.inplace_op2(x, op)?;
        Ok(filled)
    }

    fn show(&self, step: StepId, map: &Tensor, read: impl FnOnce(&Activation<'_>)) -> Result<()> {
        let (height, width, channels) = map.dims3()?;
        let shape = Shape::new(height, width, channels);
        let (valid_height, valid_width) = self.model.plan.valid(step, shape, &self.fit);
        ops::with_values(map, |values| {
            read(&Activation { shape, valid_height, valid_width, values: Values::F32(values) });
        })?;
        Ok(())
    }

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
            _ => Err(self.misfit(step, "reads a map where there is none")),
        }
    }

    fn boxes(&self, step: StepId, number: usize) -> Result<&[[f32; 4]]> {
        match self.input(step, number)? {
            StepOutput::Boxes(boxes) => Ok(boxes),
            _ => Err(self.misfit(step, "reads boxes where there are none")),
        }
    }

    fn layer(&self, step: StepId, layer: LayerId, relu: bool, skip: bool) -> Result<Filled> {
        let geometry = &self.model.plan.layers[layer].geometry;
        let x = self.map(step, 0)?;
        // The box head's first layer reads each window as one row.
        let rows = x.elem_count() / geometry.in_channels;
        let x = if x.dim(2)? == geometry.in_channels { x.clone() } else { x.reshape((rows, 1, geometry.in_channels))? };
        if rows == 0 {
            let map = Tensor::zeros((0, 1, geometry.out_channels), DType::F32, &Device::Cpu)?;
            return Ok(Filled { map, buffer: None });
        }
        let skip = if skip { Some(self.map(step, 1)?) } else { None };
        match &self.model.layers[layer] {
            LayerOp::Kernel(conv) => {
                let (height, width, _) = x.dims3()?;
                let (rows, columns) = geometry.output(height, width);
                let filled = self.model.buffers.take((rows, columns, geometry.out_channels))?;
                match skip {
                    None => filled.map.inplace_op2(&x, &ops::Convolve { conv, relu })?,
                    Some(skip) => filled.map.inplace_op3(&x, skip, &ops::Convolve { conv, relu })?,
                }
                Ok(filled)
            }
            LayerOp::Stock(stock) => {
                let sum = stock.forward(&x, skip)?;
                Ok(Filled { map: if relu { sum.relu()? } else { sum }, buffer: None })
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

    fn roi_align(&self, step: StepId) -> Result<Filled> {
        let plan = &self.model.plan;
        let count = plan.steps[step].inputs.len() - 1;
        let boxes = self.boxes(step, count)?;
        let window = plan.architecture.roi_output;
        if boxes.is_empty() {
            let map = Tensor::zeros((0, window, plan.architecture.fpn), DType::F32, &Device::Cpu)?;
            return Ok(Filled { map, buffer: None });
        }
        let mut levels = Vec::with_capacity(count);
        for level in 0..count {
            let features = self.map(step, level)?.clone();
            let scale = level_scale(features.dim(0)?, &self.fit);
            levels.push((features, scale));
        }
        let scales: Vec<f32> = levels.iter().map(|(_, scale)| *scale).collect();
        let rule = LevelRule::new(&plan.settings.roi, &scales);
        let level_of: Vec<u8> = boxes.iter().map(|&corners| rule.level(corners) as u8).collect();
        let sampling_ratio = plan.settings.roi.sampling_ratio;
        let op = ops::RoiAlign { isa: self.model.isa, levels: &levels, level_of: &level_of, window, sampling_ratio };
        let flat: Vec<f32> = boxes.iter().flatten().copied().collect();
        let corners = Tensor::from_vec(flat, (boxes.len(), 4), &Device::Cpu)?;
        let filled = self.model.buffers.take((boxes.len() * window, window, plan.architecture.fpn))?;
        filled.map.inplace_op2(&corners, &op)?;
        Ok(filled)
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
