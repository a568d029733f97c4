//! Conversion of the quantized network to and from the parts of an artifact.
//!
//! The artifact's reader has checked every offset, length and scale. Here the parts are checked against the network that
//! the header describes: every layer is present with the right shape, and every output stored in bytes has quantization
//! parameters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{InputMeans, LayerWeights, Quantized, QuantizedLayer};
use crate::detector::equalization::Equalization;
use crate::detector::network::Architecture;
use crate::detector::plan::{Layer, LayerId, Plan, StepId};
use crate::detector::settings::Settings;
use crate::detector::version_1::{ArchitectureV1, SettingsV1};
use crate::error::{Error, Kind, Result};
use crate::quant::QuantizedWeights;
use crate::quant::artifact::{
    self, Artifact, EdgeType, RunBiasShift, StepResidual, StepTensors, StoredWeights, WeightType,
};

/// The artifact's `plan` in `artifact/1`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPlanV1 {
    architecture: ArchitectureV1,
    settings: SettingsV1,
}

/// The artifact's `plan`: architecture and settings.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPlan {
    architecture: Architecture,
    settings: Settings,
}

impl StoredPlan {
    fn read(header: &artifact::Header) -> Result<Self> {
        let broken = |source| Error::new(Kind::Data, "its plan is not a network's").because(source);
        if header.format != artifact::FORMAT_1 {
            return serde_json::from_value(header.plan.clone()).map_err(broken);
        }
        let StoredPlanV1 { architecture, settings } = serde_json::from_value(header.plan.clone()).map_err(broken)?;
        let architecture = architecture.try_into().map_err(|text: String| Error::new(Kind::Data, text))?;
        Ok(Self { architecture, settings: settings.into() })
    }
}

/// The `plan` of an artifact's header for a network.
///
/// # Errors
/// [`Kind::Internal`] if a number has no JSON form, which the check of the settings excludes.
pub fn plan_value(plan: &Plan) -> Result<Value> {
    let stored = StoredPlan { architecture: plan.architecture.clone(), settings: plan.settings.clone() };
    serde_json::to_value(stored)
        .map_err(|source| Error::new(Kind::Internal, "the plan has no JSON form").because(source))
}

impl Quantized {
    /// The network of an artifact; `adjust` may replace values of its settings.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the step, edge or value that does not match the network, and what `adjust` returns.
    pub fn from_artifact(artifact: &Artifact<'_>, adjust: impl FnOnce(Settings) -> Result<Settings>) -> Result<Self> {
        let StoredPlan { architecture, settings } = StoredPlan::read(artifact.header())?;
        architecture.check_extents()?;
        settings.check(&architecture)?;
        if artifact.header().labels.len() + 1 != architecture.classes {
            let (labels, classes) = (artifact.header().labels.len(), architecture.classes - 1);
            return Err(Error::new(Kind::Data, format!("{labels} labels for {classes} classes")));
        }
        let plan = Arc::new(Plan::new(architecture, adjust(settings)?));
        let (biases, bias_shift_models) = (vec![Vec::new(); plan.steps.len()], vec![None; plan.steps.len()]);
        let reference_means = InputMeans::from_artifact(artifact, &plan)?;
        let equalization = Arc::new(Equalization::from_stored(&plan, &artifact.equalization()?)?);
        let mut quantized = Self {
            layers: Vec::new(),
            biases,
            reference_means,
            bias_shift_models,
            edge_qparams: Vec::new(),
            wide_canvas: artifact.header().canvas == Some(EdgeType::U16),
            equalization,
            plan,
        };
        let plan = Arc::clone(&quantized.plan);
        for (id, layer) in plan.layers.iter().enumerate() {
            quantized.read_layer(artifact, id, layer).map_err(|error| error.at(format!("step {}", layer.name)))?;
        }
        if let Some(stranger) = artifact.header().steps.iter().find(|s| !plan.layers.iter().any(|l| l.name == s.name)) {
            return Err(Error::new(Kind::Data, format!("step {} is not one of the network's", stranger.name)));
        }
        quantized.edge_qparams = vec![None; plan.steps.len()];
        let mixed_precision = quantized.mixed_precision();
        for step in mixed_precision.quantized_steps() {
            let name = &plan.steps[step].name;
            let qparams = artifact.edge(name)?.qparams.ok_or_else(|| {
                Error::new(
                    Kind::Data,
                    format!("edge {name} has no quantization parameters, and its readers work in int8"),
                )
            })?;
            quantized.edge_qparams[step] = Some(qparams.checked().map_err(|error| error.at(name))?);
            if quantized.edge_qparams[step].is_some_and(|qparams| qparams.two_bytes)
                && plan.steps[step].layer().is_none()
            {
                let text = format!("edge {name} has two bytes a value, which only outputs of layers have");
                return Err(Error::new(Kind::Data, text));
            }
        }
        Ok(quantized)
    }

