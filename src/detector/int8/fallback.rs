//! Steps outside static int8: they convert their inputs to f32, and their output to its storage. Not the fast path: it
//! allocates.

use std::borrow::Cow;

use super::frame::FrameLayout;
use super::model::PackedLayer;
use super::{EdgeStorage, Int8Executor};
use crate::detector::plan::{LayerId, Op, Step, StepId};
use crate::detector::tap::{Activation, Tap, Values};
use crate::error::{Error, Kind, Result};
use crate::kernel::activation::Activation as ActivationFunction;
use crate::kernel::conv_f32::{MapsF32, SkipF32};
use crate::kernel::conv_u8::{
    ConvInput, ConvOutput, Epilogue, EpilogueSpec, OutputKind, SkipInput, SkipKind, convolve, quantize_dynamic,
};
use crate::kernel::pointwise_f32;
use crate::kernel::roi_align_f32::{RoiAlignParams, RoiLevel, roi_align};
use crate::quant::{integer_bias, multiplier};
use crate::tensor::{LOW_LEVELS, LOW_ZERO_POINT, Shape};

impl Int8Executor {
    /// A step's output as f32, in real units.
    pub(super) fn real_values(&self, layout: &FrameLayout, step: StepId) -> Cow<'_, [f32]> {
        let shape = self.shape(layout, step);
        match self.model.mixed_precision.storage[step] {
            EdgeStorage::F32 => Cow::Borrowed(self.buffers.floats(layout, step, shape.len())),
            EdgeStorage::Pixels => Cow::Owned(self.normalized_pixels(layout, step, shape)),
            EdgeStorage::U8(_) => match self.activation(step) {
                Some(Activation { values, .. }) => Cow::Owned((0..shape.len()).map(|at| values.real(at)).collect()),
                None => Cow::Owned(vec![0.0; shape.len()]),
            },
            EdgeStorage::Boxes => Cow::Owned(Vec::new()),
        }
    }

    /// The canvas normalized for the fp32 network, `[height][width][3]`; padding is 0.
    fn normalized_pixels(&self, layout: &FrameLayout, step: StepId, shape: Shape) -> Vec<f32> {
        let transform = &self.model.plan.settings.transform;
        let (mean, std) = (transform.mean.map(|m| m as f32), transform.std.map(|s| s as f32));
        let (bytes, low) = self.bytes(layout, step, shape.pixels() * 4).split_at(shape.pixels() * 4);
        let mut values = vec![0.0; shape.len()];
        for y in 0..layout.fit.height {
            for x in 0..layout.fit.width {
                let pixel = y * shape.width + x;
                for channel in 0..3 {
                    let at = pixel * 4 + channel;
                    let fraction = low
                        .get(at)
                        .map_or(0.0, |&low| (f32::from(low) - f32::from(LOW_ZERO_POINT)) / f32::from(LOW_LEVELS));
                    let level = (f32::from(bytes[at]) + fraction) / 255.0;
                    values[pixel * 3 + channel] = (level - mean[channel]) / std[channel];
                }
            }
        }
        values
    }

    /// Sets the output of `step` to `values`, in real units, quantized if it is stored in bytes.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the number of values does not match the step's output, or no canvas size is known.
    pub fn put(&mut self, step: StepId, values: &[f32]) -> Result<()> {
        let Some(layout) = &self.layout else { return Err(Error::new(Kind::Internal, "no canvas was given")) };
        let shape = self.shape(layout, step);
        if values.len() != shape.len() {
            let text = format!("{} values for an output of {}", values.len(), shape.len());
            return Err(Error::new(Kind::Internal, text));
        }
        let mut output = self.buffers.take(layout, step);
        match (self.model.mixed_precision.storage[step], self.model.qparams(step)) {
            (EdgeStorage::F32, _) => output.floats[..values.len()].copy_from_slice(values),
            (_, Some(qparams)) if self.model.wide[step] => {
                let (high, low) = output.bytes.split_at_mut(values.len());
                for ((high, low), &value) in high.iter_mut().zip(low).zip(values) {
                    (*high, *low) = qparams.quantize_16(value);
                }
            }
            (_, Some(qparams)) => {
                for (q, &value) in output.bytes.iter_mut().zip(values) {
                    *q = qparams.quantize(value);
                }
            }
            (_, None) => {}
        }
        self.buffers.put_back(layout, step, output);
        Ok(())
    }

    /// Runs a layer in full precision, or in int8 with parameters computed from the input.
    pub(super) fn mixed_layer(
        &mut self,
        (step, id): (StepId, LayerId),
        layer: &PackedLayer,
        activation: ActivationFunction,
        skip: bool,
        raw: Option<&mut dyn Tap>,
    ) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let inputs = &self.model.plan.steps[step].inputs;
        let shape = self.shape(layout, step);
        if shape.is_empty() {
            return Ok(());
        }
        let x = self.real_values(layout, inputs[0]);
        let fused = if raw.is_none() { activation } else { ActivationFunction::Identity };
        let mut y = vec![0.0; shape.len()];
        match layer {
            PackedLayer::Fp32(conv) => {
                let (count, height, width) = self.model.plan.layers[id].maps_read(self.shape(layout, inputs[0]));
                let other = skip.then(|| (self.real_values(layout, inputs[1]), self.shape(layout, inputs[1])));
                let skip =
                    other.as_ref().map(|(data, shape)| SkipF32 { data, height: shape.height, width: shape.width });
                conv.run(MapsF32 { data: &x, count, height, width }, skip, fused, &mut y);
            }
            PackedLayer::Dynamic { packed, scales, bias } => {
                let (bytes, scale, zero_point) = quantize_dynamic(&x);
                let mut integer = Vec::with_capacity(bias.len());
                for ((&bias, &weight_scale), &magnitude) in bias.iter().zip(scales).zip(packed.weight_magnitudes()) {
                    integer.push(integer_bias(bias, scale, weight_scale, magnitude)?);
                }
                let multipliers: Vec<f32> = scales.iter().map(|&s| multiplier(scale, s, 1.0)).collect();
                let spec = EpilogueSpec {
                    input_zero_point: zero_point,
                    input_has_low: false,
                    bias: &integer,
                    multiplier: &multipliers,
                    outside: None,
                    skip: SkipKind::None,
                    activation: fused,
                    steps_per_unit: 1.0,
                    output: OutputKind::F32,
                };
                let epilogue = Epilogue::new(packed, &spec)?;
                let input = ConvInput { data: &bytes, count: 1, height: shape.height, width: 1 };
                convolve(packed, &epilogue, input, SkipInput::None, ConvOutput::F32(&mut y))?;
            }
            PackedLayer::Int8(_) => return Err(Error::new(Kind::Internal, "a layer in static int8 on the mixed path")),
        }
        drop(x);
        if let Some(tap) = raw {
            let (valid_height, valid_width) = self.model.plan.valid(step, shape, &layout.fit);
            tap.observe_raw(step, &Activation { shape, valid_height, valid_width, values: Values::F32(&y) });
            y.iter_mut().for_each(|value| *value = activation.apply(*value));
        }
        self.put(step, &y)
    }

    /// Runs a step without weights in f32.
    ///
    /// # Errors
    /// [`Kind::Internal`] for a step that has weights or boxes.
    pub(super) fn mixed_elementwise(&mut self, step: StepId) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let Step { op, inputs, .. } = &self.model.plan.steps[step];
        let from = self.shape(layout, inputs[0]);
        let x = self.real_values(layout, inputs[0]);
        let mut y = vec![0.0; self.shape(layout, step).len()];
        match *op {
            Op::Activate(activation) => {
                y.copy_from_slice(&x);
                pointwise_f32::activate(self.model.isa, activation, &mut y);
            }
            Op::GlobalMean => pointwise_f32::global_mean(self.model.isa, &x, from.pixels(), from.channels, &mut y),
            Op::Scale => {
                pointwise_f32::scale_channels(self.model.isa, &x, &self.real_values(layout, inputs[1]), &mut y);
            }
            _ => return Err(Error::new(Kind::Internal, "a step with weights or boxes on the elementwise path")),
        }
        drop(x);
        self.put(step, &y)
    }

    /// Runs RoIAlign in f32.
    pub(super) fn mixed_roi_align(&mut self, step: StepId) -> Result<()> {
        let Some(layout) = &self.layout else { return Ok(()) };
        let plan = &self.model.plan;
        let shape = self.shape(layout, step);
        let inputs = &plan.steps[step].inputs;
        let maps: Vec<(Cow<'_, [f32]>, Shape)> =
            inputs[..layout.scales.len()].iter().map(|&id| (self.real_values(layout, id), layout.shapes[id])).collect();
        let levels: Vec<RoiLevel<'_>> = maps
            .iter()
            .zip(&layout.scales)
            .map(|((data, shape), &scale)| RoiLevel { data, height: shape.height, width: shape.width, scale })
            .collect();
        let params = RoiAlignParams {
            channels: plan.architecture.feature_channels(),
            window: plan.architecture.roi_output,
            sampling_ratio: plan.settings.roi.sampling_ratio,
        };
        let mut y = vec![0.0; shape.len()];
        roi_align(self.model.isa, &levels, params, &self.proposals, &self.level_of, &mut y);
        drop(levels);
        drop(maps);
        self.put(step, &y)
    }
}
