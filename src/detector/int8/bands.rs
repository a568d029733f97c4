//! Runs a depth-first group: its outputs in stripes that threads share, each stripe band by band.
//!
//! The bytes are those of the steps one by one. A stripe computes the rows around it that it needs from its neighbours
//! itself, so stripes do not wait for each other. Each running stripe has a set of buffers, one for each step's kept
//! rows.

use std::ops::Range;
use std::sync::Mutex;

use super::buffers::{Buffers, OutputBuffer};
use super::frame::FrameLayout;
use super::groups::{BandRows, Group, MAX_OUTPUTS, row_bytes};
use super::model::PackedLayer;
use super::{EdgeStorage, Int8Model};
use crate::detector::plan::{Op, StepId};
use crate::error::{Error, Kind, Result};
use crate::kernel::claim::wanted_stripes;
use crate::kernel::conv_u8::{Band, ConvInput, ConvOutput, SkipInput, convolve_band};
use crate::kernel::pool_u8::{HeldRows, max_pool_band};
use crate::sync::IgnorePoison;
use crate::tensor::Shape;

/// Buffers of the running stripes, by step of the group.
#[derive(Debug, Default)]
pub(super) struct BandBuffers(Mutex<Vec<Vec<Vec<u8>>>>);

impl BandBuffers {
    /// Buffers for `threads` stripes at a time of any of the groups.
    pub fn new(model: &Int8Model, shapes: &[Shape], groups: &[Group], threads: usize) -> Self {
        let steps = groups.iter().map(|group| group.steps.len()).max().unwrap_or(0);
        let bytes = |at: usize| {
            let of_group = |group: &Group| {
                group.kept.get(at).map_or(0, |rows| rows * row_bytes(model, shapes, group.steps.start + at))
            };
            groups.iter().map(of_group).max().unwrap_or(0)
        };
        let stripe = || (0..steps).map(|at| vec![0; bytes(at)]).collect();
        Self(Mutex::new((0..threads).map(|_| stripe()).collect()))
    }
}

/// Rows of an output that a stripe writes: bytes, of two bytes a value high and low ones, or floats.
struct OutputRows<'a> {
    high: &'a mut [u8],
    low: &'a mut [u8],
    floats: &'a mut [f32],
}

impl<'a> OutputRows<'a> {
    /// The whole map of `step`.
    fn whole(buffer: &'a mut OutputBuffer, model: &Int8Model, step: StepId, shape: Shape) -> Self {
        let len = shape.len();
        let OutputBuffer { bytes, floats } = buffer;
        match model.mixed_precision.storage[step] {
            EdgeStorage::F32 => Self { high: &mut [], low: &mut [], floats: &mut floats[..len] },
            _ if model.wide[step] => {
                let (high, low) = bytes[..2 * len].split_at_mut(len);
                Self { high, low, floats: &mut [] }
            }
            _ => Self { high: &mut bytes[..len], low: &mut [], floats: &mut [] },
        }
    }

    /// The first `values` values, and the others.
    fn split(self, values: usize) -> (Self, Self) {
        let (high, other_high) = self.high.split_at_mut(values.min(self.high.len()));
        let (low, other_low) = self.low.split_at_mut(values.min(self.low.len()));
        let (floats, other_floats) = self.floats.split_at_mut(values.min(self.floats.len()));
        (Self { high, low, floats }, Self { high: other_high, low: other_low, floats: other_floats })
    }
}

/// A run of a group over one frame.
pub(super) struct GroupRun<'a> {
    pub model: &'a Int8Model,
    pub layout: &'a FrameLayout,
    pub group: &'a Group,
    /// Maps outside of the group.
    pub whole: &'a Buffers,
    pub buffers: &'a BandBuffers,
}

