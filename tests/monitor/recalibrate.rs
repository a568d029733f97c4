//! Recalibrations that are accepted, refused and rolled back.

use std::time::Duration;

use lookout::detector::checkpoint::Checkpoint;
use lookout::detector::int8::Quantized;
use lookout::frame::Picture;
use lookout::message::EventName;
use lookout::monitor::{LedgerEntry, MonitorOptions, RecalibrationPolicy, Reservoir, StoredFrame};
use lookout::quant::artifact::{Artifact, StoredQuantParams, encode};
use lookout::tensor::digest::sha256;

use super::device::{self, Device, between, between_in};
use super::world::{self, Weather};

/// Nightfall, and a lens setting that moves the activations out of their ranges.
fn shifts() -> [(bool, i64, Weather); 4] {
    let night = [true, false].map(|with_reference| (with_reference, 21, Weather::Clear));
    let harsh = [true, false].map(|with_reference| (with_reference, 10, Weather::Harsh));
    [night[0], night[1], harsh[0], harsh[1]]
}

#[test]
fn a_shift_is_learned_and_the_next_morning_is_no_worse() {
    for (with_reference, hour, weather) in shifts() {
        let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
        let mut device = Device::new(&between((8, 18)), with_reference, options);
        device.until(9);
        device.watch(20, 1500, Weather::Clear);
        let before = device.models.serving();
        device.until(hour);
        let changed = device.second;
        device.watch(30, 60, weather);
        let event = device.last(EventName::CalibrationCandidate);
        println!("{weather:?}, reference {with_reference}: {}", event["numbers"]);
        let after = device.models.serving();
        assert!(after.generation >= 1);
        let quality = |second: i64, weather: Weather| {
            let frames: Vec<Picture> = (0..6).map(|at| world::street(second + 97 * at, weather)).collect();
            [&before, &after].map(|served| device.quality_of(served, &frames))
        };
        let (shifted, morning) = (quality(changed + 3600, weather), quality(2 * 86_400 + 9 * 3600, Weather::Clear));
        println!("as shifted {shifted:.2?} dB, in the morning {morning:.2?} dB");
        assert!(shifted[1] > shifted[0] + 0.2, "the error is lower");
        assert!(morning[1] > morning[0] - 0.3, "and no higher in the morning");
        // It passes its probation, and the morning is no drift.
        device.until(9);
        device.watch(12, 60, Weather::Clear);
        assert!(!device.monitor.drift().is_raised());
        assert_eq!(device.models.serving().generation, after.generation);
        assert_eq!(device.models.generations().on_probation_after(), None);
        assert_eq!(device.list()[after.generation as usize]["why"], "drift");
    }
}

/// A busy machine starves the thread of the idle class, whose work then begins again on another one.
#[test]
fn an_interrupted_attempt_is_not_a_failed_one() {
    let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
    let mut device = Device::new(&between((8, 18)), true, options);
    device.until(9);
    device.watch(6, 1500, Weather::Clear);
    let calls_of_a_pass = device.calls;
    device.until(21);
    for _ in 0..30 {
        // Behind the pass, and so in an attempt.
        device.interruption = Some(calls_of_a_pass + 5);
        device.watch(1, 60, Weather::Clear);
        if device.interrupted > 0 {
            break;
        }
    }
    assert_eq!(device.interrupted, 1, "no attempt was made");
    assert!(device.events().contains(&EventName::CalibrationCandidate), "the attempt was not repeated");
}

