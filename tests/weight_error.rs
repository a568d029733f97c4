//! Error that pair safety adds to trained weights, against plain 8 bits and the 7 bits of other engines.

use std::path::PathBuf;

use lookout::quant::{Digits, FilterBank, Granularity, ScaleRule, first_unsafe_pair};
use safetensors::SafeTensors;

/// The trained detector lent beside the checkout, if it is there.
fn checkpoint() -> Option<Vec<u8>> {
    let shared = std::env::var_os("LOOKOUT_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("models/road-r50-fpn.safetensors");
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: {} is not there", path.display());
    }
    bytes
}

fn values(file: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
}

/// Filters `[out][taps][in]` of one layer, batch norm folded, taps outermost.
struct Layer {
    name: String,
    values: Vec<f32>,
    out: usize,
    channels: usize,
}

impl Layer {
    fn bank(&self) -> FilterBank<'_> {
        FilterBank { values: &self.values, out: self.out, channels: self.channels }
    }
}

fn layers(bytes: &[u8]) -> Vec<Layer> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut names: Vec<&str> = file.names().into_iter().filter(|name| name.ends_with(".weight")).collect();
    names.sort_unstable();
    let mut layers = Vec::new();
    for name in names {
        let shape = file.tensor(name).unwrap().shape().to_vec();
        if shape.len() < 2 {
            continue;
        }
        let flat = values(&file, name);
        let name = name.trim_end_matches(".weight");
        let (out, channels, taps) = match shape[..] {
            [out, channels, height, width] => (out, channels, height * width),
            // fc6 reads 7 × 7 pixels of 256 channels, laid out channel by channel in the checkpoint.
            [out, depth] if name.ends_with("fc6") => (out, depth / 49, 49),
            [out, depth] => (out, depth, 1),
            _ => unreachable!("weights have 2 or 4 dimensions"),
        };
        let mut scale = vec![1.0f32; out];
        let norm = match name.rsplit_once('.') {
            Some((block, conv)) if conv.starts_with("conv") => Some(format!("{block}.bn{}", &conv[4..])),
            Some((block, "0")) if block.ends_with("downsample") => Some(format!("{block}.1")),
            _ => None,
        }
        .filter(|norm| file.tensor(&format!("{norm}.running_var")).is_ok());
        if let Some(norm) = norm {
            let gain = values(&file, &format!("{norm}.weight"));
            let variance = values(&file, &format!("{norm}.running_var"));
            for ((scale, gain), variance) in scale.iter_mut().zip(gain).zip(variance) {
                *scale = gain / (variance + 1e-5).sqrt();
            }
        }
        let mut folded = vec![0.0; flat.len()];
        for o in 0..out {
            for c in 0..channels {
                for t in 0..taps {
                    folded[(o * taps + t) * channels + c] = flat[(o * channels + c) * taps + t] * scale[o];
                }
            }
        }
        layers.push(Layer { name: name.to_string(), values: folded, out, channels });
    }
    layers
}

/// Signal and error energy relative to it, summed over channels: every channel counts alike, as its scale does.
fn relative_error(layer: &Layer, rule: ScaleRule) -> (f64, Vec<i8>) {
    let bank = layer.bank();
    let quantized = bank.quantize(rule, Granularity::PerChannel, Digits::One, &[]).unwrap();
    let depth = bank.depth();
    let mut total = 0.0;
    for ((filter, bytes), scale) in
        layer.values.chunks(depth).zip(quantized.values.chunks(depth)).zip(&quantized.scales)
    {
        let signal: f64 = filter.iter().map(|w| f64::from(*w).powi(2)).sum();
        let error: f64 = filter.iter().zip(bytes).map(|(w, q)| f64::from(w - f32::from(*q) * scale).powi(2)).sum();
        total += if signal > 0.0 { error / signal } else { 0.0 };
    }
    (total / layer.out as f64, quantized.values)
}

