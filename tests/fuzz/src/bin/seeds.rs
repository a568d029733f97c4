//! Writes the seeds: small, valid files of every kind the readers know. Run in this folder after a format changed.

use std::fs;
use std::path::Path;

use lookout::calibrate::{EdgeEntry, Record, Recorder};
use lookout::quant::artifact::{
    Agreement, Calibration, Edge, FORMAT, Header, Precision, Provenance, Spread, Step, StepWeights, encode,
};
use lookout::quant::{QuantParams, FilterBank, Granularity, Range, Residual, Response, ScaleRule, Scheme};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let artifacts = Path::new("corpus/artifact");
    let records = Path::new("corpus/record");
    fs::create_dir_all(artifacts)?;
    fs::create_dir_all(records)?;
    fs::write(artifacts.join("seed-int8"), artifact(Precision::Int8Static)?)?;
    fs::write(artifacts.join("seed-dynamic"), artifact(Precision::Int8Dynamic)?)?;
    fs::write(artifacts.join("seed-fp32"), artifact(Precision::Fp32)?)?;
    fs::write(records.join("seed-two"), record()?)?;
    Ok(())
}

fn artifact(precision: Precision) -> lookout::error::Result<Vec<u8>> {
    let values: Vec<f32> = (0..2 * 4 * 3).map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0).collect();
    let bank = FilterBank { values: &values, out: 2, channels: 3 };
    let has_residual = precision == Precision::Int8Static;
    let weights = if precision.is_int8() {
        let weights = bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, &[])?;
        let residual =
            has_residual.then(|| Box::new((Residual::of(&bank, &weights), vec![0.5, 0.0, 2.0, 1.0, 0.0, 9.0])));
        let ways = [(vec![1.0, -2.0, 0.5], vec![0.25, -0.5]), (vec![0.0, 1.0, 0.0], vec![0.125, 0.0])];
        let responses = if has_residual { vec![(vec![0.5, 2.0, 0.0], Response::of(&ways).stored())] } else { vec![] };
        StepWeights::Int8 { weights, bias: vec![1.0, -2.0], residual, responses }
    } else {
        StepWeights::Float { weights: values, bias: vec![1.0, -2.0] }
    };
    let mut recorder = Recorder::new();
    recorder.observe(&[0.0, 0.0, 0.001, 0.002])?;
    let (bins, counts) = recorder.finish().stored();
    let range = Range::new(-0.5, 1.0);
    let spread = Spread { mean: 0.25, deviation: 0.125 };
    let edge = |name: &str, qparams, histogram| Edge {
        name: name.into(),
        qparams,
        range,
        clipped: Some(spread),
        distance: Some(spread),
        power_db: vec![spread],
        histogram,
    };
    let header = Header {
        format: FORMAT.into(),
        plan: serde_json::json!({ "a": 1 }),
        labels: vec!["Person".into()],
        recipe: "lookout".into(),
        pair_safe: true,
        steps: vec![Step {
            name: "s".into(),
            precision,
            shape: [2, 2, 2, 3],
            runs: 1,
            sqnr_db: vec![spread],
            residual: has_residual,
            responses: if has_residual { 2 } else { 0 },
        }],
        edges: vec![
            edge("in", Some(QuantParams::covering(range, Scheme::Affine).into()), Some(bins)),
            edge("out", None, None),
        ],
        calibration: Calibration {
            observer: "l2".into(),
            scheme: Scheme::Affine,
            pictures: 1,
            sha256: "0".repeat(64),
            unfit: vec!["p".into()],
            agreement: Some(Agreement { pictures: 2, reference: 3, matched: 2, shifted: 1, vanished: 1, appeared: 0 }),
            scenes: vec![spread],
        },
        provenance: Provenance { source_sha256: "1".repeat(64), generation: 1, parent: Some("2".repeat(64)) },
    };
    encode(&header, &[weights], &[counts, vec![]])
}

fn record() -> lookout::error::Result<Vec<u8>> {
    let edges = ["a", "b"].map(|name| EdgeEntry { name: name.into(), channels: 1 });
    let mut record = Record::new("3".repeat(64), edges.to_vec());
    for (name, offset) in [("p", 0.0), ("q", -1.5)] {
        let mut recorder = Recorder::new();
        recorder.observe(&[0.0, offset, 0.3, 2.0])?;
        record.add(name, [7; 32], &[recorder.take(), recorder.finish()], vec![0.5, offset])?;
    }
    record.encode()
}
