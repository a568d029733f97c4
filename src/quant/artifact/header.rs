//! What an artifact says beside its tensors, as it stands in the one metadata key.
//!
//! In and out: sorted JSON, unknown keys refused. Floats are f32 written with all the digits of the f64 they equal, so
//! that reading gives back the same bits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quant::{Precision, QuantParams, Range, Scheme};

/// The only format this reader knows.
pub const FORMAT: &str = "artifact/1";

/// Everything but weights and counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The plan's hyper-parameters, in the detector's own words.
    pub plan: Value,
    /// Class names, without the background.
    pub labels: Vec<String>,
    /// Which steps were quantized how: `lookout` or `paper`.
    pub recipe: String,
    /// Whether no pair of neighbouring weights can saturate a 16-bit sum. Verified when read; kernels need it.
    pub pair_safe: bool,
    /// The steps with weights, in the plan's order.
    pub steps: Vec<Step>,
    /// The edges, in the plan's order.
    pub edges: Vec<Edge>,
    /// What the ranges rest on.
    pub calibration: Calibration,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// A step with weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in the plan, without a level.
    pub name: String,
    /// How it is computed.
    pub precision: Precision,
    /// Extents of the weights: out, kernel height, kernel width, in.
    pub shape: [usize; 4],
    /// How often the weights run on a frame: 5 where a head runs on five levels, else 1. Each run has a bias.
    pub runs: usize,
    /// Signal to quantization noise of the output against fp32 in dB, over single pictures, for every run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sqnr_db: Vec<Spread>,
    /// Whether it carries what rounding took from its weights, and the moments of the input that its biases are for.
    #[serde(default, skip_serializing_if = "is_false")]
    pub residual: bool,
    /// In how many ways it carries what its biases lack where its input is another; 0 where it carries none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub responses: usize,
}

impl Step {
    /// Products a sum takes.
    pub fn depth(&self) -> usize {
        self.shape[1] * self.shape[2] * self.shape[3]
    }
}

/// What flows from one step to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Its name in the plan, with the level where there are several.
    pub name: String,
    /// Quantization parameters; none where the edge carries f32.
    #[serde(rename = "grid")]
    pub qparams: Option<StoredQuantParams>,
    /// What the observer chose, before it was adjusted to scale and zero point.
    #[serde(with = "exact_range")]
    pub range: Range,
    /// Share of values outside the quantization range, over single pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clipped: Option<Spread>,
    /// Distance of a single picture's histogram from the stored one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Spread>,
    /// Mean square of the values in dB, over single pictures, for every one of [`Calibration::scenes`]; empty where
    /// that says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub power_db: Vec<Spread>,
    /// Where the counts of `E.histogram` lie, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<HistogramBins>,
}

/// Quantization parameters as they are written; [`QuantParams`] once checked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredQuantParams {
    /// Distance of two levels.
    #[serde(with = "exact")]
    pub scale: f32,
    /// The byte that means 0.0.
    pub zero_point: u8,
}

impl From<QuantParams> for StoredQuantParams {
    fn from(QuantParams { scale, zero_point }: QuantParams) -> Self {
        Self { scale, zero_point }
    }
}

/// Mean and standard deviation over single pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Mean.
    #[serde(with = "exact")]
    pub mean: f32,
    /// Standard deviation.
    #[serde(with = "exact")]
    pub deviation: f32,
}

/// Where a stored histogram lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramBins {
    /// Bins are 2^`exponent` wide.
    pub exponent: i32,
    /// Index of the first: it starts at `first` · 2^`exponent`. At most 0.
    pub first: i64,
    /// Number of bins.
    pub bins: usize,
    /// Every count was divided by 2^`shift` and rounded to fit into 32 bits.
    pub shift: u32,
}

/// What the ranges rest on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The observer that chose the ranges.
    pub observer: String,
    /// How they were laid over the levels.
    #[serde(with = "name_of_scheme")]
    pub scheme: Scheme,
    /// Pictures seen.
    pub pictures: usize,
    /// SHA-256 of the pictures' own, in name order, in hexadecimal.
    pub sha256: String,
    /// Why the pictures were found unfit, where the owner went on all the same.
    pub unfit: Vec<String>,
    /// Agreement of the detections with fp32 on the calibration pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// The kinds of pictures that it was made for: how far apart single ones are, the mean over the edges with a
    /// [`power_db`](Edge::power_db) of by how many deviations each is off. The first is generation 0's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scenes: Vec<Spread>,
}

/// Detections of both models on the same pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    /// Pictures they were counted on; 0 where nobody wrote down how many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pictures: usize,
    /// Of fp32, score ≥ 0.5.
    pub reference: u64,
    /// Of these: same class, IoU ≥ 0.5.
    pub matched: u64,
    /// Of the matched: with an IoU below 0.9.
    pub shifted: u64,
    /// Of these: without a partner.
    pub vanished: u64,
    /// Of int8, score ≥ 0.5, without a partner.
    pub appeared: u64,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// SHA-256 of the checkpoint, in hexadecimal.
    pub source_sha256: String,
    /// 0 as quantized; each recalibration is one more than its parent.
    pub generation: u32,
    /// SHA-256 of the artifact this one was recalibrated from.
    pub parent: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// f32 as the f64 it equals: a reader that is off in the last digit of an f64 still finds the same f32.
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
        // As it stands: the reader checks that zero is inside.
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
