//! Checkpoints: full-precision weights with all parameters that inference needs.
//!
//! In: [`import()`] reads torchvision state dicts (zip or legacy pickle, safetensors); [`Checkpoint::open`] reads only
//! `checkpoint/1`. Out: a [`Checkpoint`]: a checked [`CheckpointHeader`] and f32 tensors under torchvision's names, over
//! a mapped file. Promises: the weights match the header's architecture exactly; a value that is not finite is an error
//! that names its tensor. A damaged or malicious file ends in one error, never in a panic, a call, or an allocation
//! larger than a few times the file.
//!
//! # The file format `checkpoint/1`
//!
//! A checkpoint is a [safetensors](https://github.com/huggingface/safetensors) file:
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 7 | N, the length of the header, as a little-endian unsigned integer |
//! | 8 to 7 + N | the header: a JSON object, UTF-8, padded with spaces so that N is a multiple of 8 |
//! | from 8 + N | the tensors' values, without gaps, to the end of the file |
//!
//! The JSON object has one key a tensor: `{"dtype": "F32" or "F16", "shape": […], "data_offsets": [begin, end]}`, in bytes
//! from 8 + N. Its key `__metadata__` is an object with exactly one key, `lookout`. The value is a string: the checkpoint's
//! own header, a JSON object with exactly these keys, sorted:
//!
//! | key | type | meaning, unit | valid values |
//! |---|---|---|---|
//! | `format` | string | name and version | `checkpoint/1` |
//! | `architecture.depth` | integer | layers of the ResNet | 18, 34, 50, 101 |
//! | `architecture.stem` | integer | output channels of `backbone.body.conv1` | 1 to 2²⁰ |
//! | `architecture.stages` | 4 objects | channels of `layer1` to `layer4`: `middle` inside a block, `output` after it | 1 to 2²⁰ |
//! | `architecture.fpn` | integer | channels of the pyramid and of the proposal head | 1 to 2²⁰ |
//! | `architecture.anchors_per_cell` | integer | anchors at each cell of a level | 1 to 2²⁰; sizes times ratios |
//! | `architecture.roi_output` | integer | rows and columns of the features of a proposal | 1 to 64 |
//! | `architecture.head` | integer | outputs of `fc6` and `fc7` | 1 to 2²⁰ |
//! | `architecture.classes` | integer | classes, the background (class 0) included | 2 to 2²⁰ |
//! | `labels` | strings | names of classes 1, 2, …, all different | `classes` − 1 names of 1 to 100 bytes, printable |
//! | `transform.min_size` | integers | shorter side after resizing, pixels; inference uses the last | 1 to 16384 each |
//! | `transform.max_size` | integer | longest side after resizing, pixels | 1 to 16384 |
//! | `transform.mean` | 3 numbers | subtracted from red, green, blue in \[0, 1\] | 0 to 1 |
//! | `transform.std` | 3 numbers | divisor of the difference | 0.001 to 1000 |
//! | `transform.size_divisor` | integer | the canvas is padded to a multiple of it, pixels | a multiple of 32 up to 1024 |
//! | `anchors.sizes` | 5 lists of numbers | side lengths for P2 to P6, pixels of the canvas | 1 to 100000 |
//! | `anchors.aspect_ratios` | numbers | height / width | 0.01 to 100 |
//! | `rpn.pre_nms_top_n` | integer | anchors kept of each level before suppression | 1 to 100000 |
//! | `rpn.post_nms_top_n` | integer | proposals kept of all levels after it | 1 to 100000 |
//! | `rpn.nms_threshold` | number | IoU above which a box of the same level is suppressed | 0 to 1 |
//! | `rpn.min_size` | number | smallest side of a proposal, pixels of the canvas | 0 or more |
//! | `rpn.score_threshold` | number | least objectness probability of a proposal | 0 to 1 |
//! | `rpn.box_weights` | 4 numbers | divisors of dx, dy, dw, dh | 0.001 to 1000 |
//! | `rpn.max_growth` | number | largest factor of a side: dw and dh are limited to its logarithm | 1 to 10⁶ |
//! | `roi.score_threshold` | number | a detection scores more than this | 0 to 1 |
//! | `roi.nms_threshold` | number | IoU above which a box of the same class is suppressed | 0 to 1 |
//! | `roi.max_detections` | integer | detections kept of a picture | 1 to 100000 |
//! | `roi.min_size` | number | smallest side of a detection, pixels of the canvas | 0 or more |
//! | `roi.box_weights` | 4 numbers | divisors of dx, dy, dw, dh | 0.001 to 1000 |
//! | `roi.max_growth` | number | as `rpn.max_growth` | 1 to 10⁶ |
//! | `roi.sampling_ratio` | integer | RoIAlign's samples along each side of a bin | 1 to 16 |
//! | `roi.canonical_scale` | number | √area of a proposal that is read from `canonical_level`, pixels of the canvas | above 0 |
//! | `roi.canonical_level` | integer | that level's number: 4 is P4 | 2 to 5 |
//! | `roi.level_eps` | number | added to the level before it is rounded down | 0 or more |
//! | `batch_norm_eps` | number | added to σ² of every batch norm: w′ = w·γ / √(σ² + eps) | 0 to 1 |
//! | `source_sha256` | string | SHA-256 of the imported file | 64 lower-case hexadecimal digits |
//!
//! The tensors are exactly those of [`Architecture::expected`](super::architecture::Architecture::expected), row-major
//! and little-endian. `s` is a stage from 0 to 3, `b` a block, `n` a convolution of a block from 1 to 2 (basic blocks) or 3
//! (bottlenecks):
//!
//! | name | shape |
//! |---|---|
//! | `backbone.body.conv1.weight` | \[stem, 3, 7, 7\] |
//! | `backbone.body.layer{s+1}.{b}.conv{n}.weight` | \[out, in, k, k\], k = 3, in bottlenecks 1, 3, 1 |
//! | `backbone.body.layer{s+1}.{b}.downsample.0.weight` | \[output, in, 1, 1\], where stride or channels change |
//! | `backbone.body.bn1`, `….bn{n}`, `….downsample.1` with `.weight`, `.bias`, `.running_mean`, `.running_var` | \[out\] of the convolution |
//! | `backbone.fpn.inner_blocks.{s}.0.weight`, `.bias` | \[fpn, stages\[s\].output, 1, 1\], \[fpn\] |
//! | `backbone.fpn.layer_blocks.{s}.0.weight`, `.bias` | \[fpn, fpn, 3, 3\], \[fpn\] |
//! | `rpn.head.conv.0.0.weight`, `.bias` | \[fpn, fpn, 3, 3\], \[fpn\] |
//! | `rpn.head.cls_logits.weight`, `.bias` | \[anchors_per_cell, fpn, 1, 1\], \[anchors_per_cell\] |
//! | `rpn.head.bbox_pred.weight`, `.bias` | \[4·anchors_per_cell, fpn, 1, 1\], \[4·anchors_per_cell\] |
//! | `roi_heads.box_head.fc6.weight`, `.bias` | \[head, fpn·roi_output²\], \[head\] |
//! | `roi_heads.box_head.fc7.weight`, `.bias` | \[head, head\], \[head\] |
//! | `roi_heads.box_predictor.cls_score.weight`, `.bias` | \[classes, head\], \[classes\] |
//! | `roi_heads.box_predictor.bbox_pred.weight`, `.bias` | \[4·classes, head\], \[4·classes\] |
//!
//! Every value is finite, and every `running_var` is 0 or more. The stride of a block is that of torchvision's ResNet: 2
//! on the 3×3 convolution and on the shortcut of the first block of `layer2` to `layer4`. The writer orders the tensors by
//! type, F32 before F16, then by name; a reader accepts any order. F16 is kept where the source was F16.

