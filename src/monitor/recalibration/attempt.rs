//! Recalibration attempt: from frames to a candidate, and from a candidate to a decision.
//!
//! In: the frames of the reservoir, generation 0 and the serving model. Out: the reason why these frames cannot be used,
//! or a candidate's artifact with the [`AcceptanceDecision`] about it. Weights stay; ranges, biases or both are new. Of
//! several candidates the best on the calibration frames is judged on the validation frames; if it is refused, the next
//! best. The same frames and models give the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acceptance::{AcceptanceDecision, LIMITS};
use super::artifact::{Measurements, encode};
use super::candidates::{edge_histograms, propose};
use super::comparison::HoldoutResults;
use super::context::{RecalibrationContext, StartingPoint};
use crate::calibrate::usability::TOLERATED_UNUSABLE_ONE_IN;
use crate::detector::int8::Int8Model;
use crate::error::{Error, Kind, Result};
use crate::monitor::drift::pass::{PassRunner, YieldPoint};
use crate::monitor::frames::holdout::{Holdout, MIN_FRAMES, hold_out};
use crate::monitor::frames::outliers::OutlierDetector;
use crate::monitor::frames::reservoir::StoredFrame;
use crate::monitor::frames::usability::UsabilityCheck;

/// Frames whose objects are at most one in so many of those in generation 0's pictures show something else: a test card,
/// an office. Many a change lowers the error there and does the road no good.
const MIN_OBJECTS_ONE_IN: f64 = 3.0;
/// Most candidates that are judged: each is one more chance to be accepted by chance. With three, a reservoir with one
/// frozen frame in five was accepted.
const MAX_JUDGED: usize = 2;

/// A candidate and the decision about it.
pub struct JudgedCandidate {
    /// Its artifact.
    pub bytes: Vec<u8>,
    /// Its model, which shares the serving one's weights.
    pub model: Arc<Int8Model>,
    /// The decision.
    pub decision: AcceptanceDecision,
    /// Count of calibration frames.
    pub calibration_frames: usize,
    /// Count of validation frames.
    pub validation_frames: usize,
    /// Part of the way from the serving ranges to the best ones.
    pub extent: f32,
}

/// Outcome of an attempt.
pub enum AttemptOutcome {
    /// The frames cannot be used, for this reason.
    Unusable(String),
    /// A candidate was judged.
    Judged(Box<JudgedCandidate>),
}

/// Attempts a recalibration with `frames`, sorted by time.
///
/// # Errors
/// Errors of the models and of the yield point.
pub fn attempt(
    start: &StartingPoint<'_>,
    frames: &[StoredFrame],
    runner: &mut PassRunner,
    yield_point: YieldPoint<'_>,
) -> Result<AttemptOutcome> {
    // Frames are checked again: files on disk may be damaged, and a neighbour shows an outlier only afterwards.
    let usable = match usable_frames(frames) {
        Ok(usable) => usable,
        Err(reason) => return Ok(AttemptOutcome::Unusable(reason)),
    };
    // Candidates are judged on moments that they were not made from. Of few such frames no gain is beyond chance.
    let Holdout { calibration, validation } = hold_out(&usable);
    let mut context = RecalibrationContext::new(start, &usable, runner, yield_point)?;
    let holdout = HoldoutResults::measure(&mut context, validation)?;
    // Frames without objects cannot show that a candidate still detects.
    if let Some(reason) = too_few_objects(context.baseline().objects_per_picture, &holdout) {
        return Ok(AttemptOutcome::Unusable(reason));
    }
    let calibrate = context.observe(calibration)?;
    let edges = edge_histograms(&context, &calibrate);
    let mut candidates = propose(&mut context, &edges, &calibrate)?.into_iter().take(MAX_JUDGED);
    let mut candidate = candidates.next().ok_or_else(|| Error::new(Kind::Internal, "there is no candidate"))?;
    loop {
        let model = context.model(&candidate.ranges, &candidate.biases)?;
        let (case, passes) = holdout.compare(&mut context, &model, &candidate)?;
        let decision = case.decide();
        if !decision.accepted
            && let Some(next) = candidates.next()
        {
            candidate = next;
            continue;
        }
        let measurements = Measurements { edges: &edges, calibrate: &calibrate, holdout: &holdout, passes: &passes };
        return Ok(AttemptOutcome::Judged(Box::new(JudgedCandidate {
            bytes: encode(&mut context, &candidate, &measurements)?,
            model,
            decision,
            calibration_frames: calibrate.frames.len(),
            validation_frames: holdout.frames.frames.len(),
            extent: candidate.extent,
        })));
    }
}

/// The usable ones of `frames`, checked one by one and against their neighbours in time; or the reason why too few are.
fn usable_frames(frames: &[StoredFrame]) -> std::result::Result<Vec<StoredFrame>, String> {
    let mut checks: BTreeMap<usize, UsabilityCheck> = BTreeMap::new();
    let mut outliers = OutlierDetector::default();
    let mut usable = Vec::with_capacity(frames.len());
    let mut unusable: BTreeMap<&'static str, usize> = BTreeMap::new();
    for frame in frames {
        let Ok(picture) = frame.picture() else {
            *unusable.entry("damaged").or_default() += 1;
            continue;
        };
        match checks.entry(frame.camera).or_default().check(&picture, None) {
            Ok(_) => {
                outliers.add(frame.camera, frame.at_us, &picture);
                usable.push(frame.clone());
            }
            Err(reason) => *unusable.entry(reason.name()).or_default() += 1,
        }
    }
    let outliers = outliers.outliers();
    if !outliers.is_empty() {
        unusable.insert("unlike those just before and after", outliers.len());
        usable =
            usable.into_iter().enumerate().filter(|(at, _)| !outliers.contains(at)).map(|(_, frame)| frame).collect();
    }
    let count = frames.len() - usable.len();
    // Many unusable frames are no accident: the camera shows something else.
    if count * TOLERATED_UNUSABLE_ONE_IN > frames.len() {
        let list: Vec<String> = unusable.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        return Err(format!("{count} of {} frames are unusable: {}", frames.len(), list.join(", ")));
    }
    if usable.len() < MIN_FRAMES {
        return Err(format!("there are {} usable frames, fewer than {MIN_FRAMES}", usable.len()));
    }
    Ok(usable)
}

/// The reason why the holdout frames cannot show that a candidate still detects. That is so if they have far fewer
/// objects than generation 0's pictures, which have `usual_objects` each.
fn too_few_objects(usual_objects: Option<f64>, holdout: &HoldoutResults) -> Option<String> {
    let (frames, objects) = (holdout.frames.frames.len(), holdout.objects());
    let usual = usual_objects? * frames as f64;
    let too_few = usual >= LIMITS.min_detections as f64 && MIN_OBJECTS_ONE_IN * objects as f64 <= usual;
    too_few.then(|| {
        format!(
            "{objects} objects are detected in {frames} frames, about {usual:.0} in as many of generation 0's pictures: \
             too few to show that a change keeps them"
        )
    })
}
