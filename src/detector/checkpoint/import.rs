//! Import of a torchvision state dict into `checkpoint/1`.
//!
//! In: a path and options that override the file. Out: the checkpoint file, and a report of findings and decisions.
//! Promises: nothing is written before every name and shape has been checked; a file with an invalid value leaves no
//! output behind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::architecture::{Architecture, Shapes};
use super::super::settings::{Settings, TransformSettings};
use super::eps::{BatchNormEps, EpsEvidence};
use super::header::{CheckpointHeader, check_label};
use super::metadata;
use super::names::{self, CurrentName};
use super::state_dict::{FileForm, RawTensor, StateDict};
use super::tensor_data::{self, TensorData, TensorDtype};
use super::{source, write};
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;

/// Paths of an import, and options that override the file.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The state dict: `.pth` or `.safetensors`.
    pub source: PathBuf,
    /// The checkpoint to write.
    pub out: PathBuf,
    /// Text file of class names, one a line, without the background.
    pub labels: Option<PathBuf>,
    /// Length of the shorter side after resizing, in pixels.
    pub min_size: Option<u32>,
    /// Maximum of the longer side after resizing, in pixels.
    pub max_size: Option<u32>,
    /// Batch norm's epsilon.
    pub batch_norm_eps: Option<f64>,
}

/// Findings and decisions of an import.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// The file written.
    pub out: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// The source's SHA-256.
    pub source_sha256: String,
    /// The source's file format.
    pub form: FileForm,
    /// The network, derived from the shapes.
    pub architecture: Architecture,
    /// Names of classes 1, 2, …
    pub labels: Vec<String>,
    /// Resizing of pictures.
    pub transform: TransformSettings,
    /// Batch norm's epsilon, and the reason for it.
    pub batch_norm_eps: BatchNormEps,
    /// Number of tensors written.
    pub tensors: usize,
    /// Number of values in them.
    pub values: usize,
    /// Number of tensors in half precision.
    pub half_precision: usize,
    /// Number of tensors with names before torchvision 0.13.
    pub renamed: usize,
    /// Number of tensors without weights: `num_batches_tracked`.
    pub ignored: usize,
    /// Wrappers and prefixes that were removed.
    pub notes: Vec<String>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

/// A state dict under current names, checked to be a Faster R-CNN.
pub(super) struct RecognizedStateDict {
    pub(super) architecture: Architecture,
    pub(super) tensors: BTreeMap<String, RawTensor>,
    renamed: usize,
    ignored: usize,
}

/// Imports one file.
///
/// # Errors
/// [`Kind::NoInput`], [`Kind::Permission`], [`Kind::Io`] if a file cannot be read; [`Kind::Usage`] if an option is out of
/// range; [`Kind::Data`] if the source or the labels are wrong, naming the tensor and what was expected;
/// [`Kind::CannotCreate`] if the checkpoint cannot be written.
pub fn import(options: &ImportOptions) -> Result<ImportReport> {
    check_options(options)?;
    let file = Mapped::open(&options.source)?;
    let at_source = |e: Error| e.at(options.source.display());
    let state_dict = source::parse(&file).map_err(at_source)?;
    if state_dict.metadata.contains_key(write::KEY) {
        let text = "already a file of lookout's own; expected a torchvision state dict";
        return Err(at_source(Error::new(Kind::Data, text)));
    }
    let StateDict { form, tensors, metadata, notes } = state_dict;
    let recognized = recognize(tensors).map_err(at_source)?;
    for note in &notes {
        tracing::info!(source = %options.source.display(), "{note}");
    }
    let architecture = recognized.architecture.clone();
    let labels = match &options.labels {
        Some(path) => read_labels(path, &architecture)?,
        None => metadata::labels(&metadata, &architecture).map_err(at_source)?,
    };
    let mut settings = Settings::default();
    metadata::settings(&metadata, &mut settings).map_err(at_source)?;
    settings.transform.min_size = options.min_size.map_or(settings.transform.min_size, |size| vec![size]);
    settings.transform.max_size = options.max_size.unwrap_or(settings.transform.max_size);

    let source_sha256 = sha256(&file);
    let read = |name: &str| read_tensor(&recognized.tensors, name, &file).map_err(at_source);
    let evidence = EpsEvidence {
        given: options.batch_norm_eps,
        metadata: metadata::eps(&metadata).map_err(at_source)?,
        sha256: &source_sha256,
        has_old_names: recognized.renamed > 0,
        architecture: &architecture,
    };
    let variances = |name: &str| Ok(Cow::Owned(read(name)?.widened().into_owned()));
    let eps = BatchNormEps::choose(&evidence, variances).map_err(at_source)?;
    let warnings: Vec<String> = eps.warning().into_iter().collect();
    for warning in &warnings {
        tracing::warn!(source = %options.source.display(), "{warning}");
    }
    let header = CheckpointHeader { architecture, labels, settings, batch_norm_eps: eps.value, source_sha256 };
    header.check().map_err(at_source)?;

    let dtype = |name: &str| find(&recognized.tensors, name)?.dtype().map_err(|e| at_source(e.at(name)));
    atomic_file::write_checked(&options.out, |mut out| write::write(&mut out, &header, dtype, read))?;

    let expected = header.architecture.expected();
    let dtypes: Vec<TensorDtype> = expected.iter().map(|(name, _)| dtype(name)).collect::<Result<_>>()?;
    Ok(ImportReport {
        sha256: sha256(&Mapped::open(&options.out)?),
        out: options.out.clone(),
        source_sha256: header.source_sha256,
        form,
        architecture: header.architecture,
        labels: header.labels,
        transform: header.settings.transform,
        batch_norm_eps: eps,
        tensors: expected.len(),
        values: expected.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum(),
        half_precision: dtypes.iter().filter(|&&dtype| dtype == TensorDtype::F16).count(),
        renamed: recognized.renamed,
        ignored: recognized.ignored,
        notes,
        warnings,
    })
}

