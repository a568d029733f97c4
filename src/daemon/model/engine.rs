//! What detects, as the daemon sees it: a picture in, detections in the frame's pixels out, and where the time went.

use std::time::Instant;

use crate::config::DetectorSettings;
use crate::detector::detection::Detection;
use crate::detector::{Detector, DetectorOptions};
use crate::error::{Error, Kind, Result};
use crate::frame::Image;
use crate::kernel::isa::Isa;
use crate::message::Precision;
use crate::preprocess::{Transform, TransformParams};
use crate::tensor::Input;

/// What a model is, for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// How it calculates.
    pub precision: Precision,
    /// Recalibrations behind it.
    pub generation: u32,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Names of its classes; class n is `labels[n - 1]`, for 0 is the background.
    pub labels: Vec<String>,
}

/// What an engine gives for one picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineOutput {
    /// Boxes in pixels of the picture, best first.
    pub detections: Vec<Detection>,
    /// Resizing and normalizing, in milliseconds.
    pub convert_ms: f64,
    /// The network, in milliseconds.
    pub detect_ms: f64,
}

/// What detects. Lives on the detector thread alone.
pub trait Engine: Send {
    /// Finds the objects in `image`.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] if this picture cannot be looked at, and the next one may be; any other
    /// kind if the engine is of no more use.
    fn detect(&mut self, image: &Image) -> Result<EngineOutput>;

    /// What the model is, now.
    fn info(&self) -> ModelInfo;
}

/// `[detector]` as the detector takes it, with the capability to run the kernels.
///
/// # Errors
///
/// [`Kind::Unavailable`] if this CPU lacks the kernel that was asked for.
pub fn detector_options(settings: &DetectorSettings) -> Result<DetectorOptions> {
    let isa = match settings.kernel {
        None => Isa::best(),
        Some(name) => Isa::new(name).ok_or_else(|| {
            let text = format!("detector.kernel = \"{}\": this CPU has no such instructions", name.name());
            Error::new(Kind::Unavailable, text)
        })?,
    };
    Ok(DetectorOptions {
        isa,
        threads: settings.threads.unwrap_or(0),
        score: settings.score,
        proposals: settings.proposals,
        max_detections: settings.max_detections,
    })
}

/// The detector of this process.
pub struct LocalEngine {
    detector: Detector,
    transform: Transform,
    input: Input,
}

impl LocalEngine {
    /// Loads a model.
    ///
    /// # Errors
    ///
    /// As [`Detector::load`].
    pub fn load(path: &std::path::Path, options: &DetectorOptions) -> Result<Self> {
        Self::new(Detector::load(path, options)?)
    }

    /// The engine of a detector that is already loaded.
    ///
    /// # Errors
    ///
    /// As [`Transform::new`].
    pub fn new(detector: Detector) -> Result<Self> {
        let transform = Transform::new(TransformParams::from(detector.transform()))?;
        let input = detector.new_input();
        Ok(Self { detector, transform, input })
    }

    /// The detector itself, to be run on something else than pictures.
    pub fn detector_mut(&mut self) -> &mut Detector {
        &mut self.detector
    }

    /// The detector itself, for its kernel and threads.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }
}

impl Engine for LocalEngine {
    fn detect(&mut self, image: &Image) -> Result<EngineOutput> {
        let begin = Instant::now();
        self.transform.fill(image, &mut self.input)?;
        let converted = Instant::now();
        let fit = *self.input.fit();
        let found = self.detector.detect(&self.input)?;
        let detections = found.iter().map(|found| Detection { bbox: fit.to_frame(found.bbox), ..*found }).collect();
        Ok(EngineOutput {
            detections,
            convert_ms: (converted - begin).as_secs_f64() * 1e3,
            detect_ms: converted.elapsed().as_secs_f64() * 1e3,
        })
    }

    fn info(&self) -> ModelInfo {
        let summary = self.detector.summary();
        ModelInfo {
            name: summary.name.clone(),
            precision: match summary.precision {
                "int8" => Precision::Int8,
                "mixed" => Precision::Mixed,
                _ => Precision::Fp32,
            },
            generation: u32::try_from(summary.generation).unwrap_or(u32::MAX),
            sha256: summary.sha256.clone(),
            labels: self.detector.labels().to_vec(),
        }
    }
}