/// The default artifact has equalized channels and parts of two bytes. In every shift it is closer to fp32 than one
/// without, before and after an attempt.
#[test]
fn by_default_a_shift_does_less_harm_and_an_attempt_none() {
    for (with_reference, hour, weather) in shifts() {
        let pictures = between((8, 18));
        let narrow = Device::new(&pictures, with_reference, MonitorOptions::default());
        let mut device = Device::by_default(&pictures, with_reference, MonitorOptions::default());
        device.until(9);
        assert_eq!(device.watch(6, 3000, Weather::Clear), None, "{:.2}", device.score);
        let before = device.models.serving();
        device.until(hour);
        let shifted: Vec<Picture> = (0..6).map(|at| world::street(device.second + 97 * at, weather)).collect();
        device.watch(30, 60, weather);
        let outcome = device.recalibrate();
        let after = device.models.serving();
        assert_eq!(outcome.accepted, after.generation >= 1);
        let of_narrow = narrow.quality_of(&narrow.models.serving(), &shifted);
        let [first, now] = [&before, &after].map(|served| device.quality_of(served, &shifted));
        println!(
            "{weather:?}, reference {with_reference}: {of_narrow:.2} narrow, {first:.2} and {now:.2} dB, {outcome:?}"
        );
        assert!(first > of_narrow, "the default is closer to fp32");
        assert!(now > first - 0.1, "an attempt does no harm");
        if outcome.accepted {
            let bytes = device.models.generations().load(after.generation).unwrap();
            let header = Artifact::parse(&bytes).unwrap().header().clone();
            assert!(
                header
                    .edges
                    .iter()
                    .any(|edge| edge.qparams.is_some_and(|qparams| { qparams.checked().unwrap().two_bytes }))
            );
        }
    }
}

#[test]
fn the_night_is_drift_to_a_mobilenet_and_an_attempt_is_decided() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&device::narrow_mobilenet(folder.path())).unwrap();
    for with_reference in [true, false] {
        let mut device = Device::of(&checkpoint, &between((8, 18)), with_reference, MonitorOptions::default());
        device.until(9);
        assert_eq!(device.watch(6, 3000, Weather::Clear), None, "reference {with_reference}: {:.2}", device.score);
        let before = device.models.serving();
        device.until(21);
        let night = device.second;
        let flagged = device.watch_for_drift(12, 60, Weather::Clear);
        assert!(flagged.is_some(), "reference {with_reference}: {:.2}", device.score);
        device.watch(16, 60, Weather::Clear);
        let outcome = device.recalibrate();
        let event = device.last(EventName::CalibrationCandidate);
        println!("reference {with_reference}: drift at pass {flagged:?}, {outcome:?}, {}", event["numbers"]);
        // Untrained, it multiplies every rounding: what an attempt gains is chance, but it never serves worse.
        let after = device.models.serving();
        assert_eq!(outcome.accepted, after.generation == 1);
        assert_eq!(outcome.accepted, outcome.reasons.is_empty(), "{:?}", outcome.reasons);
        let frames: Vec<Picture> = (0..6).map(|at| world::street(night + 3600 + 97 * at, Weather::Clear)).collect();
        let [old, new] = [&before, &after].map(|served| device.quality_of(served, &frames));
        assert!(new >= old - 0.3, "by night {old:.2} dB before, {new:.2} dB after");
    }
}

