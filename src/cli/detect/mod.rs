//! `lookout detect`: objects in pictures and folders, as a table or as one JSON line a picture.
//!
//! Results go to stdout as they come, complaints and the progress bar to stderr. A picture that cannot be used is one
//! line on stderr and does not stop the others; the first such failure decides the exit code.

mod found;
mod inputs;

use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;

use self::found::{Found, Object};
use self::inputs::{Copies, Input};
use super::{ConfigArgs, console};
use crate::detector::Detector;
use crate::detector::detection::Detection;
use crate::draw;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::preprocess::{Transform, TransformParams};
use crate::tensor;

/// Lowest score drawn where nobody asked for another: models report many faint guesses, and a picture full of their boxes
/// shows nothing.
const DRAWN_SCORE: f32 = 0.5;

/// Arguments of `detect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pictures (JPEG, PNG) and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Model: a checkpoint that `lookout import` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// One JSON line a picture instead of a table
    #[arg(long)]
    json: bool,
    /// Write a copy of every picture into this folder, with the objects drawn on it that score 0.5 or more, or --score
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Lowest score to report, 0 to 1, instead of the model's own
    #[arg(long, value_parser = parse_score)]
    score: Option<f64>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the detector over the pictures.
///
/// # Errors
/// What loading the model gives, or the kind of the first picture that could not be used.
pub fn execute(args: Args) -> Result<()> {
    let mut failures = Failures::default();
    let mut inputs = Vec::new();
    for path in &args.paths {
        match inputs::expand(path, args.annotate.as_deref()) {
            Ok(found) => inputs.extend(found),
            // With nothing else to look at, the error itself is the one line on stderr.
            Err(error) if args.paths.len() == 1 => return Err(error),
            Err(error) => failures.note(&error),
        }
    }
    if inputs.is_empty() {
        return failures.into_result(0);
    }
    let copies = args.annotate.as_deref().map(|folder| Copies::new(folder, &inputs)).transpose()?;
    let mut options = super::detector_options(&args.config)?;
    options.score = args.score.or(options.score);
    let drawn_score = args.score.map_or(DRAWN_SCORE, |score| score as f32);
    let mut session = Session::new(Detector::load(&args.model, &options)?, copies, drawn_score)?;

    let bar = progress(inputs.len());
    let started = Instant::now();
    let (mut pictures, mut objects) = (0, 0);
    for input in &inputs {
        match session.look(input) {
            Ok(found) => {
                let text = if args.json { to_json(&found)? } else { found.to_string() };
                if !bar.suspend(|| console::print(text))? {
                    return Ok(());
                }
                pictures += 1;
                objects += found.detections.len();
            }
            Err(error) if inputs.len() == 1 && failures.count == 0 => return Err(error),
            Err(error) => bar.suspend(|| failures.note(&error)),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    console::note(format_args!("{pictures} pictures, {objects} objects, {seconds:.1} s"));
    failures.into_result(pictures)
}

/// The detector and everything that is used again from picture to picture.
struct Session {
    detector: Detector,
    transform: Transform,
    input: tensor::Input,
    copies: Option<Copies>,
    drawn_score: f32,
}

impl Session {
    fn new(detector: Detector, copies: Option<Copies>, drawn_score: f32) -> Result<Self> {
        let model = detector.summary();
        let (kernel, threads) = (detector.kernel(), detector.threads());
        let plural = if threads == 1 { "" } else { "s" };
        let (name, precision) = (&model.name, model.precision.name());
        console::note(format_args!("model {name} ({precision}), kernel {kernel}, {threads} thread{plural}"));
        let transform = Transform::new(TransformParams::from(detector.transform()))?;
        let input = detector.new_input();
        Ok(Self { detector, transform, input, copies, drawn_score })
    }

    /// What is in one picture; draws its copy if there is to be one.
    fn look(&mut self, input: &Input) -> Result<Found> {
        let mut picture = Picture::open(&input.path)?;
        let place = |error: Error| error.at(input.path.display());
        self.transform.fill(&picture, &mut self.input).map_err(place)?;
        let fit = *self.input.fit();
        // Copied, so that the names can be asked for while the boxes are in use.
        let detections = self.detector.detect(&self.input).map_err(place)?.to_vec();
        let object = |detection| {
            let &Detection { class_id, score, bbox } = detection;
            let label = self.detector.label(detection).to_owned();
            Object { label, class: class_id as usize, score, bbox: fit.to_frame(bbox) }
        };
        let found = Found {
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

/// What went wrong with single pictures.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    first: Option<Kind>,
}

impl Failures {
    /// Says `error` on stderr, and remembers the first one's kind.
    fn note(&mut self, error: &Error) {
        console::complain(error);
        self.count += 1;
        self.first.get_or_insert(error.kind());
    }

    /// The command's result after `done` pictures went well.
    fn into_result(self, done: usize) -> Result<()> {
        let Some(kind) = self.first else { return Ok(()) };
        let text = format!("{} of {} paths could not be used", self.count, self.count + done);
        Err(Error::new(kind, text))
    }
}

/// A bar on stderr if a person is looking and there is something to wait for.
fn progress(count: usize) -> ProgressBar {
    if count < 2 {
        return ProgressBar::hidden();
    }
    console::progress_bar(count as u64, console::REMAINING)
}

fn to_json(found: &Found) -> Result<String> {
    serde_json::to_string(found).map_err(|source| Error::new(Kind::Internal, "cannot write JSON").because(source))
}

fn parse_score(text: &str) -> std::result::Result<f64, String> {
    let score = text.parse().ok().filter(|score| (0.0..=1.0).contains(score));
    score.ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}
