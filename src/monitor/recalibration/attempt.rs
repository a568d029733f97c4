//! One recalibration: from frames to a candidate, and from a candidate to a decision.
//!
//! In: the frames of the reservoir, generation 0 and the serving model. Out: either why nothing may be learned from
//! these frames, or a candidate's artifact with the [`Decision`] about it. Weights stay as they are; quantization
//! parameters, biases or both are new. Of several drafts the one that does best on the frames they were made from is
//! judged on others. Where that one gains but costs some light too much, a smaller step is judged; where it gains
//! nothing, the one that promises most. The shadow model shares the serving one's packed weights. The same frames and
//! models give the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acceptance::{Decision, FEWEST_DETECTIONS};
use super::comparison::Others;
use super::ranges::Choice;
use crate::calibrate::usability::TOLERATED_UNUSABLE_ONE_IN;
use crate::detector::int8::{InputMeans, Int8Model, Quantized};
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::monitor::drift::baseline::Baseline;
use crate::monitor::drift::pass::{ObservedFrame, PassRunner, YieldPoint};
use crate::monitor::drift::predicted_error::ErrorPredictor;
use crate::monitor::frames::holdout::{Holdout, MIN_FRAMES, MIN_VALIDATION_FRAMES, hold_out};
use crate::monitor::frames::outliers::OutlierDetector;
use crate::monitor::frames::reservoir::{StoredFrame, assign_strata};
use crate::monitor::frames::usability::UsabilityCheck;
use crate::quant::artifact::Artifact;

/// Frames that show no more than one object in so many that generation 0's pictures show are not what it is for.
const OBJECTS_ONE_IN: f64 = 3.0;

/// Most drafts that are judged: each is one more chance for chance.
const MOST_JUDGED: usize = 3;

/// What a recalibration starts from.
pub struct Ground<'a> {
    /// Generation 0's file.
    pub first: &'a [u8],
    /// The serving generation's file.
    pub serving: &'a [u8],
    /// The serving model.
    pub model: &'a Arc<Int8Model>,
    /// The number that the candidate gets.
    pub generation: u32,
}

/// A candidate and what was decided about it.
pub struct Candidate {
    /// Its artifact.
    pub bytes: Vec<u8>,
    /// Its model, which shares the serving one's weights.
    pub model: Arc<Int8Model>,
    /// The decision.
    pub decision: Decision,
    /// Frames that calibrated, and that judged.
    pub frames: [usize; 2],
    /// How far its quantization parameters went of the way from the serving ones to those that suit the frames best.
    pub extent: f32,
}

/// What comes of an attempt.
pub enum Attempt {
    /// Nothing may be learned from these frames, for this reason.
    Unfit(String),
    /// A candidate.
    Made(Box<Candidate>),
}

/// Attempts a recalibration with `frames`, which are sorted by time.
///
/// # Errors
/// What the models return; what `between` returns.
pub fn attempt(
    ground: &Ground<'_>,
    frames: &[StoredFrame],
    looker: &mut PassRunner,
    between: YieldPoint<'_>,
) -> Result<Attempt> {
    let fit = match fit_frames(frames)? {
        Ok(fit) => fit,
        Err(reason) => return Ok(Attempt::Unfit(reason)),
    };
    let Holdout { calibration: calibrate, validation: judge } = hold_out(&fit);
    if judge.len() < MIN_VALIDATION_FRAMES {
        let text = format!("only {} frames could judge it, fewer than {MIN_VALIDATION_FRAMES}", judge.len());
        return Ok(Attempt::Unfit(text));
    }
    let (mut work, mut quantized) = Work::new(ground, &fit, looker, between)?;
    let others = work.hear(&judge)?;
    if let Some(reason) = work.shows_too_little(&others) {
        return Ok(Attempt::Unfit(reason));
    }
    let observed = work.observe(&calibrate)?;
    let seen = work.seen((&calibrate, &observed));
    let mut drafts = work.drafts(&mut quantized, &seen, (&calibrate, &observed))?.into_iter();
    let mut draft = drafts.next().ok_or_else(|| Error::new(Kind::Internal, "there is no candidate"))?;
    let mut judged = 0;
    loop {
        let model = work.model_of(&draft, &mut quantized)?;
        let (case, looks) = work.compare(&others, &model, &draft)?;
        let decision = case.judge();
        judged += 1;
        let next = if decision.accepted || judged == MOST_JUDGED {
            None
        } else if decision.costs_too_much() {
            drafts.find(|other| other.extent < draft.extent)
        } else {
            drafts.next().filter(|_| judged == 1)
        };
        let Some(next) = next else {
            let bytes = work.encode(&quantized, (&draft, &seen), (&calibrate, &observed), (&others, &looks))?;
            let (frames, extent) = ([calibrate.len(), judge.len()], draft.extent);
            return Ok(Attempt::Made(Box::new(Candidate { bytes, model, decision, frames, extent })));
        };
        draft = next;
    }
}

