//! Tests of the artifact format: round trips, and files that the reader must refuse.

use serde_json::{Value, json};

use super::*;
use crate::quant::container::{self, Container, Tensor};
use crate::quant::{
    BiasShiftModel, Digits, FilterBank, Granularity, PerturbationEffect, QuantParams, Range, RoundingResidual,
    ScaleRule, Scheme,
};

/// A model of two steps and three edges.
fn model() -> (Header, Vec<StepTensors>, Vec<Vec<u32>>) {
    model_of(Digits::One)
}

/// The same, wide with two digits: its weights, its canvas and its first edge.
fn model_of(digits: Digits) -> (Header, Vec<StepTensors>, Vec<Vec<u32>>) {
    let two = digits == Digits::Two;
    let values: Vec<f32> = (0..2 * 9 * 4).map(|i| ((i * 37 % 19) as f32 - 9.0) / 9.0).collect();
    let bank = FilterBank { values: &values, out: 2, channels: 4 };
    let weights = bank.quantize(ScaleRule::PairSearch, Granularity::PerChannel, digits, &[]).unwrap();
    let residual = RoundingResidual::of(&bank, &weights);
    let residual = Box::new(StepResidual { residual, input_moments: (0..16).map(|c| c as f32).collect() });
    let effect = |seed: usize| PerturbationEffect {
        input_change: (0..4).map(|c| (c * seed) as f64 - 1.0).collect(),
        bias_shift: vec![0.5 * seed as f64, -0.25],
    };
    let model = |run: usize| BiasShiftModel::new(&[effect(run), effect(run + 1), effect(run + 2)]).stored();
    let bias_shifts =
        (1..3).map(|run| RunBiasShift { reference_means: vec![run as f32; 4], model: model(run) }).collect();
    let step = |name: &str, precision: Precision, shape, runs| StepHeader {
        name: name.into(),
        precision,
        weight: Some(match (precision.is_int8(), two) {
            (true, false) => WeightType::S8,
            (true, true) => WeightType::S8x2,
            (false, _) => WeightType::F32,
        }),
        shape,
        groups: 1,
        runs,
        sqnr_db: vec![],
        residual: precision.is_int8(),
        perturbations: if precision.is_int8() { 3 } else { 0 },
    };
    let range = Range::new(-0.1, 2.3);
    let edge = |name: &str, qparams, histogram| EdgeHeader {
        name: name.into(),
        qparams,
        range,
        clipped: Some(MeanStd { mean: 0.001, std: 0.1 }),
        distance: None,
        power_db: vec![MeanStd { mean: -20.0, std: 1.5 }; 2],
        histogram,
    };
    let header = Header {
        format: FORMAT.into(),
        plan: json!({ "anchors": [32.0, 0.7] }),
        labels: vec!["Person".into(), "N/A".into(), "N/A".into()],
        recipe: "lookout".into(),
        pair_safe: true,
        steps: vec![
            step("rpn.head.conv.0.0", Precision::Int8Static, [2, 3, 3, 4], 2),
            step("head.fc", Precision::Fp32, [1, 1, 1, 3], 1),
        ],
        edges: vec![
            edge("a@P2", Some(QuantParams::covering(range, Scheme::Affine).with_two_bytes(two).into()), None),
            edge("b", None, Some(HistogramBins { exponent: -5, first: -2, bins: 3, shift: 1 })),
        ],
        canvas: two.then_some(EdgeType::U16),
        equalization: 0,
        calibration: CalibrationHeader {
            observer: "l2".into(),
            scheme: Scheme::Affine,
            pictures: 64,
            sha256: "0123456789abcdef".repeat(4),
            unusable_reasons: vec![],
            agreement: Some(StoredAgreement {
                pictures: 3,
                reference: 10,
                matched: 9,
                shifted: 2,
                vanished: 1,
                appeared: 0,
            }),
            power_profiles: vec![MeanStd { mean: 0.75, std: 0.25 }; 2],
        },
        provenance: Provenance { source_sha256: "f".repeat(64), generation: 0, parent: None },
    };
    let weights = vec![
        StepTensors::Int8 { weights, bias: vec![1.0, -2.0, 0.5, 0.25], residual: Some(residual), bias_shifts },
        StepTensors::Float { weights: vec![0.1, 0.2, 0.3], bias: vec![0.0] },
    ];
    (header, weights, vec![vec![], vec![1, 0, 7]])
}

