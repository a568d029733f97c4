//! Header of an artifact: everything but the tensors, as one JSON object.
//!
//! Keys are sorted and unknown keys are refused. An f32 is written with all digits of the f64 that equals it, so that
//! it is read back bit by bit. The keys are described in [`super`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::quant::container::is_zero;
use crate::quant::{Precision, QuantParams, Range, Scheme};
use crate::tensor::{LOW_LEVELS, LOW_ZERO_POINT};

/// Format name of this version, which is written.
pub const FORMAT: &str = "artifact/2";

/// Format name of the earlier version, which is read. Its plans have another form.
pub const FORMAT_1: &str = "artifact/1";

/// Header of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`] or [`FORMAT_1`].
    pub format: String,
    /// Hyper-parameters of the network, in the detector's form.
    pub plan: Value,
    /// Class names, without the background.
    pub labels: Vec<String>,
    /// Recipe that chose the precision of the layers: `lookout` or `paper`.
    pub recipe: String,
    /// True if no pair of neighbouring weights can saturate a 16-bit sum. Verified when read, because kernels rely on
    /// it.
    pub pair_safe: bool,
    /// Steps with weights, in the plan's order.
    pub steps: Vec<StepHeader>,
    /// Edges between steps, in the plan's order.
    pub edges: Vec<EdgeHeader>,
    /// Type of the canvas's values; none where it is u8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canvas: Option<EdgeType>,
    /// Number of factors of equalized channels; 0 where no channel is equalized.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub equalization: usize,
    /// Pictures and observer that the ranges were chosen with.
    pub calibration: CalibrationHeader,
    /// Source of the model.
    pub provenance: Provenance,
}

/// A step with weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepHeader {
    /// Name in the plan, without a level.
    pub name: String,
    /// Arithmetic of the step.
    pub precision: Precision,
    /// Type of the weights; none in `artifact/1`, where the precision tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<WeightType>,
    /// Extents of the weights: out, kernel height, kernel width, in / groups.
    pub shape: [usize; 4],
    /// Groups of channels.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: usize,
    /// Number of times the weights run on a frame: 5 where a head runs on five levels, else 1. Each run has its own
    /// bias.
    pub runs: usize,
    /// Signal to quantization noise ratio of the output against fp32 in dB, over single pictures, for every run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sqnr_db: Vec<MeanStd>,
    /// True if the artifact has the step's rounding residual and the moments of the input its biases were corrected at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub residual: bool,
    /// Number of perturbations of the step's bias shift model; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero", rename = "responses")]
    pub perturbations: usize,
}

impl StepHeader {
    /// Channels that the step reads, those of all groups.
    pub fn in_channels(&self) -> usize {
        self.shape[3].saturating_mul(self.groups)
    }

    /// Number of products in a sum.
    pub fn depth(&self) -> usize {
        self.shape[1] * self.shape[2] * self.shape[3]
    }
}

/// An edge: the output of a step, which other steps read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeHeader {
    /// Name in the plan, with the level where there are several.
    pub name: String,
    /// Quantization parameters; none where the edge carries f32.
    #[serde(rename = "grid")]
    pub qparams: Option<StoredQuantParams>,
    /// Range that the observer chose, before it was adjusted to scale and zero point.
    #[serde(with = "exact_range")]
    pub range: Range,
    /// Share of values outside the quantization range, over single pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped: Option<MeanStd>,
    /// Total variation distance of a single picture's histogram from the stored one, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<MeanStd>,
    /// Mean square of the values in dB, over single pictures, for every one of [`CalibrationHeader::power_profiles`];
    /// empty where a picture had only zeros.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub power_db: Vec<MeanStd>,
    /// Bins of the tensor `E.histogram`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<HistogramBins>,
}

/// Type of the weights of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// One signed byte.
    S8,
    /// Two signed bytes, the digits of a 16-bit weight.
    S8x2,
    /// f32.
    F32,
}

impl WeightType {
    /// True for the types of weights that a step of this precision may have.
    pub fn fits(self, precision: Precision) -> bool {
        match self {
            Self::S8 => precision.is_int8(),
            Self::S8x2 => precision == Precision::Int8Static,
            Self::F32 => precision == Precision::Fp32,
        }
    }
}

/// Type of the values of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeType {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
}

/// Quantization parameters as they are stored, not yet checked; [`QuantParams`] once checked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredQuantParams {
    /// Type of the values; none in `artifact/1`, where it is u8.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub edge_type: Option<EdgeType>,
    /// Distance of two levels.
    #[serde(with = "exact")]
    pub scale: f32,
    /// The level that means 0.0.
    pub zero_point: u16,
}

impl From<QuantParams> for StoredQuantParams {
    fn from(qparams: QuantParams) -> Self {
        let (scale, zero_point, _) = qparams.levels();
        let edge_type = if qparams.two_bytes { EdgeType::U16 } else { EdgeType::U8 };
        Self { edge_type: Some(edge_type), scale, zero_point: zero_point as u16 }
    }
}

