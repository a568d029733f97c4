//! Every golden network in int8: quantized from its checkpoint, stored, read back, and run.

use std::path::Path;
use std::sync::Arc;

use lookout::calibrate::{QuantizeOptions, Wide, quantize};
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import};
use lookout::detector::equalization::{ChannelGroups, Equalization};
use lookout::detector::fp32::{Fp32Model, Fp32Run};
use lookout::detector::int8::{Int8Executor, Int8Model, Quantized};
use lookout::detector::plan::{Plan, StepId};
use lookout::detector::tap::{Activation, Tap, TapRequest, Values};
use lookout::detector::thread_pool;
use lookout::frame::Picture;
use lookout::kernel::isa::Isa;
use lookout::measure::coverage;
use lookout::preprocess::{Transform, TransformParams};
use lookout::quant::artifact::Artifact;
use lookout::tensor::Canvas;

use crate::golden;
use crate::scenes::scene;

/// Least local SQNR of a layer, in dB, over all golden networks of random weights, on the one picture that is measured.
/// The worst are squeezes: equalized, channels of small values weigh as much as the others.
const LEAST_LOCAL_DB: f64 = 14.0;

/// Writes two scenes.
fn pictures(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for index in 0..2usize {
        scene(index).save(folder.join(format!("{index}.png"))).unwrap();
    }
}

/// The stored bytes of every step, one after the other.
#[derive(Default)]
struct Stored(Vec<(StepId, Vec<u8>)>);

impl Tap for Stored {
    fn request(&self, _: StepId) -> TapRequest {
        TapRequest::Output
    }

    fn observe(&mut self, step: StepId, activation: &Activation<'_>) {
        let bytes = match activation.values {
            Values::U8 { data, .. } => data.to_vec(),
            Values::U16 { high, low, .. } => [high, low].concat(),
            Values::F32(values) => values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect(),
        };
        self.0.push((step, bytes));
    }
}

/// The values of some steps.
struct Maps(Vec<StepId>, Vec<Vec<f32>>);

impl Tap for Maps {
    fn request(&self, step: StepId) -> TapRequest {
        if self.0.contains(&step) { TapRequest::Output } else { TapRequest::Nothing }
    }

    fn observe(&mut self, _: StepId, activation: &Activation<'_>) {
        let Values::F32(values) = activation.values else { panic!("not f32") };
        self.1.push(values.to_vec());
    }
}

/// Folds factors far from 1 into `checkpoint` and compares the maps that the proposal network reads and writes.
fn check_equalized(net: &str, checkpoint: &Checkpoint, picture: &Picture) {
    let header = checkpoint.header();
    let plan = Arc::new(Plan::new(header.architecture.clone(), header.settings.clone()));
    let factors: usize = ChannelGroups::new(&plan).channels().iter().sum();
    assert!(factors > 0, "{net}: nothing can be equalized");
    let factors: Vec<f32> = (0..factors).map(|at| 2f32.powf((at * 7 % 13) as f32 / 3.0 - 2.0)).collect();
    let equalization = Equalization::from_stored(&plan, &factors).unwrap();
    let mut canvas = Canvas::empty(3);
    let mut transform = Transform::new(TransformParams::from(&plan.settings.transform)).unwrap();
    transform.to_f32(picture, &mut canvas).unwrap();
    let compared: Vec<StepId> =
        plan.levels.iter().map(|level| level.step).chain(plan.key_steps.objectness.iter().copied()).collect();
    let maps = |equalization: &Equalization| {
        let (eps, tensors) = (&header.batch_norm_eps, checkpoint.var_builder());
        let model = Fp32Model::equalized(plan.clone(), &tensors, eps, equalization, Isa::best()).unwrap();
        let mut maps = Maps(compared.clone(), Vec::new());
        Fp32Run::new(&model, &canvas).unwrap().finish(&mut maps).unwrap();
        maps.1
    };
    for (plain, equalized) in maps(&Equalization::default()).iter().zip(maps(&equalization)) {
        let largest = plain.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let off = plain.iter().zip(&equalized).fold(0.0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off <= 1e-4 * largest, "{net}: {off} of {largest}");
    }
}

#[test]
fn every_network_is_wholly_in_int8_and_alike_on_every_instruction_set() {
    let folder = tempfile::tempdir().unwrap();
    let calibration = folder.path().join("pictures");
    pictures(&calibration);
    let networks = golden::folder().join("networks");
    let names = golden::networks();
    assert!(names.len() >= 24, "{} networks", names.len());
    for net in names {
        let out = folder.path().join("model");
        let options = ImportOptions {
            settings: Some(networks.join(format!("{net}.settings.toml"))),
            min_size: Some(96),
            max_size: Some(128),
            force: true,
            ..ImportOptions::new(networks.join(format!("{net}.safetensors")), &out)
        };
        import(&options).unwrap_or_else(|error| panic!("{net}: {}", error.chain()));
        let checkpoint = Checkpoint::open(&out).unwrap();
        // Every perturbation of a picture is one more pass of the fp32 network, and every candidate for two bytes one
        // of the int8 network. To save them, all parts of the body are wide here, without a search.
        let body = Checkpoint::open(&out).unwrap().header().architecture.body_module().to_owned();
        let options = QuantizeOptions {
            correction_pictures: 1,
            evidence_pictures: 1,
            wide: Wide::Named(vec![body]),
            ..QuantizeOptions::default()
        };
        let outcome = quantize(&checkpoint, &calibration, &options, Isa::best(), &mut |_, _, _| {})
            .unwrap_or_else(|error| panic!("{net}: {}", error.chain()));

        let picture = Picture::open(calibration.join("1.png")).unwrap();
        check_equalized(&net, &checkpoint, &picture);

        let artifact = Artifact::parse(&outcome.bytes).unwrap();
        let quantized =
            Quantized::from_artifact(&artifact, Ok).unwrap_or_else(|error| panic!("{net}: {}", error.chain()));
        assert!(quantized.is_exact() && !quantized.equalization.is_none(), "{net}");
        let mixed_precision = quantized.mixed_precision();
        for (part, row) in coverage(&quantized.plan, |step| mixed_precision.precision[step]).unwrap() {
            assert!(row.gmac_int8 == row.gmac, "{net} {}", part.name());
        }
        let (layer, worst) = outcome.sensitivity[0];
        assert!(worst > LEAST_LOCAL_DB, "{net}: {} has {worst} dB", quantized.plan.layers[layer].name);

        let mut transform = Transform::new(TransformParams::from(&quantized.plan.settings.transform)).unwrap();
        let mut canvas = Int8Model::new(&quantized, Isa::best()).unwrap().empty_canvas();
        transform.to_u8(&picture, &mut canvas).unwrap();
        let mut first = None;
        for isa in Isa::available() {
            let model = Arc::new(Int8Model::new(&quantized, isa).unwrap());
            for threads in [1, 3] {
                let mut executor = Int8Executor::new(Arc::clone(&model));
                let mut stored = Stored::default();
                let run = || executor.detect_with(&canvas, &mut stored).unwrap().to_vec();
                let detections = thread_pool(threads).unwrap().install(run);
                let found = (stored.0, detections);
                let expected = first.get_or_insert_with(|| found.clone());
                for ((step, bytes), (_, other)) in expected.0.iter().zip(&found.0) {
                    let step = &quantized.plan.steps[*step].name;
                    assert!(bytes == other, "{net} {step}: {} on {threads} threads", isa.name().name());
                }
                assert!(*expected == found, "{net}: {} on {threads} threads", isa.name().name());
            }
        }
    }
}
