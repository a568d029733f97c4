//! Import of a torchvision state dict into `checkpoint/2`.
//!
//! In: a path and options that override the file. Out: the checkpoint file, and a report of findings and decisions.
//! Promises: nothing is written before every name and shape has been checked; a file with an invalid value leaves no
//! output behind.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::network::{Architecture, ArchitectureHints, Shapes};
use super::super::settings::Settings;
use super::builders::{DetectorBuilder, constructor_settings};
use super::coco;
use super::eps::{EpsChoice, EpsEvidence};
use super::header::{CheckpointHeader, check_label};
use super::metadata;
use super::names::{self, CurrentName};
use super::settings_file::SettingsFile;
use super::state_dict::{FileForm, RawTensor, StateDict};
use super::tensor_data::{self, TensorData, TensorDtype};
use super::{source, write};
use crate::error::{Error, Kind, Result};
use crate::suggest::is_invisible;
use crate::tensor::atomic_file;
use crate::tensor::digest::sha256;
use crate::tensor::regular_file::{self, RegularFile};
use crate::tensor::text_file;

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
    /// Epsilon of every batch norm.
    pub batch_norm_eps: Option<f64>,
    /// torchvision's builder function, where the weights fit several.
    pub builder: Option<DetectorBuilder>,
    /// TOML file of hyper-parameters that no state dict holds.
    pub settings: Option<PathBuf>,
    /// True if a file whose content is not what its name promises is taken all the same.
    pub force: bool,
    /// The state dict to take, of several in the source: its keys and prefix, joined by dots.
    pub key: Option<String>,
}

impl ImportOptions {
    /// Options that override nothing.
    pub fn new(source: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            out: out.into(),
            labels: None,
            min_size: None,
            max_size: None,
            batch_norm_eps: None,
            builder: None,
            settings: None,
            force: false,
            key: None,
        }
    }
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
    /// torchvision's builder function, if the network comes of one.
    pub builder: Option<DetectorBuilder>,
    /// Hyper-parameters.
    #[serde(flatten)]
    pub settings: Settings,
    /// Names of the hyper-parameters that neither file nor options gave, as `rpn.nms_threshold`.
    pub assumed: Vec<String>,
    /// Epsilons of the batch norms, and the reason for them.
    pub batch_norm_eps: EpsChoice,
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
    /// Wrappers and prefixes that were removed, and what was left out.
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
    /// True if a batch norm of the body counts batches.
    is_tracked: bool,
}

