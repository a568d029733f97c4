//! Tracking quality by the metrics of multiple object tracking, on synthetic streets of three densities. The tracker is
//! measured alone, on true boxes that disappear while hidden, and with the built-in detector.
//!
//! MOTA as CLEAR MOT has it (Bernardin & Stiefelhagen, 2008), IDF1 as Ristani et al. (2016): IoU ≥ 0.5, one class.
//! Truth is what a detector is held to find; what is smaller or more hidden is passed over, found or not.

use std::collections::{BTreeMap, BTreeSet};

use lookout::camera::pattern::{Label, Scene, Truth};
use lookout::daemon::{Engine, LocalEngine};
use lookout::detector::boxes::iou;
use lookout::detector::{Detector, DetectorOptions, demo};
use lookout::frame::Image;
use lookout::message::Detection;
use lookout::track::{Tracker, TrackerSettings, assign};

/// Streets by how much goes on in them: about 5, 9 and 16 objects in sight, one to four of them partly hidden. The
/// built-in model has seen none of these in training.
const DENSITIES: [(&str, [u64; 3]); 3] = [("sparse", [8, 21, 38]), ("middling", [3, 7, 15]), ("dense", [0, 9, 31])];
const SIZE: (usize, usize) = (640, 360);
const OVERLAP: f32 = 0.5;

/// Result of a sequence.
#[derive(Debug, Default, Clone, PartialEq)]
struct Figures {
    truths: usize,
    found: usize,
    hits: usize,
    switches: usize,
    /// Tracks that objects had beyond one each, and objects never found.
    fragments: usize,
    objects: usize,
    id_hits: usize,
}

impl Figures {
    fn mota(&self) -> f64 {
        let errors = (self.truths - self.hits) + (self.found - self.hits) + self.switches;
        1.0 - errors as f64 / self.truths.max(1) as f64
    }

    fn idf1(&self) -> f64 {
        2.0 * self.id_hits as f64 / (self.truths + self.found).max(1) as f64
    }

    fn add(&mut self, other: &Self) {
        self.truths += other.truths;
        self.found += other.found;
        self.hits += other.hits;
        self.switches += other.switches;
        self.fragments += other.fragments;
        self.objects += other.objects;
        self.id_hits += other.id_hits;
    }
}

/// Judges one sequence, frame by frame.
#[derive(Default)]
struct Judge {
    figures: Figures,
    /// Last track of each object.
    last: BTreeMap<u32, u64>,
    tracks_of: BTreeMap<u32, BTreeSet<u64>>,
    /// In how many frames an object and a track overlapped.
    together: BTreeMap<(u32, u64), usize>,
}

impl Judge {
    fn frame(&mut self, truths: &[Truth], detections: &[Detection]) {
        let class = |truth: &Truth| Label::ALL.iter().position(|label| *label == truth.label).unwrap() as u32 + 1;
        let overlap = |truth: &Truth, found: &Detection| {
            if class(truth) == found.class_id { iou(truth.bbox, found.bbox) } else { 0.0 }
        };
        let (held, passed): (Vec<&Truth>, Vec<&Truth>) = truths.iter().partition(|truth| truth.counts());
        let mut found: Vec<&Detection> = detections.iter().filter(|found| found.track.is_some()).collect();
        // What overlaps an object that is passed over better than any other counts for nothing.
        found.retain(|found| {
            let best = |list: &[&Truth]| list.iter().map(|truth| overlap(truth, found)).fold(0.0, f32::max);
            best(&passed) < OVERLAP || best(&held) >= OVERLAP
        });
        let gain = |truth: usize, other: usize| {
            let (truth, other) = (held[truth], found[other]);
            let overlap = overlap(truth, other);
            // A pair that was one before stays one.
            let kept = self.last.get(&truth.id) == other.track.as_ref();
            if overlap < OVERLAP { 0.0 } else { overlap + if kept { 100.0 } else { 0.0 } }
        };
        let pairs = assign(held.len(), found.len(), &gain);
        self.figures.truths += held.len();
        self.figures.found += found.len();
        self.figures.hits += pairs.len();
        for (truth, other) in pairs {
            let (id, track) = (held[truth].id, found[other].track.unwrap());
            if self.last.insert(id, track).is_some_and(|before| before != track) {
                self.figures.switches += 1;
            }
        }
        for truth in held {
            let tracks = self.tracks_of.entry(truth.id).or_default();
            for found in found.iter().filter(|found| overlap(truth, found) >= OVERLAP) {
                let track = found.track.unwrap();
                tracks.insert(track);
                *self.together.entry((truth.id, track)).or_default() += 1;
            }
        }
    }