mod archive;
mod eps;
mod header;
mod import;
mod legacy;
#[cfg(test)]
mod malformed;
mod metadata;
mod names;
mod pickle;
mod safetensors_file;
mod source;
mod state_dict;
mod tensor_data;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use safetensors::Dtype;

pub use eps::{BatchNormEps, EpsReason};
pub use header::{CheckpointHeader, FORMAT};
pub use import::{ImportOptions, ImportReport, import};
pub use state_dict::FileForm;
pub use tensor_data::{TensorData, TensorDtype};

use super::architecture::Shapes;
use super::demo;
use crate::error::{Error, Kind, Result};
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;

/// A full-precision detector: header and weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Checkpoint {
    header: Arc<CheckpointHeader>,
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    tensors: Arc<BTreeMap<String, TensorEntry>>,
}

/// A tensor's type and range of the file.
#[derive(Debug)]
struct TensorEntry {
    shape: Vec<usize>,
    dtype: TensorDtype,
    bytes: Range<usize>,
}

/// One tensor's shape and values, row-major; convolutions are `[out, in, kh, kw]` (OIHW).
#[derive(Debug, Clone, PartialEq)]
pub struct TensorView<'a> {
    /// Extents.
    pub shape: &'a [usize],
    /// Values: the file's own memory if it holds f32, widened if it holds f16.
    pub values: Cow<'a, [f32]>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a `checkpoint/1`. The weights are mapped, not read. The path [`demo::FP32`] names the built-in one.
    ///
    /// # Errors
    /// [`Kind::Data`] if the file is no checkpoint; the message names `lookout import`. Otherwise as [`Mapped::open`].
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(bytes) = demo::named(path)? {
            return Self::from_bytes(bytes);
        }
        let file = Mapped::open(path)?;
        Self::from_bytes(file).map_err(|e| e.at(path.display()))
    }

    /// Parses a checkpoint in memory, such as the built-in one.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        let file = bytes.as_ref();
        if !safetensors_file::is_safetensors(file) {
            let text = "not a checkpoint/1; to make one of a PyTorch state dict, run `lookout import`";
            return Err(Error::new(Kind::Data, text));
        }
        let (metadata, start) = safetensors_file::header(file)?;
        let json = match metadata.metadata() {
            Some(keys) if keys.len() == 1 => keys.get(write::KEY),
            _ => None,
        };
        let Some(json) = json else {
            let text = "a safetensors file, but not a checkpoint/1: its metadata is not the one key `lookout`; to make \
                        a checkpoint of a torchvision state dict, run `lookout import`";
            return Err(Error::new(Kind::Data, text));
        };
        let header = CheckpointHeader::parse(json)?;
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let dtype = match info.dtype {
                Dtype::F16 => TensorDtype::F16,
                Dtype::F32 => TensorDtype::F32,
                other => {
                    let text = format!("tensor {name} is of type {other:?}; expected F32 or F16");
                    return Err(Error::new(Kind::Data, text));
                }
            };
            let (from, to) = info.data_offsets;
            let entry = TensorEntry { shape: info.shape.clone(), dtype, bytes: start + from..start + to };
            tensors.insert(name, entry);
        }
        let shapes: Shapes = tensors.iter().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect();
        header.architecture.check(&shapes)?;
        Ok(Self { header: Arc::new(header), bytes: Arc::new(bytes), tensors: Arc::new(tensors) })
    }

    /// A checkpoint in memory, for tests and generated models; `values` gives each tensor of the header's architecture,
    /// by name and shape.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`], and what `values` returns.
    pub fn build(header: &CheckpointHeader, values: impl Fn(&str, &[usize]) -> Result<TensorData>) -> Result<Self> {
        Self::from_bytes(Self::encode(header, values)?)
    }

    /// The bytes of a `checkpoint/1` file; `values` as for [`Checkpoint::build`].
    ///
    /// # Errors
    /// [`Kind::Data`] if the header is wrong or a value is not finite, and what `values` returns.
    pub fn encode(header: &CheckpointHeader, values: impl Fn(&str, &[usize]) -> Result<TensorData>) -> Result<Vec<u8>> {
        header.check()?;
        let shapes: Shapes = header.architecture.expected().into_iter().collect();
        let read = |name: &str| {
            let values = values(name, shapes.get(name).map_or(&[][..], Vec::as_slice))?;
            tensor_data::check(name, &values.widened())?;
            Ok(values)
        };
        let mut bytes = Vec::new();
        write::write(&mut bytes, header, |name| Ok(read(name)?.dtype()), read)?;
        Ok(bytes)
    }

    /// Everything except the weights.
    pub fn header(&self) -> &CheckpointHeader {
        &self.header
    }

    /// SHA-256 of the whole file, in hexadecimal: the identity of the model. Reads every byte.
    pub fn sha256(&self) -> String {
        sha256((*self.bytes).as_ref())
    }

    /// Name, shape and stored type of every tensor, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], TensorDtype)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice(), entry.dtype))
    }

    /// One tensor.
    ///
    /// # Errors
    /// [`Kind::Data`] if it holds a value that is not finite, or a negative variance; [`Kind::Internal`] if the
    /// architecture has no tensor of this name.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>> {
        let unknown = || Error::new(Kind::Internal, format!("the checkpoint has no tensor {name}"));
        let entry = self.tensors.get(name).ok_or_else(unknown)?;
        let bytes = (*self.bytes).as_ref().get(entry.bytes.clone()).ok_or_else(unknown)?;
        let values = tensor_data::decode(bytes, entry.dtype);
        tensor_data::check(name, &values)?;
        Ok(TensorView { shape: &entry.shape, values })
    }

    /// The weights for `candle_nn`: f32, on the CPU, each read on request.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(CandleSource(self.clone())), DType::F32, Device::Cpu)
    }
}

/// [`Checkpoint`] as a source of tensors for candle.
struct CandleSource(Checkpoint);

impl SimpleBackend for CandleSource {
    fn get(
        &self,
        shape: candle_core::Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let (found, expected) = (tensor.dims(), shape.dims());
            candle_core::bail!("tensor {name} has shape {found:?}; expected {expected:?}");
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let view = self.0.get(name).map_err(candle_core::Error::wrap)?;
        Tensor::from_slice(&view.values, view.shape, device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.tensors.contains_key(name)
    }
}
