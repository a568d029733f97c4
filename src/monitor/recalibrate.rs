//! One recalibration: from frames to a candidate, and from a candidate to a decision.
//!
//! In: the frames of the reservoir, generation 0 and the serving model. Out: either why nothing may be learned from these
//! frames, or a candidate's artifact with the [`Decision`] about it. Weights stay as they are; grids and
//! biases are new. The shadow model shares the serving one's packed weights. The same frames and models give the same
//! bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::biases::Biases;
use super::candidate::{Choice, Seen};
use super::evidence::Evidence;
use super::examine::Examiner;
use super::expected::Expectation;
use super::judge::{Case, Decision, Record, quality_of_errors};
use super::look::{Between, Look, Looker, Observed};
use super::reservoir::{Kept, strata};
use super::split::{FEWEST_FRAMES, FEWEST_JUDGES, Split, split};
use crate::calibrate::{AGREEMENT_SCORE, Observer};
use crate::detector::int8::{Int8Model, Quantized};
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::measure::Agreement;
use crate::quant::artifact::Artifact;

/// More unfit frames than one in so many mean that the reservoir is not what it should be.
const UNFIT_ONE_IN: usize = 10;

/// How far new grids go of the way to what suits the frames best: all of it, and less where that would cost some light too
/// much. What is gained falls more slowly on this way than what is lost.
const EXTENTS: [f32; 2] = [1.0, 0.5];

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
    /// How far its grids went of the way from the serving ones to those that suit the frames best.
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
pub fn attempt(ground: &Ground<'_>, frames: &[Kept], looker: &mut Looker, between: Between<'_>) -> Result<Attempt> {
    let fit = match fit_frames(frames)? {
        Ok(fit) => fit,
        Err(reason) => return Ok(Attempt::Unfit(reason)),
    };
    let Split { calibrate, judge } = split(&fit);
    if judge.len() < FEWEST_JUDGES {
        let text = format!("only {} frames could judge it, fewer than {FEWEST_JUDGES}", judge.len());
        return Ok(Attempt::Unfit(text));
    }
    let (mut work, mut quantized) = Work::new(ground, &fit, looker, between)?;
    let observed = work.observe(&calibrate)?;
    let first = Biases::of(&quantized);
    let mut extent = EXTENTS[0];
    loop {
        let made = work.build(&mut quantized, &first, (&calibrate, &observed), extent)?;
        let is_last = extent == EXTENTS[1];
        if made.is_bearable || is_last {
            let (case, judged) = work.compare(&judge, &quantized, &made)?;
            let decision = case.judge();
            if is_last || !decision.costs_too_much() {
                let bytes = work.encode(&quantized, &made, (&calibrate, &observed), (&judge, &judged))?;
                let frames = [calibrate.len(), judge.len()];
                return Ok(Attempt::Made(Box::new(Candidate { bytes, model: made.model, decision, frames, extent })));
            }
        }
        extent = EXTENTS[1];
    }
}

/// The frames that something can be learned from, or why there are too few: examined once more, whoever kept them.
fn fit_frames(frames: &[Kept]) -> Result<Result<Vec<Kept>, String>> {
    let mut examiners: BTreeMap<usize, Examiner> = BTreeMap::new();
    let mut fit = Vec::with_capacity(frames.len());
    let mut unfit: BTreeMap<&'static str, usize> = BTreeMap::new();
    for frame in frames {
        let Ok(picture) = frame.picture() else {
            *unfit.entry("damaged").or_default() += 1;
            continue;
        };
        match examiners.entry(frame.camera).or_default().examine(&picture, None) {
            Ok(_) => fit.push(frame.clone()),
            Err(reason) => *unfit.entry(reason.name()).or_default() += 1,
        }
    }
    let bad = frames.len() - fit.len();
    let list: Vec<String> = unfit.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if bad * UNFIT_ONE_IN > frames.len() {
        return Ok(Err(format!("{bad} of {} frames are unfit: {}", frames.len(), list.join(", "))));
    }
    if fit.len() < FEWEST_FRAMES {
        return Ok(Err(format!("there are {} fit frames, fewer than {FEWEST_FRAMES}", fit.len())));
    }
    Ok(Ok(fit))
}

