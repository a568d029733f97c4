//! Exactness of zones and lines on the synthetic street, whose true trajectories are known: entries, exits and crossings
//! that the tracker and the rules find, against those of the true boxes.
//!
//! Truth comes from the true boxes alone: an object enters, leaves or crosses where the middle of the lower edge of its
//! true box does so for two frames or more, and by more than the jitter. An event is right if it names the same zone or line, direction and class
//! within a second and a tenth of the picture's width of a true one; each true one counts once. The tracker sees the true
//! boxes, each edge off by up to 2 % of the box's size; those that can be seen; or what the built-in detector finds. For the
//! latter two a true trajectory consists of the frames in which the object can be seen.

use std::collections::BTreeMap;

use lookout::camera::pattern::{Label, Scene, Truth};
use lookout::config::{LineSettings, ZoneSettings};
use lookout::frame::Image;
use lookout::message::Detection;
use lookout::rules::geometry::{Point, contains, crosses, distance_to_border, scaled, side};
use lookout::rules::{Change, FrameShape, RuleEvent, RuleSettings, RuleState};
use lookout::track::{TrackEvent, Tracker, TrackerSettings};

use super::tracking::{detect, detector};

/// Streets by how much goes on in them, as in the suite `tracking`.
const DENSITIES: [(&str, [u64; 3]); 3] = [("sparse", [8, 21, 38]), ("middling", [3, 7, 15]), ("dense", [0, 9, 31])];
/// Columns and rows of the pictures.
const SIZE: (usize, usize) = (640, 360);
/// Time by which an event may differ from the true one, in seconds.
const TIME: f64 = 1.0;
/// Distance by which it may differ, as a share of the picture's width.
const DISTANCE: f32 = 0.1;
/// Reach of the jitter of a position, in box sizes.
const JITTER: f32 = 0.03;
/// Frames in a row after which a change counts; the rules have the same number.
const INERTIA: u32 = 2;

/// Zones and lines of the streets: the crossing, the right of the picture, and lines along the street and aslant across it.
/// No line runs along a pavement, where somebody would walk on it.
fn settings() -> RuleSettings {
    let zone = |polygon: &[Point]| ZoneSettings { polygon: polygon.to_vec(), loitering: None, crowd: None };
    let line = |points: [Point; 2]| LineSettings { points, left: "left".into(), right: "right".into() };
    RuleSettings {
        zones: BTreeMap::from([
            ("crossing".into(), zone(&[[0.25, 0.5], [0.75, 0.5], [0.95, 0.8], [0.05, 0.8]])),
            ("right".into(), zone(&[[0.6, 0.3], [1.0, 0.3], [1.0, 1.0], [0.6, 1.0]])),
        ]),
        lines: BTreeMap::from([
            ("middle".into(), line([[0.5, 1.0], [0.5, 0.3]])),
            ("across".into(), line([[0.1, 0.55], [0.9, 0.75]])),
        ]),
        inertia: INERTIA,
    }
}

/// An entry, exit or crossing.
#[derive(Debug, Clone, PartialEq)]
struct Happening {
    /// Zone or line with `entered`, `left`, or the direction.
    what: String,
    kind: Kind,
    label: String,
    at: f64,
    position: Point,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Entry,
    Exit,
    Crossing,
}

/// Found, right and true events by kind.
#[derive(Debug, Default, Clone)]
struct Score {
    by_kind: BTreeMap<Kind, [usize; 3]>,
}

impl Score {
    /// Compares what was found with the truth, earliest first.
    fn add(&mut self, truth: &[Happening], found: &[Happening]) -> (Vec<Happening>, Vec<Happening>) {
        let mut free: Vec<&Happening> = truth.iter().collect();
        let mut wrong = Vec::new();
        for happening in found {
            let [count, right, _] = self.by_kind.entry(happening.kind).or_default();
            *count += 1;
            let near = |other: &Happening| {
                let [x, y] = [0, 1].map(|axis| other.position[axis] - happening.position[axis]);
                other.what == happening.what
                    && other.label == happening.label
                    && (other.at - happening.at).abs() <= TIME
                    && (x * x + y * y).sqrt() <= DISTANCE
            };
            // The nearest in time, and among those of one time the nearest in the picture.
            let distance = |other: &Happening| {
                let [x, y] = [0, 1].map(|axis| f64::from(other.position[axis] - happening.position[axis]));
                (other.at - happening.at).abs() / TIME + (x * x + y * y).sqrt() / f64::from(DISTANCE)
            };
            let best = (0..free.len())
                .filter(|&index| near(free[index]))
                .min_by(|&a, &b| distance(free[a]).total_cmp(&distance(free[b])));
            match best {
                Some(index) => {
                    *right += 1;
                    free.remove(index);
                }
                None => wrong.push(happening.clone()),
            }
        }
        for happening in truth {
            self.by_kind.entry(happening.kind).or_default()[2] += 1;
        }
        (free.into_iter().cloned().collect(), wrong)
    }