    fn read_layer(&mut self, artifact: &Artifact<'_>, id: LayerId, layer: &Layer) -> Result<()> {
        let step = artifact.step(&layer.name)?;
        let users: Vec<StepId> = self.users(id).collect();
        let groups = layer.geometry.groups;
        if step.shape != shape(layer) || step.groups != groups || step.runs != users.len() {
            let (found, expected) = (step.shape, shape(layer));
            let text = format!(
                "weights {found:?} of {} groups in {} runs; expected {expected:?} of {groups} groups in {}",
                step.groups,
                step.runs,
                users.len()
            );
            return Err(Error::new(Kind::Data, text));
        }
        let weights = match artifact.weights(&layer.name)? {
            StoredWeights::Int8 { values, low, scales } => LayerWeights::S8 { values, low, scales },
            StoredWeights::Float(values) => LayerWeights::F32(values),
        };
        let residual = artifact.residual(&layer.name)?.map(|stored| stored.residual);
        self.layers.push(QuantizedLayer { weights, precision: step.precision, residual });
        for (&user, bias) in users.iter().zip(artifact.biases(&layer.name)?) {
            self.biases[user] = bias;
        }
        let models = artifact.bias_shift_models(&layer.name)?;
        users.into_iter().zip(models).for_each(|(user, model)| self.bias_shift_models[user] = Some(model));
        Ok(())
    }

    /// The steps that run `layer`, in order.
    pub fn users(&self, layer: LayerId) -> impl Iterator<Item = StepId> + '_ {
        let steps = self.plan.steps.iter().enumerate();
        steps.filter(move |(_, step)| step.layer() == Some(layer)).map(|(id, _)| id)
    }

    /// The header's steps and their tensors, one a layer of the plan; evidence is left empty.
    pub fn to_steps(&self) -> (Vec<artifact::StepHeader>, Vec<StepTensors>) {
        let of_layer = |(id, layer): (LayerId, &Layer)| {
            let users: Vec<StepId> = self.users(id).collect();
            let bias: Vec<f32> = users.iter().flat_map(|&user| self.biases[user].iter().copied()).collect();
            let QuantizedLayer { weights, precision, residual } = &self.layers[id];
            let of_run = |&user: &StepId| {
                let means = self.reference_means.layers.get(user).filter(|means| !means.is_empty())?;
                let model = self.bias_shift_models.get(user)?.as_ref()?.stored();
                Some(RunBiasShift { reference_means: means.clone(), model })
            };
            let bias_shifts: Vec<RunBiasShift> =
                users.iter().map(of_run).collect::<Option<_>>().filter(|_| precision.is_int8()).unwrap_or_default();
            let step = artifact::StepHeader {
                name: layer.name.clone(),
                precision: *precision,
                weight: Some(match weights {
                    LayerWeights::S8 { low, .. } if low.is_empty() => WeightType::S8,
                    LayerWeights::S8 { .. } => WeightType::S8x2,
                    LayerWeights::F32(_) => WeightType::F32,
                }),
                shape: shape(layer),
                groups: layer.geometry.groups,
                runs: users.len(),
                sqnr_db: Vec::new(),
                residual: residual.is_some() && self.reference_means.image.is_some(),
                perturbations: bias_shifts.first().map_or(0, |run| run.model.perturbations()),
            };
            let weights = match weights {
                LayerWeights::S8 { values, low, scales } => StepTensors::Int8 {
                    weights: QuantizedWeights { values: values.clone(), low: low.clone(), scales: scales.clone() },
                    bias,
                    residual: residual.clone().zip(self.reference_means.image).map(|(residual, image)| {
                        Box::new(StepResidual { residual, input_moments: image.to_f32().repeat(users.len()) })
                    }),
                    bias_shifts,
                },
                LayerWeights::F32(values) => StepTensors::Float { weights: values.clone(), bias },
            };
            (step, weights)
        };
        self.plan.layers.iter().enumerate().map(of_layer).unzip()
    }
}

/// Extents of a layer's weights: out, kernel height, kernel width, in / groups.
fn shape(layer: &Layer) -> [usize; 4] {
    let g = &layer.geometry;
    [g.out_channels, g.kernel_height, g.kernel_width, g.group_channels()]
}
