//! Objects: tracker and rules of each camera, and the events of the tracked objects.
//!
//! In: each report before it is published, with the rules of its camera. Out: its detections with track ids, its counts
//! and occupancy. Events: `object.new` once a track is confirmed, `object.update` while it is followed, and `object.end`
//! once it has been unseen for too long, with its best detection, path, zones and lines. Between them come the events of
//! zones and lines, in the order in which they were decided.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::line_counts::LineCounts;
use super::object_events::{
    CrossingDetails, CrowdEvent, Decimal, EndedObject, LineEvent, NewObject, ObjectEvent, ObjectIdentity, Sighting,
    UpdateReason, UpdatedObject, VisitDetails, ZoneEvent, seconds,
};
use super::publisher::Publisher;
use crate::message::{EventName, Moment, Report, ZoneCount};
use crate::rules::{Change, FrameShape, ObjectHistory, RuleEvent, RuleSettings, RuleState};
use crate::track::{Object, TrackEvent, Tracker, TrackerSettings};

/// Shortest time between two updates of an object, in nanoseconds.
const UPDATE_INTERVAL_NS: u64 = 1_000_000_000;
/// Rise of the score for which a picture of an object is better than the one before.
const BETTER_BY: f32 = 0.05;

/// Rules by which objects are tracked and counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ObjectSettings {
    /// True if objects are tracked. Otherwise detections count as objects from the tracker's `begin_score` on.
    pub tracked: bool,
    /// Thresholds of tracks, counts and occupancy.
    pub tracker: TrackerSettings,
}

/// The tracked objects of every camera, by name: a camera that is opened anew continues its tracks.
#[derive(Debug)]
pub struct Objects {
    settings: ObjectSettings,
    cameras: BTreeMap<String, TrackedCamera>,
    counts: LineCounts,
}

#[derive(Debug)]
struct TrackedCamera {
    tracker: Tracker,
    state: RuleState,
    /// Rules of the latest frame.
    rules: RuleSettings,
    /// The confirmed objects by track.
    objects: BTreeMap<u64, LiveObject>,
    latest: FrameTime,
    /// Columns and rows of the latest frame.
    size: (usize, usize),
    /// Time of the latest object, by label.
    last_ns: BTreeMap<String, u64>,
}

/// A confirmed object, from its `object.new` to its `object.end`.
#[derive(Debug)]
struct LiveObject {
    /// Its id and the time of its first detection. They stay when the wall clock is set.
    id: String,
    first_at: Moment,
    /// Its latest detection.
    object: Object,
    sighting: Sighting,
    /// What the last event told.
    told: Told,
}

/// What the last `object.new` or `object.update` told about an object.
#[derive(Debug)]
struct Told {
    at_ns: u64,
    score: f32,
    zones: usize,
    stationary: bool,
}

/// Number of a frame, and its capture time by both clocks.
#[derive(Debug, Clone, Copy)]
struct FrameTime {
    wall: Moment,
    monotonic_ns: u64,
    sequence: u64,
}

impl Objects {
    /// Tracks and counts objects by `settings`, and adds crossings to `counts`.
    pub fn new(settings: ObjectSettings, counts: LineCounts) -> Self {
        Self { settings, cameras: BTreeMap::new(), counts }
    }