#[test]
#[ignore = "minutes: a table"]
fn scenario_every_weather() {
    println!(
        "| weather | reference | decision | expects dB there, at worst | extent | there | by day | for it alone |"
    );
    println!("|---|---|---|---|---:|---|---|---|");
    for weather in [Weather::Clear, Weather::Fog, Weather::Noise, Weather::Flat, Weather::Harsh] {
        let hours = if weather == Weather::Clear { (20, 24) } else { (8, 18) };
        let alone = Device::new(&between_in(hours, weather), true, MonitorOptions::default());
        for with_reference in [true, false] {
            let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
            let mut device = Device::new(&between((8, 18)), with_reference, options);
            device.until(9);
            device.watch(20, 1500, Weather::Clear);
            let before = device.models.serving();
            let hour = if weather == Weather::Clear { 21 } else { 10 };
            device.until(hour);
            // With few frames an attempt may be refused; it is repeated when there are more.
            for _ in 0..14 {
                if device.models.serving().generation == 0 {
                    device.watch(10, 60, weather);
                }
            }
            let after = device.models.serving();
            let attempts = device.events().iter().filter(|&&event| event == EventName::CalibrationCandidate).count();
            let frames = |hour: i64, weather: Weather| -> Vec<Picture> {
                (0..24).map(|at| world::street(4 * 86_400 + hour * 3600 + 97 * at, weather)).collect()
            };
            let quality = |hour: i64, weather: Weather| {
                let frames = frames(hour, weather);
                [&before, &after].map(|served| device.quality_of(served, &frames))
            };
            let (there, day) = (quality(hour, weather), quality(9, Weather::Clear));
            let event = device.last(EventName::CalibrationCandidate);
            let decision =
                if after.generation > 0 { "accepted".to_owned() } else { event["numbers"]["reasons"].to_string() };
            let name = if weather == Weather::Clear { "Night".to_owned() } else { format!("{weather:?}") };
            let numbers = &event["numbers"];
            let (in_drift, worst) = (&numbers["in_drift"]["gain_db"], &numbers["worst_stratum_gain_db"]);
            print!(
                "| {name} | {with_reference} | {decision}, {attempts} | {in_drift}, {worst} | {} |",
                numbers["extent"]
            );
            let alone = alone.quality_of(&alone.models.serving(), &frames(hour, weather));
            println!(" {:.2} to {:.2} | {:.2} to {:.2} | {alone:.2} |", there[0], there[1], day[0], day[1]);
            assert!(after.generation == 0 || there[1] > there[0], "{name}: {there:.2?} dB");
            assert!(day[1] > day[0] - 0.3, "{name}: {day:.2?} dB by day");
        }
    }
}

/// The artifact `bytes` without the residuals of the first layer's weights.
fn without_residuals(bytes: &[u8]) -> Vec<u8> {
    let artifact = Artifact::parse(bytes).unwrap();
    let mut quantized = Quantized::from_artifact(&artifact, Ok).unwrap();
    quantized.layers.iter_mut().for_each(|layer| layer.residual = None);
    let mut header = artifact.header().clone();
    header.steps.iter_mut().for_each(|step| step.residual = false);
    let counts: Vec<Vec<u32>> = header.edges.iter().map(|edge| artifact.histogram(edge).unwrap()).collect();
    encode(&header, &quantized.to_steps().1, &quantized.equalization.stored(), &counts).unwrap()
}

#[test]
fn a_night_that_ranges_alone_can_hardly_help_is_no_worse_for_them() {
    let options = MonitorOptions { recalibrate: RecalibrationPolicy::OnDrift, ..MonitorOptions::default() };
    let checkpoint = Checkpoint::from_bytes(device::small()).unwrap();
    let bytes = without_residuals(&device::artifact(&checkpoint, &between((8, 18))));
    let mut device = Device::on(&checkpoint, &bytes, false, options);
    device.until(9);
    device.watch(12, 1500, Weather::Clear);
    device.until(21);
    let before = device.models.serving();
    device.watch(12, 60, Weather::Clear);
    let decided = [EventName::CalibrationAccepted, EventName::CalibrationRefused];
    let event = device.events().into_iter().find(|event| decided.contains(event)).expect("a decision");
    let after = device.models.serving();
    for hour in [22, 9] {
        let frames: Vec<_> = (0..8).map(|at| world::street(hour * 3600 + 211 * at, Weather::Clear)).collect();
        let [was, is] = [&before, &after].map(|served| device.quality_of(served, &frames));
        println!("{event:?}: at {hour} h {was:.2} to {is:.2} dB, {}", device.last(event)["numbers"]["gain_db"]);
        assert!(is > was - 0.1, "at {hour} h {was:.2} to {is:.2} dB");
    }
}

