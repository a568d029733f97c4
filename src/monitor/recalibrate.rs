//! One recalibration: from frames to a candidate, and from a candidate to a decision.
//!
//! In: the frames of the reservoir, generation 0 and the serving model. Out: either why nothing may be learned from these
//! frames, or a candidate's artifact with the [`Decision`] about it. Weights stay as they are; grids and, with the
//! reference, biases are new. The shadow model shares the serving one's packed weights. The same frames and models give
//! the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::candidate::{Choice, Seen, relative_error};
use super::evidence::Evidence;
use super::examine::Examiner;
use super::judge::{Case, Decision, Record, quality_of_errors, quality_of_expected};
use super::look::{Between, Look, Looker};
use super::reservoir::Kept;
use super::restrain::restrain;
use super::split::{FEWEST_FRAMES, FEWEST_JUDGES, Split, split};
use crate::calibrate::{AGREEMENT_SCORE, Histogram, LocalError, Observer, clipped_share, distance, spread, stored};
use crate::detector::int8::{Int8Model, Quantized};
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::measure::Agreement;
use crate::quant::artifact::{self, Artifact, Grid, Header, Provenance, Spread};
use crate::tensor::digest::{hexadecimal, sha256};

/// Frames that bias correction looks at, at most.
const CORRECTING: usize = 8;
/// More unfit frames than one in so many mean that the reservoir is not what it should be.
const UNFIT_ONE_IN: usize = 10;

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
    let mut work = Work::new(ground, &fit, looker, between)?;
    let histograms = work.observe(&calibrate)?;
    let (quantized, model, choices, seen) = work.build(&calibrate, &histograms)?;
    let case = work.compare(&judge, &model, &choices, &seen)?;
    let decision = case.0.judge();
    let bytes = work.encode(&quantized, &choices, &seen, &calibrate, &histograms, &judge, &case.1)?;
    let frames = [calibrate.len(), judge.len()];
    Ok(Attempt::Made(Box::new(Candidate { bytes, model, decision, frames })))
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
struct Judged {
    candidate: Look,
    histograms: Vec<Option<Histogram>>,
}

/// One attempt under way.
struct Work<'a, 'g> {
    ground: &'a Ground<'g>,
    first: Artifact<'g>,
    serving: Artifact<'g>,
    evidence: Evidence,
    frames: &'a [Kept],
    looker: &'a mut Looker,
    between: Between<'a>,
    /// Steps that have a grid.
    steps: Vec<StepId>,
}

impl<'a, 'g> Work<'a, 'g> {
    fn new(ground: &'a Ground<'g>, frames: &'a [Kept], looker: &'a mut Looker, between: Between<'a>) -> Result<Self> {
        let first = Artifact::parse(ground.first)?;
        let serving = Artifact::parse(ground.serving)?;
        let evidence = Evidence::of(&first, looker.plan())?;
        let steps = ground.model.mixture().grids().collect();
        Ok(Self { ground, first, serving, evidence, frames, looker, between, steps })
    }

