//! The shifts on a real drive and a ResNet-50, from `../shared`, without the reference; and that no real picture is
//! unusable. Skipped with a message where the folder is absent.

use std::path::Path;

use lookout::detector::checkpoint::Checkpoint;
use lookout::frame::{Picture, PictureFolder};
use lookout::monitor::{MonitorOptions, SampleOutcome, UsabilityCheck};

use super::super::device::{Device, ROAD_SMALL, road};
use super::{lens, shifts};
use crate::golden;

fn load(folder: &Path, one_in: usize) -> Vec<Picture> {
    PictureFolder::with_subfolders(folder)
        .unwrap()
        .pictures
        .iter()
        .step_by(one_in)
        .map(|path| halved(&Picture::open(path).unwrap()))
        .collect()
}

#[test]
#[ignore = "minutes, and needs ../shared"]
fn scenario_unseen_shifts_of_a_real_drive() {
    let at = tempfile::tempdir().unwrap();
    let (Some(path), Some(drive), Some(folder)) =
        (road(at.path(), ROAD_SMALL), golden::shared("data/kitti-drive-0052"), golden::shared("data/road-calib"))
    else {
        return;
    };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let pictures = load(&drive, 1);
    let own: Vec<_> = pictures.iter().step_by(3).cloned().collect();
    for (name, calibration) in [("the drive", own), ("other roads", load(&folder, 5))] {
        let mut clear_db = 0.0;
        for shift in shifts::of_any_picture() {
            let mut device = Device::of(&checkpoint, &calibration, false, MonitorOptions::default());
            let mut first = None;
            let mut most = 0f64;
            let passes = if shift.name == "nothing" { 40 } else { 9 };
            for pass in 1..=passes {
                device.second += 30;
                let clear = &pictures[(pass * 7) % pictures.len()];
                let clear = lens::noisy(clear, 1.0, device.second);
                match device.show((shift.spoil)(clear, device.second), None) {
                    SampleOutcome::Unusable(reason) => println!("{reason:?}"),
                    SampleOutcome::Compared(verdict) => {
                        if verdict.drifting {
                            first = first.or(Some(pass));
                        }
                        most = most.max(verdict.score);
                    }
                }
            }
            let shown: Vec<_> = (0..4).map(|at| (shift.spoil)(pictures[at * 19].clone(), at as i64)).collect();
            let sqnr_db = device.quality_of(&device.models.serving(), &shown);
            println!("{name}: {} flagged {first:?} worst {most:.2}, {sqnr_db:.1} dB", shift.name);
            if shift.name == "nothing" {
                clear_db = sqnr_db;
            }
            let mild = ["nothing", "exposure +10 %"].contains(&shift.name);
            assert!(first.is_none() || !mild, "{name}: {}", shift.name);
            assert!(first.is_some() || clear_db - sqnr_db < 2.0, "{name}: {}", shift.name);
        }
    }
}

/// Half as wide and high: what the network sees of it anyway.
fn halved(picture: &Picture) -> Picture {
    let (width, height) = (picture.width / 2, picture.height / 2);
    let mut out = Picture::filled(width, height, [0; 3]);
    for y in 0..height {
        for x in 0..width {
            for i in 0..3 {
                let sum: u16 = [(0, 0), (1, 0), (0, 1), (1, 1)]
                    .map(|(dx, dy)| u16::from(picture.pixel(2 * x + dx, 2 * y + dy)[i]))
                    .iter()
                    .sum();
                out.data[(y * width + x) * 3 + i] = (sum / 4) as u8;
            }
        }
    }
    out
}

#[test]
#[ignore = "needs ../shared"]
fn scenario_unseen_real_pictures_are_usable() {
    let Some(data) = golden::shared("data") else { return };
    let mut count = 0;
    for folder in std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for path in PictureFolder::with_subfolders(&folder).unwrap_or_default().pictures {
            let usable = UsabilityCheck::default().check(&Picture::open(&path).unwrap(), None);
            assert!(usable.is_ok(), "{}: {usable:?}", path.display());
            count += 1;
        }
    }
    println!("{count} pictures are usable");
}
