//! Reader of artifacts: checks a file from end to end before anything is used.
//!
//! In: a file from an untrusted source, in memory or on disk. Out: an [`Artifact`] that borrows it. All its
//! tensors are present and no others, all numbers finite and inside their limits. All weight pairs are safe if the
//! header says so. No number is computed with before it was checked. Errors name the step, edge or byte that is wrong.
//! Of a file on disk one tensor at a time is in memory.

use std::collections::BTreeSet;

use serde_json::Value;

use super::header::{EdgeHeader, FORMAT, FORMAT_1, Header, HistogramBins, MeanStd, StepHeader, WeightType};
use super::tensors::StepResidual;
use crate::error::{Error, Kind, Result};
use crate::quant::container::{Container, EQUALIZATION, Element};
use crate::quant::{BiasShiftModel, MAX_SCALE, MIN_SCALE, RoundingResidual, StoredBiasShiftModel, first_unsafe_pair};
use crate::tensor::ImageMoments;
use crate::tensor::regular_file::RegularFile;

/// Most bytes of a name, which becomes part of file names, metric labels and log fields.
const MAX_NAME_BYTES: usize = 200;
/// Most perturbations of a bias shift model.
const MAX_PERTURBATIONS: usize = 64;
/// Most runs of one weight set on a frame.
const MAX_RUNS: usize = 16;
/// Most bins of a stored histogram.
const MAX_BINS: usize = 1 << 16;

/// An artifact of which every part was checked.
#[derive(Debug)]
pub struct Artifact<'a> {
    header: Header,
    container: Container<'a>,
}

/// Weights of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredWeights {
    /// s8 in [−127, 127] and a scale for every output channel.
    Int8 {
        /// `[out][kh][kw][in]`.
        values: Vec<i8>,
        /// Low digits of weights of two, in [−64, 63], as long as `values`; empty for weights of one.
        low: Vec<i8>,
        /// `[out]`.
        scales: Vec<f32>,
    },
    /// f32, `[out][kh][kw][in]`.
    Float(Vec<f32>),
}

/// The first step with a rounding residual, and the pictures that its biases were corrected at.
#[derive(Debug, Clone)]
pub struct FirstLayerReference<'a> {
    /// The step.
    pub step: &'a StepHeader,
    /// Its rounding residual.
    pub residual: RoundingResidual,
    /// Moments of the pictures.
    pub image: ImageMoments,
}

