//! Engine: finds objects in one picture.
//!
//! In: a picture. Out: detections in pixels of the picture, and the time of each stage.

use std::time::Instant;

use crate::config::DetectorSettings;
use crate::detector::detection::Detection;
use crate::detector::{Detector, DetectorOptions};
use crate::error::{Error, Kind, Result};
use crate::frame::Image;
use crate::kernel::isa::Isa;
use crate::message::ModelPrecision;
use crate::preprocess::{Transform, TransformParams};
use crate::tensor::Input;

/// Description of a model in messages.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Its name.
    pub name: String,
    /// Number format of its layers.
    pub precision: ModelPrecision,
    /// Number of recalibrations that led to it.
    pub generation: u32,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Names of its classes; class n is `labels[n - 1]`, because class 0 is the background.
    pub labels: Vec<String>,
}

/// Result of one picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineOutput {
    /// Boxes in pixels of the picture, by falling score.
    pub detections: Vec<Detection>,
    /// Resizing and normalizing, in milliseconds.
    pub convert_ms: f64,
    /// The network, in milliseconds.
    pub detect_ms: f64,
}

/// A detector of objects. It is used on the detector thread only.
pub trait Engine: Send {
    /// Finds the objects in `image`.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] if this picture cannot be processed but the next one may be; any other kind if the engine is
    /// unusable.
    fn detect(&mut self, image: &Image) -> Result<EngineOutput>;

    /// Description of the model.
    fn info(&self) -> ModelInfo;
}

/// The detector's options from `[detector]`, with the instruction set of the kernels.
///
/// # Errors
///
/// [`Kind::Unavailable`] if this CPU lacks the configured instruction set.
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

/// An engine in this process: preprocessing and network.
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

    /// The detector, to run it on other inputs than pictures.
    pub fn detector_mut(&mut self) -> &mut Detector {
        &mut self.detector
    }

    /// The detector.
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
            precision: summary.precision,
            generation: u32::try_from(summary.generation).unwrap_or(u32::MAX),
            sha256: summary.sha256.clone(),
            labels: self.detector.labels().to_vec(),
        }
    }
}
