//! Counting what the quantized network computes, before its grids clamp it.
//!
//! In: a frame through the int8 executor. Out: one [`Histogram`] an edge, of the values ahead of rounding and clamping
//! (behind ReLU where there is one): what went beyond the grid is seen, not only what fitted. Padding is left out. The
//! executor gives the same bytes whether it is watched or not.

use crate::calibrate::histogram::{Histogram, HistogramBuilder};
use crate::detector::plan::{Op, Plan, StepId};
use crate::detector::tap::{Activation, Tap, TapRequest, Values};
use crate::error::Result;
use crate::precedence::yield_point;

/// Counts the edges of one frame after another.
#[derive(Debug)]
pub struct Int8Collector {
    /// By step: whether it is counted, and whether ReLU cuts its negative values.
    kinds: Vec<Option<Kind>>,
    builder: HistogramBuilder,
    row: Vec<f32>,
    seen: Vec<Option<Histogram>>,
    /// By step: whether a layer reads it and its means are wanted, and the means of its channels.
    is_read: Vec<bool>,
    means: Vec<Vec<f32>>,
    trouble: Option<crate::error::Error>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// A layer, counted before its clamp.
    Raw { relu: bool },
    /// Anything else that is stored in bytes, counted as it is stored.
    Stored,
}

impl Int8Collector {
    /// Counts the outputs of `steps`.
    pub fn new(plan: &Plan, steps: impl IntoIterator<Item = StepId>) -> Self {
        let mut kinds = vec![None; plan.steps.len()];
        for step in steps {
            kinds[step] = Some(match plan.steps[step].op {
                Op::Layer { relu, .. } => Kind::Raw { relu },
                _ => Kind::Stored,
            });
        }
        let seen = vec![None; plan.steps.len()];
        let (is_read, means) = (vec![false; plan.steps.len()], vec![Vec::new(); plan.steps.len()]);
        Self { kinds, builder: HistogramBuilder::new(), row: Vec::new(), seen, is_read, means, trouble: None }
    }

    /// The same, which also takes the means of what the layers of `plan` read.
    #[must_use]
    pub fn with_means(mut self, plan: &Plan) -> Self {
        plan.read_by_layers().into_iter().for_each(|step| self.is_read[step] = true);
        self
    }

    /// What was counted since the last call, by step; `None` where nothing was seen.
    ///
    /// # Errors
    /// [`Kind::Data`](crate::error::Kind::Data) if a value was not finite.
    pub fn take(&mut self) -> Result<Vec<Option<Histogram>>> {
        let steps = self.seen.len();
        let seen = std::mem::replace(&mut self.seen, vec![None; steps]);
        self.trouble.take().map_or(Ok(seen), Err)
    }

    /// The means of the channels of what layers read in bytes, since the last call: by step, empty where nothing was
    /// seen or nobody asked for them.
    pub fn take_means(&mut self) -> Vec<Vec<f32>> {
        let steps = self.means.len();
        std::mem::replace(&mut self.means, vec![Vec::new(); steps])
    }

    fn count(&mut self, step: StepId, activation: &Activation<'_>, relu: bool) {
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
            }
            if relu {
                self.row.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            if let Err(error) = self.builder.observe(&self.row) {
                self.trouble = Some(error);
            }
        }
        self.seen[step] = Some(self.builder.take());
    }
}

impl Tap for Int8Collector {
    fn request(&self, step: StepId) -> TapRequest {
        match self.kinds[step] {
            None if self.is_read[step] => TapRequest::Output,
            None => TapRequest::Nothing,
            Some(Kind::Raw { .. }) => TapRequest::Raw,
            Some(Kind::Stored) => TapRequest::Output,
        }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        if self.kinds[step] == Some(Kind::Stored) {
            self.count(step, activation, false);
        }
        if self.is_read[step] {
            self.means[step] = channel_means(activation).unwrap_or_default();
        }
    }

    fn observe_raw(&mut self, step: StepId, activation: &Activation<'_>) {
        if let Some(Kind::Raw { relu }) = self.kinds[step] {
            self.count(step, activation, relu);
        }
    }
}

/// Mean of every channel over what shows the picture, of bytes, whose sums are exact; `None` of anything else.
fn channel_means(activation: &Activation<'_>) -> Option<Vec<f32>> {
    let Values::U8 { data, scale, zero_point } = activation.values else { return None };
    let channels = activation.shape.channels.max(1);
    let (stride, valid) = (activation.shape.width * channels, activation.valid_width * channels);
    let mut sums = vec![0u64; channels];
    let mut of_row = vec![0u32; channels];
    for y in 0..activation.valid_height {
        yield_point();
        for pixel in data[y * stride..][..valid].chunks_exact(channels) {
            of_row.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u32::from(value));
        }
        sums.iter_mut().zip(&mut of_row).for_each(|(sum, row)| *sum += u64::from(std::mem::take(row)));
    }
    let count = (activation.valid_height * activation.valid_width).max(1) as f64;
    let mean = |sum: u64| (sum as f64 / count - f64::from(zero_point)) * f64::from(scale);
    Some(sums.into_iter().map(|sum| mean(sum) as f32).collect())
}
