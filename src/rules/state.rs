//! State of a camera's rules: every object with its path and zones, and every zone with its objects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::crowd::{CrowdChange, Occupancy};
use super::geometry::Point;
use super::line::{Crossed, LineState, Step};
use super::path::{Path, PathPoint};
use super::zone::{Flipped, Presence};
use super::{Change, RuleEvent, RuleSettings, nanoseconds};
use crate::config::LineSettings;
use crate::track::Object;

/// Most visits and crossings that the history of an object lists.
const MAX_LISTED: usize = 64;

/// Time and size of a frame.
#[derive(Debug, Clone, Copy)]
pub struct FrameShape {
    /// Capture time, nanoseconds of monotonic time.
    pub now_ns: u64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A stay of an object in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Name of the zone.
    pub zone: String,
    /// Time of the entry.
    pub entered_ns: u64,
    /// Time of the exit; `None` while it is there.
    pub left_ns: Option<u64>,
}

/// Where an object was.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectHistory {
    /// Its path.
    pub path: Path,
    /// Its stays in zones, in order of entry, the first 64.
    pub visits: Vec<Visit>,
    /// Lines that it crossed, with the direction and the time; the first 64.
    pub crossings: Vec<(String, String, u64)>,
}

impl ObjectHistory {
    /// Zones that it was in, each once, in order of entry.
    pub fn zones(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.visits.iter().filter(|visit| seen.insert(&visit.zone)).map(|visit| visit.zone.clone()).collect()
    }
}

/// Objects in a zone by label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneOccupancy {
    /// Number of objects by label, without those of which there is none.
    pub objects: BTreeMap<String, u32>,
    /// Labels of which there was an object lately.
    pub occupied: Vec<String>,
    /// Labels of which there is a crowd.
    pub crowded: Vec<String>,
}

#[derive(Debug)]
struct ObjectState {
    label: String,
    is_confirmed: bool,
    /// Position in the last frame in which it was seen.
    position: Option<Point>,
    history: ObjectHistory,
    zones: BTreeMap<String, Presence>,
    lines: BTreeMap<String, LineState>,
    /// Events of an object that is not confirmed yet.
    held: Vec<RuleEvent>,
}

/// State of one camera's rules.
#[derive(Debug, Default)]
pub struct RuleState {
    objects: BTreeMap<u64, ObjectState>,
    zones: BTreeMap<(String, String), Occupancy>,
}

impl RuleState {
    /// Takes the objects that were seen in a frame, each with true if it is confirmed. Returns what happened, in the order
    /// of objects. Nothing is returned for objects that are not confirmed; once they are, what happened before follows.
    pub fn update<'a>(
        &mut self,
        settings: &RuleSettings,
        frame: FrameShape,
        seen: impl Iterator<Item = (&'a Object, bool)>,
    ) -> Vec<RuleEvent> {
        let mut events = self.leave_removed_zones(settings, frame.now_ns);
        for (object, is_confirmed) in seen {
            let point = PathPoint { at_ns: frame.now_ns, position: position(object.latest.bbox, frame) };
            let state = self.objects.entry(object.track).or_insert_with(|| ObjectState::new(object, point));
            state.is_confirmed |= is_confirmed;
            state.update(object, settings, frame, point);
            if state.is_confirmed {
                events.append(&mut state.held);
            }
        }
        for (&track, state) in self.objects.iter_mut().filter(|(_, state)| state.is_confirmed) {
            events.extend(state.loitering(track, settings, frame.now_ns));
        }
        events.extend(self.count(settings, frame.now_ns));
        events
    }

    /// Where the object of `track` was so far.
    pub fn history(&self, track: u64) -> Option<&ObjectHistory> {
        self.objects.get(&track).map(|state| &state.history)
    }