    fn merge(&mut self, other: &Self) {
        for (kind, counts) in &other.by_kind {
            let own = self.by_kind.entry(*kind).or_default();
            (0..3).for_each(|index| own[index] += counts[index]);
        }
    }

    /// Recall and precision of a kind.
    fn figures(&self, kind: Kind) -> (f64, f64) {
        let [found, right, truth] = self.by_kind.get(&kind).copied().unwrap_or_default();
        (right as f64 / truth.max(1) as f64, right as f64 / found.max(1) as f64)
    }
}

/// The middle of the lower edge of a box, and its size in pixels.
fn foot([x0, y0, x1, y1]: [f32; 4], size: (usize, usize)) -> (Point, f32) {
    ([(x0 + x1) / 2.0 / size.0 as f32, y1 / size.1 as f32], ((x1 - x0) * (y1 - y0)).max(1.0).sqrt())
}

/// The positions of one object by time, with the size of its box in pixels.
type Trajectory = Vec<(f64, Point, f32)>;

/// What happens on a true trajectory. A border that it passes by less than the jitter is not passed: a person who walks
/// along a line is on both sides of it with every step.
fn happenings(label: &str, way: &Trajectory, settings: &RuleSettings) -> Vec<Happening> {
    let size = [SIZE.0 as f32, SIZE.1 as f32];
    let mut all = Vec::new();
    let mut add = |what: String, kind, (at, position, _): (f64, Point, f32)| {
        all.push(Happening { what, kind, label: label.to_owned(), at, position });
    };
    for (name, zone) in &settings.zones {
        let (mut inside, mut since) = (false, 0);
        for (index, &(_, point, box_size)) in way.iter().enumerate() {
            let now = contains(&zone.polygon, point);
            if now == inside {
                since = index + 1;
                continue;
            }
            let is_clear = since == 0 || distance_to_border(&zone.polygon, point, size) > JITTER * box_size;
            if is_clear && index + 1 - since >= INERTIA as usize {
                inside = now;
                let kind = if now { Kind::Entry } else { Kind::Exit };
                add(format!("{name} {kind:?}"), kind, way[since]);
                since = index + 1;
            }
        }
        if inside {
            add(format!("{name} Exit"), Kind::Exit, way[way.len() - 1]);
        }
    }
    for (name, line) in &settings.lines {
        let [a, b] = line.points.map(|point| scaled(point, size));
        let (mut is_right, mut passed) = (None, None);
        for (index, &(_, point, box_size)) in way.iter().enumerate() {
            let to = scaled(point, size);
            if index > 0 && crosses(a, b, scaled(way[index - 1].1, size), to) {
                passed = Some(index);
            }
            let length = ((b[0] - a[0]).powi(2) + (b[1] - a[1]).powi(2)).sqrt();
            let distance = side(a, b, to) / length;
            if distance.abs() <= JITTER * box_size && is_right.is_some() {
                continue;
            }
            let now = distance > 0.0;
            if let (true, Some(passed)) = (is_right.is_some_and(|before| before != now), passed) {
                add(format!("{name} {}", line.direction(now)), Kind::Crossing, way[passed]);
            }
            (is_right, passed) = (Some(now), None);
        }
    }
    all
}

