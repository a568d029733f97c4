//! A foreign state dict into `checkpoint/1`.
//!
//! In: a path and what the user knows better than the file. Out: the file written, and a report of what was found and
//! decided. Promises: nothing is written before every name and shape is right, and nothing stays behind if a value then
//! is not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::architecture::{Architecture, Shapes};
use super::super::settings::{Settings, TransformSettings};
use super::eps::{Eps, Evidence};
use super::header::{Header, check_label};
use super::metadata;
use super::names::{self, Name};
use super::source::{FileForm, RawTensor, Source};
use super::stored::{self, Precision, Values};
use super::write;
use crate::error::{Error, Kind, Result};
use crate::tensor::atomic_file;
use crate::tensor::digest::sha256;
use crate::tensor::mapped::Mapped;

/// What to import, and what overrides the file.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The state dict: `.pth` or `.safetensors`.
    pub source: PathBuf,
    /// The checkpoint to write.
    pub out: PathBuf,
    /// Class names, one a line, the background not listed.
    pub labels: Option<PathBuf>,
    /// Pixels of the shorter side.
    pub min_size: Option<u32>,
    /// Pixels of the longer side at most.
    pub max_size: Option<u32>,
    /// Batch norm's epsilon.
    pub batch_norm_eps: Option<f64>,
}

/// What an import found and decided.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// The file written.
    pub out: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// The source's SHA-256.
    pub source_sha256: String,
    /// The source's form.
    pub form: FileForm,
    /// What was read off the shapes.
    pub architecture: Architecture,
    /// Class names from class 1 on.
    pub labels: Vec<String>,
    /// How pictures are resized.
    pub transform: TransformSettings,
    /// Batch norm's epsilon, and why.
    pub batch_norm_eps: Eps,
    /// Tensors written.
    pub tensors: usize,
    /// Numbers in them.
    pub values: usize,
    /// Of the tensors, how many are kept in half precision.
    pub half_precision: usize,
    /// Tensors whose names were of before torchvision 0.13.
    pub renamed: usize,
    /// Tensors that carry no weight: `num_batches_tracked`.
    pub ignored: usize,
    /// What was unwrapped or stripped.
    pub notes: Vec<String>,
    /// What the user should look at.
    pub warnings: Vec<String>,
}

/// A state dict under today's names, known to be a Faster R-CNN.
pub(super) struct Recognised {
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
    let source = Source::parse(&file).map_err(at_source)?;
    if source.metadata.contains_key(write::KEY) {
        let text = "already a file of lookout's own; expected a torchvision state dict";
        return Err(at_source(Error::new(Kind::Data, text)));
    }
    let Source { form, tensors, metadata, notes } = source;
    let recognised = recognise(tensors).map_err(at_source)?;
    for note in &notes {
        tracing::info!(source = %options.source.display(), "{note}");
    }
    let architecture = recognised.architecture.clone();
    let labels = match &options.labels {
        Some(path) => read_labels(path, &architecture)?,
        None => metadata::labels(&metadata, &architecture).map_err(at_source)?,
    };
    let mut settings = Settings::default();
    metadata::settings(&metadata, &mut settings).map_err(at_source)?;
    settings.transform.min_size = options.min_size.map_or(settings.transform.min_size, |size| vec![size]);
    settings.transform.max_size = options.max_size.unwrap_or(settings.transform.max_size);

    let source_sha256 = sha256(&file);
    let read = |name: &str| read_tensor(&recognised.tensors, name, &file).map_err(at_source);
    let evidence = Evidence {
        given: options.batch_norm_eps,
        metadata: metadata::eps(&metadata).map_err(at_source)?,
        sha256: &source_sha256,
        old_names: recognised.renamed > 0,
        architecture: &architecture,
    };
    let eps = Eps::choose(&evidence, |name| Ok(Cow::Owned(read(name)?.widened().into_owned()))).map_err(at_source)?;
    let warnings: Vec<String> = eps.warning().into_iter().collect();
    for warning in &warnings {
        tracing::warn!(source = %options.source.display(), "{warning}");
    }
    let header = Header { architecture, labels, settings, batch_norm_eps: eps.value, source_sha256 };
    header.check().map_err(at_source)?;

    let precision = |name: &str| find(&recognised.tensors, name)?.precision().map_err(|e| at_source(e.at(name)));
    atomic_file::write_checked(&options.out, |mut out| write::write(&mut out, &header, precision, read))?;

    let expected = header.architecture.expected();
    let precisions: Vec<Precision> = expected.iter().map(|(name, _)| precision(name)).collect::<Result<_>>()?;
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
        half_precision: precisions.iter().filter(|&&p| p == Precision::F16).count(),
        renamed: recognised.renamed,
        ignored: recognised.ignored,
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

/// Renames, drops the counters, says what the network is, and checks every name and shape.
pub(super) fn recognise(tensors: BTreeMap<String, RawTensor>) -> Result<Recognised> {
    let (mut renamed, mut ignored) = (0, 0);
    let mut current = BTreeMap::new();
    for (name, tensor) in tensors {
        let (new, old) = match names::current(&name) {
            Name::Ignored => {
                ignored += 1;
                continue;
            }
            Name::Current => (name, None),
            Name::Renamed(new) => {
                renamed += 1;
                (new, Some(name))
            }
        };
        if current.insert(new.clone(), tensor).is_some() {
            let old = old.unwrap_or_default();
            return Err(Error::new(Kind::Data, format!("tensor {new} is there twice, the second time as {old}")));
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
            "{what}, as tensor {name} {shape:?} says; expected a torchvision Faster R-CNN with a ResNet-FPN body \
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
        tensor.precision().map_err(|e| e.at(format!("tensor {name}")))?;
    }
    Ok(Recognised { architecture, tensors: current, renamed, ignored })
}

fn find<'a>(tensors: &'a BTreeMap<String, RawTensor>, name: &str) -> Result<&'a RawTensor> {
    tensors.get(name).ok_or_else(|| Error::new(Kind::Internal, format!("tensor {name} was checked and is gone")))
}

pub(super) fn read_tensor(tensors: &BTreeMap<String, RawTensor>, name: &str, file: &[u8]) -> Result<Values> {
    let values = find(tensors, name)?.read(file).map_err(|e| e.at(format!("tensor {name}")))?;
    stored::check(name, &values.widened())?;
    Ok(values)
}

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