#[test]
fn pair_safety_costs_little_on_trained_weights() {
    let Some(bytes) = checkpoint() else { return };
    let layers = layers(&bytes);
    const PARTS: [&str; 9] =
        ["body.conv1", "body.layer1", "body.layer2", "body.layer3", "body.layer4", "fpn", "rpn", "roi_heads", "all"];
    let mut sums = [(0.0, [0.0f64; 4]); PARTS.len()];
    for layer in &layers {
        let rules = [ScaleRule::Full, ScaleRule::Reduced, ScaleRule::PairMaximum, ScaleRule::PairSearch];
        let decibels = rules.map(|rule| {
            let (error, values) = relative_error(layer, rule);
            assert!(
                rule == ScaleRule::Full || first_unsafe_pair(&values, layer.channels).is_none(),
                "{} {rule:?}",
                layer.name
            );
            -10.0 * error.log10()
        });
        for (part, (count, sums)) in PARTS.iter().zip(&mut sums) {
            if *part == "all" || layer.name.contains(part) {
                *count += 1.0;
                sums.iter_mut().zip(decibels).for_each(|(sum, decibels)| *sum += decibels);
            }
        }
    }
    println!("SQNR of the weights in dB, mean over layers of the channel mean, and what is lost against plain 8 bit:");
    println!("part         8 bit   7 bit  pair maximum  pair search");
    for (part, (count, sums)) in PARTS.iter().zip(sums) {
        let [full, seven, maximum, search] = sums.map(|sum| sum / count);
        println!("{part:<11} {full:6.2}  {:6.2}  {:12.2}  {:11.2}", seven - full, maximum - full, search - full);
    }
    let (count, sums) = sums[PARTS.len() - 1];
    let [full, seven, maximum, search] = sums.map(|sum| sum / count);
    assert!(full > maximum && search >= maximum && search > seven + 3.0);
}

/// Run with `--release --ignored --nocapture` for the figures.
#[test]
#[ignore = "measures"]
fn time_to_quantize_and_to_check() {
    use lookout::quant::artifact::{
        Artifact, CalibrationHeader, FORMAT, Header, Precision, Provenance, StepHeader, StepTensors, WeightType, encode,
    };
    use std::time::Instant;
    let Some(bytes) = checkpoint() else { return };
    let layers = layers(&bytes);
    for rule in [ScaleRule::PairMaximum, ScaleRule::PairSearch] {
        let start = Instant::now();
        for layer in &layers {
            layer.bank().quantize(rule, Granularity::PerChannel, Digits::One, &[]).unwrap();
        }
        println!("{rule:?}: {:.2} s", start.elapsed().as_secs_f64());
    }
    let mut steps = Vec::new();
    let mut weights = Vec::new();
    for layer in &layers {
        let bank = layer.bank();
        let shape = [layer.out, 1, bank.depth() / layer.channels, layer.channels];
        let bias = vec![0.0; layer.out];
        let quantized = bank.quantize(ScaleRule::PairMaximum, Granularity::PerChannel, Digits::One, &[]).unwrap();
        steps.push(StepHeader {
            name: layer.name.clone(),
            precision: Precision::Int8Static,
            weight: Some(WeightType::S8),
            shape,
            groups: 1,
            runs: 1,
            sqnr_db: vec![],
            residual: false,
            perturbations: 0,
        });
        weights.push(StepTensors::Int8 { weights: quantized, bias, residual: None, bias_shifts: vec![] });
    }
    let header = Header {
        format: FORMAT.into(),
        plan: serde_json::json!({}),
        labels: vec!["Person".into()],
        recipe: "lookout".into(),
        pair_safe: true,
        steps,
        edges: vec![],
        canvas: None,
        equalization: 0,
        calibration: CalibrationHeader {
            observer: "l2".into(),
            scheme: lookout::quant::Scheme::Affine,
            pictures: 1,
            sha256: "0".repeat(64),
            unusable_reasons: vec![],
            agreement: None,
            power_profiles: vec![],
        },
        provenance: Provenance { source_sha256: "0".repeat(64), generation: 0, parent: None },
    };
    let start = Instant::now();
    let file = encode(&header, &weights, &[], &[]).unwrap();
    println!("encode {} bytes: {:.3} s", file.len(), start.elapsed().as_secs_f64());
    for _ in 0..3 {
        let start = Instant::now();
        Artifact::parse(&file).unwrap();
        println!("parse: {:.3} s", start.elapsed().as_secs_f64());
    }
}
