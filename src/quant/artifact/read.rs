//! An artifact from bytes nobody vouches for.
//!
//! In: the bytes of a file, mapped or read. Out: an [`Artifact`] that borrows them: every tensor present, none too
//! many, every number finite and inside its limits, every weight pair safe if the header says so. Nothing is computed
//! with a number before it was checked; errors name the step, edge or byte that is wrong.

use std::collections::BTreeSet;

use serde_json::Value;

use super::header::{Edge, FORMAT, Header, HistogramBins, Spread, Step};
use crate::error::{Error, Kind, Result};
use crate::quant::container::{Container, Element};
use crate::quant::{MAX_SCALE, MIN_SCALE, QuantParams, Residual, Response, StoredResponse, first_unsafe_pair};
use crate::tensor::ImageMoments;

/// Most bytes of a name; names become file names, metric labels and log fields.
const LONGEST_NAME: usize = 200;
/// Most ways of a response: there are far fewer pictures to make them from.
const MOST_WAYS: usize = 64;
/// Most runs of one weight set on a frame.
const MOST_RUNS: usize = 16;

/// A model whose every part was checked.
#[derive(Debug)]
pub struct Artifact<'a> {
    header: Header,
    container: Container<'a>,
}

/// The weights of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    /// s8 in [−127, 127], and the step of every output channel.
    Int8 {
        /// `[out][kh][kw][in]`.
        values: Vec<i8>,
        /// One an output channel.
        scales: Vec<f32>,
    },
    /// f32, `[out][kh][kw][in]`.
    Float(Vec<f32>),
}