    /// The histograms of each of `frames`, by step.
    fn observe(&mut self, frames: &[usize]) -> Result<Vec<Vec<Option<Histogram>>>> {
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

    /// The candidate: new grids, corrected biases, shared weights.
    #[allow(clippy::type_complexity)]
    fn build(
        &mut self,
        calibrate: &[usize],
        histograms: &[Vec<Option<Histogram>>],
    ) -> Result<(Quantized, Arc<Int8Model>, Vec<Option<Choice>>, Vec<Seen>)> {
        let observer = self.first.header().calibration.observer.parse::<Observer>().unwrap_or_default();
        let steps = self.looker.plan().steps.len();
        let mut seen: Vec<Seen> = (0..steps).map(|_| Seen::default()).collect();
        for &step in &self.steps {
            seen[step].first = self.evidence.histogram[step].clone();
            for (&at, histograms) in calibrate.iter().zip(histograms) {
                if let Some(histogram) = &histograms[step] {
                    seen[step].strata.entry(self.frames[at].stratum()).or_default().merge(histogram);
                }
            }
        }
        let settings = self.looker.plan().settings.clone();
        let mut quantized = Quantized::from_artifact(&self.first, |_| Ok(settings))?;
        let mut choices = vec![None; steps];
        let first_biases = quantized.biases.clone();
        for step in self.steps.clone() {
            let (original, serving) = (self.choice(&self.first, step)?, self.choice(&self.serving, step)?);
            let choice = seen[step].choose(observer, original, serving);
            quantized.grids[step] = Some(choice.grid);
            choices[step] = Some(choice);
            (self.between)()?;
        }
        let mut model = Arc::new(self.ground.model.with_grids(&quantized)?);
        if self.looker.has_reference() {
            let mut locals = vec![LocalError::default(); steps];
            let (correcting, strata) = self.correcting(calibrate);
            for at in correcting {
                let picture = self.frames[at].picture()?;
                self.looker.add_local(&model, &picture, &mut locals)?;
                (self.between)()?;
            }
            // Generation 0's pictures ask for no correction: they count as one light more.
            let share = strata as f32 / (strata + 1) as f32;
            for (bias, local) in quantized.biases.iter_mut().zip(&locals) {
                bias.iter_mut().zip(local.mean_shift()).for_each(|(bias, shift)| *bias += share * shift);
            }
            model = Arc::new(self.ground.model.with_grids(&quantized)?);
        }
        if restrain(&mut quantized.biases, &first_biases, &self.evidence) {
            model = Arc::new(self.ground.model.with_grids(&quantized)?);
        }
        Ok((quantized, model, choices, seen))
    }

    /// The frames of `calibrate` that bias correction looks at, as many of every light as of any other, and the number
    /// of lights.
    fn correcting(&self, calibrate: &[usize]) -> (Vec<usize>, usize) {
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &at in calibrate {
            strata.entry(self.frames[at].stratum()).or_default().push(at);
        }
        let each = (CORRECTING / strata.len().max(1)).max(1);
        let of_stratum = |frames: &Vec<usize>| {
            // Few frames count as often as many: again and again, if need be.
            (0..each).map(|i| frames[i * frames.len() / each]).collect::<Vec<_>>()
        };
        (strata.values().flat_map(of_stratum).collect(), strata.len())
    }

    /// The candidate, the serving model and generation 0 on the judging frames.
    fn compare(
        &mut self,
        judge: &[usize],
        model: &Arc<Int8Model>,
        choices: &[Option<Choice>],
        seen: &[Seen],
    ) -> Result<(Case, Vec<Judged>)> {
        let with_reference = self.looker.has_reference();
        let is_first = self.ground.first == self.ground.serving;
        let original = if is_first { Arc::clone(self.ground.model) } else { self.original()? };
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
            let stratum = self.frames[at].stratum();
            let histograms = self.looker.observe(self.ground.model, &picture, self.between)?;
            let quality = |model: &Int8Model| {
                let edges = histograms.iter().enumerate();
                let error = |(step, seen): (usize, &Option<Histogram>)| {
                    Some(relative_error(seen.as_ref()?, &model.grid(step)?))
                };
                quality_of_expected(edges.filter_map(error))
            };
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
                let new = self.looker.detect(model, &picture, self.between)?;
                let old = self.looker.detect(self.ground.model, &picture, self.between)?;
                let mut agreement = Agreement::default();
                agreement.add(&old, &new, AGREEMENT_SCORE, 0.8 * AGREEMENT_SCORE);
                // Two models that differ on purpose cannot agree on everything: some loss is granted.
                let all = Agreement { matched: agreement.reference() * 9 / 10, ..Agreement::default() };
                let all = Agreement { vanished: agreement.reference() - all.matched, ..all };
                case.candidate.add(stratum, quality(model), Some(agreement));
                case.serving.add(stratum, quality(self.ground.model), Some(all));
                case.first.add(stratum, quality(&original), None);
                Look { detections: new, ..Look::default() }
            };
            judged.push(Judged { candidate, histograms });
        }
        for &step in &self.steps {
            let (Some(choice), Some(first)) = (choices[step], &seen[step].first) else { continue };
            let before = relative_error(first, &self.choice(&self.first, step)?.grid);
            let after = relative_error(first, &choice.grid);
            if before > 0.0 && after > 0.0 {
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

    #[allow(clippy::too_many_arguments)]
    fn encode(
        &self,
        quantized: &Quantized,
        choices: &[Option<Choice>],
        seen: &[Seen],
        calibrate: &[usize],
        histograms: &[Vec<Option<Histogram>>],
        judge: &[usize],
        judged: &[Judged],
    ) -> Result<Vec<u8>> {
        let plan = self.looker.plan();
        let mut header: Header = self.first.header().clone();
        let mut counts = Vec::with_capacity(header.edges.len());
        // As a pass will count them: by the quantized network, before its clamps. What the reference computed has more
        // values than bytes have, and would be told apart by that alone.
        let frames: Vec<&Vec<Option<Histogram>>> = if self.looker.has_reference() {
            judged.iter().map(|judged| &judged.candidate.histograms).collect()
        } else {
            histograms.iter().chain(judged.iter().map(|judged| &judged.histograms)).collect()
        };
        for edge in &mut header.edges {
            let step = plan.find(&edge.name);
            let Some((step, choice)) = step.and_then(|step| Some((step, choices[step]?))) else {
                counts.push(self.first.histogram(edge)?);
                continue;
            };
            let mixture = mixture(&seen[step]);
            let singles = frames.iter().filter_map(|frame| frame[step].as_ref());
            let singles: Vec<&Histogram> = singles.filter(|single| !single.is_empty()).collect();
            let clipped: Vec<f64> = singles.iter().map(|single| clipped_share(single, &choice.grid)).collect();
            let distances: Vec<f64> = singles.iter().map(|single| distance(single, &mixture)).collect();
            (edge.range, edge.grid) = (choice.range, Some(Grid::from(choice.grid)));
            edge.clipped = wider(spread(&clipped), edge.clipped);
            edge.distance = wider(spread(&distances), edge.distance);
            let (bins, stored) = stored(&mixture);
            edge.histogram = bins;
            counts.push(stored);
        }
        for (id, layer) in header.steps.iter_mut().enumerate() {
            let known = layer.sqnr_db.clone();
            let of_user = |(run, user): (usize, StepId)| {
                let single = |judged: &Judged| judged.candidate.errors.get(user).and_then(|error| error.sqnr_db());
                let values: Vec<f64> = judged.iter().filter_map(single).filter(|db| db.is_finite()).collect();
                wider(spread(&values), known.get(run).copied())
            };
            let spreads: Option<Vec<Spread>> = quantized.users(id).enumerate().map(of_user).collect();
            layer.sqnr_db = spreads.unwrap_or_default();
        }
        let mut agreement = Agreement::default();
        judged.iter().filter_map(|judged| judged.candidate.agreement).for_each(|one| agreement.merge(&one));
        if agreement.reference() > 0 {
            header.calibration.agreement = Some(artifact::Agreement {
                reference: agreement.reference(),
                matched: agreement.matched,
                shifted: agreement.shifted,
                vanished: agreement.vanished,
                appeared: agreement.appeared,
            });
        }
        let mut sums: Vec<[u8; 32]> = calibrate.iter().chain(judge).map(|&at| self.frames[at].sha256).collect();
        sums.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(&header.calibration.sha256);
        sums.iter().for_each(|sum| hash.update(sum));
        header.calibration.sha256 = hexadecimal(&hash.finalize());
        header.calibration.pictures += sums.len();
        header.provenance = Provenance {
            source_sha256: header.provenance.source_sha256,
            generation: self.ground.generation,
            parent: Some(sha256(self.ground.serving)),
        };
        artifact::encode(&header, &quantized.to_steps().1, &counts)
    }
}

/// Generation 0 and the frames in one histogram, about evenly.
fn mixture(seen: &Seen) -> Histogram {
    let mut lately = Histogram::new();
    seen.strata.values().for_each(|histogram| lately.merge(histogram));
    let Some(first) = &seen.first else { return lately };
    let (one, other) = (first.total().max(1), lately.total().max(1));
    let mut mixture = first.clone().times((other / one).max(1));
    mixture.merge(&lately.times((one / other).max(1)));
    mixture
}

/// New evidence, with a deviation no smaller than the old: a handful of frames does not know how much there can be.
fn wider(new: Option<Spread>, old: Option<Spread>) -> Option<Spread> {
    match (new, old) {
        (Some(new), Some(old)) => Some(Spread { mean: new.mean, deviation: new.deviation.max(old.deviation) }),
        (new, old) => new.or(old),
    }
}
