//! Checkpoints: full-precision weights with all parameters that inference needs.
//!
//! In: [`import()`] reads torchvision state dicts (zip or legacy pickle, safetensors), wherever in the file they are;
//! [`Checkpoint::open`] reads only `checkpoint/2` and `checkpoint/1`. Out: a [`Checkpoint`]: a checked
//! [`CheckpointHeader`] and f32 tensors under torchvision's names, read from the file when they are needed. Promises:
//! the weights match the header's architecture exactly; a damaged tensor, or a value that is not finite, is an error
//! that names its tensor. A damaged or malicious file ends in one error, never in a panic, a call, or an allocation
//! larger than a few times the file. What a pickle builds beside tensors is limited by number: at most some 100 MiB,
//! however large the file.
//!
//! # The file format `checkpoint/2`
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
//! | `format` | string | name and version | `checkpoint/2` |
//! | `architecture` | object | parts, widths and classes: see below | |
//! | `labels` | strings | names of classes 1, 2, …, all different but for `N/A` | `classes` − 1 names of 1 to 100 bytes, printable |
//! | `transform.min_size` | integers | shorter side after resizing, pixels; inference uses the last | 1 to 16384 each |
//! | `transform.max_size` | integer | longest side after resizing, pixels | 1 to 16384 |
//! | `transform.mean` | 3 numbers | subtracted from red, green, blue in \[0, 1\] | 0 to 1 |
//! | `transform.std` | 3 numbers | divisor of the difference | 0.001 to 1000 |
//! | `transform.size_divisor` | integer | the canvas is padded to a multiple of it, pixels | 1 to 1024 |
//! | `anchors.sizes` | lists of numbers, one a level | side lengths, pixels of the canvas | 1 to 100000 |
//! | `anchors.aspect_ratios` | lists of numbers, one a level | height / width | 0.01 to 100 |
//! | `rpn.pre_nms_top_n` | integer | anchors kept of each level before suppression | 1 to 100000 |
//! | `rpn.post_nms_top_n` | integer | proposals kept of all levels after it | 1 to 100000 |
//! | `rpn.nms_threshold` | number | IoU above which a box of the same level is suppressed | 0 to 1 |
//! | `rpn.min_size` | number | smallest side of a proposal, pixels of the canvas | 0 or more |
//! | `rpn.score_threshold` | number | least objectness probability of a proposal | 0 to 1 |
//! | `rpn.box_weights` | 4 numbers | divisors of dx, dy, dw, dh | 0.001 to 1000 |
//! | `rpn.max_growth` | number | largest factor of a side: dw and dh are limited to its logarithm | 1 to 10⁶ |
//! | `roi.levels` | strings | feature maps that RoIAlign reads | some of the network's |
//! | `roi.score_threshold` | number | a detection scores more than this | 0 to 1 |
//! | `roi.nms_threshold` | number | IoU above which a box of the same class is suppressed | 0 to 1 |
//! | `roi.max_detections` | integer | detections kept of a picture | 1 to 100000 |
//! | `roi.min_size` | number | smallest side of a detection, pixels of the canvas | 0 or more |
//! | `roi.box_weights` | 4 numbers | divisors of dx, dy, dw, dh | 0.001 to 1000 |
//! | `roi.max_growth` | number | as `rpn.max_growth` | 1 to 10⁶ |
//! | `roi.sampling_ratio` | integer | RoIAlign's samples along each side of a bin | 1 to 16 |
//! | `roi.canonical_scale` | number | √area of a proposal that is read from `canonical_level`, pixels of the canvas | above 0 |
//! | `roi.canonical_level` | integer | that level's number: 4 is P4 | 0 to 16 |
//! | `roi.level_eps` | number | added to the level before it is rounded down | 0 or more |
//! | `batch_norm_eps.body`, `.pyramid`, `.heads` | number | added to σ² of every batch norm of the part: w′ = w·γ / √(σ² + eps) | 0 to 1 |
//! | `source_sha256` | string | SHA-256 of the imported file | 64 lower-case hexadecimal digits |
//! | `checksums` | object | CRC-32 (ISO-HDLC) of the stored bytes of each tensor, by its name | 8 lower-case hexadecimal digits each |
//!
//! `architecture` has these keys. A number of channels goes from 1 to 2²⁰.
//!
//! | key | meaning |
//! |---|---|
//! | `body` | `{"resnet": {…}}` or `{"mobilenet": {…}}` |
//! | `body.resnet.module` | module that holds the layers, as `backbone.body` |
//! | `body.resnet.children` | `named` (`conv1`, `layer1`) or `indexed` (`0`, `4`: places in an `nn.Sequential`) |
//! | `body.resnet.block` | `basic` or `bottleneck` |
//! | `body.resnet.stem` | output channels of the 7×7 convolution |
//! | `body.resnet.stages` | 1 to 4 objects: `blocks`, `middle` (channels inside a block), `groups`, `output` |
//! | `body.resnet.returned` | numbers of the stages whose outputs leave the body; 1 is layer1 |
//! | `body.mobilenet.module` | module that holds the features |
//! | `body.mobilenet.version` | `v2` or `v3` |
//! | `body.mobilenet.stem` | output channels of features.0 |
//! | `body.mobilenet.blocks` | objects: `expanded`, `kernel`, `stride`, `squeeze` (or null), `activation`, `output` |
//! | `body.mobilenet.last` | output channels of the last 1×1 convolution, or null |
//! | `body.mobilenet.returned` | numbers of the features whose outputs leave the body |
//! | `neck` | `none`, `{"conv": {"module", "channels"}}` or `{"fpn": {"channels", "batch_norm", "extra"}}`; `extra` is `none`, `pool`, `p6p7` or `p6p7ofbody` |
//! | `proposal_head` | `convs` before the predictors, `anchors_per_cell` |
//! | `roi_output` | rows and columns of the features of a proposal, 1 to 64 |
//! | `box_head` | `{"mlp": {"fc6", "fc7"}}` or `{"conv": {"convs", "batch_norm", "linears"}}`, output channels each |
//! | `classes` | classes, the background (class 0) included, 2 to 2²⁰ |
//!
//! The tensors are exactly those of [`Architecture::expected`](super::network::Architecture::expected), row-major and
//! little-endian. Every layer has its `.weight`, then its `.bias` or the `.weight`, `.bias`, `.running_mean` and
//! `.running_var` of its batch norm. Convolutions are \[out, in / groups, height, width\], linear layers \[out, in\].
//!
//! Every value is finite, and every `running_var` is 0 or more. The writer orders the tensors by type, F32 before F16,
//! then by name; a reader accepts any order. F16 is kept where the source was F16.
//!
//! # The earlier format `checkpoint/1`
//!
//! It is read, not written. It has no `checksums`, no `roi.levels`, one list `anchors.aspect_ratios` for all levels and
//! one number `batch_norm_eps` for all parts. Its `architecture` holds only ResNets with 18, 34, 50 or 101 layers and a
//! pyramid of five levels: `depth`, `stem`, four `stages` of `middle` and `output`, `fpn`, `anchors_per_cell`,
//! `roi_output`, `head`, `classes`.

