//! Shifts and poisons that the monitor was not designed for.
//!
//! Flagged must be a shift under which int8 departs from fp32, or its activations from their calibration; not flagged,
//! ordinary changes of a day. A recalibration on a poisoned reservoir must be refused or harmless.
//!
//! ```sh
//! cargo test --release --test suite unseen -- --ignored --nocapture --test-threads 1
//! ```

mod drive;
mod faults;
mod lens;
mod poisons;
mod shifts;
mod taught;

use lookout::camera::pattern::{Label, Truth};
use lookout::detector::boxes::iou;
use lookout::detector::detection::Detection;
use lookout::frame::Picture;
use lookout::measure::Agreement;
use lookout::monitor::{MonitorOptions, PassRunner, SampleOutcome, UnusableReason};
use shifts::Shift;

use super::device::{Device, between, mean_sqnr};
use super::world::{self, Weather};

/// 30 seconds, as sampled by default.
const STEP: i64 = 30;
/// From this score on a detection counts.
const SCORE: f32 = 0.5;

/// Result of the passes on a shift.
#[derive(Debug)]
struct Watched {
    flagged: Option<usize>,
    unusable: Vec<UnusableReason>,
    score: f64,
    worst: String,
    by: String,
}

/// Passes on a shift.
fn watch(device: &mut Device, passes: usize, step: i64, shift: &Shift) -> Watched {
    let mut watched =
        Watched { flagged: None, unusable: Vec::new(), score: 0.0, worst: String::new(), by: String::new() };
    for pass in 1..=passes {
        device.second += step;
        match device.show(shift.picture(device.second), None) {
            SampleOutcome::Unusable(reason) => watched.unusable.push(reason),
            SampleOutcome::Compared(verdict) => {
                if verdict.drifting {
                    watched.flagged = watched.flagged.or(Some(pass));
                }
                if verdict.score > watched.score {
                    watched.score = verdict.score;
                    let plan = device.reference.plan();
                    watched.worst = plan.steps[verdict.worst_step].name.clone();
                    let figures = device.view.table();
                    let row = figures.as_array().unwrap().iter().find(|row| row["step"] == *watched.worst);
                    watched.by = row.map(|row| row["by"].as_str().unwrap_or("?").to_owned()).unwrap_or_default();
                }
            }
        }
    }
    watched
}

/// Quality of a model on a shift.
#[derive(Debug, Default, Clone)]
struct Sight {
    sqnr_db: f64,
    agreement: Agreement,
    truths: usize,
    found: usize,
    detections: usize,
    right: usize,
}

impl Sight {
    fn count(&mut self, truths: &[Truth], detections: &[Detection], moved: shifts::Moved) {
        let detections: Vec<&Detection> = detections.iter().filter(|found| found.score >= SCORE).collect();
        let is = |truth: &Truth, found: &Detection| {
            let class = Label::ALL.iter().position(|label| *label == truth.label).unwrap() as u32 + 1;
            found.class_id == class && iou(moved(truth.bbox), found.bbox) >= 0.5
        };
        let held: Vec<&Truth> = truths.iter().filter(|truth| truth.counts()).collect();
        self.truths += held.len();
        self.found += held.iter().filter(|truth| detections.iter().any(|found| is(truth, found))).count();
        self.detections += detections.len();
        self.right += detections.iter().filter(|found| truths.iter().any(|truth| is(truth, found))).count();
    }
}

fn sight(device: &Device, frames: i64, shift: &Shift) -> Sight {
    let served = device.models.serving();
    let mut looker = PassRunner::new(served.model.plan().clone(), Some(device.reference.clone())).unwrap();
    let mut sight = Sight::default();
    for at in 0..frames {
        let second = 36_000 + 97 * at;
        let truths = world::filmed(second, shift.air).1;
        let look = looker.run(&served.model, &shift.picture(second), false, &mut || Ok(())).unwrap();
        sight.sqnr_db += mean_sqnr(&look.errors) / frames as f64;
        sight.agreement.merge(&look.agreement.unwrap());
        if let Some(moved) = shift.moved {
            sight.count(&truths, &look.detections, moved);
        }
    }
    sight
}

/// A row of the table.
struct Row {
    name: &'static str,
    with_reference: bool,
    /// Flagged as drift or as unusable.
    is_flagged: bool,
    /// With the reference.
    sqnr_db: f64,
}