fn bytes() -> Vec<u8> {
    let (header, weights, histograms) = model();
    encode(&header, &weights, &[], &histograms).unwrap()
}

/// The file with one metadata value replaced and new checksums.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let bytes = bytes();
    let container = Container::parse(&bytes).unwrap();
    let mut metadata = Value::Object(container.metadata().clone());
    match metadata.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            metadata.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    let mut changed = Vec::new();
    container::write(&mut changed, metadata.as_object().unwrap(), &container.tensors()).unwrap();
    changed
}

/// The file with one tensor added or replaced.
fn with_tensor(name: &str, tensor: Tensor) -> Vec<u8> {
    let bytes = bytes();
    let container = Container::parse(&bytes).unwrap();
    let mut tensors = container.tensors();
    tensors.insert(name.into(), tensor);
    let mut changed = Vec::new();
    container::write(&mut changed, container.metadata(), &tensors).unwrap();
    changed
}

#[test]
fn written_models_are_read_back() {
    let (header, weights, _) = model();
    let bytes = bytes();
    let artifact = Artifact::parse(&bytes).unwrap();
    assert_eq!(*artifact.header(), header);
    let StepTensors::Int8 { weights: expected, residual: Some(stored), bias_shifts, .. } = &weights[0] else {
        unreachable!()
    };
    let read = artifact.bias_shift_models("rpn.head.conv.0.0").unwrap().into_iter().map(|model| model.stored());
    let means = artifact.reference_input_means("rpn.head.conv.0.0").unwrap();
    let read = means.into_iter().zip(read).map(|(reference_means, model)| RunBiasShift { reference_means, model });
    assert_eq!(read.collect::<Vec<_>>(), *bias_shifts);
    assert!(
        artifact.bias_shift_models("head.fc").unwrap().is_empty()
            && artifact.reference_input_means("head.fc").unwrap().is_empty()
    );
    let residual = artifact.residual("rpn.head.conv.0.0").unwrap().unwrap();
    assert!(residual == **stored && residual.input_moments[8] == 8.0);
    assert!(artifact.residual("head.fc").unwrap().is_none() && artifact.residual("b").is_err());
    let found = artifact.weights("rpn.head.conv.0.0").unwrap();
    assert_eq!(
        found,
        StoredWeights::Int8 { values: expected.values.clone(), low: Vec::new(), scales: expected.scales.clone() }
    );
    assert_eq!(artifact.biases("rpn.head.conv.0.0").unwrap(), [[1.0, -2.0], [0.5, 0.25]]);
    assert_eq!(artifact.weights("head.fc").unwrap(), StoredWeights::Float(vec![0.1, 0.2, 0.3]));
    assert_eq!(artifact.histogram(artifact.edge("b").unwrap()).unwrap(), [1, 0, 7]);
    assert!(artifact.histogram(artifact.edge("a@P2").unwrap()).unwrap().is_empty());
    assert!(artifact.weights("b").is_err() && artifact.edge("head.fc").is_err());
}

#[test]
fn reading_and_writing_gives_the_same_bytes() {
    let bytes = bytes();
    let (_, weights, histograms) = model();
    let header = Artifact::parse(&bytes).unwrap().header().clone();
    assert_eq!(encode(&header, &weights, &[], &histograms).unwrap(), bytes);
}

