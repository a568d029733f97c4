//! The first calibration, from what the cameras see.
//!
//! In: samples, while the full-precision network detects. Out: once there are enough fit frames, generation 0: the same
//! quantization, with the same checks, as from a folder of pictures. The frames never leave the memory.

use std::sync::Arc;

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

/// Gathers frames until there are enough.
pub struct InitialCalibration {
    checkpoint: Checkpoint,
    model: Arc<Fp32Model>,
    count: usize,
    examiners: Vec<UsabilityCheck>,
    reservoir: Reservoir,
    metrics: Arc<Metrics>,
}

impl InitialCalibration {
    /// For `checkpoint`, which `model` runs, from `count` frames of `cameras` cameras. `bytes` bounds the frames' memory; where it is too
    /// small for `count` of them, as many as it holds must do.
    pub fn new(
        checkpoint: Checkpoint,
        model: Arc<Fp32Model>,
        count: usize,
        cameras: usize,
        bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let examiners = (0..cameras).map(|_| UsabilityCheck::default()).collect();
        Self { checkpoint, model, count, examiners, reservoir: Reservoir::new(bytes), metrics }
    }

    /// Frames that there are, and that there shall be.
    pub fn progress(&self) -> (usize, usize) {
        (self.reservoir.frames().len().min(self.count), self.count)
    }

    /// Looks at a sample. Returns whether there are enough frames now.
    ///
    /// # Errors
    /// As [`StoredFrame::encode`].
    pub fn sample(&mut self, sample: &Sample) -> Result<Result<bool, UnusableReason>> {
        let picture = &sample.frame.image.to_picture();
        let next = sample.next.as_ref().map(|next| next.image.to_picture());
        let Some(examiner) = self.examiners.get_mut(sample.camera) else { return Ok(Err(UnusableReason::Incomplete)) };
        let fit = match examiner.check(picture, next.as_deref()) {
            Ok(fit) => fit,
            Err(reason) => {
                self.metrics.monitor.passed(reason.name());
                return Ok(Err(reason));
            }
        };
        let at_us = sample.frame.captured_at.as_microsecond();
        let full = !self.reservoir.insert(StoredFrame::encode(sample.camera, at_us, fit, picture)?).is_empty();
        self.metrics.monitor.reservoir(self.reservoir.frames().len(), self.reservoir.bytes());
        Ok(Ok(full || self.reservoir.frames().len() >= self.count))
    }

    /// Quantizes on the frames, on the current pool.
    ///
    /// # Errors
    /// [`Kind::Data`] with the reason if they are unfit as a whole; as quantizing.
    pub fn quantize(&self, progress: Progress<'_>) -> Result<QuantizeOutcome> {
        let frames = self.reservoir.frames();
        let name = |frame: &StoredFrame| format!("{}-{:020}", frame.camera, frame.at_us);
        let mut candidates = Vec::with_capacity(frames.len());
        let mut glitches = OutlierDetector::default();
        for frame in frames {
            let picture = frame.picture()?;
            candidates.push(CheckedPicture::new(name(frame), &picture));
            glitches.add(frame.camera, frame.at_us, &picture);
        }
        let glitches = glitches.outliers();
        let mut verdict = check_pictures(&candidates);
        if glitches.len() * TOLERATED_UNUSABLE_ONE_IN > frames.len() {
            verdict.refused = true;
            let (count, all) = (glitches.len(), frames.len());
            verdict.reasons.push(format!("{count} of {all} are unlike those just before and after"));
        }
        if verdict.refused {
            let text = format!("the cameras' frames cannot calibrate: {}", verdict.reasons.join("; "));
            return Err(Error::new(Kind::Data, text));
        }
        let fit = frames.iter().enumerate().filter(|(at, _)| !verdict.unusable.contains(at) && !glitches.contains(at));
        let mut pictures: Vec<CalibrationPicture> = fit
            .map(|(_, frame)| CalibrationPicture { name: name(frame), path: name(frame).into(), sha256: frame.sha256 })
            .collect();
        pictures.sort_by(|a, b| a.name.cmp(&b.name));
        pictures.dedup_by(|a, b| a.name == b.name);
        let selection = PictureSelection { pictures, warnings: verdict.warnings, unusable_reasons: Vec::new() };
        let open = |chosen: &CalibrationPicture| {
            let frame = frames.iter().find(|frame| name(frame) == chosen.name);
            frame.ok_or_else(|| Error::new(Kind::Internal, "a frame is gone"))?.picture()
        };
        quantize_frames(&self.checkpoint, selection, &open, &QuantizeOptions::default(), self.model.isa(), progress)
    }

    /// Begins anew.
    pub fn forget(&mut self) {
        self.reservoir.clear();
    }

    /// The frames, for the monitor that goes on.
    pub fn into_reservoir(self) -> Reservoir {
        self.reservoir
    }
}
