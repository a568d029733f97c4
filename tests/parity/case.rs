//! A golden file together with the network that it was made with.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use lookout::detector::architecture::{Architecture, Shapes};
use lookout::detector::fp32::{Backend, Fp32Model, StepOutput};
use lookout::detector::plan::Plan;
use lookout::detector::settings::Settings;
use lookout::frame::Picture;
use lookout::kernel::isa::Isa;
use lookout::preprocess::{Transform, TransformParams};
use lookout::tensor::{Canvas, Fit};

use crate::golden::{Golden, folder, shared};

/// A checkpoint's tensors, f32.
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    eps: f64,
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
        let eps = header.metadata().as_ref().unwrap()["batch_norm_eps"].parse().unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        Self { tensors, eps }
    }

    /// The network these weights are of, with these settings.
    pub fn plan(&self, settings: Settings) -> Arc<Plan> {
        let shapes: Shapes = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
        Arc::new(Plan::new(Architecture::from_shapes(&shapes).unwrap(), settings))
    }

    /// The executor of `plan` with these weights.
    pub fn model(&self, plan: &Arc<Plan>, backend: Backend) -> Fp32Model {
        let builder = VarBuilder::from_tensors(self.tensors.clone(), DType::F32, &Device::Cpu);
        Fp32Model::new(plan.clone(), &builder, self.eps, backend).unwrap()
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

    /// How the picture lies on its canvas.
    pub fn fit(&self) -> Fit {
        let picture = self.picture();
        rule(&self.plan).fit(picture.width, picture.height).unwrap()
    }

    /// Whether the file has this tensor.
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
    let transform = &plan.settings.transform;
    TransformParams { min_size: transform.test_min_size(), max_size: transform.max_size, ..TransformParams::default() }
}

/// `picture` as `plan` wants it.
pub fn canvas(plan: &Plan, picture: &Picture) -> Canvas<f32> {
    let mut canvas = Canvas::default();
    Transform::new(rule(plan)).unwrap().to_f32(picture, &mut canvas).unwrap();
    canvas
}