impl<'a> Artifact<'a> {
    /// Checks `file` from end to end.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the first place that is wrong.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
        Self::of(Container::parse(file)?)
    }

    /// Checks `file` from end to end. Its tensors are read one at a time, and when they are asked for.
    ///
    /// # Errors
    /// As [`Artifact::parse`] and [`Container::open`].
    pub fn open(file: &'a RegularFile) -> Result<Self> {
        let artifact = Self::of(Container::open(file)?)?;
        file.check_unchanged()?;
        Ok(artifact)
    }

    fn of(container: Container<'a>) -> Result<Self> {
        match container.metadata().get("format") {
            Some(Value::String(format)) if format == FORMAT || format == FORMAT_1 => {}
            Some(Value::String(other)) => {
                return refuse(format!("its format is `{other}`, expected `{FORMAT_1}` or `{FORMAT}`"));
            }
            _ => return refuse(format!("it does not say that its format is `{FORMAT}`")),
        }
        let header: Header = serde_json::from_value(Value::Object(container.metadata().clone()))
            .map_err(|e| Error::new(Kind::Data, format!("its header is not that of {FORMAT}")).because(e))?;
        let artifact = Self { header, container };
        artifact.check_header()?;
        let mut known = BTreeSet::new();
        if artifact.header.equalization > 0 {
            artifact.equalization()?;
            known.insert(EQUALIZATION.to_owned());
        }
        for step in &artifact.header.steps {
            artifact.check_step(step, &mut known).map_err(|e| e.at(format!("step {}", step.name)))?;
        }
        for edge in &artifact.header.edges {
            artifact.check_edge(edge, &mut known).map_err(|e| e.at(format!("edge {}", edge.name)))?;
        }
        if let Some(unknown) = artifact.container.names().find(|name| !known.contains(*name)) {
            return refuse(format!("tensor {unknown} belongs to no step and no edge"));
        }
        Ok(artifact)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Weights of the step called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn weights(&self, name: &str) -> Result<StoredWeights> {
        let step = self.step(name)?;
        let weight = format!("{name}.weight");
        if !step.precision.is_int8() {
            return Ok(StoredWeights::Float(self.container.tensor(&weight, Element::F32, &step.shape)?.to_f32()));
        }
        let values = self.container.tensor(&weight, Element::I8, &step.shape)?.into_i8();
        let scales = self.container.tensor(&format!("{name}.scale"), Element::F32, &step.shape[..1])?.to_f32();
        let low = match step.weight {
            Some(WeightType::S8x2) => {
                self.container.tensor(&format!("{name}.weight_low"), Element::I8, &step.shape)?.into_i8()
            }
            _ => Vec::new(),
        };
        Ok(StoredWeights::Int8 { values, low, scales })
    }

    /// Biases of the step called `name`, one vector a run.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn biases(&self, name: &str) -> Result<Vec<Vec<f32>>> {
        let step = self.step(name)?;
        let bias = self.container.tensor(&format!("{name}.bias"), Element::F32, &[step.runs, step.shape[0]])?;
        Ok(bias.to_f32().chunks(step.shape[0]).map(<[f32]>::to_vec).collect())
    }

    /// Rounding residual of the step called `name`, and the moments of its input; `None` where it has none.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn residual(&self, name: &str) -> Result<Option<StepResidual>> {
        let step = self.step(name)?;
        if !step.residual {
            return Ok(None);
        }
        let [out, _, _, channels] = step.shape;
        let rows = self.container.tensor(&format!("{name}.residual"), Element::F32, &[out, channels])?.to_f32();
        let shape = [step.runs, 2, channels];
        let input_moments = self.container.tensor(&format!("{name}.input_moments"), Element::F32, &shape)?.to_f32();
        let residual = RoundingResidual::from_rows(rows, channels);
        Ok(residual.map(|residual| StepResidual { residual, input_moments }))
    }

    /// Reference input means of the step called `name`, one vector a run; empty where it has no bias shift model.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn reference_input_means(&self, name: &str) -> Result<Vec<Vec<f32>>> {
        let step = self.step(name)?;
        let (channels, runs) = (step.in_channels(), step.runs);
        if step.perturbations == 0 {
            return Ok(Vec::new());
        }
        let means = self.container.tensor(&format!("{name}.input_means"), Element::F32, &[runs, channels])?.to_f32();
        Ok(means.chunks(channels).map(<[f32]>::to_vec).collect())
    }

    /// Bias shift models of the step called `name`, one a run; empty where it has none.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such step.
    pub fn bias_shift_models(&self, name: &str) -> Result<Vec<BiasShiftModel>> {
        let step = self.step(name)?;
        let (out, channels) = (step.shape[0], step.in_channels());
        let (runs, perturbations) = (step.runs, step.perturbations);
        if perturbations == 0 {
            return Ok(Vec::new());
        }
        let part =
            |part: &str, element, shape: &[usize]| self.container.tensor(&format!("{name}.{part}"), element, shape);
        let scales = part("response_scales", Element::F32, &[runs, perturbations, 2])?.to_f32();
        let input_changes = part("input_ways", Element::I8, &[runs, perturbations, channels])?.into_i8();
        let bias_shifts = part("bias_ways", Element::I8, &[runs, perturbations, out])?.into_i8();
        let of_run = |run: usize| {
            let stored = StoredBiasShiftModel {
                scales: scales[run * perturbations * 2..][..perturbations * 2].to_vec(),
                input_changes: input_changes[run * perturbations * channels..][..perturbations * channels].to_vec(),
                bias_shifts: bias_shifts[run * perturbations * out..][..perturbations * out].to_vec(),
            };
            BiasShiftModel::from_stored(&stored, channels, out)
        };
        Ok((0..runs).map(of_run).collect())
    }

    /// Factors of the equalized channels; empty where none is.
    ///
    /// # Errors
    /// [`Kind::Data`] where the tensor is missing or has another length.
    pub fn equalization(&self) -> Result<Vec<f32>> {
        self.container.optional_f32(EQUALIZATION, self.header.equalization)
    }

    /// The first step with a rounding residual, and the moments of the pictures that its biases were corrected at.
    ///
    /// # Errors
    /// As [`Artifact::residual`].
    pub fn first_layer_reference(&self) -> Result<Option<FirstLayerReference<'_>>> {
        let Some(step) = self.header.steps.iter().find(|step| step.residual) else { return Ok(None) };
        let Some(StepResidual { residual, input_moments }) = self.residual(&step.name)? else { return Ok(None) };
        let [.., channels] = step.shape;
        let image = input_moments.get(..2 * channels).and_then(ImageMoments::from_f32);
        Ok(image.map(|image| FirstLayerReference { step, residual, image }))
    }

    /// Moments of the pictures that the biases were corrected at, where the artifact has them.
    ///
    /// # Errors
    /// As [`Artifact::residual`].
    pub fn reference_image(&self) -> Result<Option<ImageMoments>> {
        Ok(self.first_layer_reference()?.map(|first| first.image))
    }

    /// The step called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is none.
    pub fn step(&self, name: &str) -> Result<&StepHeader> {
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
    pub fn edge(&self, name: &str) -> Result<&EdgeHeader> {
        self.header
            .edges
            .iter()
            .find(|edge| edge.name == name)
            .ok_or_else(|| Error::new(Kind::Data, format!("the artifact has no edge {name}")))
    }

    /// Counts of the histogram of `edge`, divided by 2^shift; empty where it has none.
    ///
    /// # Errors
    /// [`Kind::Data`] where the edge is not one of this artifact.
    pub fn histogram(&self, edge: &EdgeHeader) -> Result<Vec<u32>> {
        let Some(HistogramBins { bins, .. }) = edge.histogram else { return Ok(Vec::new()) };
        Ok(self.container.tensor(&format!("{}.histogram", edge.name), Element::U32, &[bins])?.to_u32())
    }

    fn check_header(&self) -> Result<()> {
        let header = &self.header;
        if header.labels.is_empty() {
            return refuse("it has no labels".into());
        }
        // Labels may repeat: COCO's list has several `N/A`.
        header.labels.iter().try_for_each(|label| check_name("label", label))?;
        check_names("step", header.steps.iter().map(|step| &step.name))?;
        check_names("edge", header.edges.iter().map(|edge| &edge.name))?;
        if !["lookout", "paper"].contains(&header.recipe.as_str()) {
            return refuse(format!("its recipe is `{}`, expected lookout or paper", header.recipe));
        }
        if header.canvas.is_some() && !self.is_typed() {
            return refuse(format!("{FORMAT_1} gives no type of the canvas"));
        }
        if header.equalization > 0 && !self.is_typed() {
            return refuse(format!("{FORMAT_1} has no factors of channels"));
        }
        check_hash("calibration.sha256", &header.calibration.sha256)?;
        check_hash("provenance.source_sha256", &header.provenance.source_sha256)?;
        let parent = header.provenance.parent.as_ref();
        parent.map_or(Ok(()), |parent| check_hash("provenance.parent", parent))?;
        if parent.is_some() != (header.provenance.generation > 0) {
            return refuse(format!("generation {} with parent {parent:?}", header.provenance.generation));
        }
        header
            .calibration
            .power_profiles
            .iter()
            .try_for_each(check_mean_std)
            .map_err(|e| e.at("calibration.scenes"))?;
        if let Some(agreement) = &header.calibration.agreement
            && agreement.matched.checked_add(agreement.vanished) != Some(agreement.reference)
        {
            return refuse(format!("matched and vanished are not all reference detections: {agreement:?}"));
        }
        Ok(())
    }

    /// True if the format gives the types of weights and edges.
    fn is_typed(&self) -> bool {
        self.header.format != FORMAT_1
    }

    fn check_step(&self, step: &StepHeader, known: &mut BTreeSet<String>) -> Result<()> {
        if step.shape.contains(&0) || !(1..=MAX_RUNS).contains(&step.runs) {
            return refuse(format!("weights {:?} in {} runs are nothing to compute", step.shape, step.runs));
        }
        // No more groups than output channels: this bounds the tensors that are asked for below.
        if step.groups == 0 || !step.shape[0].is_multiple_of(step.groups) || (step.groups > 1 && !self.is_typed()) {
            return refuse(format!("{} groups of {} output channels", step.groups, step.shape[0]));
        }
        if !(step.sqnr_db.is_empty() || step.sqnr_db.len() == step.runs) {
            return refuse(format!("{} SQNR for {} runs", step.sqnr_db.len(), step.runs));
        }
        step.sqnr_db.iter().try_for_each(check_mean_std)?;
        match step.weight {
            None if self.is_typed() => {
                return refuse(format!("the type of its weights is missing, as {FORMAT} has it"));
            }
            Some(_) if !self.is_typed() => return refuse(format!("{FORMAT_1} gives no type of weights")),
            Some(found) if !found.fits(step.precision) => {
                let precision = step.precision.name();
                return refuse(format!("weights of type {found:?} do not match precision {precision}"));
            }
            _ => {}
        }
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
        if step.perturbations > 0 {
            let (out, channels) = (step.shape[0], step.in_channels());
            let (runs, perturbations) = (step.runs, step.perturbations);
            if !step.precision.is_int8() || perturbations > MAX_PERTURBATIONS {
                let what = format!("{perturbations} responses, expected at most {MAX_PERTURBATIONS}");
                return refuse(format!("{what}, and of int8 weights only"));
            }
            check_finite("input_means", &of("input_means", Element::F32, &[runs, channels])?.bytes)?;
            check_finite("response_scales", &of("response_scales", Element::F32, &[runs, perturbations, 2])?.bytes)?;
            of("input_ways", Element::I8, &[runs, perturbations, channels])?;
            of("bias_ways", Element::I8, &[runs, perturbations, out])?;
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
        if step.weight == Some(WeightType::S8x2) {
            let low = &of("weight_low", Element::I8, &step.shape)?.bytes;
            if let Some(place) = low.iter().position(|byte| !(-64..64).contains(&byte.cast_signed())) {
                return refuse(format!("low digit {place} of the weights is not between −64 and 63"));
            }
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

    fn check_edge(&self, edge: &EdgeHeader, known: &mut BTreeSet<String>) -> Result<()> {
        let range = edge.range;
        if !(range.min <= 0.0 && range.max >= 0.0 && range.min.is_finite() && range.max.is_finite()) {
            return refuse(format!("its range {} to {} does not hold zero", range.min, range.max));
        }
        edge.qparams.map_or(Ok(()), |qparams| qparams.checked().map(|_| ()))?;
        let edge_type = edge.qparams.map(|qparams| qparams.edge_type.is_some());
        if edge_type.is_some_and(|is_typed| is_typed != self.is_typed()) {
            return refuse(format!("the type of its values is given in {FORMAT}, and only there"));
        }
        for share in [edge.clipped, edge.distance].iter().flatten() {
            check_mean_std(share)?;
            if !(0.0..=1.0).contains(&share.mean) {
                return refuse(format!("share {} is not between 0 and 1", share.mean));
            }
        }
        let profiles = self.header.calibration.power_profiles.len();
        if !(edge.power_db.is_empty() || edge.power_db.len() == profiles) {
            return refuse(format!("{} powers for {profiles} scenes", edge.power_db.len()));
        }
        edge.power_db.iter().try_for_each(check_mean_std)?;
        let Some(HistogramBins { exponent, first, bins, shift }) = edge.histogram else { return Ok(()) };
        // Bin 0 must exist, and the bins must lie where f32 values can.
        let holds_zero = first <= 0 && bins <= MAX_BINS && i64::try_from(bins).is_ok_and(|bins| first + bins > 0);
        if !holds_zero || first < -(MAX_BINS as i64) || !(-126..=127).contains(&exponent) || shift > 32 {
            return refuse(format!("{bins} bins of 2^{exponent} from {first} on are no histogram around zero"));
        }
        let name = format!("{}.histogram", edge.name);
        self.container.check(&name, Element::U32, &[bins])?;
        known.insert(name);
        Ok(())
    }
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::new(Kind::Data, what))
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return refuse(format!(
            "{what} {name:?} is not a name of 1 to {MAX_NAME_BYTES} bytes without control characters"
        ));
    }
    Ok(())
}

fn check_names<'n>(what: &str, names: impl Iterator<Item = &'n String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(what, name)?;
        if !seen.insert(name) {
            return refuse(format!("{what} {name} is listed twice"));
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

fn check_mean_std(figure: &MeanStd) -> Result<()> {
    if figure.mean.is_finite() && figure.std.is_finite() && figure.std >= 0.0 {
        return Ok(());
    }
    refuse(format!(
        "mean {} and standard deviation {} are not both finite, the second at least 0",
        figure.mean, figure.std
    ))
}

fn check_finite(what: &str, bytes: &[u8]) -> Result<()> {
    let values = bytes.as_chunks().0;
    match values.iter().position(|value| !f32::from_le_bytes(*value).is_finite()) {
        Some(place) => refuse(format!("{what} {place} is {}", f32::from_le_bytes(values[place]))),
        None => Ok(()),
    }
}