    fn figures(mut self) -> Figures {
        let objects: Vec<u32> = self.tracks_of.keys().copied().collect();
        let tracks: Vec<u64> =
            self.tracks_of.values().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let shared =
            |object: usize, track: usize| self.together.get(&(objects[object], tracks[track])).copied().unwrap_or(0);
        let pairs = assign(objects.len(), tracks.len(), &|object, track| shared(object, track) as f32);
        self.figures.id_hits = pairs.into_iter().map(|(object, track)| shared(object, track)).sum();
        self.figures.objects = objects.len();
        self.figures.fragments = self.tracks_of.values().map(|tracks| tracks.len().abs_diff(1)).sum();
        self.figures
    }
}

/// Detections of an ideal detector for `truths`: a high score for visible objects, a low one for half-hidden ones, none
/// for the rest. Each edge is off by up to 2 % of the box's size.
fn ideal(truths: &[Truth], n: u64) -> Vec<Detection> {
    let seen = truths.iter().filter(|truth| truth.visible >= 0.25 && truth.height() >= 12.0);
    let detection = |truth: &Truth| {
        let size = ((truth.bbox[2] - truth.bbox[0]) * truth.height()).max(1.0).sqrt();
        let mut state = u64::from(truth.id).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mut off = || {
            state ^= state >> 29;
            state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.04 * size
        };
        Detection {
            label: truth.label.name().into(),
            class_id: Label::ALL.iter().position(|label| *label == truth.label).unwrap() as u32 + 1,
            score: if truth.visible >= 0.5 { 0.9 } else { 0.3 },
            bbox: truth.bbox.map(|edge| edge + off()),
            track: None,
            zones: Vec::new(),
        }
    };
    seen.map(detection).collect()
}

/// Films `seed` at `rate` frames a second, shows each frame to `see`, follows and judges what it says.
fn follow(seed: u64, rate: f64, frames: u64, mut see: impl FnMut(&Image, &[Truth], u64) -> Vec<Detection>) -> Figures {
    let mut scene = Scene::new(seed, SIZE.0, SIZE.1);
    scene.set_rate(rate);
    let mut tracker = Tracker::new(TrackerSettings::default());
    let mut judge = Judge::default();
    for n in 0..frames {
        let (picture, truths) = scene.frame(n);
        let mut found = see(&picture.into(), &truths, n);
        tracker.update(((n + 1) as f64 / rate * 1e9) as u64, &mut found);
        judge.frame(&truths, &found);
    }
    judge.figures()
}

/// The built-in model, if the build has it.
pub fn detector() -> Option<LocalEngine> {
    let options = DetectorOptions { threads: 1, ..DetectorOptions::default() };
    let detector = Detector::from_artifact(demo::artifact()?, "demo-int8".to_owned(), &options).unwrap();
    Some(LocalEngine::new(detector).unwrap())
}

/// The detections of a frame of the street, as in reports.
pub fn detect(engine: &mut LocalEngine, image: &Image) -> Vec<Detection> {
    let found = engine.detect(image).unwrap().detections;
    let detection = |found: &lookout::detector::detection::Detection| Detection {
        label: Label::ALL[found.class_id as usize - 1].name().into(),
        class_id: found.class_id,
        score: found.score,
        bbox: found.bbox,
        track: None,
        zones: Vec::new(),
    };
    found.iter().map(detection).collect()
}

