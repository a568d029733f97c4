//! Collector of the int8 network: a histogram of each observed edge before clamping, and channel means.
//!
//! In: frames through the int8 executor. Out: one [`Histogram`] an edge, of the values before rounding and clamping
//! (after the activation function). So values outside the quantization range are counted, too. Padding is not counted.
//! The executor's results are the same with and without the collector.

use crate::calibrate::histogram::{Histogram, HistogramBuilder};
use crate::detector::plan::{Op, Plan, StepId};
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::Result;
use crate::kernel::activation::Activation as ActivationFunction;
use crate::precedence::yield_point;
use crate::tensor::{LOW_LEVELS, LOW_ZERO_POINT};

/// Collects the edges of one frame after another.
#[derive(Debug)]
pub struct Int8Collector {
    /// By step: how it is counted, if it is.
    kinds: Vec<Option<CountKind>>,
    builder: HistogramBuilder,
    row: Vec<f32>,
    histograms: Vec<Option<Histogram>>,
    /// By step: true if its channel means are collected.
    has_means: Vec<bool>,
    /// By step: channel means.
    means: Vec<Vec<f32>>,
    error: Option<crate::error::Error>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum CountKind {
    /// A layer: counted before its clamp.
    Raw(ActivationFunction),
    /// Another step that is stored in bytes: counted as stored.
    Stored,
}

impl Int8Collector {
    /// A collector of the outputs of `steps`.
    pub fn new(plan: &Plan, steps: impl IntoIterator<Item = StepId>) -> Self {
        let mut kinds = vec![None; plan.steps.len()];
        for step in steps {
            kinds[step] = Some(match plan.steps[step].op {
                Op::Layer { .. } => CountKind::Raw(plan.steps[step].activation()),
                _ => CountKind::Stored,
            });
        }
        let histograms = vec![None; plan.steps.len()];
        let (has_means, means) = (vec![false; plan.steps.len()], vec![Vec::new(); plan.steps.len()]);
        Self { kinds, builder: HistogramBuilder::new(), row: Vec::new(), histograms, has_means, means, error: None }
    }

    /// Also collects the channel means of all outputs that layers of `plan` read.
    #[must_use]
    pub fn with_means(mut self, plan: &Plan) -> Self {
        plan.read_by_layers().into_iter().for_each(|step| self.has_means[step] = true);
        self
    }

    /// Histograms since the last call, by step; `None` where nothing was counted.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) if a value was not finite.
    pub fn take(&mut self) -> Result<Vec<Option<Histogram>>> {
        let steps = self.histograms.len();
        let histograms = std::mem::replace(&mut self.histograms, vec![None; steps]);
        self.error.take().map_or(Ok(histograms), Err)
    }

    /// Channel means since the last call, by step: of outputs stored in bytes that layers read. Empty for others, and
    /// without [`Self::with_means`].
    pub fn take_means(&mut self) -> Vec<Vec<f32>> {
        let steps = self.means.len();
        std::mem::replace(&mut self.means, vec![Vec::new(); steps])
    }

    fn count(&mut self, step: StepId, activation: &Activation<'_>, function: ActivationFunction) {
        let stride = activation.shape.width * activation.shape.channels;
        let valid = activation.valid_width * activation.shape.channels;
        for y in 0..activation.valid_height {
            yield_point();
            let range = y * stride..y * stride + valid;
            self.row.clear();
            match activation.values {
                Values::F32(values) => self.row.extend_from_slice(&values[range]),
                Values::U8 { data, scale, zero_point } => {
                    let zero = i32::from(zero_point);
                    self.row.extend(data[range].iter().map(|&q| (i32::from(q) - zero) as f32 * scale));
                }
                values @ Values::U16 { .. } => self.row.extend(range.map(|index| values.real(index))),
            }
            if function != ActivationFunction::Identity {
                self.row.iter_mut().for_each(|value| *value = function.apply(*value));
            }
            if let Err(error) = self.builder.observe(&self.row) {
                self.error = Some(error);
            }
        }
        self.histograms[step] = Some(self.builder.take());
    }
}

impl Tap for Int8Collector {
    fn request(&self, step: StepId) -> TapRequest {
        match self.kinds[step] {
            None if self.has_means[step] => TapRequest::Output,
            None => TapRequest::Nothing,
            Some(CountKind::Raw(_)) => TapRequest::Raw,
            Some(CountKind::Stored) => TapRequest::Output,
        }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        if self.kinds[step] == Some(CountKind::Stored) {
            self.count(step, activation, ActivationFunction::Identity);
        }
        if self.has_means[step] {
            self.means[step] = channel_means(activation).unwrap_or_default();
        }
    }

    fn observe_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        if let Some(CountKind::Raw(function)) = self.kinds[step] {
            self.count(step, activation, function);
        }
    }
}

/// Mean of every channel without padding, for values stored in bytes, whose sums are exact; `None` for others.
fn channel_means(activation: &Activation<'_>) -> Option<Vec<f32>> {
    let (data, low, scale, zero_point) = match activation.values {
        Values::U8 { data, scale, zero_point } => (data, None, scale, zero_point),
        Values::U16 { high, low, scale, zero_point } => (high, Some(low), scale, zero_point),
        Values::F32(_) => return None,
    };
    let channels = activation.shape.channels.max(1);
    let (stride, valid) = (activation.shape.width * channels, activation.valid_width * channels);
    let mut of_row = vec![0u32; channels];
    let mut sums_of = |data: &[u8]| {
        let mut sums = vec![0u64; channels];
        for y in 0..activation.valid_height {
            yield_point();
            for pixel in data[y * stride..][..valid].chunks_exact(channels) {
                of_row.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
            }
            sums.iter_mut().zip(&mut of_row).for_each(|(sum, row)| *sum += u64::from(std::mem::take(row)));
        }
        sums
    };
    let count = (activation.valid_height * activation.valid_width).max(1) as f64;
    let mean = |sum: u64, zero: u8| sum as f64 / count - f64::from(zero);
    let mut means: Vec<f64> = sums_of(data).into_iter().map(|sum| mean(sum, zero_point)).collect();
    if let Some(low) = low {
        means
            .iter_mut()
            .zip(sums_of(low))
            .for_each(|(whole, sum)| *whole += mean(sum, LOW_ZERO_POINT) / f64::from(LOW_LEVELS));
    }
    Some(means.into_iter().map(|mean| (mean * f64::from(scale)) as f32).collect())
}