    /// Fills in track ids, counts and occupancy of a report. Returns the events of the frame by the `rules` of its camera.
    pub fn update(&mut self, rules: &RuleSettings, report: &mut Report) -> Vec<ObjectEvent> {
        let ObjectSettings { tracked, tracker: settings } = self.settings;
        let (monotonic_ns, sequence) = (report.captured_monotonic_ns, report.sequence);
        let now = FrameTime { wall: report.captured_at, monotonic_ns, sequence };
        let size = (report.width, report.height);
        let new = || TrackedCamera {
            tracker: Tracker::new(settings),
            state: RuleState::default(),
            rules: RuleSettings::default(),
            objects: BTreeMap::new(),
            latest: now,
            size,
            last_ns: BTreeMap::new(),
        };
        let camera = self.cameras.entry(report.camera.clone()).or_insert_with(new);
        camera.latest = now;
        if camera.rules != *rules {
            camera.rules = rules.clone();
        }
        if camera.size != size {
            // The camera has changed its resolution. Its view is the same, so objects are where they were.
            let factor = |now: usize, before: usize| now as f32 / before.max(1) as f32;
            camera.tracker.rescale(factor(size.0, camera.size.0), factor(size.1, camera.size.1));
            camera.size = size;
        }
        let events = if tracked { camera.track(report, &self.counts) } else { Vec::new() };
        report.objects.clear();
        let mut count = |label: &str| *report.objects.entry(label.to_owned()).or_default() += 1;
        match tracked {
            true => camera.tracker.in_sight().for_each(|object| count(&object.latest.label)),
            false => report
                .detections
                .iter()
                .filter(|found| found.score >= settings.begin_score)
                .for_each(|found| count(&found.label)),
        }
        let last_ns = &mut camera.last_ns;
        last_ns.extend(report.objects.keys().map(|label| (label.clone(), monotonic_ns)));
        // The off-delay: a label is occupied for as long as a track may last without a detection.
        last_ns.retain(|_, last| u128::from(monotonic_ns.saturating_sub(*last)) <= settings.max_unseen.as_nanos());
        report.occupied = last_ns.keys().cloned().collect();
        let zones = camera.state.occupancy(monotonic_ns, settings.max_unseen);
        report.zones = zones
            .into_iter()
            .map(|(name, zone)| {
                let count = ZoneCount { objects: zone.objects, occupied: zone.occupied, crowded: zone.crowded };
                (name, count)
            })
            .collect();
        events
    }

    /// Ends every track. Returns the events of each camera.
    pub fn finish(&mut self) -> Vec<(String, Vec<ObjectEvent>)> {
        let mut all = Vec::new();
        for (name, mut camera) in std::mem::take(&mut self.cameras) {
            let mut events = Vec::new();
            for change in camera.tracker.finish() {
                if let TrackEvent::Ended(object) = change {
                    camera.end(&name, object, &self.counts, &mut events);
                }
            }
            all.push((name, events));
        }
        all
    }
}

impl TrackedCamera {
    /// Tracks the detections of a report. Returns the events.
    fn track(&mut self, report: &mut Report, counts: &LineCounts) -> Vec<ObjectEvent> {
        let now = self.latest;
        let (mut started, mut ended) = (Vec::new(), Vec::new());
        for change in self.tracker.update(now.monotonic_ns, &mut report.detections) {
            match change {
                TrackEvent::Started(object) => started.push(object),
                TrackEvent::Ended(object) => ended.push(object),
            }
        }
        let frame = FrameShape { now_ns: now.monotonic_ns, width: self.size.0, height: self.size.1 };
        let changes = self.state.update(&self.rules, frame, self.tracker.seen());
        for (object, _) in self.tracker.seen() {
            if let Some(live) = self.objects.get_mut(&object.track) {
                live.sighting = Sighting::new(now.sequence, &object.latest, self.size);
                live.object = object.clone();
            }
        }
        let mut events = Vec::new();
        for object in started {
            let (track, first_at) = (object.track, now.wall_at(object.first_ns));
            let boot: String = report.boot_id.chars().take(8).collect();
            let id = format!("{}-{}-{boot}-{track}", report.camera, first_at.0.as_microsecond());
            let sighting = Sighting::new(now.sequence, &object.latest, self.size);
            let told = Told {
                at_ns: now.monotonic_ns,
                score: object.latest.score,
                zones: self.zones(track).len(),
                stationary: object.stationary,
            };
            let live = LiveObject { id, first_at, object, sighting, told };
            let identity = live.identity(self.zones(track));
            events.push(ObjectEvent::New(NewObject { identity, sighting }));
            self.objects.insert(track, live);
        }
        for change in changes {
            events.extend(self.event(&report.camera, change, counts));
        }
        events.extend(self.updates());
        for object in ended {
            self.end(&report.camera, object, counts, &mut events);
        }
        self.state.retain(&self.tracker.ids().collect::<BTreeSet<u64>>());
        events
    }

