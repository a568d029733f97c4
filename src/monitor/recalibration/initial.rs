//! Initial calibration: quantizes the network on frames of the cameras.
//!
//! In: samples, while the full-precision network detects. Out: once there are enough usable frames, generation 0: the same
//! quantization, with the same checks, as from a folder of pictures. The frames never leave the memory.

use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::usability::{CheckedPicture, TOLERATED_UNUSABLE_ONE_IN, check_pictures};
use crate::calibrate::{
    CalibrationPicture, PictureSelection, Progress, QuantizeOptions, QuantizeOutcome, quantize_frames,
};
use crate::detector::checkpoint::Checkpoint;
use crate::detector::fp32::Fp32Model;
use crate::error::{Error, Kind, Result};
use crate::metrics::Metrics;
use crate::monitor::frames::outliers::OutlierDetector;
use crate::monitor::frames::reservoir::{Reservoir, StoredFrame};
use crate::monitor::frames::sampler::Sample;
use crate::monitor::frames::usability::{UnusableReason, UsabilityCheck};

/// Collects frames until there are enough.
pub struct InitialCalibration {
    checkpoint: Checkpoint,
    model: Arc<Fp32Model>,
    count: usize,
    checks: Vec<UsabilityCheck>,
    reservoir: Reservoir,
    metrics: Arc<Metrics>,
}

/// Outcome of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CollectionOutcome {
    /// More frames are needed.
    Incomplete,
    /// There are enough frames to quantize with.
    Complete,
    /// The frame was unusable.
    Unusable(UnusableReason),
}

/// Details of the event `calibration_refused` for generation 0.
#[derive(Debug, Serialize)]
pub struct InitialRefusedEvent {
    why: &'static str,
    reasons: [String; 1],
}

impl InitialRefusedEvent {
    /// A refusal for `reason`.
    pub fn new(reason: String) -> Self {
        Self { why: "first", reasons: [reason] }
    }
}

impl InitialCalibration {
    /// A calibration of `checkpoint`, which `model` runs, from `count` frames of `cameras` cameras. `bytes` bounds the
    /// frames' memory; where it is too small for `count` frames, as many as it holds suffice.
    pub fn new(
        checkpoint: Checkpoint,
        model: Arc<Fp32Model>,
        count: usize,
        cameras: usize,
        bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let checks = (0..cameras).map(|_| UsabilityCheck::default()).collect();
        Self { checkpoint, model, count, checks, reservoir: Reservoir::new(bytes), metrics }
    }

    /// Count of frames collected, and of frames needed.
    pub fn progress(&self) -> (usize, usize) {
        (self.reservoir.frames().len().min(self.count), self.count)
    }

    /// Keeps a sample if it is usable.
    ///
    /// # Errors
    /// As [`StoredFrame::encode`].
    pub fn sample(&mut self, sample: &Sample) -> Result<CollectionOutcome> {
        let picture = &sample.frame.image.to_picture();
        let next = sample.next.as_ref().map(|next| next.image.to_picture());
        let Some(check) = self.checks.get_mut(sample.camera) else {
            return Ok(CollectionOutcome::Unusable(UnusableReason::Incomplete));
        };
        let usable_frame = match check.check(picture, next.as_deref()) {
            Ok(usable_frame) => usable_frame,
            Err(reason) => {
                self.metrics.monitor.passed(reason.name());
                return Ok(CollectionOutcome::Unusable(reason));
            }
        };
        let at_us = sample.frame.captured_at.as_microsecond();
        let is_full =
            !self.reservoir.insert(StoredFrame::encode(sample.camera, at_us, usable_frame, picture)?).is_empty();
        let frames = self.reservoir.frames().len();
        self.metrics.monitor.reservoir(frames, self.reservoir.bytes());
        Ok(if is_full || frames >= self.count { CollectionOutcome::Complete } else { CollectionOutcome::Incomplete })
    }

    /// Quantizes on the frames, on the current pool.
    ///
    /// # Errors
    /// [`Kind::Data`] with the reason if the frames are unusable as a whole; [`Kind::Unavailable`] if the checkpoint was
    /// overwritten; as [`quantize_frames`].
    pub fn quantize(&self, progress: Progress<'_>) -> Result<QuantizeOutcome> {
        let frames = self.reservoir.frames();
        let name = |frame: &StoredFrame| format!("{}-{:020}", frame.camera, frame.at_us);
        let mut candidates = Vec::with_capacity(frames.len());
        let mut outliers = OutlierDetector::default();
        for frame in frames {
            let picture = frame.picture()?;
            candidates.push(CheckedPicture::new(name(frame), &picture));
            outliers.add(frame.camera, frame.at_us, &picture);
        }
        let outliers = outliers.outliers();
        let mut verdict = check_pictures(&candidates);
        if outliers.len() * TOLERATED_UNUSABLE_ONE_IN > frames.len() {
            verdict.refused = true;
            let (count, all) = (outliers.len(), frames.len());
            verdict.reasons.push(format!("{count} of {all} are unlike those just before and after"));
        }
        if verdict.refused {
            let text = format!("the cameras' frames cannot calibrate: {}", verdict.reasons.join("; "));
            return Err(Error::new(Kind::Data, text));
        }
        let usable =
            frames.iter().enumerate().filter(|(at, _)| !verdict.unusable.contains(at) && !outliers.contains(at));
        let mut pictures: Vec<CalibrationPicture> = usable
            .map(|(_, frame)| CalibrationPicture { name: name(frame), path: name(frame).into(), sha256: frame.sha256 })
            .collect();
        pictures.sort_by(|a, b| a.name.cmp(&b.name));
        pictures.dedup_by(|a, b| a.name == b.name);
        let selection = PictureSelection { pictures, warnings: verdict.warnings, unusable_reasons: Vec::new() };
        let open = |chosen: &CalibrationPicture| {
            let frame = frames.iter().find(|frame| name(frame) == chosen.name);
            frame.ok_or_else(|| Error::new(Kind::Internal, "a frame is gone"))?.picture()
        };
        let options = QuantizeOptions::default();
        let outcome = quantize_frames(&self.checkpoint, selection, &open, &options, self.model.isa(), progress);
        // New frames do not help if the checkpoint was overwritten.
        outcome.map_err(|error| self.checkpoint.check_unchanged().err().map_or(error, |changed| changed))
    }

    /// Discards all frames.
    pub fn clear(&mut self) {
        self.reservoir.clear();
    }

    /// The frames, for the monitor.
    pub fn into_reservoir(self) -> Reservoir {
        self.reservoir
    }
}
