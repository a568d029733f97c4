//! Writes the seeds: small, valid files of every kind the readers know. Run in this folder after a format changed.

use std::fs;
use std::path::Path;

use lookout::calibrate::{RecordEdge, CalibrationRecord, HistogramBuilder};
use lookout::quant::artifact::{
    StoredAgreement, CalibrationHeader, EdgeHeader, FORMAT, Header, Precision, Provenance, MeanStd, RunBiasShift, StepHeader, StepResidual, StepTensors, WeightType, encode,
};
use lookout::quant::{Digits, QuantParams, FilterBank, Granularity, Range, PerturbationEffect, RoundingResidual, BiasShiftModel, ScaleRule, Scheme};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let artifacts = Path::new("corpus/artifact");
    let records = Path::new("corpus/record");
    fs::create_dir_all(artifacts)?;
    fs::create_dir_all(records)?;
    fs::write(artifacts.join("seed-int8"), artifact(Precision::Int8Static)?)?;
    fs::write(artifacts.join("seed-dynamic"), artifact(Precision::Int8Dynamic)?)?;
    fs::write(artifacts.join("seed-fp32"), artifact(Precision::Fp32)?)?;
    fs::write(records.join("seed-two"), record()?)?;
    // State dicts are committed once, with the tests that import them.
    let imports = Path::new("corpus/import");
    fs::create_dir_all(imports)?;
    for name in ["legacy-objects-protocol1.pth", "zip-module.pth", "zip-objects.pth", "zip-two.pth"] {
        fs::copy(Path::new("../checkpoints").join(name), imports.join(name))?;
    }
    Ok(())
}

fn artifact(precision: Precision) -> lookout::error::Result<Vec<u8>> {
    let values: Vec<f32> = (0..2 * 4 * 3).map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0).collect();
    let bank = FilterBank { values: &values, out: 2, channels: 3 };
    let has_residual = precision == Precision::Int8Static;
    let weights = if precision.is_int8() {
        let weights = bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, Digits::One, &[])?;
        let residual =
            has_residual.then(|| Box::new(StepResidual { residual: RoundingResidual::of(&bank, &weights), input_moments: vec![0.5, 0.0, 2.0, 1.0, 0.0, 9.0] }));
        let effects = [(vec![1.0, -2.0, 0.5], vec![0.25, -0.5]), (vec![0.0, 1.0, 0.0], vec![0.125, 0.0])]
            .map(|(input_change, bias_shift)| PerturbationEffect { input_change, bias_shift });
        let model = BiasShiftModel::new(&effects).stored();
        let bias_shifts = if has_residual { vec![RunBiasShift { reference_means: vec![0.5, 2.0, 0.0], model }] } else { vec![] };
        StepTensors::Int8 { weights, bias: vec![1.0, -2.0], residual, bias_shifts }
    } else {
        StepTensors::Float { weights: values, bias: vec![1.0, -2.0] }
    };
    let mut builder = HistogramBuilder::new();
    builder.observe(&[0.0, 0.0, 0.001, 0.002])?;
    let (bins, counts) = builder.finish().stored().unwrap_or_else(|| unreachable!("values were counted"));
    let range = Range::new(-0.5, 1.0);
    let spread = MeanStd { mean: 0.25, std: 0.125 };
    let edge = |name: &str, qparams, histogram| EdgeHeader {
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
        steps: vec![StepHeader {
            name: "s".into(),
            precision,
            weight: Some(if has_residual { WeightType::S8 } else { WeightType::F32 }),
            shape: [2, 2, 2, 3],
            groups: 1,
            runs: 1,
            sqnr_db: vec![spread],
            residual: has_residual,
            perturbations: if has_residual { 2 } else { 0 },
        }],
        edges: vec![
            edge("in", Some(QuantParams::covering(range, Scheme::Affine).into()), Some(bins)),
            edge("out", None, None),
        ],
        canvas: None,
        equalization: 3,
        calibration: CalibrationHeader {
            observer: "l2".into(),
            scheme: Scheme::Affine,
            pictures: 1,
            sha256: "0".repeat(64),
            unusable_reasons: vec!["p".into()],
            agreement: Some(StoredAgreement { pictures: 2, reference: 3, matched: 2, shifted: 1, vanished: 1, appeared: 0 }),
            power_profiles: vec![spread],
        },
        provenance: Provenance { source_sha256: "1".repeat(64), generation: 1, parent: Some("2".repeat(64)) },
    };
    encode(&header, &[weights], &[0.5, 1.0, 2.0], &[counts, vec![]])
}

fn record() -> lookout::error::Result<Vec<u8>> {
    let edges = ["a", "b"].map(|name| RecordEdge { name: name.into(), channels: 1 });
    let mut record = CalibrationRecord::new("3".repeat(64), edges.to_vec(), vec![0.5, 1.0, 2.0]);
    for (name, offset) in [("p", 0.0), ("q", -1.5)] {
        let mut builder = HistogramBuilder::new();
        builder.observe(&[0.0, offset, 0.3, 2.0])?;
        record.add(name, [7; 32], &[builder.take(), builder.finish()], vec![0.5, offset])?;
    }
    record.encode()
}
