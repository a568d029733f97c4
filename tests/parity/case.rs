//! A golden file together with the network that it was made with.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import};
use lookout::detector::fp32::{Fp32Model, StepOutput};
use lookout::detector::network::{Architecture, ArchitectureHints, Shapes};
use lookout::detector::plan::Plan;
use lookout::detector::settings::{BatchNormEps, Settings};
use lookout::frame::Picture;
use lookout::kernel::isa::Isa;
use lookout::preprocess::{Transform, TransformParams};
use lookout::tensor::{Canvas, Fit};

use super::candle_layers::CandleLayers;
use crate::golden::{Golden, folder, shared};

/// Executor of the plan.
#[derive(Debug, Clone, Copy)]
pub enum Backend {
    /// The kernels, on an instruction set of this CPU.
    Kernel(Isa),
    /// `candle_nn` layers and candle's tensor operations: slow, and independent of the kernels.
    Candle,
}

/// A checkpoint's tensors, f32.
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    architecture: Architecture,
    eps: BatchNormEps,
}

/// A golden file and how its picture is to be treated.
pub struct Case {
    pub name: String,
    pub golden: Golden,
    pub plan: Arc<Plan>,
}

/// Reads `tests/golden/<net>.safetensors`.
pub fn committed_weights(net: &str) -> Weights {
    Weights::read(&folder().join(format!("{net}.safetensors")))
}

/// Reads the shared trained network, if it is there.
pub fn shared_weights() -> Option<Weights> {
    Some(Weights::read(&shared("models/road-r50-fpn.safetensors")?))
}

impl Weights {
    fn read(path: &std::path::Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let eps = BatchNormEps::all(header.metadata().as_ref().unwrap()["batch_norm_eps"].parse().unwrap());
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        let shapes: Shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        Self { tensors, architecture: Architecture::recognize(&shapes, &ArchitectureHints::default()).unwrap(), eps }
    }

    /// Those of a checkpoint, as an import left it.
    fn of(checkpoint: &Checkpoint) -> Self {
        let tensor = |(name, shape, _): (&str, &[usize], _)| {
            let values = checkpoint.get(name).unwrap().values;
            (name.to_owned(), Tensor::from_slice(&values, shape, &Device::Cpu).unwrap())
        };
        let header = checkpoint.header();
        let (architecture, eps) = (header.architecture.clone(), header.batch_norm_eps);
        Self { tensors: checkpoint.tensors().map(tensor).collect(), architecture, eps }
    }

    /// The network these weights are of, with these settings.
    pub fn plan(&self, settings: Settings) -> Arc<Plan> {
        Arc::new(Plan::new(self.architecture.clone(), settings))
    }

    /// The executor of `plan` with these weights.
    pub fn model(&self, plan: &Arc<Plan>, backend: Backend) -> Fp32Model {
        let builder = VarBuilder::from_tensors(self.tensors.clone(), DType::F32, &Device::Cpu);
        match backend {
            Backend::Kernel(isa) => Fp32Model::new(plan.clone(), &builder, &self.eps, isa).unwrap(),
            Backend::Candle => {
                let layers = CandleLayers::new(plan, &builder, &self.eps);
                Fp32Model::with_operations(plan.clone(), Box::new(layers))
            }
        }
    }
}

/// Every backend there is on this machine, with its name.
pub fn backends() -> Vec<(&'static str, Backend)> {
    let kernels = Isa::available().into_iter().map(|isa| (isa.name().name(), Backend::Kernel(isa)));
    kernels.chain([("candle", Backend::Candle)]).collect()
}

/// The strongest kernels and the stock layers: what a network of full width can be run on in a test's time.
pub fn fast_backends() -> [(&'static str, Backend); 2] {
    let best = Isa::best();
    [(best.name().name(), Backend::Kernel(best)), ("candle", Backend::Candle)]
}

/// The committed goldens of `net`.
pub fn committed(net: &str, weights: &Weights) -> Vec<Case> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".safetensors")?.to_owned()))
        .filter(|name| name.starts_with(&format!("{net}-")))
        .collect();
    names.sort();
    let cases =
        names.into_iter().map(|name| Case::new(&name, Golden::committed(&format!("{name}.safetensors")), weights));
    cases.collect()
}