    /// Ends an object that was last seen at `last_ns`: it leaves its zones, and a crossing that did not count yet counts.
    /// Returns where it was and what happened. Only confirmed objects have events.
    pub fn end(
        &mut self,
        track: u64,
        settings: &RuleSettings,
        last_ns: u64,
    ) -> Option<(ObjectHistory, Vec<RuleEvent>)> {
        let mut state = self.objects.remove(&track)?;
        for (name, mut line) in std::mem::take(&mut state.lines) {
            if let (Some(crossed), Some(line)) = (line.end(), settings.lines.get(&name)) {
                state.crossed(track, &name, line, crossed);
            }
        }
        for (zone, presence) in std::mem::take(&mut state.zones) {
            if let Some(entered_ns) = presence.entered_ns {
                let flipped = Flipped { at_ns: last_ns, heading: None, left_after: Some(entered_ns) };
                state.flipped(track, &zone, flipped);
            }
        }
        let events = if state.is_confirmed { state.held } else { Vec::new() };
        Some((state.history, events))
    }

    /// Forgets objects that the tracker no longer has and that never were confirmed.
    pub fn retain(&mut self, tracks: &BTreeSet<u64>) {
        self.objects.retain(|track, _| tracks.contains(track));
    }

    /// Objects in each zone. A label stays occupied for `delay` after its last object.
    pub fn occupancy(&self, now_ns: u64, delay: Duration) -> BTreeMap<String, ZoneOccupancy> {
        let mut zones: BTreeMap<String, ZoneOccupancy> = BTreeMap::new();
        for ((zone, label), occupancy) in &self.zones {
            let of_zone = zones.entry(zone.clone()).or_default();
            if occupancy.count > 0 {
                of_zone.objects.insert(label.clone(), occupancy.count);
            }
            if occupancy.is_occupied(now_ns, nanoseconds(delay)) {
                of_zone.occupied.push(label.clone());
            }
            if occupancy.crowded_ns.is_some() {
                of_zone.crowded.push(label.clone());
            }
        }
        zones.retain(|_, zone| *zone != ZoneOccupancy::default());
        zones
    }

    /// Objects leave zones that the configuration no longer has.
    fn leave_removed_zones(&mut self, settings: &RuleSettings, now_ns: u64) -> Vec<RuleEvent> {
        let mut events = Vec::new();
        for (&track, state) in &mut self.objects {
            let removed: Vec<String> =
                state.zones.keys().filter(|zone| !settings.zones.contains_key(*zone)).cloned().collect();
            for zone in removed {
                if let Some(entered_ns) = state.zones.remove(&zone).and_then(|presence| presence.entered_ns) {
                    state.flipped(track, &zone, Flipped { at_ns: now_ns, heading: None, left_after: Some(entered_ns) });
                }
            }
            state.lines.retain(|line, _| settings.lines.contains_key(line));
            if state.is_confirmed {
                events.append(&mut state.held);
            }
        }
        events
    }

    /// Counts the confirmed objects of every zone.
    fn count(&mut self, settings: &RuleSettings, now_ns: u64) -> Vec<RuleEvent> {
        let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
        for state in self.objects.values().filter(|state| state.is_confirmed) {
            for (zone, _) in state.zones.iter().filter(|(_, presence)| presence.entered_ns.is_some()) {
                *counts.entry((zone.clone(), state.label.clone())).or_default() += 1;
            }
        }
        for key in counts.keys() {
            self.zones.entry(key.clone()).or_default();
        }
        let mut events = Vec::new();
        for ((zone, label), occupancy) in &mut self.zones {
            let count = counts.get(&(zone.clone(), label.clone())).copied().unwrap_or(0);
            let crowd = settings.zones.get(zone).and_then(|zone| zone.crowd);
            let limit = crowd.map_or(0, |crowd| crowd.limit);
            let zone = zone.clone();
            let (at_ns, change) = match occupancy.update(count, now_ns, crowd) {
                Some(CrowdChange::Crowded(at_ns)) => (at_ns, Change::Crowded { zone, count, limit }),
                Some(CrowdChange::Cleared { at_ns, since_ns }) => {
                    (at_ns, Change::Cleared { zone, count, limit, since_ns })
                }
                None => continue,
            };
            events.push(RuleEvent { at_ns, label: label.clone(), change });
        }
        self.zones.retain(|(zone, _), _| settings.zones.contains_key(zone));
        events
    }
}

