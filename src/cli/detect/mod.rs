//! `lookout detect`: detect objects in pictures and folders; print a table or one JSON line a picture.
//!
//! Results go to stdout immediately, errors and the progress bar to stderr. A picture that cannot be used is one line
//! on stderr and does not stop the others; the first such error decides the exit code.

mod detections;
mod inputs;

use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;

use self::detections::{DetectedObject, PictureDetections};
use self::inputs::{Copies, Input};
use super::{ConfigArgs, console};
use crate::detector::Detector;
use crate::detector::detection::Detection;
use crate::draw;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::preprocess::{Transform, TransformParams};
use crate::tensor;

/// Default lowest score that is drawn; models report many detections of low score, which would cover the picture.
const DRAWN_SCORE: f32 = 0.5;

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pictures (JPEG, PNG) and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Model: a checkpoint or an artifact
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Print one JSON line a picture instead of a table
    #[arg(long)]
    json: bool,
    /// Write annotated copies of the pictures to this folder, with objects from score 0.5, or from --score
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Lowest score to report, 0 to 1 [default: the model's own]
    #[arg(long, value_parser = super::parse_share)]
    score: Option<f64>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the detector on the pictures.
///
/// # Errors
/// As [`Detector::load`], or the kind of the first picture that could not be used.
pub fn execute(args: Args) -> Result<()> {
    let mut failures = Failures::default();
    let mut inputs = Vec::new();
    for path in &args.paths {
        match inputs::expand(path, args.annotate.as_deref()) {
            Ok(found) => inputs.extend(found),
            // With a single path, its error is the command's error.
            Err(error) if args.paths.len() == 1 => return Err(error),
            Err(error) => failures.add(&error),
        }
    }
    if inputs.is_empty() {
        return failures.into_result(0);
    }
    let copies = args.annotate.as_deref().map(|folder| Copies::new(folder, &inputs)).transpose()?;
    let mut options = super::detector_options(&args.config)?;
    options.score = args.score.or(options.score);
    let drawn_score = args.score.map_or(DRAWN_SCORE, |score| score as f32);
    let mut session = DetectSession::new(Detector::load(&args.model, &options)?, copies, drawn_score)?;

    let bar = progress(inputs.len());
    let started = Instant::now();
    let (mut pictures, mut objects) = (0, 0);
    for input in &inputs {
        match session.detect(input) {
            Ok(found) => {
                let text = if args.json { console::json(&found)? } else { found.to_string() };
                if !bar.suspend(|| console::print(text))? {
                    return Ok(());
                }
                pictures += 1;
                objects += found.detections.len();
            }
            Err(error) if inputs.len() == 1 && failures.count == 0 => return Err(error),
            Err(error) => bar.suspend(|| failures.add(&error)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    console::print_note(format_args!("{pictures} pictures, {objects} objects, {seconds:.1} s"));
    failures.into_result(pictures)
}

/// The detector with its reusable buffers.
struct DetectSession {
    detector: Detector,
    transform: Transform,
    input: tensor::Input,
    copies: Option<Copies>,
    drawn_score: f32,
}

impl DetectSession {
    fn new(detector: Detector, copies: Option<Copies>, drawn_score: f32) -> Result<Self> {
        let model = detector.summary();
        let (kernel, threads) = (detector.kernel(), detector.threads());
        let plural = if threads == 1 { "" } else { "s" };
        let (name, precision) = (&model.name, model.precision.name());
        console::print_note(format_args!("model {name} ({precision}), kernel {kernel}, {threads} thread{plural}"));
        let transform = Transform::new(TransformParams::from(detector.transform()))?;
        let input = detector.new_input();
        Ok(Self { detector, transform, input, copies, drawn_score })
    }

    /// Detects objects in one picture and writes its annotated copy if requested.
    fn detect(&mut self, input: &Input) -> Result<PictureDetections> {
        let mut picture = Picture::open(&input.path)?;
        let at_path = |error: Error| error.at(input.path.display());
        self.transform.fill(&picture, &mut self.input).map_err(at_path)?;
        let fit = *self.input.fit();
        // Copied, because `label` borrows the detector too.
        let detections = self.detector.detect(&self.input).map_err(at_path)?.to_vec();
        let object = |detection| {
            let &Detection { class_id, score, bbox } = detection;
            let label = self.detector.label(detection).to_owned();
            DetectedObject { label, class: class_id as usize, score, bbox: fit.to_frame(bbox) }
        };
        let found = PictureDetections {
            image: input.path.display().to_string(),
            width: picture.width,
            height: picture.height,
            detections: detections.iter().map(object).collect(),
        };
        if let Some(copies) = &mut self.copies {
            draw::marks(&mut picture, &found.marks(self.drawn_score));
            copies.write(input, &picture)?;
        }
        Ok(found)
    }
}

/// Errors of single pictures.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    first: Option<Kind>,
}

impl Failures {
    /// Prints `error` on stderr and keeps the kind of the first one.
    fn add(&mut self, error: &Error) {
        console::print_error(error);
        self.count += 1;
        self.first.get_or_insert(error.kind());
    }

    /// The command's result after `done` successful pictures.
    fn into_result(self, done: usize) -> Result<()> {
        let Some(kind) = self.first else { return Ok(()) };
        let text = format!("{} of {} paths could not be used", self.count, self.count + done);
        Err(Error::new(kind, text))
    }
}

/// A progress bar for more than one picture.
fn progress(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    console::progress_bar(count as u64, console::REMAINING)
}
