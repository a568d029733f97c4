//! The synthetic street from outside: the same bytes everywhere, labels that fit the picture, the documented difficulty
//! of scenes, and `lookout pattern` on the command line.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use lookout::camera::pattern::{Label, Scene, Weather};
use sha2::{Digest, Sha256};

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn frames_are_the_same_bytes_on_every_cpu() {
    let mut found = Vec::new();
    for name in Weather::NAMES {
        let mut scene = Scene::new(1, 320, 180);
        scene.set_weather(Weather::named(name).unwrap());
        found.push((name, digest(&scene.frame(40).0.data)));
    }
    let found: Vec<(&str, &str)> = found.iter().map(|(name, digest)| (*name, digest.as_str())).collect();
    assert_eq!(found, EXPECTED);
}

/// Changes only with the scenes themselves, which the demo model was trained on.
const EXPECTED: [(&str, &str); 5] = [
    ("day", "f8b78771ce007d97"),
    ("night", "b3ecaac0e6167e8f"),
    ("rain", "0a103ef1e553b2f2"),
    ("fog", "0af6ff166ad1e29d"),
    ("cap", "86883e7a7db08a8b"),
];

#[test]
fn any_frame_can_be_asked_for_by_itself() {
    let mut once = Scene::new(7, 160, 90);
    let (picture, truths) = once.frame(33);
    let mut again = Scene::new(7, 160, 90);
    for n in [5, 900, 33] {
        let (other, known) = again.frame(n);
        assert_eq!(n == 33, other == picture && known == truths);
    }
    assert_ne!(Scene::new(8, 160, 90).frame(33).0, picture);
}

#[test]
fn every_size_has_its_scene() {
    for (width, height) in [(16, 16), (1, 1), (97, 401), (800, 61), (1280, 720)] {
        let (picture, truths) = Scene::new(3, width, height).frame(10);
        assert_eq!((picture.width, picture.height), (width.max(16), height.max(16)));
        assert_eq!(picture.data.len(), picture.width * picture.height * 3);
        for truth in truths {
            let [left, top, right, bottom] = truth.bbox;
            assert!(0.0 <= left && left < right && right <= picture.width as f32, "{truth:?}");
            assert!(0.0 <= top && top < bottom && bottom <= picture.height as f32, "{truth:?}");
        }
    }
}

#[test]
fn the_truth_fits_the_picture() {
    // The same moment with and without somebody differs where he is, and nearly nowhere else but in his shadow.
    let mut scene = Scene::new(11, 640, 360);
    scene.set_weather(Weather { fog: 0.001, ..Weather::DAY });
    let (now, truths) = scene.frame(0);
    let (later, _) = scene.frame(15 * 3600);
    let person = truths.iter().find(|truth| truth.counts() && truth.occluded < 0.05 && truth.height() > 30.0).unwrap();
    let [left, top, right, bottom] = person.bbox.map(|edge| edge as usize);
    let differs = |x: usize, y: usize| {
        let (a, b) = (now.pixel(x, y), later.pixel(x, y));
        (0..3).map(|channel| a[channel].abs_diff(b[channel])).max().unwrap() > 24
    };
    let inside = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y))).filter(|&(x, y)| differs(x, y)).count();
    let share = inside as f64 / ((right - left) * (bottom - top)) as f64;
    assert!(share > 0.25, "{share} of {person:?}");
}

#[test]
fn an_object_keeps_its_id_and_moves_steadily() {
    let mut scene = Scene::new(21, 640, 360);
    let mut before: BTreeMap<u32, (Label, [f32; 4])> = BTreeMap::new();
    let mut followed = 0;
    for n in 0..20 {
        let (_, truths) = scene.frame(n);
        let now: BTreeMap<u32, (Label, [f32; 4])> = truths.iter().map(|t| (t.id, (t.label, t.bbox))).collect();
        assert_eq!(now.len(), truths.len(), "ids are unique");
        for (id, (label, bbox)) in &now {
            let Some((then, old)) = before.get(id) else { continue };
            assert_eq!(label, then);
            let size = (bbox[3] - bbox[1]).max(bbox[2] - bbox[0]);
            let step = (bbox[0] + bbox[2] - old[0] - old[2]).abs() / 2.0;
            assert!(step < 0.6 * size + 4.0, "{id} {label:?} {old:?} {bbox:?}");
            followed += 1;
        }
        before = now;
    }
    assert!(followed > 60, "{followed}");
}