impl ObjectState {
    fn new(object: &Object, point: PathPoint) -> Self {
        Self {
            label: object.latest.label.clone(),
            is_confirmed: false,
            position: None,
            history: ObjectHistory { path: Path::new(point), visits: Vec::new(), crossings: Vec::new() },
            zones: BTreeMap::new(),
            lines: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn update(&mut self, object: &Object, settings: &RuleSettings, frame: FrameShape, point: PathPoint) {
        let size = [frame.width.max(1) as f32, frame.height.max(1) as f32];
        let [x0, y0, x1, y1] = object.latest.bbox;
        let box_size = ((x1 - x0) * (y1 - y0)).max(1.0).sqrt();
        let from = self.position.replace(point.position);
        self.history.path.add(point, size, box_size);
        let step = Step { from, to: point.position, at_ns: frame.now_ns, size, box_size };
        let (track, inertia) = (object.track, settings.inertia.max(1));
        for (name, zone) in &settings.zones {
            let presence = self.zones.entry(name.clone()).or_default();
            if let Some(flipped) = presence.update(&zone.polygon, step, inertia) {
                self.flipped(track, name, flipped);
            }
        }
        for (name, line) in &settings.lines {
            let state = self.lines.entry(name.clone()).or_default();
            if let Some(crossed) = state.update(line.points, step, inertia) {
                self.crossed(track, name, line, crossed);
            }
        }
    }

    /// Records an entry or exit.
    fn flipped(&mut self, track: u64, zone: &str, flipped: Flipped) {
        let Flipped { at_ns, heading, left_after } = flipped;
        let zone = zone.to_owned();
        let change = match left_after {
            Some(entered_ns) => {
                let open = |visit: &&mut Visit| visit.zone == zone && visit.left_ns.is_none();
                if let Some(visit) = self.history.visits.iter_mut().rev().find(open) {
                    visit.left_ns = Some(at_ns);
                }
                Change::Left { track, zone, heading, entered_ns }
            }
            None => {
                if self.history.visits.len() < MAX_LISTED {
                    self.history.visits.push(Visit { zone: zone.clone(), entered_ns: at_ns, left_ns: None });
                }
                Change::Entered { track, zone, heading }
            }
        };
        self.held.push(RuleEvent { at_ns, label: self.label.clone(), change });
    }

    /// Records a crossing.
    fn crossed(&mut self, track: u64, name: &str, line: &LineSettings, crossed: Crossed) {
        let direction = line.direction(crossed.to_right).to_owned();
        if self.history.crossings.len() < MAX_LISTED {
            self.history.crossings.push((name.to_owned(), direction.clone(), crossed.at_ns));
        }
        let change = Change::Crossed { track, line: name.to_owned(), direction };
        self.held.push(RuleEvent { at_ns: crossed.at_ns, label: self.label.clone(), change });
    }

    /// Zones in which the object has been for long enough, each once for a stay.
    fn loitering(&mut self, track: u64, settings: &RuleSettings, now_ns: u64) -> Vec<RuleEvent> {
        let mut events = Vec::new();
        for (name, presence) in self.zones.iter_mut().filter(|(_, presence)| !presence.has_loitered) {
            let limit = settings.zones.get(name).and_then(|zone| zone.loitering);
            let (Some(entered_ns), Some(limit)) = (presence.entered_ns, limit) else { continue };
            let at_ns = entered_ns.saturating_add(nanoseconds(limit));
            if now_ns >= at_ns {
                presence.has_loitered = true;
                let change = Change::Loitering { track, zone: name.clone(), entered_ns };
                events.push(RuleEvent { at_ns: now_ns, label: self.label.clone(), change });
            }
        }
        events
    }
}

/// The middle of the lower edge of a box, as fractions of the frame.
fn position([x0, _, x1, y1]: [f32; 4], frame: FrameShape) -> Point {
    [(x0 + x1) / 2.0 / frame.width.max(1) as f32, y1 / frame.height.max(1) as f32]
}