#[test]
fn every_poisoned_reservoir_is_refused() {
    let street = |at: usize| world::street(10 * 3600 + 60 * at as i64, Weather::Clear);
    let noise = |seed: usize| {
        let mut state = seed as u32 + 1;
        let mut picture = street(seed);
        for value in &mut picture.data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 24) as u8;
        }
        picture
    };
    type Poison<'a> = Box<dyn Fn(usize) -> Picture + 'a>;
    let poisons: [(&str, Poison<'_>); 5] = [
        ("covered", Box::new(|at| world::covered(at as i64))),
        ("noise", Box::new(noise)),
        (
            "one frame in three is half decoded",
            Box::new(move |at| {
                let mut picture = street(at);
                if at % 3 == 0 {
                    let from = picture.data.len() / 2;
                    picture.data[from..].fill(0);
                }
                picture
            }),
        ),
        (
            "burnt out",
            Box::new(move |at| {
                let mut picture = street(at);
                picture.data.iter_mut().for_each(|value| *value = value.saturating_mul(9).max(140));
                picture
            }),
        ),
        ("the same frame again and again", Box::new(move |_| street(0))),
    ];
    for with_reference in [true, false] {
        for (name, poison) in &poisons {
            let mut device = Device::new(&between((8, 18)), with_reference, MonitorOptions::default());
            device.monitor.take_over(reservoir((0..24).map(poison)));
            let outcome = device.recalibrate();
            println!("{name}, reference {with_reference}: {:?}", outcome.reasons);
            assert!(!outcome.accepted && !outcome.reasons.is_empty(), "{name}");
            assert_eq!(device.models.serving().generation, 0);
            assert_eq!(device.events().last(), Some(&EventName::CalibrationRefused));
        }
    }
}

/// A reservoir of these frames, a minute apart.
pub fn reservoir(frames: impl Iterator<Item = Picture>) -> Reservoir {
    let mut reservoir = Reservoir::new(64 << 20);
    for (at, picture) in frames.enumerate() {
        let png = picture.to_png().unwrap();
        drop(reservoir.insert(StoredFrame::from_png(0, (10 * 3600 + 60 * at as i64) * 1_000_000, png).unwrap()));
    }
    reservoir
}

#[test]
fn the_same_reservoir_gives_the_same_bytes() {
    // Each shift and each way to measure it once.
    let [night, .., harsh] = shifts();
    for (with_reference, hour, weather) in [night, harsh] {
        let bytes: Vec<Vec<u8>> = (0..2)
            .map(|_| {
                let mut device = Device::new(&between((8, 18)), with_reference, MonitorOptions::default());
                let day = (0..9).map(|at| world::street(12 * 3600 + 600 * at, Weather::Clear));
                let shifted = (0..15).map(|at| world::street(hour * 3600 + 60 * at, weather));
                device.monitor.take_over(reservoir(day.chain(shifted)));
                let outcome = device.recalibrate();
                assert!(outcome.accepted, "{outcome:?}");
                device.models.generations().load(outcome.generation).unwrap()
            })
            .collect();
        assert!(bytes[0] == bytes[1]);
        let artifact = Artifact::parse(&bytes[0]).unwrap();
        assert_eq!((artifact.header().provenance.generation, artifact.header().provenance.parent.is_some()), (1, true));
    }
}

/// Generation `number`: generation 0, `first`, with every scale `factor` times as large.
pub fn rescaled(first: &[u8], number: u32, factor: f32) -> Vec<u8> {
    let artifact = Artifact::parse(first).unwrap();
    let quantized = Quantized::from_artifact(&artifact, Ok).unwrap();
    let mut header = artifact.header().clone();
    header.provenance.generation = number;
    header.provenance.parent = Some(sha256(first));
    for edge in &mut header.edges {
        edge.qparams = edge.qparams.map(|qparams| StoredQuantParams { scale: qparams.scale * factor, ..qparams });
    }
    let counts: Vec<Vec<u32>> = header.edges.iter().map(|edge| artifact.histogram(edge).unwrap()).collect();
    encode(&header, &quantized.to_steps().1, &quantized.equalization.stored(), &counts).unwrap()
}