mod archive;
mod builders;
mod candidates;
mod coco;
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
mod settings_file;
mod source;
mod state_dict;
mod storage;
mod tensor_data;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use safetensors::Dtype;

pub use builders::DetectorBuilder;
pub use eps::{EpsChoice, EpsReason};
pub use header::{CheckpointHeader, Checksums, FORMAT, FORMAT_1};
pub use import::{ImportOptions, ImportReport, import};
pub use safetensors_file::{stored_format, stored_format_of};
pub use state_dict::FileForm;
pub use tensor_data::{TensorData, TensorDtype};

use super::demo;
use super::network::Shapes;
use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file::RegularFile;
use storage::Storage;

/// A full-precision detector: header and weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Checkpoint {
    header: Arc<CheckpointHeader>,
    storage: Arc<Storage>,
    tensors: Arc<BTreeMap<String, TensorEntry>>,
    /// Once it was asked for.
    sha256: Arc<OnceLock<String>>,
}

/// A tensor's type, range of the file, and CRC-32.
#[derive(Debug)]
struct TensorEntry {
    shape: Vec<usize>,
    dtype: TensorDtype,
    bytes: Range<usize>,
    /// Of the header, or of the file as it was opened: `checkpoint/1` has none.
    crc32: u32,
}

/// One tensor's shape and values, row-major; convolutions are `[out, in, kh, kw]` (OIHW).
#[derive(Debug, Clone, PartialEq)]
pub struct TensorView<'a> {
    /// Extents.
    pub shape: &'a [usize],
    /// Values: the checkpoint's own memory if it is in memory and holds f32.
    pub values: Cow<'a, [f32]>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a checkpoint. Its weights are read when they are needed. The path [`demo::FP32`] names the built-in one.
    ///
    /// # Errors
    /// [`Kind::Data`] if the file is no checkpoint; the message names `lookout import`. Otherwise as
    /// [`RegularFile::open`].
    pub fn open(path: &Path) -> Result<Self> {
        match demo::named(path)? {
            Some(bytes) => Self::from_bytes(bytes),
            None => Self::of_file(RegularFile::open(path)?).map_err(|e| e.at(path.display())),
        }
    }

    /// The checkpoint in an open file.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub(in crate::detector) fn of_file(file: RegularFile) -> Result<Self> {
        Self::of_storage(Storage::File(file))
    }

    /// Parses a checkpoint in memory, such as the built-in one.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        Self::of_storage(Storage::Memory(Box::new(bytes)))
    }

    fn of_storage(storage: Storage) -> Result<Self> {
        let (metadata, start) = storage.header()?;
        let json = match metadata.metadata() {
            Some(keys) if keys.len() == 1 => keys.get(write::KEY),
            _ => None,
        };
        let Some(json) = json else {
            let text = "a safetensors file, but not a checkpoint: its metadata is not the one key `lookout`; to make \
                        a checkpoint of a torchvision state dict, run `lookout import`";
            return Err(Error::new(Kind::Data, text));
        };
        let (header, checksums) = CheckpointHeader::parse(json)?;
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
            let bytes = start + from..start + to;
            tensors.insert(name, TensorEntry { shape: info.shape.clone(), dtype, bytes, crc32: 0 });
        }
        let shapes: Shapes = tensors.iter().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect();
        header.architecture.check(&shapes)?;
        for (name, entry) in &mut tensors {
            entry.crc32 = match &checksums {
                Some(checksums) => {
                    let missing = || Error::new(Kind::Data, format!("tensor {name} has no checksum in the header"));
                    *checksums.get(name).ok_or_else(missing)?
                }
                // So that a file that is overwritten while it is in use is noticed.
                None => storage.crc32(entry.bytes.clone())?,
            };
        }
        let (header, storage, tensors) = (Arc::new(header), Arc::new(storage), Arc::new(tensors));
        Ok(Self { header, storage, tensors, sha256: Arc::default() })
    }

    /// A checkpoint in memory, for tests and generated models; `values` gives each tensor of the header's architecture,
    /// by name and shape.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`], and what `values` returns.
    pub fn build(header: &CheckpointHeader, values: impl Fn(&str, &[usize]) -> Result<TensorData>) -> Result<Self> {
        Self::from_bytes(Self::encode(header, values)?)
    }

    /// The bytes of a `checkpoint/2` file; `values` as for [`Checkpoint::build`].
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

    /// SHA-256 of the whole file, in hexadecimal: the identity of the model. The first call reads every byte.
    ///
    /// # Errors
    /// As [`RegularFile::sha256`].
    pub fn sha256(&self) -> Result<String> {
        if let Some(digest) = self.sha256.get() {
            return Ok(digest.clone());
        }
        let digest = self.storage.sha256()?;
        Ok(self.sha256.get_or_init(|| digest).clone())
    }

    /// Reads and checks every tensor.
    ///
    /// # Errors
    /// As [`Checkpoint::get`].
    pub fn verify(&self) -> Result<()> {
        self.tensors.keys().try_for_each(|name| self.get(name).map(drop))
    }

    /// Checks that nobody has written to the file since it was opened.
    ///
    /// # Errors
    /// As [`RegularFile::check_unchanged`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.storage.check_unchanged()
    }

    /// Name, shape and stored type of every tensor, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], TensorDtype)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice(), entry.dtype))
    }

    /// One tensor.
    ///
    /// # Errors
    /// [`Kind::Data`] if its bytes do not have their checksum, or it holds a value that is not finite, or a negative
    /// variance; [`Kind::Unavailable`] if the file was overwritten since it was opened; [`Kind::Internal`] if the
    /// architecture has no tensor of this name.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>> {
        let unknown = || Error::new(Kind::Internal, format!("the checkpoint has no tensor {name}"));
        let entry = self.tensors.get(name).ok_or_else(unknown)?;
        let at_tensor = |error: Error| error.at(format!("tensor {name}"));
        let (values, found) = self.storage.values(entry.bytes.clone(), entry.dtype).map_err(at_tensor)?;
        if found != entry.crc32 {
            self.storage.check_unchanged().map_err(at_tensor)?;
            let wanted = entry.crc32;
            let text = format!("tensor {name} is damaged: its CRC-32 is {found:08x}; expected {wanted:08x}");
            return Err(Error::new(Kind::Data, text));
        }
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
        let TensorView { shape, values } = self.0.get(name).map_err(candle_core::Error::wrap)?;
        match values {
            Cow::Borrowed(values) => Tensor::from_slice(values, shape, device),
            Cow::Owned(values) => Tensor::from_vec(values, shape, device),
        }?
        .to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.tensors.contains_key(name)
    }
}