/// What is known of one judging frame.
pub(super) struct Judged {
    pub(super) candidate: Look,
    pub(super) observed: Observed,
}

/// New grids and the biases that go with them.
pub(super) struct Made {
    pub(super) model: Arc<Int8Model>,
    /// By step.
    pub(super) choices: Vec<Option<Choice>>,
    /// By step, what they rest on.
    pub(super) seen: Vec<Seen>,
    /// Whether every light of the calibrating frames can bear it.
    pub(super) is_bearable: bool,
}

/// Frames, and what was observed in each.
pub(super) type Watched<'w> = (&'w [usize], &'w [Observed]);

/// One attempt under way.
pub(super) struct Work<'a, 'g> {
    pub(super) ground: &'a Ground<'g>,
    pub(super) first: Artifact<'g>,
    pub(super) serving: Artifact<'g>,
    pub(super) evidence: Evidence,
    pub(super) expectation: Expectation,
    pub(super) frames: &'a [Kept],
    /// Of each frame.
    pub(super) strata: Vec<usize>,
    pub(super) looker: &'a mut Looker,
    pub(super) between: Between<'a>,
    /// Steps that have a grid.
    steps: Vec<StepId>,
}

impl<'a, 'g> Work<'a, 'g> {
    /// The work, and generation 0, which the candidate is made from.
    fn new(
        ground: &'a Ground<'g>,
        frames: &'a [Kept],
        looker: &'a mut Looker,
        between: Between<'a>,
    ) -> Result<(Self, Quantized)> {
        let first = Artifact::parse(ground.first)?;
        let serving = Artifact::parse(ground.serving)?;
        let evidence = Evidence::of(&first, looker.plan())?;
        let quantized = Quantized::from_artifact(&first, |_| Ok(looker.plan().settings.clone()))?;
        let expectation = Expectation::new(&quantized, &evidence);
        let steps = ground.model.mixture().grids().collect();
        let strata = strata(frames);
        Ok((Self { ground, first, serving, evidence, expectation, frames, strata, looker, between, steps }, quantized))
    }

    /// What was seen in each of `frames`.
    fn observe(&mut self, frames: &[usize]) -> Result<Vec<Observed>> {
        let mut all = Vec::with_capacity(frames.len());
        for &at in frames {
            let picture = self.frames[at].picture()?;
            all.push(self.looker.observe(self.ground.model, &picture, self.between)?);
        }
        Ok(all)
    }

    /// Range and grid of `step` in `artifact`.
    fn choice(&self, artifact: &Artifact<'_>, step: StepId) -> Result<Choice> {
        let name = &self.looker.plan().steps[step].name;
        let edge = artifact.edge(name)?;
        let grid = edge.grid.ok_or_else(|| Error::new(Kind::Data, format!("edge {name} has no grid")))?;
        Ok(Choice { range: edge.range, grid: crate::quant::Affine::new(grid.scale, grid.zero_point)? })
    }

    /// The candidate: new grids, corrected biases, shared weights. `first` are the biases of generation 0, whose weights
    /// `quantized` has.
    fn build(
        &mut self,
        quantized: &mut Quantized,
        first: &Biases,
        (calibrate, observed): Watched<'_>,
        extent: f32,
    ) -> Result<Made> {
        let observer = self.first.header().calibration.observer.parse::<Observer>().unwrap_or_default();
        let steps = self.looker.plan().steps.len();
        let mut seen: Vec<Seen> = (0..steps).map(|_| Seen::default()).collect();
        for &step in &self.steps {
            seen[step].first = self.evidence.histogram[step].clone();
            for (&at, observed) in calibrate.iter().zip(observed) {
                if let Some(histogram) = &observed.histograms[step] {
                    seen[step].strata.entry(self.strata[at]).or_default().merge(histogram);
                }
            }
        }
        let mut choices = vec![None; steps];
        for step in self.steps.clone() {
            let (original, serving) = (self.choice(&self.first, step)?, self.choice(&self.serving, step)?);
            let choice = serving.towards(&seen[step].choose(observer, original, serving), extent);
            quantized.grids[step] = Some(choice.grid);
            choices[step] = Some(choice);
            (self.between)()?;
        }
        let (model, is_bearable) = self.improve_biases(quantized, first, (calibrate, observed))?;
        Ok(Made { model, choices, seen, is_bearable })
    }