/// Imports one file.
///
/// # Errors
/// [`Kind::NoInput`], [`Kind::Permission`], [`Kind::Io`] if a file cannot be read; [`Kind::Usage`] if an option is out of
/// range or names no state dict; [`Kind::Data`] if the source or the labels are wrong, naming the tensor and what was
/// expected; [`Kind::CannotCreate`] if the checkpoint cannot be written.
pub fn import(options: &ImportOptions) -> Result<ImportReport> {
    check_options(options)?;
    let file = regular_file::read(&options.source)?;
    let at_source = |e: Error| e.at(options.source.display());
    let state_dict = source::parse(&file, options.key.as_deref()).map_err(at_source)?;
    if state_dict.metadata.contains_key(write::KEY) {
        let text = "already a file of lookout's own; expected a torchvision state dict";
        return Err(at_source(Error::new(Kind::Data, text)));
    }
    let StateDict { form, tensors, metadata, mut notes, mut warnings } = state_dict;
    notes.extend(metadata::unread(&metadata));
    let source_sha256 = sha256(&file);
    check_name(options, &source_sha256).map_err(at_source)?;
    let settings_file = options.settings.as_deref().map(SettingsFile::read).transpose()?.unwrap_or_default();
    let recognized = recognize(tensors, &settings_file.hints).map_err(at_source)?;
    for note in &notes {
        tracing::info!(source = %options.source.display(), "{note}");
    }
    let architecture = recognized.architecture.clone();
    let candidates = DetectorBuilder::candidates(&architecture);
    let builder = choose_builder(options, &candidates, &architecture, &source_sha256)?;
    let labels = labels(options, &metadata, &architecture)
        .map_err(|e| if options.labels.is_some() { e } else { at_source(e) })?;

    // Weaker sources first: builder, metadata, settings file, options.
    let mut given = BTreeSet::new();
    let mut settings =
        builder.map_or_else(|| constructor_settings(&architecture), |builder| builder.settings(&architecture));
    metadata::settings(&metadata, architecture.features().len(), &mut settings, &mut given).map_err(at_source)?;
    if let Some(path) = &options.settings {
        settings = settings_file.apply(settings, &mut given).map_err(|e| e.at(path.display()))?;
    }
    let mut give = |name: &str| given.insert(name.to_owned());
    if let Some(size) = options.min_size {
        settings.transform.min_size = vec![size];
        give("transform.min_size");
    }
    if let Some(size) = options.max_size {
        settings.transform.max_size = size;
        give("transform.max_size");
    }
    check_anchors_known(&architecture, &settings).map_err(at_source)?;

    let read = |name: &str| read_tensor(&recognized.tensors, name, &file).map_err(at_source);
    let evidence = EpsEvidence {
        given: options.batch_norm_eps,
        settings: settings_file.eps,
        metadata: metadata::eps(&metadata).map_err(at_source)?,
        sha256: &source_sha256,
        has_old_names: recognized.renamed > 0,
        is_tracked: recognized.is_tracked,
        architecture: &architecture,
        builder,
    };
    let variances = |name: &str| Ok(Cow::Owned(read_tensor(&recognized.tensors, name, &file)?.widened().into_owned()));
    let eps = EpsChoice::choose(&evidence, variances).map_err(at_source)?;
    warnings.extend(eps.warning());
    let assumed = assumed(&settings, &given)?;
    let others = match (builder, options.builder) {
        (Some(builder), None) => others_that_matter(builder, &candidates, &architecture, &assumed)?,
        _ => Vec::new(),
    };
    if let Some(builder) = builder.filter(|_| !others.is_empty()) {
        warnings.push(format!(
            "the weights fit {} as well as {}; the settings of the former are assumed: give --builder if it is the other",
            builder.name(),
            others.join(", ")
        ));
    }
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
        sha256: RegularFile::open(&options.out)?.sha256()?,
        out: options.out.clone(),
        source_sha256: header.source_sha256,
        form,
        architecture: header.architecture,
        builder,
        labels: header.labels,
        settings: header.settings,
        assumed,
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

/// Checks the eight digits that torchvision puts at the end of a file's name: the start of the content's SHA-256.
fn check_name(options: &ImportOptions, sha256: &str) -> Result<()> {
    let stem = options.source.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((name, digits)) = stem.rsplit_once('-') else { return Ok(()) };
    let is_digest = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if options.force || !is_digest || !name.starts_with("fasterrcnn_") || sha256.starts_with(digits) {
        return Ok(());
    }
    let text = format!(
        "its name promises a SHA-256 that starts with {digits}, its content has {}: it is damaged, or was saved again; \
         download it again, rename it, or give --force",
        &sha256[..8]
    );
    Err(Error::new(Kind::Data, text))
}

/// The builder to assume of the `candidates` that fit: the user's, else the one whose COCO weights these are, else the
/// first.
fn choose_builder(
    options: &ImportOptions,
    candidates: &[DetectorBuilder],
    architecture: &Architecture,
    sha256: &str,
) -> Result<Option<DetectorBuilder>> {
    let Some(wanted) = options.builder else {
        let known = candidates.iter().find(|builder| sha256.starts_with(builder.coco_sha256()));
        return Ok(known.or(candidates.first()).copied());
    };
    if candidates.contains(&wanted) {
        return Ok(Some(wanted));
    }
    let fitting: Vec<&str> = candidates.iter().map(|builder| builder.name()).collect();
    let fitting = if fitting.is_empty() { "none that is known".to_owned() } else { fitting.join(", ") };
    let text = format!(
        "--builder is {}, but the weights are of a {} with {} levels and {} anchors a cell; they fit {fitting}",
        wanted.name(),
        architecture.describe(),
        architecture.features().len(),
        architecture.anchors_per_cell(),
    );
    Err(Error::new(Kind::Usage, text))
}

/// The class names: from the user's file, from the metadata, COCO's for 91 classes, else `class_1`, `class_2`, …
fn labels(
    options: &ImportOptions,
    metadata: &BTreeMap<String, String>,
    architecture: &Architecture,
) -> Result<Vec<String>> {
    if let Some(path) = &options.labels {
        return read_labels(path, architecture);
    }
    if let Some(labels) = metadata::labels(metadata, architecture)? {
        return Ok(labels);
    }
    if architecture.classes == coco::CLASSES {
        return Ok(coco::LABELS.map(String::from).to_vec());
    }
    Ok((1..architecture.classes).map(|class| format!("class_{class}")).collect())
}

/// Refuses a network whose anchors are neither given nor known by a rule of torchvision.
fn check_anchors_known(architecture: &Architecture, settings: &Settings) -> Result<()> {
    if !settings.anchors.sizes.is_empty() && !settings.anchors.aspect_ratios.is_empty() {
        return Ok(());
    }
    let (levels, anchors) = (architecture.features(), architecture.anchors_per_cell());
    let text = format!(
        "its anchors are not known: none of torchvision's builders has {anchors} at a cell of {} levels ({}); give sizes \
         and aspect_ratios, one list a level, in section [anchors] of --settings",
        levels.len(),
        levels.join(", ")
    );
    Err(Error::new(Kind::Data, text))
}

/// Names of the hyper-parameters that are not among the `given` ones.
fn assumed(settings: &Settings, given: &BTreeSet<String>) -> Result<Vec<String>> {
    Ok(named_values(settings)?.into_keys().filter(|name| !given.contains(name)).collect())
}

/// The hyper-parameters by name, as `transform.min_size`.
fn named_values(settings: &Settings) -> Result<BTreeMap<String, serde_json::Value>> {
    let cannot = |e: serde_json::Error| Error::new(Kind::Internal, "the settings have no JSON form").because(e);
    let sections: BTreeMap<String, BTreeMap<String, serde_json::Value>> =
        serde_json::from_value(serde_json::to_value(settings).map_err(cannot)?).map_err(cannot)?;
    let named = |(section, keys): (String, BTreeMap<String, serde_json::Value>)| {
        keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value)).collect::<Vec<_>>()
    };
    Ok(sections.into_iter().flat_map(named).collect())
}