fn check_options(options: &ImportOptions) -> Result<()> {
    for (name, size) in [("--min-size", options.min_size), ("--max-size", options.max_size)] {
        if size.is_some_and(|size| !(1..=16_384).contains(&size)) {
            let text = format!("{name} is {}; it must be from 1 to 16384 pixels", size.unwrap_or_default());
            return Err(Error::new(Kind::Usage, text));
        }
    }
    match options.batch_norm_eps {
        Some(eps) if !(0.0..=1.0).contains(&eps) => {
            Err(Error::new(Kind::Usage, format!("--bn-eps is {eps}; it must be from 0 to 1")))
        }
        _ => Ok(()),
    }
}

/// Renames the tensors, drops the counters, derives the architecture, and checks every name and shape.
///
/// # Errors
/// [`Kind::Data`] naming the tensor that is missing or wrong, or the network that the state dict belongs to.
pub(super) fn recognize(tensors: BTreeMap<String, RawTensor>) -> Result<RecognizedStateDict> {
    let (mut renamed, mut ignored) = (0, 0);
    let mut current = BTreeMap::new();
    for (name, tensor) in tensors {
        let (new, old) = match names::current(&name) {
            CurrentName::Ignored => {
                ignored += 1;
                continue;
            }
            CurrentName::Unchanged => (name, None),
            CurrentName::Renamed(new) => {
                renamed += 1;
                (new, Some(name))
            }
        };
        if current.insert(new.clone(), tensor).is_some() {
            let old = old.unwrap_or_default();
            return Err(Error::new(Kind::Data, format!("tensor {new} occurs twice, the second time as {old}")));
        }
    }
    if current.is_empty() {
        let text = "it holds no weights; expected the state dict of a torchvision Faster R-CNN";
        return Err(Error::new(Kind::Data, text));
    }
    let shapes: Shapes = current.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect();
    if let Some((what, name)) = names::other_network(&shapes) {
        let shape = &shapes[name];
        let text = format!(
            "{what}, as tensor {name} {shape:?} shows; expected a torchvision Faster R-CNN with a ResNet-FPN body \
             (fasterrcnn_resnet50_fpn)"
        );
        return Err(Error::new(Kind::Data, text));
    }
    if !shapes.keys().any(|name| ["backbone.", "rpn.", "roi_heads."].iter().any(|part| name.starts_with(part))) {
        let first = shapes.keys().next().map_or("", String::as_str);
        let text = format!(
            "none of its {} tensors ({first}, …) is a Faster R-CNN's; expected backbone.…, rpn.… and roi_heads.…, as \
             torchvision names them",
            shapes.len()
        );
        return Err(Error::new(Kind::Data, text));
    }
    let architecture = Architecture::from_shapes(&shapes)?;
    for (name, tensor) in &current {
        tensor.dtype().map_err(|e| e.at(format!("tensor {name}")))?;
    }
    Ok(RecognizedStateDict { architecture, tensors: current, renamed, ignored })
}

fn find<'a>(tensors: &'a BTreeMap<String, RawTensor>, name: &str) -> Result<&'a RawTensor> {
    tensors.get(name).ok_or_else(|| Error::new(Kind::Internal, format!("the state dict has no tensor {name}")))
}

/// The values of tensor `name`, checked.
///
/// # Errors
/// [`Kind::Data`], naming the tensor, if a value is not finite.
pub(super) fn read_tensor(tensors: &BTreeMap<String, RawTensor>, name: &str, file: &[u8]) -> Result<TensorData> {
    let values = find(tensors, name)?.read(file).map_err(|e| e.at(format!("tensor {name}")))?;
    tensor_data::check(name, &values.widened())?;
    Ok(values)
}

/// The class names of a text file, one a line.
fn read_labels(path: &Path, architecture: &Architecture) -> Result<Vec<String>> {
    let at = |e: Error| e.at(path.display());
    let file = Mapped::open(path)?;
    let text = std::str::from_utf8(&file).map_err(|e| at(Error::new(Kind::Data, "not UTF-8 text").because(e)))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    let expected = architecture.classes - 1;
    if labels.len() != expected {
        let background = labels.first().is_some_and(|label| label == "__background__");
        let hint = if background { "; the background is not listed" } else { "" };
        let text = format!("{} labels, one a line; the checkpoint has {expected} classes{hint}", labels.len());
        return Err(at(Error::new(Kind::Data, text)));
    }
    labels.iter().try_for_each(|label| check_label(label)).map_err(at)?;
    Ok(labels)
}
