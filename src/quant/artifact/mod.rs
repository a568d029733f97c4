//! Artifact file `artifact/2`: a quantized model in one file (`*.lookout`).
//!
//! [`encode`] writes it from a [`Header`] and the tensors of every step, [`Artifact::parse`] reads and checks it. The
//! same model gives the same bytes: the file holds no date, host or path (those are in the [`Sidecar`]).
//!
//! # Container
//!
//! The file is a [safetensors](https://github.com/huggingface/safetensors) file with fixed rules (see
//! [`container`](super::container)): `u64` little-endian header length, JSON header, tensor data. The JSON header's
//! `__metadata__` has exactly one key, `lookout`, whose value is the text of a JSON object with sorted keys. That
//! object is the header described below. Checksums are in the tensor `checksums`.
//!
//! # Header keys
//!
//! Unknown keys are refused. Numbers of type f32 are written as the exact decimal digits of the equal f64. *Mean and
//! standard deviation* is an object `{"mean": f32, "deviation": f32}` over single calibration pictures. Keys marked
//! *optional* are absent where they have no value.
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `format` | string | `artifact/2` |
//! | `plan` | object | hyper-parameters of the network: `architecture` and `settings`, in the detector's form |
//! | `labels` | array of strings | class names without the background, at least one; 1 to 200 bytes each |
//! | `recipe` | string | `lookout` (all layers int8) or `paper` |
//! | `pair_safe` | bool | no pair of neighbouring weights can saturate a 16-bit sum; verified when read |
//! | `steps` | array of objects | steps with weights, in the order of the plan |
//! | `edges` | array of objects | edges between steps, in the order of the plan |
//! | `canvas` | string, optional | type of the canvas's values: `u8` if absent, or `u16` |
//! | `equalization` | integer, optional | number of factors of equalized channels; the tensor `equalization` exists |
//! | `calibration` | object | pictures and observer that the ranges were chosen with |
//! | `provenance` | object | source of the model |
//!
//! One of `steps`:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `name` | string | torchvision's name of the layer, unique; 1 to 200 bytes |
//! | `precision` | string | `int8-static`, `int8-dynamic` or `fp32` |
//! | `weight` | string | type of a weight: `s8`, `s8x2` (two digits, of `int8-static` only) or `f32` |
//! | `shape` | 4 integers | extents of the weights: out, kernel height, kernel width, in / groups; none 0 |
//! | `groups` | integer, optional, 1 if absent | groups of channels; divides out |
//! | `runs` | integer, 1 to 16 | times the weights run on a frame, 5 for a head on five pyramid levels |
//! | `sqnr_db` | array, optional | mean and standard deviation of the output's SQNR against fp32 in dB, one a run |
//! | `residual` | bool, optional | the tensors `S.residual` and `S.input_moments` exist; int8 only |
//! | `responses` | integer, optional, at most 64 | perturbations of the step's bias shift model; int8 only |
//!
//! One of `edges`:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `name` | string | name of the step whose output it is, with the level where there are several; unique |
//! | `grid` | object or null | `{"type": "u8", "scale": f32, "zero_point": 0 to 255}`, x = (q − zero point) · scale; null where the edge is f32. `"u16"` has two bytes a value; its zero point is 128 more than a multiple of 256, so that the high byte is the nearest level of a `u8` edge with 256 times the scale |
//! | `range` | 2 f32 | range the observer chose, in real units; contains 0 |
//! | `clipped` | object, optional | mean and standard deviation of the share of values outside the quantization range |
//! | `distance` | object, optional | mean and standard deviation of the total variation distance of a picture's histogram from the stored one |
//! | `power_db` | array, optional | mean and standard deviation of the values' mean square in dB, one for each of `calibration.scenes` |
//! | `histogram` | object, optional | `{"exponent", "first", "bins", "shift"}`: bin i of `E.histogram` covers \[(first + i) · 2^exponent, (first + i + 1) · 2^exponent); counts were divided by 2^shift and rounded half up |
//!
//! `calibration`:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `observer` | string | observer that chose the ranges, e.g. `l2` or `percentile:99.99` |
//! | `scheme` | string | `affine` or `symmetric` |
//! | `pictures` | integer | number of pictures |
//! | `sha256` | string | SHA-256 over the pictures' own SHA-256 in name order, 64 hexadecimal digits |
//! | `unfit` | array of strings | reasons why the pictures were found unusable, if the owner used them nevertheless |
//! | `agreement` | object, optional | detections of both networks: `pictures` (0 or absent: not recorded), `reference` (of fp32, score ≥ 0.5), `matched` (of these: same class and IoU ≥ 0.5), `shifted` (of the matched: IoU < 0.9), `vanished` (unmatched), `appeared` (of int8, score ≥ 0.5, unmatched) |
//! | `scenes` | array, optional | power profiles: mean and standard deviation of the mean \|z\| of single pictures, z over the edges with `power_db`; the first is that of generation 0 |
//!
//! `provenance`:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `source_sha256` | string | SHA-256 of the checkpoint, 64 hexadecimal digits |
//! | `generation` | integer | 0 as quantized, plus 1 for each recalibration |
//! | `parent` | string or null | SHA-256 of the artifact it was recalibrated from; null exactly for generation 0 |
//!
//! # Tensors
//!
//! Weights are `[out, kernel height, kernel width, in / groups]`, biases and means in real units. For every step S:
//!
//! | tensor | element, shape | where | meaning |
//! |---|---|---|---|
//! | `S.weight` | I8 or F32 `[out, kh, kw, in / groups]` | always | weights; I8 in \[−127, 127\] for both int8 precisions |
//! | `S.weight_low` | I8 `[out, kh, kw, in / groups]` | `s8x2` | low digits in \[−64, 63\]: a weight is (`weight` + `weight_low` / 128) · `scale` |
//! | `S.scale` | F32 `[out]` | int8 | weight scale of each output channel, 2⁻⁴⁰ to 2⁴⁰ |
//! | `S.bias` | F32 `[runs, out]` | always | bias, batch norm folded in |
//! | `S.residual` | F32 `[out, in / groups]` | `residual` | [`RoundingResidual`](super::RoundingResidual), in units of the weights |
//! | `S.input_moments` | F32 `[runs, 2, in]` | `residual` | reference means of the input, then its mean squares |
//! | `S.input_means` | F32 `[runs, in]` | `responses` > 0 | reference input means |
//! | `S.response_scales` | F32 `[runs, p, 2]` | `responses` = p > 0 | scales of the two tensors below, per perturbation |
//! | `S.input_ways` | I8 `[runs, p, in]` | `responses` = p > 0 | change of the mean input per perturbation |
//! | `S.bias_ways` | I8 `[runs, p, out]` | `responses` = p > 0 | bias shift per perturbation |
//!
//! For all of the network:
//!
//! | tensor | element, shape | where | meaning |
//! |---|---|---|---|
//! | `equalization` | F32 `[n]` | `equalization` = n | by group of edges and channel, the factor that fp32's values were divided by ([`Equalization`](crate::detector::equalization::Equalization)) |
//!
//! The last three of a step form a [`BiasShiftModel`](super::BiasShiftModel). The first layer reads raw pixels (0 to 255):
//! normalization is folded into its weights and bias. For every edge E with `histogram`: `E.histogram` U32 `[bins]`.
//! Other tensors are refused.
//!
//! # The earlier format `artifact/1`
//!
//! It is read, and a recalibration of such a file writes it. It has no `weight` and no `groups` in `steps` and no
//! `type` in `grid`. Its `plan` has the form of `checkpoint/1`.

mod header;
mod read;
mod sidecar;
mod tensors;
mod write;

#[cfg(test)]
mod tests;

pub use super::Precision;
pub use header::{
    CalibrationHeader, EdgeHeader, EdgeType, FORMAT, FORMAT_1, Header, HistogramBins, MeanStd, Provenance, StepHeader,
    StoredAgreement, StoredQuantParams, WeightType,
};
pub use read::{Artifact, FirstLayerReference, StoredWeights};
pub use sidecar::Sidecar;
pub use tensors::{RunBiasShift, StepResidual, StepTensors};
pub use write::{encode, save};