#[test]
fn true_boxes_of_a_dense_street_keep_their_ids() {
    let figures = follow(DENSITIES[2].1[0], 15.0, 150, |_, truths, n| ideal(truths, n));
    assert!(figures.truths > 500, "{figures:?}");
    assert!(figures.mota() > 0.9 && figures.idf1() > 0.9, "{:.3} {:.3} {figures:?}", figures.mota(), figures.idf1());
}

#[test]
fn the_judge_counts_what_it_should() {
    let truth = |id, x: f32| Truth {
        id,
        label: Label::Person,
        bbox: [x, 0.0, x + 20.0, 40.0],
        visible: 1.0,
        occluded: 0.0,
        truncated: 0.0,
        distance: 9.0,
    };
    let found = |track, x: f32| Detection {
        label: String::new(),
        class_id: 1,
        score: 0.9,
        bbox: [x, 0.0, x + 20.0, 40.0],
        track: Some(track),
        zones: Vec::new(),
    };
    let mut judge = Judge::default();
    judge.frame(&[truth(1, 0.0), truth(2, 100.0)], &[found(7, 0.0), found(8, 100.0)]);
    judge.frame(&[truth(1, 0.0), truth(2, 100.0)], &[found(8, 0.0), found(7, 100.0), found(9, 300.0)]);
    judge.frame(&[truth(1, 0.0), truth(2, 100.0)], &[found(8, 0.0)]);
    let figures = judge.figures();
    assert_eq!((figures.truths, figures.found, figures.hits, figures.switches), (6, 6, 5, 2));
    // Two errors of either kind and two switches of six.
    assert!((figures.mota() - (1.0 - 4.0 / 6.0)).abs() < 1e-9);
    // Object 1 with track 8 twice, object 2 with track 7 once.
    assert!((figures.idf1() - 6.0 / 12.0).abs() < 1e-9, "{figures:?}");
}

#[test]
#[ignore = "prints how dense seeds are; run with --ignored --nocapture"]
fn streets_by_density() {
    for seed in 0..40 {
        let mut scene = Scene::new(seed, SIZE.0, SIZE.1);
        let counts: Vec<usize> =
            (0..20).map(|n| scene.frame(n * 45).1.iter().filter(|truth| truth.counts()).count()).collect();
        let hidden = (0..20).flat_map(|n| scene.frame(n * 45).1).filter(|truth| truth.occluded > 0.3).count();
        eprintln!(
            "{seed}: {:.1} objects, {:.1} hidden",
            counts.iter().sum::<usize>() as f64 / 20.0,
            hidden as f64 / 20.0
        );
    }
}

#[test]
#[ignore = "minutes; run with --ignored --nocapture"]
fn figures_at_three_densities() {
    let mut engine = detector();
    eprintln!("density   Hz  boxes  who       MOTA   IDF1  switches  objects  fragments");
    for (density, seeds) in DENSITIES {
        for rate in [15.0, 5.0] {
            let frames = (20.0 * rate) as u64;
            let mut alone = Figures::default();
            let mut both = Figures::default();
            for seed in seeds {
                alone.add(&follow(seed, rate, frames, |_, truths, n| ideal(truths, n)));
                if let Some(engine) = &mut engine {
                    both.add(&follow(seed, rate, frames, |image, _, _| detect(engine, image)));
                }
            }
            for (who, figures) in [("tracker", &alone), ("detector", &both)].into_iter().filter(|(_, f)| f.truths > 0) {
                eprintln!(
                    "{density:<9} {rate:>2} {:>6}  {who:<8} {:>6.3} {:>6.3} {:>9} {:>8} {:>10}",
                    figures.truths,
                    figures.mota(),
                    figures.idf1(),
                    figures.switches,
                    figures.objects,
                    figures.fragments
                );
                let (recall, precision) =
                    (figures.hits as f64 / figures.truths as f64, figures.hits as f64 / figures.found.max(1) as f64);
                eprintln!("{:>30}recall {recall:.3}, precision {precision:.3}", "");
                assert!(who != "tracker" || figures.mota() > 0.8, "{density} {rate} {figures:?}");
            }
        }
    }
}