/// Names of the other `candidates` whose value of an `assumed` hyper-parameter is not that of `builder`.
fn others_that_matter(
    builder: DetectorBuilder,
    candidates: &[DetectorBuilder],
    architecture: &Architecture,
    assumed: &[String],
) -> Result<Vec<&'static str>> {
    let chosen = named_values(&builder.settings(architecture))?;
    let mut others = Vec::new();
    for other in candidates.iter().filter(|&&other| other != builder) {
        let values = named_values(&other.settings(architecture))?;
        if assumed.iter().any(|name| values.get(name) != chosen.get(name)) {
            others.push(other.name());
        }
    }
    Ok(others)
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
pub(super) fn recognize(
    tensors: BTreeMap<String, RawTensor>,
    hints: &ArchitectureHints,
) -> Result<RecognizedStateDict> {
    let (mut renamed, mut ignored, mut is_tracked) = (0, 0, false);
    let mut current = BTreeMap::new();
    for (name, tensor) in tensors {
        let (new, old) = match names::current(&name) {
            CurrentName::Ignored => {
                ignored += 1;
                is_tracked |= name.starts_with("backbone.") && !name.starts_with("backbone.fpn.");
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
    if let Some((network, name)) = names::other_network(&shapes) {
        let shape = &shapes[name];
        let text = format!("{}, as tensor {name} {shape:?} shows; {}", network.what, network.expected());
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
    let architecture = Architecture::recognize(&shapes, hints)?;
    for (name, tensor) in &current {
        tensor.dtype().map_err(|e| e.at(format!("tensor {name}")))?;
    }
    Ok(RecognizedStateDict { architecture, tensors: current, renamed, ignored, is_tracked })
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

/// Refuses characters that nobody sees.
fn check_visible(label: &str) -> Result<()> {
    match label.chars().find(|&c| is_invisible(c)) {
        Some(c) => {
            let text = format!("label {label:?} has the invisible character U+{:04X}; remove it", u32::from(c));
            Err(Error::new(Kind::Data, text))
        }
        None => Ok(()),
    }
}

/// True for the name of the class 0, the background, as label tools write it.
fn is_background(label: &str) -> bool {
    ["background", "bg"].contains(&label.trim_matches('_').to_lowercase().as_str())
}

/// The class names of a text file, one a line.
fn read_labels(path: &Path, architecture: &Architecture) -> Result<Vec<String>> {
    let at = |e: Error| e.at(path.display());
    let text = text_file::read(path)?;
    let mut labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_owned()).collect();
    let expected = architecture.classes - 1;
    // torchvision's own list starts with the background.
    let begins_with_background = labels.first().is_some_and(|label| is_background(label));
    if labels.first().is_some_and(|label| label == "__background__")
        || (begins_with_background && labels.len() == expected + 1)
    {
        labels.remove(0);
    } else if begins_with_background {
        let text = format!(
            "{} labels, the first is the background; the checkpoint has {expected} classes beside it",
            labels.len()
        );
        return Err(at(Error::new(Kind::Data, text)));
    }
    if labels.len() != expected {
        let text = format!("{} labels, one a line; the checkpoint has {expected} classes", labels.len());
        return Err(at(Error::new(Kind::Data, text)));
    }
    labels.iter().try_for_each(|label| check_label(label).and_then(|()| check_visible(label))).map_err(at)?;
    Ok(labels)
}
