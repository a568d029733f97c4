//! One frame through the plan, step by step.
//!
//! Values are dropped as soon as their last reader has run, so only live tensors are held. A value can also be put in
//! by hand: tests feed a stage its golden input, the monitor runs two executors in lock-step.

use candle_core::{DType, Device, Tensor};

use super::{Fp32Model, LayerOp, ops, stock};
use crate::detector::detection::Detection;
use crate::detector::detections::DetectionStage;
use crate::detector::plan::{LayerId, Op, StepId};
use crate::detector::proposals::{LevelHead, ProposalStage};
use crate::detector::roi_align::{LevelRule, level_scale};
use crate::detector::tap::{Activation, Tap, Values, Wish};
use crate::error::{Error, Kind, Result};
use crate::tensor::{Canvas, Fit, Shape};

/// What a step gives out.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[height][width][channels]`, f32, contiguous.
    Map(Tensor),
    /// Proposals in canvas pixels, best first.
    Boxes(Vec<[f32; 4]>),
    /// Detections in canvas pixels, best first.
    Detections(Vec<Detection>),
}

/// One frame on its way through the network.
#[derive(Debug)]
pub struct Run<'m> {
    model: &'m Fp32Model,
    fit: Fit,
    values: Vec<Option<Value>>,
    /// Readers that have not run yet, by step.
    waiting: Vec<usize>,
    next: StepId,
}

impl<'m> Run<'m> {
    /// A run over `canvas`, standing before the first layer.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the canvas holds fewer or more values than it says.
    pub fn new(model: &'m Fp32Model, canvas: &Canvas<f32>) -> Result<Self> {
        let Fit { canvas_height, canvas_width, .. } = canvas.fit;
        let tensor = Tensor::from_slice(&canvas.data, (canvas_height, canvas_width, 3), &Device::Cpu)?;
        let mut run = Self::empty(model, canvas.fit);
        run.put(model.plan.landmarks.image, Value::Map(tensor));
        Ok(run)
    }

    /// A run without any value yet, for a frame that lies like `fit`; values come by [`Run::put`].
    pub fn empty(model: &'m Fp32Model, fit: Fit) -> Self {
        let steps = model.plan.steps.len();
        Self { model, fit, values: vec![None; steps], waiting: model.plan.readers(), next: 0 }
    }

    /// The step that [`Run::advance`] runs next; `None` at the end.
    pub fn next_step(&self) -> Option<StepId> {
        (self.next < self.values.len()).then_some(self.next)
    }

    /// How the canvas lies on the frame.
    pub fn fit(&self) -> &Fit {
        &self.fit
    }

    /// A step's output, while it is alive.
    pub fn value(&self, step: StepId) -> Option<&Value> {
        self.values[step].as_ref()
    }