/// The frames that something can be learned from, or why there are too few: examined once more, whoever kept them, each
/// by itself and beside those around it.
fn fit_frames(frames: &[StoredFrame]) -> Result<Result<Vec<StoredFrame>, String>> {
    let mut examiners: BTreeMap<usize, UsabilityCheck> = BTreeMap::new();
    let mut glitches = OutlierDetector::default();
    let mut fit = Vec::with_capacity(frames.len());
    let mut unfit: BTreeMap<&'static str, usize> = BTreeMap::new();
    for frame in frames {
        let Ok(picture) = frame.picture() else {
            *unfit.entry("damaged").or_default() += 1;
            continue;
        };
        match examiners.entry(frame.camera).or_default().check(&picture, None) {
            Ok(_) => {
                glitches.add(frame.camera, frame.at_us, &picture);
                fit.push(frame.clone());
            }
            Err(reason) => *unfit.entry(reason.name()).or_default() += 1,
        }
    }
    let glitches = glitches.outliers();
    if !glitches.is_empty() {
        unfit.insert("unlike those just before and after", glitches.len());
        fit = fit.into_iter().enumerate().filter(|(at, _)| !glitches.contains(at)).map(|(_, frame)| frame).collect();
    }
    let bad = frames.len() - fit.len();
    let list: Vec<String> = unfit.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if bad * TOLERATED_UNUSABLE_ONE_IN > frames.len() {
        return Ok(Err(format!("{bad} of {} frames are unfit: {}", frames.len(), list.join(", "))));
    }
    if fit.len() < MIN_FRAMES {
        return Ok(Err(format!("there are {} fit frames, fewer than {MIN_FRAMES}", fit.len())));
    }
    Ok(Ok(fit))
}

/// Frames, and what was observed in each.
pub(in crate::monitor) type Watched<'w> = (&'w [usize], &'w [ObservedFrame]);

/// One attempt under way.
pub(in crate::monitor) struct Work<'a, 'g> {
    pub(in crate::monitor) ground: &'a Ground<'g>,
    pub(in crate::monitor) first: Artifact<'g>,
    pub(in crate::monitor) serving: Artifact<'g>,
    /// Generation 0's model on the serving one's weights.
    pub(in crate::monitor) original: Arc<Int8Model>,
    /// What the biases of both are for.
    pub(in crate::monitor) of_first: InputMeans,
    pub(in crate::monitor) of_serving: InputMeans,
    pub(in crate::monitor) evidence: Baseline,
    pub(in crate::monitor) expectation: ErrorPredictor,
    pub(in crate::monitor) frames: &'a [StoredFrame],
    /// Of each frame.
    pub(in crate::monitor) strata: Vec<usize>,
    pub(in crate::monitor) looker: &'a mut PassRunner,
    pub(in crate::monitor) between: YieldPoint<'a>,
    /// Steps that have quantization parameters.
    pub(in crate::monitor) steps: Vec<StepId>,
}

impl<'a, 'g> Work<'a, 'g> {
    /// The work, and generation 0, which the candidate is made from.
    fn new(
        ground: &'a Ground<'g>,
        frames: &'a [StoredFrame],
        looker: &'a mut PassRunner,
        between: YieldPoint<'a>,
    ) -> Result<(Self, Quantized)> {
        let first = Artifact::parse(ground.first)?;
        let serving = Artifact::parse(ground.serving)?;
        let evidence = Baseline::from_artifact(&first, looker.plan())?;
        let quantized = Quantized::from_artifact(&first, |_| Ok(looker.plan().settings.clone()))?;
        let expectation = ErrorPredictor::new(&quantized, &evidence);
        let is_first = ground.first == ground.serving;
        let original =
            if is_first { Arc::clone(ground.model) } else { Arc::new(ground.model.with_quant_params(&quantized)?) };
        let (of_first, of_serving) =
            (quantized.reference_means.clone(), InputMeans::from_artifact(&serving, looker.plan())?);
        let steps = ground.model.mixed_precision().quantized_steps().collect();
        let strata = assign_strata(frames);
        let work = Self {
            ground,
            first,
            serving,
            original,
            of_first,
            of_serving,
            evidence,
            expectation,
            frames,
            strata,
            looker,
            between,
            steps,
        };
        Ok((work, quantized))
    }

    /// Why `others` cannot tell whether a candidate still detects, if so: what shows nothing that the detector is for,
    /// a test card or an office, errs less by many a change that would do the road no good.
    fn shows_too_little(&self, others: &Others<'_>) -> Option<String> {
        let (frames, objects) = (others.frames.len(), others.objects());
        let usual = self.evidence.objects? * frames as f64;
        let too_few = usual >= FEWEST_DETECTIONS as f64 && OBJECTS_ONE_IN * objects as f64 <= usual;
        too_few.then(|| {
            format!(
                "{objects} objects are detected in {frames} frames, where what generation 0 was calibrated on has about \
                 {usual:.0}: too few to tell whether a change keeps them"
            )
        })
    }

    /// What was seen in each of `frames`.
    pub(in crate::monitor) fn observe(&mut self, frames: &[usize]) -> Result<Vec<ObservedFrame>> {
        let mut all = Vec::with_capacity(frames.len());
        for &at in frames {
            let picture = self.frames[at].picture()?;
            all.push(self.looker.observe(self.ground.model, &picture, self.between)?);
        }
        Ok(all)
    }

    /// Range and quantization parameters of `step` in `artifact`.
    pub(in crate::monitor) fn choice(&self, artifact: &Artifact<'_>, step: StepId) -> Result<Choice> {
        let name = &self.looker.plan().steps[step].name;
        let edge = artifact.edge(name)?;
        let qparams = edge
            .qparams
            .ok_or_else(|| Error::new(Kind::Data, format!("edge {name} has no quantization parameters")))?;
        Ok(Choice { range: edge.range, qparams: crate::quant::QuantParams::new(qparams.scale, qparams.zero_point)? })
    }
}