/// Prints the results of the shifts after some clear passes, with and without the reference.
fn table(shifts: &[Shift], calibration: &[Picture], passes: usize, step: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    println!("| shift | reference | flagged | off | step | by | SQNR dB | found again | recall | precision |");
    println!("|---|---|---|---:|---|---|---:|---|---|---|");
    for shift in shifts {
        for with_reference in [true, false] {
            let mut device = Device::new(calibration, with_reference, MonitorOptions::default());
            device.until(10);
            device.watch(3, STEP, Weather::Clear);
            let Watched { flagged, unusable, score, worst, by } = watch(&mut device, passes, step, shift);
            let is_flagged = flagged.is_some() || !unusable.is_empty();
            let mut row = Row { name: shift.name, with_reference, is_flagged, sqnr_db: 0.0 };
            let flag = match (flagged, unusable.as_slice()) {
                (_, [reason, ..]) => format!("{} {}", unusable.len(), reason.name()),
                (Some(pass), []) => pass.to_string(),
                (None, []) => "no".to_owned(),
            };
            let reference = if with_reference { "yes" } else { "no" };
            print!("| {} | {reference} | {flag} | {score:.1} | {worst} | {by} |", shift.name);
            if with_reference {
                let Sight { sqnr_db, agreement, truths, found, detections, right } = sight(&device, 20, shift);
                let Agreement { matched, vanished, appeared, .. } = agreement;
                print!(" {sqnr_db:.1} | {matched} of {}, {appeared} more |", matched + vanished);
                println!(" {found} of {truths} | {right} of {detections} |");
                row.sqnr_db = sqnr_db;
            } else {
                println!(" | | | |");
            }
            rows.push(row);
        }
    }
    rows
}

#[test]
#[ignore = "minutes: a table"]
fn scenario_unseen_shifts() {
    let all: Vec<Shift> = shifts::all().into_iter().chain(faults::all()).collect();
    let rows = table(&all, &between((8, 18)), 10, STEP);
    let clear = rows[0].sqnr_db;
    for row in rows.iter().filter(|row| row.with_reference) {
        let departed = clear - row.sqnr_db > 1.0;
        assert!(row.is_flagged || !departed, "{}: {:.1} dB of {clear:.1} dB", row.name, row.sqnr_db);
    }
}

#[test]
#[ignore = "minutes: a table"]
fn scenario_unseen_every_day() {
    for row in table(&shifts::mild(), &between((0, 24)), 30, 131) {
        assert!(!row.is_flagged, "{}, reference {}", row.name, row.with_reference);
    }
}

/// The shift of a name.
fn named(shifts: Vec<Shift>, name: &str) -> Shift {
    shifts.into_iter().find(|shift| shift.name == name).unwrap()
}

#[test]
fn unseen_shifts_are_flagged_without_the_reference() {
    for name in ["defocus, sigma 2", "infrared night", "negative", "zoomed twofold", "low sun", "pink: chroma lost"] {
        let shift = named(shifts::all(), name);
        let mut device = Device::new(&between((8, 18)), false, MonitorOptions::default());
        device.until(10);
        device.watch(3, STEP, Weather::Clear);
        let watched = watch(&mut device, 10, STEP, &shift);
        assert!(watched.flagged.is_some() && watched.unusable.is_empty(), "{name}: {watched:?}");
    }
}

#[test]
fn unseen_shifts_are_flagged_with_the_reference() {
    for name in ["upside down", "a quarter of the resolution", "JPEG, quality 5"] {
        let shift = named(shifts::all(), name);
        let mut device = Device::new(&between((8, 18)), true, MonitorOptions::default());
        device.until(10);
        let watched = watch(&mut device, 10, STEP, &shift);
        assert!(watched.flagged.is_some() && watched.unusable.is_empty(), "{name}: {watched:?}");
    }
}

#[test]
fn changes_of_every_day_are_no_drift() {
    let full_day = between((0, 24));
    for shift in shifts::mild() {
        let mut device = Device::new(&full_day, false, MonitorOptions::default());
        device.until(10);
        let watched = watch(&mut device, 12, 131, &shift);
        assert!(watched.flagged.is_none() && watched.unusable.is_empty(), "{}: {watched:?}", shift.name);
    }
}