impl StoredQuantParams {
    /// Type of the values.
    fn edge_type(&self) -> EdgeType {
        self.edge_type.unwrap_or(EdgeType::U8)
    }

    /// The checked parameters.
    ///
    /// # Errors
    /// [`Kind::Data`] if a number is out of range.
    pub fn checked(&self) -> Result<QuantParams> {
        let zero_point = u8::try_from(self.zero_point);
        match (self.edge_type(), zero_point) {
            (EdgeType::U8, Ok(zero_point)) => QuantParams::new(self.scale, zero_point),
            (EdgeType::U8, Err(_)) => {
                let text = format!("zero point {}; expected 0 to 255", self.zero_point);
                Err(Error::new(Kind::Data, text))
            }
            (EdgeType::U16, _) => match self.zero_point.to_be_bytes() {
                [high, LOW_ZERO_POINT] => {
                    Ok(QuantParams::new(self.scale * f32::from(LOW_LEVELS), high)?.with_two_bytes(true))
                }
                _ => {
                    let text = format!(
                        "zero point {} of two bytes; expected 128 more than a multiple of 256",
                        self.zero_point
                    );
                    Err(Error::new(Kind::Data, text))
                }
            },
        }
    }
}

/// Mean and standard deviation over single pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanStd {
    /// Mean.
    #[serde(with = "exact")]
    pub mean: f32,
    /// Standard deviation, of the population.
    #[serde(with = "exact", rename = "deviation")]
    pub std: f32,
}

/// Bins of a stored histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramBins {
    /// Bins are 2^`exponent` wide.
    pub exponent: i32,
    /// Index of the first bin, which starts at `first` · 2^`exponent`. At most 0.
    pub first: i64,
    /// Number of bins.
    pub bins: usize,
    /// Every count was divided by 2^`shift` and rounded half up, so that it fits into 32 bits.
    pub shift: u32,
}

/// Pictures and observer that the ranges were chosen with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationHeader {
    /// Observer that chose the ranges.
    pub observer: String,
    /// Scheme by which ranges became quantization parameters.
    #[serde(with = "name_of_scheme")]
    pub scheme: Scheme,
    /// Number of pictures.
    pub pictures: usize,
    /// SHA-256 over the pictures' own in name order, in hexadecimal. A recalibration hashes the parent's value and the
    /// sorted SHA-256 of its frames.
    pub sha256: String,
    /// Reasons why the pictures are unusable, where the owner used them nevertheless.
    #[serde(rename = "unfit")]
    pub unusable_reasons: Vec<String>,
    /// Agreement of the detections with fp32 on the calibration pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<StoredAgreement>,
    /// Power profiles of the kinds of pictures that the model was calibrated for, that of generation 0 first: mean and
    /// standard deviation over single pictures of their mean |z|. Mean |z| is the mean of the absolute z score of the
    /// power over the edges with a [`power_db`](EdgeHeader::power_db).
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "scenes")]
    pub power_profiles: Vec<MeanStd>,
}

/// Agreement of the detections of both networks on the same pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredAgreement {
    /// Number of pictures; 0 where it was not recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pictures: usize,
    /// Detections of fp32 with score ≥ 0.5.
    pub reference: u64,
    /// Of these, those with an int8 detection of the same class and IoU ≥ 0.5.
    pub matched: u64,
    /// Of the matched, those with IoU < 0.9.
    pub shifted: u64,
    /// Detections of fp32 without a match.
    pub vanished: u64,
    /// Detections of int8 with score ≥ 0.5 without a match.
    pub appeared: u64,
}

/// Source of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// SHA-256 of the checkpoint, in hexadecimal.
    pub source_sha256: String,
    /// 0 as quantized; each recalibration is one more than its parent.
    pub generation: u32,
    /// SHA-256 of the artifact that this one was recalibrated from.
    pub parent: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> usize {
    1
}

fn is_one(count: &usize) -> bool {
    *count == 1
}

/// Serializes an f32 as the f64 that equals it. A reader with an error in the last digit of an f64 still gives the same
/// f32.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_f64(f64::from(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
        f64::deserialize(from).map(|value| value as f32)
    }
}

mod exact_range {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Range;

    pub fn serialize<S: Serializer>(range: &Range, out: S) -> Result<S::Ok, S::Error> {
        [f64::from(range.min), f64::from(range.max)].serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        let [min, max] = <[f64; 2]>::deserialize(from)?;
        // Not `Range::new`, which would include zero: the reader checks that zero is inside.
        Ok(Range { min: min as f32, max: max as f32 })
    }
}

mod name_of_scheme {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Scheme;

    pub fn serialize<S: Serializer>(scheme: &Scheme, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(scheme.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Scheme, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