    /// The candidate, the serving model and generation 0 on the judging frames.
    fn compare(&mut self, judge: &[usize], quantized: &Quantized, made: &Made) -> Result<(Case, Vec<Judged>)> {
        let model = &made.model;
        let with_reference = self.looker.has_reference();
        let is_first = self.ground.first == self.ground.serving;
        let original = if is_first { Arc::clone(self.ground.model) } else { self.original()? };
        let (light, serving_light, first_light) = (quantized.light, self.serving.light()?, self.first.light()?);
        let mut case = Case {
            candidate: Record::default(),
            serving: Record::default(),
            first: Record::default(),
            first_losses_db: Vec::new(),
            with_reference,
        };
        let mut judged = Vec::with_capacity(judge.len());
        for &at in judge {
            let picture = self.frames[at].picture()?;
            let stratum = self.strata[at];
            let observed = self.looker.observe(self.ground.model, &picture, self.between)?;
            let candidate = if with_reference {
                let look = self.looker.look(model, &picture, false, self.between)?;
                case.candidate.add(stratum, quality_of_errors(&look.errors), look.agreement);
                let serving = self.looker.look(self.ground.model, &picture, false, self.between)?;
                case.serving.add(stratum, quality_of_errors(&serving.errors), serving.agreement);
                let first =
                    if is_first { serving } else { self.looker.look(&original, &picture, false, self.between)? };
                case.first.add(stratum, quality_of_errors(&first.errors), first.agreement);
                look
            } else {
                // Nobody knows what is right; that the two see the same is all that can be asked for.
                let detections = self.looker.detect(model, &picture, self.between)?;
                let old = self.looker.detect(self.ground.model, &picture, self.between)?;
                let mut agreement = Agreement::default();
                agreement.add(&old, &detections, AGREEMENT_SCORE, 0.8 * AGREEMENT_SCORE);
                // Two models that differ on purpose cannot agree on everything: some loss is granted.
                let all = Agreement { matched: agreement.reference() * 9 / 10, ..Agreement::default() };
                let all = Agreement { vanished: agreement.reference() - all.matched, ..all };
                let quality = |model, light| self.expectation.quality_db(&observed, model, light);
                case.candidate.add(stratum, quality(model, light), Some(agreement));
                case.serving.add(stratum, quality(self.ground.model, serving_light), Some(all));
                case.first.add(stratum, quality(&original, first_light), None);
                Look { detections, ..Look::default() }
            };
            judged.push(Judged { candidate, observed });
        }
        let image = first_light.unwrap_or_default();
        let calibration = Observed { histograms: self.evidence.histogram.clone(), image };
        for &step in &self.steps {
            let Some(choice) = made.choices[step] else { continue };
            let grid = self.choice(&self.first, step)?.grid;
            let before = self.expectation.relative(step, &calibration, &grid, first_light);
            let after = self.expectation.relative(step, &calibration, &choice.grid, light);
            if let (Some(before), Some(after)) = (before, after)
                && before > 0.0
                && after > 0.0
            {
                let name = self.looker.plan().steps[step].name.clone();
                case.first_losses_db.push((name, 10.0 * (after / before).log10()));
            }
        }
        Ok((case, judged))
    }

    /// Generation 0's model on the serving one's weights.
    fn original(&self) -> Result<Arc<Int8Model>> {
        let settings = self.looker.plan().settings.clone();
        let quantized = Quantized::from_artifact(&self.first, |_| Ok(settings))?;
        Ok(Arc::new(self.ground.model.with_grids(&quantized)?))
    }
}
