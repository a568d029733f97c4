//! Checkpoints: full-precision weights with all that is needed to run them.
//!
//! In: [`import()`] takes torchvision state dicts (zip or legacy pickle, safetensors); [`Checkpoint::open`] takes only
//! our own `checkpoint/1`. Out: a [`Checkpoint`], a checked [`Header`] and f32 tensors under torchvision's names, over
//! a mapped file. Promises: weights match the header's architecture exactly; a value that is not finite is an error
//! that names its tensor; a damaged or hostile file ends in one error, never in a panic, a call or an allocation larger
//! than a few times the file.

mod archive;
mod eps;
mod foreign;
mod header;
#[cfg(test)]
mod hostile;
mod import;
mod legacy;
mod metadata;
mod names;
mod pickle;
mod reader;
mod reduce;
mod source;
mod stored;
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

pub use eps::{Eps, EpsReason};
pub use header::{FORMAT, Header};
pub use import::{ImportOptions, ImportReport, import};
pub use source::FileForm;
pub use stored::{Precision, Values};

use super::architecture::Shapes;
use super::demo;
use crate::error::{Error, Kind, Result};
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;

/// A full-precision detector: header and weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Checkpoint {
    header: Arc<Header>,
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    tensors: Arc<BTreeMap<String, Entry>>,
}

/// Where a tensor stands in the file.
#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    precision: Precision,
    bytes: Range<usize>,
}

/// One tensor's shape and values, row-major; convolutions are `[out, in, kh, kw]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorView<'a> {
    /// Extents.
    pub shape: &'a [usize],
    /// Values: the file's own memory where it keeps f32, widened where it keeps f16.
    pub values: Cow<'a, [f32]>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a `checkpoint/1`. The weights are mapped, not read. [`demo::FP32`] names the one that is built in.
    ///
    /// # Errors
    /// [`Kind::Data`] if the file is none, with how to make one where it is a state dict; otherwise as
    /// [`Mapped::open`].
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(bytes) = demo::named(path)? {
            return Self::from_bytes(bytes);
        }
        let file = Mapped::open(path)?;
        Self::from_bytes(file).map_err(|e| e.at(path.display()))
    }

    /// A checkpoint that is in memory already, as one built into the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        let file = bytes.as_ref();
        if !foreign::is_safetensors(file) {
            let text = "not a checkpoint/1; to make one of a PyTorch state dict, run `lookout import`";
            return Err(Error::new(Kind::Data, text));
        }
        let (metadata, start) = foreign::header(file)?;
        let json = match metadata.metadata() {
            Some(keys) if keys.len() == 1 => keys.get(write::KEY),
            _ => None,
        };
        let Some(json) = json else {
            let text = "a safetensors file, but not a checkpoint/1: its metadata is not the one key `lookout`; to make \
                        a checkpoint of a torchvision state dict, run `lookout import`";
            return Err(Error::new(Kind::Data, text));
        };
        let header = Header::parse(json)?;
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let precision = match info.dtype {
                Dtype::F16 => Precision::F16,
                Dtype::F32 => Precision::F32,
                other => {
                    let text = format!("tensor {name} is of type {other:?}; expected F32 or F16");
                    return Err(Error::new(Kind::Data, text));
                }
            };
            let (from, to) = info.data_offsets;
            let entry = Entry { shape: info.shape.clone(), precision, bytes: start + from..start + to };
            tensors.insert(name, entry);
        }
        let shapes: Shapes = tensors.iter().map(|(name, entry)| (name.clone(), entry.shape.clone())).collect();
        header.architecture.check(&shapes)?;
        Ok(Self { header: Arc::new(header), bytes: Arc::new(bytes), tensors: Arc::new(tensors) })
    }

    /// A checkpoint of given tensors, as tests and generated models need it; `values` gives each tensor of the header's
    /// architecture.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`], and what `values` returns.
    pub fn build(header: &Header, values: impl Fn(&str, &[usize]) -> Result<Values>) -> Result<Self> {
        Self::from_bytes(Self::encode(header, values)?)
    }

    /// The bytes of the `checkpoint/1` of given tensors.
    ///
    /// # Errors
    /// [`Kind::Data`] if the header is wrong or a value is not finite, and what `values` returns.
    pub fn encode(header: &Header, values: impl Fn(&str, &[usize]) -> Result<Values>) -> Result<Vec<u8>> {
        header.check()?;
        let shapes: Shapes = header.architecture.expected().into_iter().collect();
        let read = |name: &str| {
            let values = values(name, shapes.get(name).map_or(&[][..], Vec::as_slice))?;
            stored::check(name, &values.widened())?;
            Ok(values)
        };
        let mut bytes = Vec::new();
        write::write(&mut bytes, header, |name| Ok(read(name)?.precision()), read)?;
        Ok(bytes)
    }

    /// Everything but the weights.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// SHA-256 of the whole file, in hexadecimal: what tells this model from others. Reads every byte.
    pub fn sha256(&self) -> String {
        sha256((*self.bytes).as_ref())
    }

    /// Names of the tensors, sorted, with what each is kept in.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], Precision)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice(), entry.precision))
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
        let values = stored::decode(bytes, entry.precision);
        stored::check(name, &values)?;
        Ok(TensorView { shape: &entry.shape, values })
    }

    /// The weights as `candle_nn` takes them: f32, on the CPU, each read when it is asked for.
    pub fn var_builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Backend(self.clone())), DType::F32, Device::Cpu)
    }
}

/// [`Checkpoint`] as candle sees it.
struct Backend(Checkpoint);

impl SimpleBackend for Backend {
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