#[test]
fn saving_replaces_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.lookout");
    save(&path, &bytes()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    let sidecar = Sidecar {
        created_at: "2026-01-01T00:00:00Z".into(),
        version: "0.1.0".into(),
        sha256: "0".repeat(64),
        checkpoint: "c".into(),
        pictures: vec![],
        seconds: 1.5,
    };
    sidecar.save(&path).unwrap();
    let text = std::fs::read(folder.path().join("model.lookout.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Sidecar>(&text).unwrap(), sidecar);
}

#[test]
fn factors_of_channels_are_read_back() {
    let (mut header, weights, histograms) = model();
    header.equalization = 3;
    let factors = [0.5, 1.0, 2.0];
    let bytes = encode(&header, &weights, &factors, &histograms).unwrap();
    assert_eq!(Artifact::parse(&bytes).unwrap().equalization().unwrap(), factors);
    assert!(encode(&header, &weights, &factors[1..], &histograms).is_err());
    assert!(encode(&header, &weights, &[], &histograms).is_err());
    header.equalization = 0;
    assert!(encode(&header, &weights, &factors, &histograms).is_err());
}

#[test]
fn two_bytes_and_two_digits_are_read_back() {
    let (header, weights, histograms) = model_of(Digits::Two);
    let bytes = encode(&header, &weights, &[], &histograms).unwrap();
    let artifact = Artifact::parse(&bytes).unwrap();
    assert_eq!(*artifact.header(), header);
    let StepTensors::Int8 { weights: expected, .. } = &weights[0] else { unreachable!() };
    let StoredWeights::Int8 { values, low, scales } = artifact.weights("rpn.head.conv.0.0").unwrap() else {
        panic!("not int8")
    };
    assert_eq!((&values, &low, &scales), (&expected.values, &expected.low, &expected.scales));
    assert!(low.iter().any(|&digit| digit != 0));
    let qparams = artifact.edge("a@P2").unwrap().qparams.unwrap().checked().unwrap();
    assert_eq!(qparams, QuantParams::covering(Range::new(-0.1, 2.3), Scheme::Affine).with_two_bytes(true));

    // A low digit that no rounding gives.
    let container = Container::parse(&bytes).unwrap();
    let mut tensors = container.tensors();
    tensors.insert("rpn.head.conv.0.0.weight_low".into(), Tensor::of_i8(vec![2, 3, 3, 4], &[64; 72]));
    let mut changed = Vec::new();
    container::write(&mut changed, container.metadata(), &tensors).unwrap();
    let error = Artifact::parse(&changed).unwrap_err().chain();
    assert!(error.contains("low digit 0") && error.contains("rpn.head.conv.0.0"), "{error}");
}

#[test]
fn invalid_headers_are_refused_with_the_place() {
    let cases = [
        ("/format", json!("artifact/3"), "artifact/3"),
        ("/format", json!("artifact/1"), "gives no type of weights"),
        ("/steps/0/weight", json!("s8x2"), "rpn.head.conv.0.0.weight_low is missing"),
        ("/steps/1/weight", json!("s8x2"), "do not match precision fp32"),
        ("/canvas", json!("u32"), "header"),
        ("/steps/0/weight", json!("f32"), "do not match precision int8"),
        ("/steps/0/weight", Value::Null, "the type of its weights is missing"),
        ("/edges/0/grid/type", json!("u16"), "128 more than a multiple of 256"),
        ("/edges/0/grid/type", Value::Null, "the type of its values"),
        ("/surprise", json!(1), "surprise"),
        ("/steps/0/surprise", json!(1), "surprise"),
        ("/labels", json!([]), "labels"),
        ("/labels/0", json!("a\u{7}"), "label"),
        ("/recipe", json!("stew"), "stew"),
        ("/steps/0/name", json!("other"), "step other"),
        ("/steps/1/name", json!("rpn.head.conv.0.0"), "twice"),
        ("/steps/0/shape", json!([2, 3, 3, 5]), "rpn.head.conv.0.0"),
        ("/steps/0/shape", json!([0, 3, 3, 4]), "nothing to compute"),
        ("/steps/0/shape", json!([1u64 << 62, 1u64 << 62, 3, 4]), "rpn.head.conv.0.0"),
        ("/steps/0/shape", json!([-2, 3, 3, 4]), "header"),
        ("/steps/0/runs", json!(3), "bias"),
        ("/steps/0/precision", json!("fp32"), "weight"),
        ("/steps/0/residual", json!(false), "rpn.head.conv.0.0.input_moments"),
        ("/steps/1/residual", json!(true), "not rounded"),
        ("/steps/0/responses", json!(2), "rpn.head.conv.0.0.response_scales"),
        ("/steps/0/responses", json!(65), "at most 64"),
        ("/steps/1/responses", json!(3), "of int8 weights only"),
        ("/steps/0/sqnr_db", json!([{ "mean": 30.0, "deviation": 1.0 }]), "SQNR"),
        ("/steps/1/precision", json!("int4"), "header"),
        ("/edges/0/name", json!(""), "edge"),
        ("/edges/0/grid/scale", json!(0.0), "edge a@P2"),
        ("/edges/0/grid/scale", json!(-0.5), "edge a@P2"),
        ("/edges/0/grid/zero_point", json!(256), "expected 0 to 255"),
        ("/edges/0/range", json!([0.5, 1.0]), "zero"),
        ("/edges/0/range", json!([0.0, 1e300]), "zero"),
        ("/edges/0/clipped/mean", json!(1.5), "share"),
        ("/edges/0/clipped/deviation", json!(-1.0), "standard deviation"),
        ("/edges/0/power_db", json!([{ "mean": 1.0, "deviation": 1.0 }]), "1 powers for 2 scenes"),
        ("/edges/0/power_db/1/deviation", json!(-1.0), "edge a@P2"),
        ("/calibration/scenes/0/deviation", json!(-0.5), "calibration.scenes"),
        ("/edges/1/histogram/bins", json!(4), "b.histogram"),
        ("/edges/1/histogram/first", json!(1), "histogram"),
        ("/edges/1/histogram/first", json!(i64::MIN), "histogram"),
        ("/edges/1/histogram/exponent", json!(1000), "histogram"),
        ("/edges/1/histogram/shift", json!(40), "histogram"),
        ("/edges/1/histogram", Value::Null, "b.histogram"),
        ("/calibration/sha256", json!("xyz"), "calibration.sha256"),
        ("/calibration/scheme", json!("round"), "header"),
        ("/calibration/agreement/matched", json!(u64::MAX), "matched"),
        ("/provenance/generation", json!(1), "generation 1"),
        ("/provenance/parent", json!("0".repeat(64)), "generation 0"),
    ];
    for (pointer, value, expected) in cases {
        let file = with(pointer, value.clone());
        let message = Artifact::parse(&file).expect_err(pointer).chain();
        assert!(message.contains(expected), "{pointer} = {value}: {message}");
    }
}

#[test]
fn invalid_tensors_are_refused_with_the_place() {
    let mut unsafe_pair = vec![0i8; 72];
    (unsafe_pair[38], unsafe_pair[39]) = (100, 29);
    let mut lowest = vec![0i8; 72];
    lowest[5] = -128;
    let shape = vec![2, 3, 3, 4];
    let name = "rpn.head.conv.0.0";
    let cases = [
        ("weight", Tensor::of_i8(shape.clone(), &unsafe_pair), "weights 2 and 3 of output channel 1 are not pair-safe"),
        ("weight", Tensor::of_i8(shape, &lowest), "weight 5 of output channel 0 is −128"),
        ("scale", Tensor::of_f32(vec![2], &[1.0, f32::NAN]), "scale 1"),
        ("scale", Tensor::of_f32(vec![1], &[1.0]), "scale"),
        ("bias", Tensor::of_f32(vec![2, 2], &[1.0, f32::INFINITY, 0.0, 0.0]), "bias 1 is inf"),
        ("residual", Tensor::of_bytes(vec![0, 0]), "residual"),
        ("residual", Tensor::of_f32(vec![2, 4], &[f32::INFINITY; 8]), "residual 0"),
        ("input_moments", Tensor::of_f32(vec![2, 2, 4], &[f32::NAN; 16]), "input_moments 0"),
        ("more", Tensor::of_bytes(vec![1, 2]), "belongs to no step"),
    ];
    for (part, tensor, expected) in cases {
        let file = with_tensor(&format!("{name}.{part}"), tensor);
        let message = Artifact::parse(&file).expect_err(part).chain();
        assert!(message.contains(expected) && message.contains(name), "{message}");
    }
    // Pair safety is checked only where the header claims it.
    let mut file = with_tensor(&format!("{name}.weight"), Tensor::of_i8(vec![2, 3, 3, 4], &unsafe_pair));
    let container = Container::parse(&file).unwrap();
    let mut metadata = container.metadata().clone();
    metadata["pair_safe"] = json!(false);
    let mut honest = Vec::new();
    container::write(&mut honest, &metadata, &container.tensors()).unwrap();
    file = honest;
    assert!(Artifact::parse(&file).is_ok());
}

#[test]
fn invalid_models_are_not_written() {
    let (header, weights, histograms) = model();
    let mut wrong = header.clone();
    wrong.edges[0].range.max = f32::NAN;
    assert!(encode(&wrong, &weights, &[], &histograms).is_err());
    assert!(encode(&header, &weights[..1], &[], &histograms).is_err());
    assert!(encode(&header, &weights, &[], &[vec![], vec![1, 2]]).is_err());
}