    /// Sets a step's output by hand.
    pub fn put(&mut self, step: StepId, value: Value) {
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
                self.values[input] = None;
            }
        }
        Ok(Some(step))
    }

    /// Runs every step that is left and returns the detections, in canvas pixels and best first.
    ///
    /// # Errors
    /// As [`Run::advance`].
    pub fn finish(mut self, tap: &mut dyn Tap) -> Result<Vec<Detection>> {
        while self.advance(tap)?.is_some() {}
        match self.values[self.model.plan.landmarks.detections].take() {
            Some(Value::Detections(detections)) => Ok(detections),
            _ => Err(Error::new(Kind::Internal, "the last step left no detections")),
        }
    }

    /// Runs one step from the values that are there, whatever the order, and keeps its output.
    ///
    /// # Errors
    /// [`Kind::Internal`] if an input is not there.
    pub fn compute(&mut self, step: StepId, tap: &mut dyn Tap) -> Result<()> {
        let wish = tap.wish(step);
        let value = match self.model.plan.steps[step].op {
            Op::Image => match self.values[step].take() {
                Some(value) => value,
                None => return Err(Error::new(Kind::Internal, "the run has no canvas")),
            },
            Op::Layer { layer, relu, skip } => {
                let fused = self.layer(step, layer, relu && wish != Wish::Both, skip)?;
                if wish == Wish::Both {
                    self.show(step, &fused, |activation| tap.see_raw(step, activation))?;
                }
                Value::Map(if relu && wish == Wish::Both { fused.relu()? } else { fused })
            }
            Op::MaxPool => {
                let x = self.map(step, 0)?;
                Value::Map(match self.model.layers.first() {
                    Some(LayerOp::Stock(_)) => stock::max_pool(x)?,
                    _ => x.apply_op1_no_bwd(&ops::MaxPool(self.model.isa))?,
                })
            }
            Op::Subsample => Value::Map(self.map(step, 0)?.apply_op1_no_bwd(&ops::Subsample)?),
            Op::RoiAlign => Value::Map(self.roi_align(step)?),
            Op::Proposals => Value::Boxes(self.proposals(step)?),
            Op::Detections => Value::Detections(self.detections(step)?),
        };
        if let (Value::Map(map), true) = (&value, wish != Wish::Nothing) {
            self.show(step, map, |activation| tap.see(step, activation))?;
        }
        self.values[step] = Some(value);
        Ok(())
    }

    fn show(&self, step: StepId, map: &Tensor, see: impl FnOnce(&Activation<'_>)) -> Result<()> {
        let (height, width, channels) = map.dims3()?;
        let shape = Shape::new(height, width, channels);
        let (valid_height, valid_width) = self.model.plan.valid(step, shape, &self.fit);
        ops::with_values(map, |values| {
            see(&Activation { shape, valid_height, valid_width, values: Values::F32(values) });
        })?;
        Ok(())
    }

    fn input(&self, step: StepId, number: usize) -> Result<&Value> {
        let inputs = &self.model.plan.steps[step].inputs;
        let value = inputs.get(number).and_then(|&input| self.values[input].as_ref());
        value.ok_or_else(|| self.misfit(step, &format!("runs before its input {number}")))
    }

    fn misfit(&self, step: StepId, what: &str) -> Error {
        Error::new(Kind::Internal, format!("step {} {what}", self.model.plan.steps[step].name))
    }

    fn map(&self, step: StepId, number: usize) -> Result<&Tensor> {
        match self.input(step, number)? {
            Value::Map(tensor) => Ok(tensor),
            _ => Err(self.misfit(step, "reads a map where there is none")),
        }
    }

    fn boxes(&self, step: StepId, number: usize) -> Result<&[[f32; 4]]> {
        match self.input(step, number)? {
            Value::Boxes(boxes) => Ok(boxes),
            _ => Err(self.misfit(step, "reads boxes where there are none")),
        }
    }

    fn layer(&self, step: StepId, layer: LayerId, relu: bool, skip: bool) -> Result<Tensor> {
        let geometry = &self.model.plan.layers[layer].geometry;
        let x = self.map(step, 0)?;
        // The box head's first layer reads each window as one row.
        let rows = x.elem_count() / geometry.in_channels;
        let x = if x.dim(2)? == geometry.in_channels { x.clone() } else { x.reshape((rows, 1, geometry.in_channels))? };
        if rows == 0 {
            return Ok(Tensor::zeros((0, 1, geometry.out_channels), DType::F32, &Device::Cpu)?);
        }
        let skip = if skip { Some(self.map(step, 1)?) } else { None };
        Ok(match (&self.model.layers[layer], skip) {
            (LayerOp::Kernel(conv), None) => x.apply_op1_no_bwd(&ops::Convolve { conv, relu })?,
            (LayerOp::Kernel(conv), Some(skip)) => x.apply_op2_no_bwd(skip, &ops::Convolve { conv, relu })?,
            (LayerOp::Stock(stock), skip) if relu => stock.forward(&x, skip)?.relu()?,
            (LayerOp::Stock(stock), skip) => stock.forward(&x, skip)?,
        })
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

    fn roi_align(&self, step: StepId) -> Result<Tensor> {
        let plan = &self.model.plan;
        let count = plan.steps[step].inputs.len() - 1;
        let boxes = self.boxes(step, count)?;
        let window = plan.architecture.roi_output;
        if boxes.is_empty() {
            return Ok(Tensor::zeros((0, window, plan.architecture.fpn), DType::F32, &Device::Cpu)?);
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
        Ok(Tensor::from_vec(flat, (boxes.len(), 4), &Device::Cpu)?.apply_op1_no_bwd(&op)?)
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
