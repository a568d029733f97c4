//! Recalibrations on poisoned reservoirs: refused or harmless.

use lookout::frame::Picture;
use lookout::message::EventName;
use lookout::monitor::{MonitorOptions, RecalibrationOutcome};

use super::super::device::{Device, between};
use super::super::recalibrate::reservoir;
use super::super::world::{self, Weather};
use super::faults;
use super::poisons::{self, Poison};

/// Outcome of a recalibration on a reservoir.
struct PoisonOutcome {
    accepted: bool,
    reasons: Vec<String>,
    /// Loss on the clear street, in dB.
    loss_db: f64,
    /// True if the clear street was drift afterwards.
    drifting: bool,
    generation: u32,
}

fn recalibrate_on(frames: impl Iterator<Item = Picture>, with_reference: bool) -> PoisonOutcome {
    let mut device = Device::new(&between((8, 18)), with_reference, MonitorOptions::default());
    device.monitor.take_over(reservoir(frames));
    let before = device.models.serving();
    let RecalibrationOutcome { accepted, reasons, .. } = device.recalibrate();
    if !accepted {
        return PoisonOutcome { accepted, reasons, loss_db: 0.0, drifting: false, generation: 0 };
    }
    let after = device.models.serving();
    let clear: Vec<_> = (0..8).map(|at| world::street(9 * 3600 + 4003 * at, Weather::Clear)).collect();
    let [was, is] = [&before, &after].map(|served| device.quality_of(served, &clear));
    device.until(9);
    device.watch(14, 90, Weather::Clear);
    let drifting = device.events().contains(&EventName::DriftRaised);
    let generation = device.models.serving().generation;
    PoisonOutcome { accepted, reasons, loss_db: was - is, drifting, generation }
}

#[test]
#[ignore = "minutes: a table"]
fn scenario_unseen_poisons() {
    println!("| poison | share | reference | outcome | clear street loses dB | drift | serves |");
    println!("|---|---|---|---|---:|---|---:|");
    for poison in poisons::all().into_iter().chain(faults::all().into_iter().map(Poison::of)) {
        for one_in in [1, 5] {
            for with_reference in [true, false] {
                let frames = (0..24).map(|at| poisons::mixed(&poison, one_in, at));
                let result = recalibrate_on(frames, with_reference);
                assert!(result.loss_db < 0.3, "{}: {:.2} dB", poison.name, result.loss_db);
                let outcome = if result.accepted { "accepted".to_owned() } else { result.reasons.join("; ") };
                let share = if one_in == 1 { "all" } else { "a fifth" };
                let reference = if with_reference { "yes" } else { "no" };
                print!("| {} | {share} | {reference} | {outcome} |", poison.name);
                println!(" {:.2} | {} | {} |", result.loss_db, result.drifting, result.generation);
            }
        }
    }
}

/// One after the other: each is some seconds of work.
#[test]
fn unseen_poisons_are_refused_or_harmless() {
    let all = poisons::all();
    let poison = |name: &str| -> &Poison { all.iter().find(|poison| poison.name == name).unwrap() };
    for (name, one_in, reason) in [
        ("half green and garbage", 5, Some("5 of 24 frames are unusable: 5 incomplete")),
        ("stripes", 1, Some("24 of 24 frames are unusable: 24 noise")),
        ("only black and white", 5, Some("5 of 24 frames are unusable: 5 overexposed")),
        ("frozen but for a clock", 1, Some("fewer than 12")),
        ("a test card", 1, Some("12 objects are detected in 12 frames")),
        ("garbage without green", 1, Some("3 objects are detected in 12 frames")),
        ("no green", 1, Some("24 of 24 frames are unusable: 24 incomplete")),
        ("a strobe of gain", 1, Some("24 frames are unusable: 22 unlike those just before and after")),
        ("half of a frame of the night", 5, Some("5 of 24 frames are unusable: 5 unlike those just before and after")),
        ("an office", 5, Some("5 of 24 frames are unusable: 5 unlike those just before and after")),
        ("upside down", 5, Some("5 of 24 frames are unusable: 5 unlike those just before and after")),
        ("another street on a screen", 1, Some("27 objects are detected in 12 frames")),
        ("half of a frame of the night", 1, None),
        ("frozen but for the sensor", 1, None),
    ] {
        let frames = (0..24).map(|at| poisons::mixed(poison(name), one_in, at));
        let result = recalibrate_on(frames, true);
        println!("{name}: {:?}, the clear street loses {:.2} dB", result.reasons, result.loss_db);
        match reason {
            Some(reason) => assert!(!result.accepted && result.reasons[0].contains(reason), "{:?}", result.reasons),
            None => assert!(result.loss_db < 0.3 && !result.drifting, "{name}"),
        }
    }
}