impl GroupRun<'_> {
    /// Computes the outputs of the group, each into its buffer.
    ///
    /// # Errors
    /// [`Kind::Internal`] if shapes or rows do not match, which the plan of the groups excludes.
    pub fn run(&self, outputs: &mut [OutputBuffer; MAX_OUTPUTS]) -> Result<()> {
        let mut ids = self.group.steps.clone().filter(|&step| self.group.is_output(step));
        let rows = self.group.steps.clone().map(|step| self.shape(step).height).last().unwrap_or(0);
        let stripes = wanted_stripes(rows, 2 * self.group.rows);
        let whole = outputs.each_mut().map(|buffer| match ids.next() {
            Some(step) => OutputRows::whole(buffer, self.model, step, self.shape(step)),
            None => OutputRows { high: &mut [], low: &mut [], floats: &mut [] },
        });
        self.share(0..stripes, (stripes, rows), whole)
    }

    /// Runs some of the stripes; `outputs` hold their rows.
    fn share(
        &self,
        stripes: Range<usize>,
        (all, rows): (usize, usize),
        outputs: [OutputRows<'_>; MAX_OUTPUTS],
    ) -> Result<()> {
        // Stripes begin where bands do, for which the buffers are large enough.
        let bands = rows.div_ceil(self.group.rows);
        let start = |stripe: usize| rows.min(stripe * bands / all * self.group.rows);
        if stripes.len() <= 1 {
            return self.stripe(start(stripes.start)..start(stripes.end), outputs);
        }
        let middle = stripes.start + stripes.len() / 2;
        let before = start(middle) - start(stripes.start);
        let mut ids = self.group.steps.clone().filter(|&step| self.group.is_output(step));
        let [a, b] = outputs.map(|output| {
            let row = ids.next().map_or(0, |step| self.shape(step).width * self.shape(step).channels);
            output.split(before * row)
        });
        let (first, second) = ([a.0, b.0], [a.1, b.1]);
        let (first, second) = rayon::join(
            || self.share(stripes.start..middle, (all, rows), first),
            || self.share(middle..stripes.end, (all, rows), second),
        );
        first.and(second)
    }

    /// Computes the output rows `rows`.
    fn stripe(&self, rows: Range<usize>, mut outputs: [OutputRows<'_>; MAX_OUTPUTS]) -> Result<()> {
        let buffers = self.buffers.0.lock().ignore_poison().pop();
        let none_left = || Error::new(Kind::Internal, "more stripes run at a time than there are threads");
        let mut buffers = buffers.ok_or_else(none_left)?;
        let (plan, shapes) = (&self.model.plan, &self.layout.shapes);
        let mut band = BandRows::default();
        let mut done = Ok(());
        for start in rows.clone().step_by(self.group.rows) {
            let end = rows.end.min(start + self.group.rows);
            let next = band.next(plan, shapes, self.group, &(start..end));
            self.keep(&band, &next, &mut buffers);
            band = next;
            done = self.band(&band, rows.start, &mut buffers, &mut outputs);
            if done.is_err() {
                break;
            }
        }
        self.buffers.0.lock().ignore_poison().push(buffers);
        done
    }

    /// Moves the rows that stay to the starts of their buffers.
    fn keep(&self, before: &BandRows, next: &BandRows, buffers: &mut [Vec<u8>]) {
        for step in self.group.steps.clone().filter(|&step| !self.group.is_output(step)) {
            let at = step - self.group.steps.start;
            let (from, to) = (&before.kept[at], &next.kept[at]);
            if to.start <= from.start || to.start >= from.end {
                continue;
            }
            let planes = if self.model.wide[step] { 2 } else { 1 };
            let row = row_bytes(self.model, &self.layout.shapes, step) / planes;
            let room = self.group.kept[at] * row;
            for plane in 0..planes {
                let stay = (to.start - from.start) * row..(from.end - from.start) * row;
                buffers[at][plane * room..][..room].copy_within(stay, 0);
            }
        }
    }

    /// Computes the new rows of every step.
    fn band(
        &self,
        band: &BandRows,
        first_row: usize,
        buffers: &mut [Vec<u8>],
        outputs: &mut [OutputRows<'_>; MAX_OUTPUTS],
    ) -> Result<()> {
        let mut number = 0;
        for step in self.group.steps.clone() {
            let at = step - self.group.steps.start;
            if self.group.is_output(step) {
                let rows = &mut outputs[number];
                number += 1;
                let target = match self.model.mixed_precision.storage[step] {
                    EdgeStorage::F32 => ConvOutput::F32(&mut *rows.floats),
                    _ if self.model.wide[step] => ConvOutput::U16 { high: &mut *rows.high, low: &mut *rows.low },
                    _ => ConvOutput::U8(&mut *rows.high),
                };
                self.step(step, band, buffers, target, first_row)?;
                continue;
            }
            if band.new[at].is_empty() {
                continue;
            }
            let mut buffer = std::mem::take(&mut buffers[at]);
            let len = self.group.kept[at] * row_bytes(self.model, &self.layout.shapes, step);
            let target = match self.model.wide[step] {
                true => {
                    let (high, low) = buffer[..len].split_at_mut(len / 2);
                    ConvOutput::U16 { high, low }
                }
                false => ConvOutput::U8(&mut buffer[..len]),
            };
            let done = self.step(step, band, buffers, target, band.kept[at].start);
            buffers[at] = buffer;
            done?;
        }
        Ok(())
    }

    /// Computes the new rows of one step into a buffer that holds rows from `first_row` on.
    fn step(
        &self,
        step: StepId,
        band: &BandRows,
        buffers: &[Vec<u8>],
        output: ConvOutput<'_>,
        first_row: usize,
    ) -> Result<()> {
        let Self { model, .. } = *self;
        let node = &model.plan.steps[step];
        let rows = band.new[step - self.group.steps.start].clone();
        let (data, first) = self.map(node.inputs[0], band, buffers);
        let from = self.shape(node.inputs[0]);
        match (node.op, output) {
            (Op::Layer { layer, skip, .. }, output) => {
                let (PackedLayer::Int8(packed), Some(epilogue)) = (&model.layers[layer], &model.epilogues[step]) else {
                    return Err(Error::new(Kind::Internal, "a step of a group that is not in int8"));
                };
                let input = ConvInput { data, count: 1, height: from.height, width: from.width };
                let mut place = Band { rows, input: first, skip: 0, output: first_row };
                let skip = match skip {
                    false => SkipInput::None,
                    true => {
                        let id = node.inputs[1];
                        let Shape { height, width, .. } = self.shape(id);
                        if model.mixed_precision.storage[id] == EdgeStorage::F32 {
                            let data = self.whole.floats(self.layout, id, self.shape(id).len());
                            SkipInput::F32 { data, height, width }
                        } else {
                            let (data, first) = self.map(id, band, buffers);
                            place.skip = first;
                            match model.wide[id] {
                                true => SkipInput::U16 { data, height, width },
                                false => SkipInput::U8 { data, height, width },
                            }
                        }
                    }
                };
                convolve_band(packed, epilogue, input, skip, output, &place)
            }
            (Op::MaxPool, ConvOutput::U8(out)) => {
                let map = (from.height, from.width, from.channels);
                max_pool_band(model.isa, HeldRows { data, first }, map, rows, [out, &mut []], first_row);
                Ok(())
            }
            (Op::MaxPool, ConvOutput::U16 { high, low }) => {
                let map = (from.height, from.width, from.channels);
                max_pool_band(model.isa, HeldRows { data, first }, map, rows, [high, low], first_row);
                Ok(())
            }
            _ => Err(Error::new(Kind::Internal, "a step that cannot run in bands")),
        }
    }

    /// The bytes of a step's map that are there, and the first row that they hold.
    fn map<'a>(&'a self, step: StepId, band: &BandRows, buffers: &'a [Vec<u8>]) -> (&'a [u8], usize) {
        let rows = row_bytes(self.model, &self.layout.shapes, step);
        match step.checked_sub(self.group.steps.start) {
            Some(at) => (&buffers[at][..self.group.kept[at] * rows], band.kept[at].start),
            None => (self.whole.bytes(self.layout, step, rows * self.shape(step).height), 0),
        }
    }

    fn shape(&self, step: StepId) -> Shape {
        self.layout.shapes[step]
    }
}