fn force(device: &Device, number: u32, factor: f32) {
    let bytes = rescaled(&device.models.generations().load(0).unwrap(), number, factor);
    let artifact = Artifact::parse(&bytes).unwrap();
    let quantized = Quantized::from_artifact(&artifact, Ok).unwrap();
    let serving = device.models.serving();
    let model = std::sync::Arc::new(serving.model.with_quant_params(&quantized).unwrap());
    let entry = LedgerEntry {
        generation: number,
        sha256: sha256(&bytes),
        at: "2026-01-02T00:00:00Z".into(),
        why: "asked".into(),
        rolled_back: None,
        numbers: serde_json::Value::Null,
    };
    device.models.accept(serving.generation, &bytes, model, entry).unwrap();
}

#[test]
fn a_forced_bad_generation_is_rolled_back_on_probation() {
    for with_reference in [true, false] {
        let mut device = Device::new(&between((8, 18)), with_reference, MonitorOptions::default());
        device.until(10);
        device.watch(3, 30, Weather::Clear);
        force(&device, 1, 6.0);
        assert_eq!(device.models.serving().generation, 1);
        device.watch(12, 30, Weather::Clear);
        assert_eq!(device.models.serving().generation, 0, "{:?}", device.events());
        let event = device.last(EventName::CalibrationRolledBack);
        assert_eq!((event["from"].as_u64(), event["to"].as_u64()), (Some(1), Some(0)));
        println!("reference {with_reference}: {}", event["reason"]);
        assert_eq!(device.host.served.lock().unwrap().as_slice(), [1, 0]);
        let list = device.list();
        assert!(list[1]["rolled_back"].is_string() && list[0]["serving"] == true);
        // A generation as good as the one before passes.
        force(&device, 2, 1.0);
        device.watch(14, 30, Weather::Clear);
        assert_eq!((device.models.serving().generation, device.models.generations().on_probation_after()), (2, None));
    }
}

#[test]
fn the_owner_pins_compares_and_rolls_back() {
    let mut device =
        Device::new(&between((8, 18)), true, MonitorOptions { keep_generations: 3, ..MonitorOptions::default() });
    for number in 1..=4 {
        force(&device, number, 1.0 + 0.01 * number as f32);
    }
    let list = device.list();
    let on_disk: Vec<bool> = list.as_array().unwrap().iter().map(|entry| entry["on_disk"] == true).collect();
    assert_eq!(on_disk, [true, false, false, true, true], "the first, the serving one and the one before");
    let compared = serde_json::to_value(device.models.compare(0, 4).unwrap()).unwrap();
    assert!((compared["largest_first"][0]["ratio"].as_f64().unwrap() - 1.04).abs() < 1e-5, "{compared}");
    assert!(device.models.compare(0, 1).is_err(), "it is gone");
    assert_eq!(device.models.roll_back("asked for", serde_json::Value::Null).unwrap(), 3);
    device.models.pin(Some(0)).unwrap();
    assert_eq!((device.models.serving().generation, device.models.generations().pinned()), (0, Some(0)));
    assert!(device.models.pin(Some(9)).is_err());
    device.models.pin(None).unwrap();
    device.until(10);
    device.watch(2, 30, Weather::Clear);
    assert_eq!(device.models.serving().generation, 0);
}

#[test]
fn an_oscillation_halts_recalibration() {
    // Two weathers alternate: a recalibration for one reverses that for the other.
    let options = MonitorOptions {
        recalibrate: RecalibrationPolicy::Every(Duration::from_secs(3600)),
        ..MonitorOptions::default()
    };
    let mut device = Device::new(&between((8, 18)), true, options);
    device.until(10);
    force(&device, 1, 1.3);
    device.models.generations().confirm().unwrap();
    device.watch(32, 120, Weather::Clear);
    let refused = device.last(EventName::CalibrationRefused);
    println!("{refused:?}");
    assert!(refused["reasons"][0].as_str().unwrap().contains("take back"), "{refused:?}");
    assert_eq!(device.models.serving().generation, 1);
}