/// A deterministic number between -0.5 and 0.5.
fn noise(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
    let mixed = (*state ^ (*state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
}

/// The true boxes, each edge off by up to 2 % of the box's size.
fn jittered(truths: &[Truth], n: u64) -> Vec<Detection> {
    let detection = |truth: &Truth| {
        let size = ((truth.bbox[2] - truth.bbox[0]) * truth.height()).max(1.0).sqrt();
        let mut state = u64::from(truth.id) << 32 ^ n;
        noise(&mut state);
        Detection {
            label: truth.label.name().into(),
            class_id: Label::ALL.iter().position(|label| *label == truth.label).unwrap() as u32 + 1,
            score: 0.9,
            bbox: truth.bbox.map(|edge| edge + noise(&mut state) * 0.04 * size),
            track: None,
            zones: Vec::new(),
        }
    };
    truths.iter().map(detection).collect()
}

/// As [`jittered`], without what a detector cannot see: less than a quarter visible, or lower than 12 pixels.
fn visible(truths: &[Truth], n: u64) -> Vec<Detection> {
    let seen: Vec<Truth> = truths.iter().filter(|truth| can_be_seen(truth)).copied().collect();
    jittered(&seen, n)
}

fn can_be_seen(truth: &Truth) -> bool {
    truth.visible >= 0.25 && truth.height() >= 12.0
}

/// Tracker and rules, fed with one kind of detections.
struct Follower {
    tracker: Tracker,
    state: RuleState,
    found: Vec<Happening>,
    /// Latest positions by track, with the time.
    ways: BTreeMap<u64, Trajectory>,
}

impl Follower {
    fn new() -> Self {
        let (tracker, state) = (Tracker::new(TrackerSettings::default()), RuleState::default());
        Self { tracker, state, found: Vec::new(), ways: BTreeMap::new() }
    }

    fn frame(&mut self, settings: &RuleSettings, now: f64, size: (usize, usize), mut detections: Vec<Detection>) {
        let now_ns = (now * 1e9) as u64;
        let changes = self.tracker.update(now_ns, &mut detections);
        for (object, _) in self.tracker.seen() {
            let (foot, box_size) = foot(object.latest.bbox, size);
            self.ways.entry(object.track).or_default().push((now, foot, box_size));
        }
        let frame = FrameShape { now_ns, width: size.0, height: size.1 };
        let mut events = self.state.update(settings, frame, self.tracker.seen());
        for change in changes {
            if let TrackEvent::Ended(object) = change {
                events.extend(self.state.end(object.track, settings, object.last_ns).unwrap().1);
            }
        }
        self.take(events);
    }

    fn finish(&mut self, settings: &RuleSettings) {
        for change in self.tracker.finish() {
            if let TrackEvent::Ended(object) = change {
                let events = self.state.end(object.track, settings, object.last_ns).unwrap().1;
                self.take(events);
            }
        }
    }

    fn take(&mut self, events: Vec<RuleEvent>) {
        for event in events {
            let at = event.at_ns as f64 * 1e-9;
            let way = &self.ways[&event.change.track().unwrap()];
            let (what, kind) = match event.change {
                Change::Entered { zone, .. } => (format!("{zone} Entry"), Kind::Entry),
                Change::Left { zone, .. } => (format!("{zone} Exit"), Kind::Exit),
                Change::Crossed { line, direction, .. } => (format!("{line} {direction}"), Kind::Crossing),
                _ => continue,
            };
            let nearest = way.iter().min_by(|a, b| (a.0 - at).abs().total_cmp(&(b.0 - at).abs())).unwrap();
            self.found.push(Happening { what, kind, label: event.label, at, position: nearest.1 });
        }
    }
}

/// Detections in a frame with its true boxes and number.
type Detect<'a> = dyn FnMut(&Image, &[Truth], u64) -> Vec<Detection> + 'a;

/// What a follower sees.
struct Sight<'a> {
    name: &'static str,
    detect: Box<Detect<'a>>,
    /// True if it sees what is hidden, too. Otherwise truth ends with what can be seen.
    sees_all: bool,
}

fn true_boxes<'a>() -> Sight<'a> {
    Sight { name: "true", detect: Box::new(|_: &Image, truths: &[Truth], n| jittered(truths, n)), sees_all: true }
}

fn visible_boxes<'a>() -> Sight<'a> {
    Sight { name: "visible", detect: Box::new(|_: &Image, truths: &[Truth], n| visible(truths, n)), sees_all: false }
}

/// Films `seed` for some seconds. Returns the score of each kind of detections. Only what begins and ends within the film
/// counts: the same frames are truth and input.
fn film(seed: u64, rate: f64, seconds: f64, sights: &mut [Sight<'_>]) -> Vec<Score> {
    let settings = settings();
    let size = SIZE;
    let mut scene = Scene::new(seed, size.0, size.1);
    scene.set_rate(rate);
    let mut followers: Vec<Follower> = sights.iter().map(|_| Follower::new()).collect();
    // Of all true boxes, and of those that can be seen.
    let mut ways: [BTreeMap<u32, (Label, Trajectory)>; 2] = Default::default();
    for n in 0..(seconds * rate) as u64 {
        let now = (n + 1) as f64 / rate;
        let (picture, truths) = scene.frame(n);
        for truth in &truths {
            let (foot, box_size) = foot(truth.bbox, size);
            for ways in ways.iter_mut().take(if can_be_seen(truth) { 2 } else { 1 }) {
                ways.entry(truth.id).or_insert((truth.label, Vec::new())).1.push((now, foot, box_size));
            }
        }
        let image: Image = picture.into();
        for (follower, sight) in followers.iter_mut().zip(sights.iter_mut()) {
            follower.frame(&settings, now, size, (sight.detect)(&image, &truths, n));
        }
    }
    let truths = ways.map(|ways| {
        let mut truth: Vec<Happening> =
            ways.values().flat_map(|(label, way)| happenings(label.name(), way, &settings)).collect();
        truth.sort_by(|a, b| a.at.total_cmp(&b.at));
        truth
    });
    let judge = |(mut follower, sight): (Follower, &Sight<'_>)| {
        follower.finish(&settings);
        let (mut score, seed) = (Score::default(), format!("{} {seed}", sight.name));
        let (missed, wrong) = score.add(&truths[usize::from(!sight.sees_all)], &follower.found);
        if std::env::var_os("LOOKOUT_RULES_VERBOSE").is_some() {
            missed.iter().for_each(|happening| eprintln!("seed {seed} missed {happening:?}"));
            wrong.iter().for_each(|happening| eprintln!("seed {seed} wrong {happening:?}"));
        }
        score
    };
    followers.into_iter().zip(sights.iter()).map(judge).collect()
}

#[test]
fn entries_exits_and_crossings_are_exact_on_true_boxes() {
    let mut all = Score::default();
    for (_, seeds) in DENSITIES {
        for score in film(seeds[0], 10.0, 60.0, &mut [true_boxes()]) {
            all.merge(&score);
        }
    }
    for kind in [Kind::Entry, Kind::Exit, Kind::Crossing] {
        let (recall, precision) = all.figures(kind);
        assert!(recall >= 0.97 && precision >= 0.97, "{kind:?} {recall:.3} {precision:.3} {all:?}");
        assert!(all.by_kind[&kind][2] >= 30, "{all:?}");
    }
}

#[test]
fn the_judge_counts_what_it_should() {
    let at = |at: f64, what: &str| Happening {
        what: what.into(),
        kind: Kind::Entry,
        label: "Person".into(),
        at,
        position: [0.5, 0.5],
    };
    let mut score = Score::default();
    let truth = [at(1.0, "a Entry"), at(1.5, "a Entry"), at(9.0, "a Entry"), at(20.0, "b Entry")];
    let found = [at(1.2, "a Entry"), at(1.4, "a Entry"), at(1.6, "a Entry"), at(20.0, "a Entry")];
    let (missed, wrong) = score.add(&truth, &found);
    assert_eq!((missed.len(), wrong.len()), (2, 2));
    assert_eq!(score.figures(Kind::Entry), (0.5, 0.5));
    // A walk to the right through the zone `right` and over `middle`, with a step back that is undone.
    let xs = [0.3, 0.45, 0.55, 0.58, 0.62, 0.58, 0.62, 0.7, 0.8];
    let way: Trajectory = xs.iter().enumerate().map(|(n, &x)| (n as f64 * 0.2, [x, 0.9], 20.0)).collect();
    let found: Vec<String> = happenings("Person", &way, &settings())
        .into_iter()
        .map(|found| format!("{:.1} {}", found.at, found.what))
        .collect();
    assert_eq!(found, ["1.2 right Entry", "1.6 right Exit", "0.4 middle right"]);
}

#[test]
#[ignore = "half an hour of each of three densities; run optimized with --ignored --nocapture"]
fn half_an_hour_at_three_densities() {
    // LOOKOUT_RULES_MINUTES shortens it, LOOKOUT_RULES_DETECTOR=1 runs the built-in detector, too.
    let minutes: f64 = std::env::var("LOOKOUT_RULES_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(30.0);
    let rate: f64 = std::env::var("LOOKOUT_RULES_RATE").ok().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let mut engine = std::env::var_os("LOOKOUT_RULES_DETECTOR").and_then(|_| detector());
    let mut short: Vec<String> = Vec::new();
    eprintln!("density   boxes      kind      true  found  recall  precision");
    for (density, seeds) in DENSITIES {
        let mut scores: Vec<Score> = Vec::new();
        let mut names = Vec::new();
        for seed in seeds {
            let mut sights = vec![true_boxes(), visible_boxes()];
            if let Some(engine) = &mut engine {
                let detect = Box::new(|image: &Image, _: &[Truth], _| detect(engine, image));
                sights.push(Sight { name: "detector", detect, sees_all: false });
            }
            names = sights.iter().map(|sight| sight.name).collect();
            let of_seed = film(seed, rate, minutes * 20.0, &mut sights);
            scores.resize(of_seed.len(), Score::default());
            scores.iter_mut().zip(&of_seed).for_each(|(score, of_seed)| score.merge(of_seed));
        }
        for (name, score) in names.iter().zip(&scores) {
            for kind in [Kind::Entry, Kind::Exit, Kind::Crossing] {
                let (recall, precision) = score.figures(kind);
                let [found, _, truth] = score.by_kind.get(&kind).copied().unwrap_or_default();
                let kind_name = format!("{kind:?}");
                eprintln!("{density:<9} {name:<9} {kind_name:<9} {truth:>5} {found:>6}  {recall:.4}  {precision:.4}");
                if *name == "true" && recall.min(precision) < 0.98 {
                    short.push(format!("{density} {kind:?} {recall:.4} {precision:.4}"));
                }
            }
        }
    }
    assert!(short.is_empty(), "{short:?}");
}