/// A network of `tests/golden/networks`, imported with its settings file, and its pictures.
pub fn network(net: &str) -> (Weights, Vec<Case>) {
    let folder = folder().join("networks");
    let scratch = tempfile::tempdir().unwrap();
    let import_with = |settings: &str| {
        let out = scratch.path().join("out.lookout");
        let mut options = ImportOptions::new(folder.join(format!("{net}.safetensors")), &out);
        options.settings = Some(folder.join(format!("{settings}.settings.toml")));
        import(&options).unwrap_or_else(|error| panic!("{net}: {}", error.chain()));
        Checkpoint::open(&out).unwrap()
    };
    let weights = Weights::of(&import_with(net));
    let cases = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".safetensors")?.to_owned()))
        .map(|name| (Golden::committed(&format!("networks/{name}.safetensors")), name))
        .filter(|(golden, _)| golden.note("weights").is_some_and(|weights| weights == format!("{net}.safetensors")))
        .map(|(golden, name)| {
            let has_settings = folder.join(format!("{name}.settings.toml")).exists();
            let checkpoint = import_with(if has_settings { &name } else { net });
            Case { name, golden, plan: weights.plan(checkpoint.header().settings.clone()) }
        });
    let mut cases: Vec<Case> = cases.collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    (weights, cases)
}

/// The shared goldens, as far as they are there.
pub fn in_shared_folder(weights: &Weights) -> Vec<Case> {
    ["road-r50-fpn-upright", "road-r50-fpn-wide"]
        .into_iter()
        .filter_map(|name| {
            Some(Case::new(name, Golden::shared(&format!("models/golden/{name}.safetensors"))?, weights))
        })
        .collect()
}

impl Case {
    fn new(name: &str, golden: Golden, weights: &Weights) -> Self {
        let mut settings = Settings::default();
        settings.transform.min_size = vec![golden.note("min_size").unwrap().parse().unwrap()];
        settings.transform.max_size = golden.note("max_size").unwrap().parse().unwrap();
        if let Some(score) = golden.note("score") {
            settings.roi.score_threshold = score.parse().unwrap();
        }
        Self { name: name.to_owned(), golden, plan: weights.plan(settings) }
    }

    /// The picture, by way of a PNG.
    pub fn picture(&self) -> Picture {
        let (shape, data) = self.golden.bytes("image_u8");
        let picture = Picture::new(shape[1], shape[0], data).unwrap();
        let decoded = Picture::decode(&picture.to_png().unwrap()).unwrap();
        assert_eq!(decoded.data, picture.data, "{}: a PNG keeps every level", self.name);
        decoded
    }

    /// The picture as the network reads it.
    pub fn canvas(&self) -> Canvas<f32> {
        canvas(&self.plan, &self.picture())
    }

    /// Fit of the picture on its canvas.
    pub fn fit(&self) -> Fit {
        let picture = self.picture();
        rule(&self.plan).fit(picture.width, picture.height).unwrap()
    }

    /// True if the file has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.golden.names().iter().any(|found| found == name)
    }

    /// A tensor stored channels first, as a map `[height][width][channels]`.
    pub fn map(&self, name: &str) -> StepOutput {
        let (shape, data) = self.golden.floats(name);
        let tensor = Tensor::from_vec(data, shape, &Device::Cpu).unwrap();
        StepOutput::Map(tensor.permute((1, 2, 0)).unwrap().contiguous().unwrap())
    }

    /// Windows stored `[n][channels][rows][columns]`, as a map of windows one below the other.
    pub fn windows(&self, name: &str) -> StepOutput {
        let (shape, data) = self.golden.floats(name);
        let [count, channels, rows, columns] = shape[..] else { panic!("{name} is {shape:?}") };
        let tensor = Tensor::from_vec(data, shape, &Device::Cpu).unwrap().permute((0, 2, 3, 1)).unwrap();
        StepOutput::Map(tensor.contiguous().unwrap().reshape((count * rows, columns, channels)).unwrap())
    }

    /// A table stored `[rows][columns]`, as a map one column wide.
    pub fn table(&self, name: &str) -> StepOutput {
        let (shape, data) = self.golden.floats(name);
        StepOutput::Map(Tensor::from_vec(data, (shape[0], 1, shape[1]), &Device::Cpu).unwrap())
    }

    /// Boxes, one a row.
    pub fn boxes(&self, name: &str) -> Vec<[f32; 4]> {
        let (_, data) = self.golden.floats(name);
        data.chunks_exact(4).map(|corners| corners.try_into().unwrap()).collect()
    }
}

fn rule(plan: &Plan) -> TransformParams {
    TransformParams::from(&plan.settings.transform)
}

/// `picture` as `plan` wants it.
pub fn canvas(plan: &Plan, picture: &Picture) -> Canvas<f32> {
    let mut canvas = Canvas::default();
    Transform::new(rule(plan)).unwrap().to_f32(picture, &mut canvas).unwrap();
    canvas
}