impl<'a> Artifact<'a> {
    /// Checks `file` from end to end.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the first place that is wrong.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
        let container = Container::parse(file)?;
        match container.metadata().get("format") {
            Some(Value::String(format)) if format == FORMAT => {}
            Some(Value::String(other)) => return refuse(format!("its format is `{other}`, expected `{FORMAT}`")),
            _ => return refuse(format!("it does not say that its format is `{FORMAT}`")),
        }
        let header: Header = serde_json::from_value(Value::Object(container.metadata().clone()))
            .map_err(|e| Error::new(Kind::Data, format!("its header is not that of {FORMAT}")).because(e))?;
        let artifact = Self { header, container };
        artifact.check_header()?;
        let mut known = BTreeSet::new();
        for step in &artifact.header.steps {
            artifact.check_step(step, &mut known).map_err(|e| e.at(format!("step {}", step.name)))?;
        }
        for edge in &artifact.header.edges {
            artifact.check_edge(edge, &mut known).map_err(|e| e.at(format!("edge {}", edge.name)))?;
        }
        match artifact.container.tensors().keys().find(|name| !known.contains(*name)) {
            Some(stranger) => refuse(format!("tensor {stranger} belongs to no step and no edge")),
            None => Ok(artifact),
        }
    }

    /// What it says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The weights of the step called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn weights(&self, name: &str) -> Result<Weights> {
        let step = self.step(name)?;
        let weight = format!("{name}.weight");
        if !step.precision.is_int8() {
            return Ok(Weights::Float(self.container.tensor(&weight, Element::F32, &step.shape)?.to_f32()));
        }
        let values = self.container.tensor(&weight, Element::I8, &step.shape)?.to_i8();
        let scales = self.container.tensor(&format!("{name}.scale"), Element::F32, &step.shape[..1])?.to_f32();
        Ok(Weights::Int8 { values, scales })
    }

    /// The biases of the step called `name`: one vector a run.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn biases(&self, name: &str) -> Result<Vec<Vec<f32>>> {
        let step = self.step(name)?;
        let bias = self.container.tensor(&format!("{name}.bias"), Element::F32, &[step.runs, step.shape[0]])?;
        Ok(bias.to_f32().chunks(step.shape[0]).map(<[f32]>::to_vec).collect())
    }

    /// What rounding took from the weights of the step called `name`, and for every run the means and then the mean
    /// squares of the input channels that its biases are for; `None` where it carries none.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn residual(&self, name: &str) -> Result<Option<(Residual, Vec<Vec<f32>>)>> {
        let step = self.step(name)?;
        if !step.residual {
            return Ok(None);
        }
        let [out, _, _, channels] = step.shape;
        let rows = self.container.tensor(&format!("{name}.residual"), Element::F32, &[out, channels])?.to_f32();
        let shape = [step.runs, 2, channels];
        let moments = self.container.tensor(&format!("{name}.input_moments"), Element::F32, &shape)?.to_f32();
        let moments = moments.chunks(2 * channels).map(<[f32]>::to_vec).collect();
        Ok(Residual::from_rows(rows, channels).map(|residual| (residual, moments)))
    }

    /// For every run of the step called `name` the means of the input channels that its biases are for; empty where it
    /// carries none.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn input_means(&self, name: &str) -> Result<Vec<Vec<f32>>> {
        let step = self.step(name)?;
        let ([.., channels], runs) = (step.shape, step.runs);
        if step.responses == 0 {
            return Ok(Vec::new());
        }
        let means = self.container.tensor(&format!("{name}.input_means"), Element::F32, &[runs, channels])?.to_f32();
        Ok(means.chunks(channels).map(<[f32]>::to_vec).collect())
    }

    /// For every run of the step called `name` what its biases lack where those means are others; empty where it
    /// carries none.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn responses(&self, name: &str) -> Result<Vec<Response>> {
        let step = self.step(name)?;
        let ([out, _, _, channels], runs, ways) = (step.shape, step.runs, step.responses);
        if ways == 0 {
            return Ok(Vec::new());
        }
        let part =
            |part: &str, element, shape: &[usize]| self.container.tensor(&format!("{name}.{part}"), element, shape);
        let scales = part("response_scales", Element::F32, &[runs, ways, 2])?.to_f32();
        let inputs = part("input_ways", Element::I8, &[runs, ways, channels])?.to_i8();
        let biases = part("bias_ways", Element::I8, &[runs, ways, out])?.to_i8();
        let runs = scales.chunks(ways * 2).zip(inputs.chunks(ways * channels)).zip(biases.chunks(ways * out));
        let of_run = |((scales, inputs), biases): ((&[f32], &[i8]), &[i8])| {
            let stored = StoredResponse { scales: scales.into(), inputs: inputs.into(), biases: biases.into() };
            Response::from_stored(&stored, channels, out)
        };
        Ok(runs.map(of_run).collect())
    }

    /// The first step with a residual, that, and how light the pictures are that its biases are for.
    ///
    /// # Errors
    /// As [`Artifact::residual`].
    pub fn lit(&self) -> Result<Option<(&Step, Residual, ImageMoments)>> {
        let Some(step) = self.header.steps.iter().find(|step| step.residual) else { return Ok(None) };
        let Some((residual, moments)) = self.residual(&step.name)? else { return Ok(None) };
        let light = moments.first().and_then(|moments| ImageMoments::from_f32(moments));
        Ok(light.map(|light| (step, residual, light)))
    }

    /// How light the pictures are that the biases are for, where a step says so.
    ///
    /// # Errors
    /// As [`Artifact::residual`].
    pub fn light(&self) -> Result<Option<ImageMoments>> {
        Ok(self.lit()?.map(|(.., light)| light))
    }

    /// The step called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is none.
    pub fn step(&self, name: &str) -> Result<&Step> {
        self.header
            .steps
            .iter()
            .find(|step| step.name == name)
            .ok_or_else(|| Error::new(Kind::Data, format!("the artifact has no step {name}")))
    }

    /// The edge called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is none.
    pub fn edge(&self, name: &str) -> Result<&Edge> {
        self.header
            .edges
            .iter()
            .find(|edge| edge.name == name)
            .ok_or_else(|| Error::new(Kind::Data, format!("the artifact has no edge {name}")))
    }

    /// The counts of `edge`'s histogram, empty where it has none.
    ///
    /// # Errors
    /// [`Kind::Data`] where the edge is not one of this artifact.
    pub fn histogram(&self, edge: &Edge) -> Result<Vec<u32>> {
        let Some(HistogramBins { bins, .. }) = edge.histogram else { return Ok(Vec::new()) };
        Ok(self.container.tensor(&format!("{}.histogram", edge.name), Element::U32, &[bins])?.to_u32())
    }

    fn check_header(&self) -> Result<()> {
        let header = &self.header;
        if header.labels.is_empty() {
            return refuse("it has no labels".into());
        }
        // Labels may repeat: COCO's list has several that mean nothing.
        header.labels.iter().try_for_each(|label| check_name("label", label))?;
        check_names("step", header.steps.iter().map(|step| &step.name))?;
        check_names("edge", header.edges.iter().map(|edge| &edge.name))?;
        if !["lookout", "paper"].contains(&header.recipe.as_str()) {
            return refuse(format!("its recipe is `{}`, expected lookout or paper", header.recipe));
        }
        check_hash("calibration.sha256", &header.calibration.sha256)?;
        check_hash("provenance.source_sha256", &header.provenance.source_sha256)?;
        let parent = header.provenance.parent.as_ref();
        parent.map_or(Ok(()), |parent| check_hash("provenance.parent", parent))?;
        if parent.is_some() != (header.provenance.generation > 0) {
            return refuse(format!("generation {} with parent {parent:?}", header.provenance.generation));
        }
        header.calibration.scenes.iter().try_for_each(check_spread).map_err(|e| e.at("calibration.scenes"))?;
        if let Some(agreement) = &header.calibration.agreement
            && agreement.matched.checked_add(agreement.vanished) != Some(agreement.reference)
        {
            return refuse(format!("matched and vanished are not all reference detections: {agreement:?}"));
        }
        Ok(())
    }

    fn check_step(&self, step: &Step, known: &mut BTreeSet<String>) -> Result<()> {
        if step.shape.contains(&0) || !(1..=MOST_RUNS).contains(&step.runs) {
            return refuse(format!("weights {:?} in {} runs are nothing to compute", step.shape, step.runs));
        }
        if !(step.sqnr_db.is_empty() || step.sqnr_db.len() == step.runs) {
            return refuse(format!("{} SQNR for {} runs", step.sqnr_db.len(), step.runs));
        }
        step.sqnr_db.iter().try_for_each(check_spread)?;
        let name = &step.name;
        let mut of = |part: &str, element, shape: &[usize]| {
            let name = format!("{name}.{part}");
            let tensor = self.container.tensor(&name, element, shape);
            known.insert(name);
            tensor
        };
        check_finite("bias", &of("bias", Element::F32, &[step.runs, step.shape[0]])?.bytes)?;
        if step.residual {
            let [out, _, _, channels] = step.shape;
            if !step.precision.is_int8() {
                return refuse("weights that were not rounded have no residual".into());
            }
            check_finite("residual", &of("residual", Element::F32, &[out, channels])?.bytes)?;
            check_finite("input_moments", &of("input_moments", Element::F32, &[step.runs, 2, channels])?.bytes)?;
        }
        if step.responses > 0 {
            let ([out, _, _, channels], runs, ways) = (step.shape, step.runs, step.responses);
            if !step.precision.is_int8() || ways > MOST_WAYS {
                return refuse(format!("{ways} responses, expected at most {MOST_WAYS}, and of int8 weights only"));
            }
            check_finite("input_means", &of("input_means", Element::F32, &[runs, channels])?.bytes)?;
            check_finite("response_scales", &of("response_scales", Element::F32, &[runs, ways, 2])?.bytes)?;
            of("input_ways", Element::I8, &[runs, ways, channels])?;
            of("bias_ways", Element::I8, &[runs, ways, out])?;
        }
        if !step.precision.is_int8() {
            return check_finite("weight", &of("weight", Element::F32, &step.shape)?.bytes);
        }
        let scales = of("scale", Element::F32, &step.shape[..1])?.to_f32();
        if let Some(channel) = scales.iter().position(|scale| !(MIN_SCALE..=MAX_SCALE).contains(scale)) {
            return refuse(format!(
                "scale {channel} is {:e}, not between {:e} and {:e}",
                scales[channel], MIN_SCALE, MAX_SCALE
            ));
        }
        let bytes = &of("weight", Element::I8, &step.shape)?.bytes;
        let [.., channels] = step.shape;
        let mut filter = Vec::with_capacity(step.depth());
        for (channel, bytes) in bytes.chunks(step.depth()).enumerate() {
            filter.clear();
            filter.extend(bytes.iter().map(|byte| byte.cast_signed()));
            if let Some(place) = filter.iter().position(|weight| *weight == i8::MIN) {
                return refuse(format!("weight {place} of output channel {channel} is −128"));
            }
            if self.header.pair_safe
                && let Some(place) = first_unsafe_pair(&filter, channels)
            {
                return refuse(format!(
                    "weights {place} and {} of output channel {channel} are not pair-safe",
                    place + 1
                ));
            }
        }
        Ok(())
    }

    fn check_edge(&self, edge: &Edge, known: &mut BTreeSet<String>) -> Result<()> {
        let range = edge.range;
        if !(range.min <= 0.0 && range.max >= 0.0 && range.min.is_finite() && range.max.is_finite()) {
            return refuse(format!("its range {} to {} does not hold zero", range.min, range.max));
        }
        edge.qparams.map_or(Ok(()), |qparams| QuantParams::new(qparams.scale, qparams.zero_point).map(|_| ()))?;
        for spread in [edge.clipped, edge.distance].iter().flatten() {
            check_spread(spread)?;
            if !(0.0..=1.0).contains(&spread.mean) {
                return refuse(format!("share {} is not between 0 and 1", spread.mean));
            }
        }
        let scenes = self.header.calibration.scenes.len();
        if !(edge.power_db.is_empty() || edge.power_db.len() == scenes) {
            return refuse(format!("{} powers for {scenes} scenes", edge.power_db.len()));
        }
        edge.power_db.iter().try_for_each(check_spread)?;
        let Some(HistogramBins { exponent, first, bins, shift }) = edge.histogram else { return Ok(()) };
        // The widest lattice on which zero and all of f32 fit into the bins there may be.
        let holds_zero = first <= 0 && bins <= 1 << 16 && i64::try_from(bins).is_ok_and(|bins| first + bins > 0);
        if !holds_zero || first < -(1 << 16) || !(-126..=127).contains(&exponent) || shift > 32 {
            return refuse(format!("{bins} bins of 2^{exponent} from {first} on are no histogram around zero"));
        }
        let name = format!("{}.histogram", edge.name);
        self.container.tensor(&name, Element::U32, &[bins])?;
        known.insert(name);
        Ok(())
    }
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::new(Kind::Data, what))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return refuse(format!("{what} {name:?} is no name: 1 to {LONGEST_NAME} bytes without control characters"));
    }
    Ok(())
}

fn check_names<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(what, name)?;
        if !seen.insert(name) {
            return refuse(format!("{what} {name} stands there twice"));
        }
    }
    Ok(())
}

fn check_hash(what: &str, text: &str) -> Result<()> {
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    refuse(format!("{what} is {text:?}, expected 64 hexadecimal digits"))
}

fn check_spread(spread: &Spread) -> Result<()> {
    if spread.mean.is_finite() && spread.deviation.is_finite() && spread.deviation >= 0.0 {
        return Ok(());
    }
    refuse(format!("mean {} with deviation {} is no evidence", spread.mean, spread.deviation))
}

fn check_finite(what: &str, bytes: &[u8]) -> Result<()> {
    let values = bytes.as_chunks().0;
    match values.iter().position(|value| !f32::from_le_bytes(*value).is_finite()) {
        Some(place) => refuse(format!("{what} {place} is {}", f32::from_le_bytes(values[place]))),
        None => Ok(()),
    }
}