    fn zones(&self, track: u64) -> Vec<String> {
        self.state.history(track).map(ObjectHistory::zones).unwrap_or_default()
    }

    /// Updates of objects that are in sight and for which one is due.
    fn updates(&mut self) -> Vec<ObjectEvent> {
        let (now_ns, sequence) = (self.latest.monotonic_ns, self.latest.sequence);
        let mut events = Vec::new();
        for (&track, live) in self.objects.iter_mut().filter(|(_, live)| live.sighting.sequence == sequence) {
            if now_ns.saturating_sub(live.told.at_ns) < UPDATE_INTERVAL_NS {
                continue;
            }
            let zones = self.state.history(track).map(ObjectHistory::zones).unwrap_or_default();
            let (score, stationary) = (live.object.latest.score, live.object.stationary);
            let reasons: Vec<UpdateReason> = [
                (UpdateReason::Picture, score >= live.told.score + BETTER_BY),
                (UpdateReason::Zone, zones.len() > live.told.zones),
                (UpdateReason::Motion, stationary != live.told.stationary),
            ]
            .into_iter()
            .filter_map(|(reason, applies)| applies.then_some(reason))
            .collect();
            if reasons.is_empty() {
                continue;
            }
            live.told = Told { at_ns: now_ns, score: score.max(live.told.score), zones: zones.len(), stationary };
            let (identity, sighting) = (live.identity(zones), live.sighting);
            events.push(ObjectEvent::Updated(UpdatedObject { identity, sighting, reasons }));
        }
        events
    }

    /// Ends an object: it leaves its zones first.
    fn end(&mut self, camera: &str, object: Object, counts: &LineCounts, events: &mut Vec<ObjectEvent>) {
        let (track, last_ns) = (object.track, object.last_ns);
        let Some((history, changes)) = self.state.end(track, &self.rules, last_ns) else { return };
        if let Some(live) = self.objects.get_mut(&track) {
            live.object = object;
        }
        for change in changes {
            events.extend(self.event_with(camera, change, history.zones(), counts));
        }
        if let Some(live) = self.objects.remove(&track) {
            events.push(ObjectEvent::Ended(Box::new(self.ended(&live, &history))));
        }
    }

    fn ended(&self, live: &LiveObject, history: &ObjectHistory) -> EndedObject {
        let (object, at) = (&live.object, |ns| self.latest.wall_at(ns));
        let (width, height) = self.size;
        let tenths = |share: f32, side: usize| (f64::from(share) * side as f64 * 10.0).round() / 10.0;
        let path = history.path.points().into_iter().map(|point| {
            let [x, y] = point.position;
            [seconds(object.first_ns, point.at_ns), tenths(x, width), tenths(y, height)]
        });
        let visits = history.visits.iter().map(|visit| {
            let left_ns = visit.left_ns.unwrap_or(object.last_ns);
            let (entered_at, left_at) = (at(visit.entered_ns), at(left_ns));
            VisitDetails { zone: visit.zone.clone(), entered_at, left_at, dwell_s: seconds(visit.entered_ns, left_ns) }
        });
        let crossings = history.crossings.iter().map(|(line, direction, at_ns)| CrossingDetails {
            line: line.clone(),
            direction: direction.clone(),
            crossed_at: at(*at_ns),
        });
        EndedObject {
            identity: live.identity(history.zones()),
            last_at: at(object.last_ns),
            duration_s: seconds(object.first_ns, object.last_ns),
            frames: object.frames,
            best_score: Decimal(object.best.score),
            best_box: object.best.bbox.map(Decimal),
            width,
            height,
            path: path.collect(),
            visits: visits.collect(),
            crossings: crossings.collect(),
        }
    }

