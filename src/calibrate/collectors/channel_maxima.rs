//! Collector of the largest absolute value of every channel, by group of edges.
//!
//! Padding is not counted. A maximum does not depend on the order of values, so neither pictures nor threads change it.

use crate::detector::equalization::ChannelGroups;
use crate::detector::plan::StepId;
use crate::detector::tap::{Activation, Tap, TapRequest, Values};

/// Collects the channels of some groups over one picture after another.
#[derive(Debug)]
pub struct ChannelMaxima<'a> {
    groups: &'a ChannelGroups,
    /// By group and channel.
    largest: Vec<Vec<f32>>,
}

impl<'a> ChannelMaxima<'a> {
    /// A collector of all edges of `groups`.
    pub fn new(groups: &'a ChannelGroups) -> Self {
        let largest = groups.channels().iter().map(|&channels| vec![0.0; channels]).collect();
        Self { groups, largest }
    }

    /// The largest absolute values, by group and channel.
    pub fn finish(self) -> Vec<Vec<f32>> {
        self.largest
    }
}

impl Tap for ChannelMaxima<'_> {
    fn request(&self, step: StepId) -> TapRequest {
        if self.groups.of(step).is_some() { TapRequest::Output } else { TapRequest::Nothing }
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        let (Some(group), Values::F32(values)) = (self.groups.of(step), activation.values) else { return };
        let largest = &mut self.largest[group];
        let channels = activation.shape.channels;
        for row in values.chunks_exact(activation.shape.width * channels).take(activation.valid_height) {
            for pixel in row[..activation.valid_width * channels].chunks_exact(channels) {
                largest.iter_mut().zip(pixel).for_each(|(largest, value)| *largest = largest.max(value.abs()));
            }
        }
    }
}