#[test]
fn scenes_are_as_hard_as_they_are_said_to_be() {
    let (mut frames, mut all, mut low, mut hidden) = (0, 0, 0, 0);
    let mut by_label = [0; 3];
    for seed in 500..560 {
        let mut scene = Scene::new(seed, 640, 360);
        for n in [0, 60] {
            frames += 1;
            for truth in scene.frame(n).1.iter().filter(|truth| truth.counts()) {
                all += 1;
                low += usize::from(truth.height() < 40.0);
                hidden += usize::from(truth.occluded >= 0.1);
                by_label[truth.label as usize] += 1;
            }
        }
    }
    assert!(all >= 3 * frames, "{all} objects in {frames} frames");
    assert!(low * 100 >= all * 30 && hidden * 100 >= all * 15, "{low} low, {hidden} hidden of {all}");
    assert!(by_label.iter().all(|&count| count * 10 >= all), "{by_label:?}");
}

fn pattern(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.arg("pattern").args(arguments).env_clear().output().unwrap()
}

#[test]
fn pictures_and_labels_are_exported_as_kitti_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("out");
    let out = place.to_str().unwrap();
    let run = pattern(&["--export", out, "--count", "5", "--seed", "9", "--scenes", "2", "--step", "3", "--png"]);
    assert!(run.status.success(), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stdout).starts_with("5 pictures of 2 scenes"));
    for number in 0..5 {
        let picture = image::open(place.join(format!("image_2/{number:06}.png"))).unwrap();
        assert_eq!((picture.width(), picture.height()), (640, 360));
        let labels = fs::read_to_string(place.join(format!("label_2/{number:06}.txt"))).unwrap();
        assert!(labels.lines().all(|line| line.split(' ').count() == 15));
    }
    let sequences: Vec<String> =
        (0..2).map(|scene| fs::read_to_string(place.join(format!("label_02/{scene:04}.txt"))).unwrap()).collect();
    assert!(sequences.iter().flat_map(|text| text.lines()).all(|line| line.split(' ').count() == 17));
    // Two pictures of the first scene, three of the second.
    let last = |text: &str| text.lines().last().unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!([last(&sequences[0]), last(&sequences[1])], ["1", "2"]);
    let again = pattern(&["--export", out, "--count", "2", "--seed", "9", "--scenes", "1", "--png"]);
    assert!(again.status.success());
}

#[test]
fn what_cannot_be_exported_is_told() {
    let wrong = pattern(&["--export", "/tmp/nowhere", "--weather", "hail"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("day, night, rain, fog, cap"));
    assert_eq!(pattern(&["--export", "/proc/nowhere", "--count", "1"]).status.code(), Some(73));
    assert_eq!(pattern(&["--export", "/tmp/nowhere", "--width", "3"]).status.code(), Some(64));
}

#[test]
#[ignore = "a measurement: cargo test --release --test suite pattern:: -- --ignored --nocapture"]
fn frames_a_second_on_one_core() {
    for name in ["day", "night", "rain", "fog"] {
        let (mut frames, begin) = (0, std::time::Instant::now());
        let mut making = std::time::Duration::ZERO;
        for seed in 0..20 {
            let before = std::time::Instant::now();
            let mut scene = Scene::new(seed, 640, 360);
            scene.set_weather(Weather::named(name).unwrap());
            scene.frame(0);
            making += before.elapsed();
            for n in 1..100 {
                scene.frame(n);
                frames += 1;
            }
        }
        let rate = f64::from(frames) / (begin.elapsed() - making).as_secs_f64();
        println!("{name}: {rate:.0} frames a second, {:.0} ms for a new scene", making.as_secs_f64() * 50.0);
    }
}