    fn event(&self, camera: &str, change: RuleEvent, counts: &LineCounts) -> Option<ObjectEvent> {
        let zones = change.change.track().map(|track| self.zones(track)).unwrap_or_default();
        self.event_with(camera, change, zones, counts)
    }

    /// The event of a change. `zones` are those of its object.
    fn event_with(
        &self,
        camera: &str,
        event: RuleEvent,
        zones: Vec<String>,
        counts: &LineCounts,
    ) -> Option<ObjectEvent> {
        let RuleEvent { at_ns, label, change } = event;
        let (at, sequence) = (|ns| self.latest.wall_at(ns), self.latest.sequence);
        let crowd = |name, zone, count, limit, since_ns, duration_s| {
            let since = at(since_ns);
            let label = label.clone();
            Some(ObjectEvent::Crowd(CrowdEvent { name, zone, label, count, limit, since, duration_s, sequence }))
        };
        let live = match (change.track(), &change) {
            (Some(track), _) => self.objects.get(&track)?,
            (None, Change::Crowded { zone, count, limit }) => {
                return crowd(EventName::ZoneCrowded, zone.clone(), *count, *limit, at_ns, None);
            }
            (None, Change::Cleared { zone, count, limit, since_ns }) => {
                let duration_s = Some(seconds(*since_ns, at_ns));
                return crowd(EventName::ZoneCleared, zone.clone(), *count, *limit, *since_ns, duration_s);
            }
            (None, _) => return None,
        };
        let (identity, sighting) = (live.identity(zones), live.sighting);
        let (name, zone, heading, entered_ns, left_ns) = match change {
            Change::Entered { zone, heading, .. } => (EventName::ZoneEntered, zone, heading, at_ns, None),
            Change::Left { zone, heading, entered_ns, .. } => {
                (EventName::ZoneLeft, zone, heading, entered_ns, Some(at_ns))
            }
            Change::Loitering { zone, entered_ns, .. } => (EventName::ZoneLoitering, zone, None, entered_ns, None),
            Change::Crossed { line, direction, .. } => {
                let count = counts.add(camera, &line, &direction, &label);
                let crossed_at = at(at_ns);
                return Some(ObjectEvent::Line(LineEvent { identity, line, direction, crossed_at, count, sighting }));
            }
            Change::Crowded { .. } | Change::Cleared { .. } => return None,
        };
        Some(ObjectEvent::Zone(ZoneEvent {
            name,
            identity,
            zone,
            direction: heading.map(|heading| heading.name()),
            entered_at: at(entered_ns),
            left_at: left_ns.map(at),
            dwell_s: (name != EventName::ZoneEntered).then(|| seconds(entered_ns, at_ns)),
            sighting,
        }))
    }
}

impl LiveObject {
    fn identity(&self, zones: Vec<String>) -> ObjectIdentity {
        let Self { id, first_at, object, .. } = self;
        ObjectIdentity {
            object: id.clone(),
            track: object.track,
            label: object.latest.label.clone(),
            class_id: object.latest.class_id,
            first_at: *first_at,
            zones,
            stationary: object.stationary,
        }
    }
}

impl FrameTime {
    /// The wall time that corresponds to an earlier monotonic time.
    fn wall_at(&self, ns: u64) -> Moment {
        let ago = i64::try_from(self.monotonic_ns.saturating_sub(ns)).unwrap_or(i64::MAX);
        Moment(self.wall.0.checked_sub(SignedDuration::from_nanos(ago)).unwrap_or(self.wall.0))
    }
}

/// Publishes the events of a camera's objects.
pub fn publish(publisher: &Publisher, camera: &str, events: Vec<ObjectEvent>) {
    for event in events {
        publisher.event(event.name(), Some(camera), &event);
    }
}

#[cfg(test)]
mod tests;
