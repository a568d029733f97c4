//! Inspection session: from the first picture to the last file.
//!
//! A range pass over up to three pictures sets the ranges of the hexbin plots and the colour scale of the side-by-side
//! pictures. The main pass runs every picture once: statistics, hexbin plots, side-by-side pictures, and maps of every
//! step for the first pictures. In the own-error pass every layer runs on the reference's inputs for some pictures, which
//! separates its own error from that of its inputs.

use std::path::{Path, PathBuf};

use super::labels::{LabelCounts, LabelSource, Labels};
use super::models::ModelPair;
use super::mosaic::{Mosaic, MosaicLabels};
use super::observers::{OwnErrorObserver, PictureObserver, StepHexbins, StepMaps, StepSelection, ValueExtent};
use super::panel::ColourScale;
use super::picture_maps::{PairMeans, PictureMaps};
use super::report::{InspectionReport, PictureRow};
use super::stats::StepStats;
use super::tensors::{TensorFiles, TensorSource};
use super::video::Video;
use crate::detector::DetectorOptions;
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::Agreement;

/// Pictures of the range pass.
const RANGE_PICTURES: usize = 3;
/// JPEG quality of side-by-side pictures.
const MOSAIC_QUALITY: u8 = 85;
/// Difference of the artifact's score threshold in the tolerant agreement.
const SCORE_TOLERANCE: f32 = 0.2;

/// The pictures to inspect.
#[derive(Debug, Clone)]
pub enum PictureSource {
    /// Files, in order.
    Files(Vec<PathBuf>),
    /// A labelled dataset.
    Labelled(LabelSource),
}

/// Options of an inspection.
#[derive(Debug, Clone)]
pub struct InspectOptions {
    /// Reference checkpoint.
    pub reference: PathBuf,
    /// Artifact.
    pub model: PathBuf,
    /// Pictures.
    pub pictures: PictureSource,
    /// Folder of the results.
    pub out: PathBuf,
    /// Steps with maps and hexbin plots.
    pub steps: StepSelection,
    /// Steps with separate hexbin plots; the worst if `None`.
    pub hexbins: Option<StepSelection>,
    /// Use the values before the activation function for maps and hexbin plots.
    pub before_relu: bool,
    /// Number of pictures, from the first, with maps of every step.
    pub maps: usize,
    /// Number of pictures, from the first, with a side-by-side picture.
    pub mosaics: usize,
    /// Number of pictures for the own errors, evenly spread.
    pub own_error_pictures: usize,
    /// Approximate number of sampled points of a step and picture in hexbin plots; 0 for all.
    pub points: usize,
    /// Score threshold of drawn and compared detections.
    pub score: f32,
    /// Folder of the tensors.
    pub tensors: Option<PathBuf>,
    /// Steps with tensors; those of `steps` if `None`.
    pub tensor_steps: Option<StepSelection>,
    /// Number of pictures, from the first, with tensors.
    pub tensor_pictures: usize,
    /// Video of the side-by-side pictures.
    pub video: Option<PathBuf>,
    /// Frames a second of the video.
    pub fps: u32,
    /// Detector options.
    pub detector: DetectorOptions,
}

/// Result of an inspection.
#[derive(Debug)]
pub struct Inspection {
    /// Content of `report.json`.
    pub report: InspectionReport,
    /// Path of the page.
    pub index: PathBuf,
    /// Number of pictures.
    pub pictures: usize,
    /// Pictures that could not be used, if any.
    pub failures: Option<PictureFailures>,
}

/// Pictures that could not be used.
#[derive(Debug, Clone, Copy)]
pub struct PictureFailures {
    /// Number of pictures.
    pub count: usize,
    /// Kind of the first error.
    pub first: Kind,
}

/// Inspects. `progress` receives the number of runs done and of all; `note` receives the errors of single pictures.
///
/// # Errors
/// As `ModelPair::load` and `Labels::read`; [`Kind::Usage`] for an unknown step; [`Kind::CannotCreate`] or [`Kind::Io`]
/// for the folder; the error of the first picture if none could be used.
pub fn inspect(
    options: &InspectOptions,
    progress: &mut dyn FnMut(usize, usize),
    note: &mut dyn FnMut(&str),
) -> Result<Inspection> {
    let pair = ModelPair::load(&options.reference, &options.model, &options.detector)?;
    if !pair.is_related {
        note(&format!(
            "{} does not name {} as its source: errors include those of the weights",
            options.model.display(),
            options.reference.display()
        ));
    }
    let (labels, pictures) = match &options.pictures {
        PictureSource::Files(paths) => {
            (None, paths.iter().map(|path| PictureFile { path: path.clone(), as_stored: false }).collect())
        }
        PictureSource::Labelled(source) => {
            let labels = Labels::read(source, pair.labels(), note)?;
            let pictures = labels.pictures().map(|(path, as_stored)| PictureFile { path, as_stored }).collect();
            (Some(labels), pictures)
        }
    };
    let pictures: Vec<PictureFile> = pictures;
    let mut session = InspectionSession::new(options, pair, labels)?;
    let count = pictures.len();
    let range_pictures = evenly_spread(count, RANGE_PICTURES);
    let own_error_pictures = evenly_spread(count, options.own_error_pictures);
    let all = range_pictures.len() + count + own_error_pictures.len();
    let mut done = 0;
    let mut step = |progress: &mut dyn FnMut(usize, usize)| {
        done += 1;
        progress(done, all);
    };
    progress(0, all);
    for &at in &range_pictures {
        // The main pass reports the errors.
        if let Ok(picture) = pictures[at].open() {
            session.collect_ranges(&picture).ok();
        }
        step(progress);
    }
    session.set_ranges();
    let mut failures: Option<PictureFailures> = None;
    for (at, file) in pictures.iter().enumerate() {
        match session.add_picture(at, file) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Kind::CannotCreate | Kind::Io | Kind::Internal) => return Err(error),
            Err(error) if count == 1 => return Err(error),
            Err(error) => {
                note(&error.chain());
                failures.get_or_insert(PictureFailures { count: 0, first: error.kind() }).count += 1;
            }
        }
        step(progress);
    }
    if session.pictures.is_empty() {
        let kind = failures.map_or(Kind::NoInput, |failures| failures.first);
        return Err(Error::new(kind, format!("none of the {count} pictures could be used")));
    }
    for &at in &own_error_pictures {
        session.add_own_errors(&pictures[at]).ok();
        step(progress);
    }
    let (report, index) = session.finish()?;
    Ok(Inspection { report, index, pictures: count, failures })
}

/// One picture to inspect.
struct PictureFile {
    path: PathBuf,
    /// True if its pixels are used as they are stored, without the EXIF orientation.
    as_stored: bool,
}

impl PictureFile {
    fn open(&self) -> Result<Picture> {
        if !self.as_stored {
            return Picture::open(&self.path);
        }
        let bytes = std::fs::read(&self.path).map_err(|source| Error::reading(&self.path, source))?;
        Picture::decode_as_stored(&bytes).map_err(|error| error.at(self.path.display()))
    }
}

/// Up to `most` indices below `count`, evenly spread, including the first.
fn evenly_spread(count: usize, most: usize) -> Vec<usize> {
    let most = most.min(count);
    (0..most).map(|at| at * count / most).collect()
}

/// State of an inspection.
pub(super) struct InspectionSession<'o> {
    pub options: &'o InspectOptions,
    pub pair: ModelPair,
    /// By step: true if it is selected.
    pub is_selected: Vec<bool>,
    /// Steps with maps and hexbin plots.
    pub selected: Vec<StepId>,
    /// Steps with separate hexbin plots; the worst if `None`.
    pub separate: Option<Vec<StepId>>,
    /// By step: true if its tensors are written.
    has_tensors: Vec<bool>,
    labels: Option<Labels>,
    /// Labelled objects and those found, over all pictures: by the reference and by the quantized model.
    pub label_counts: [LabelCounts; 2],
    pub stats: Vec<StepStats>,
    pub extents: Vec<ValueExtent>,
    pub hexbins: Vec<Option<StepHexbins>>,
    pub all: StepHexbins,
    /// Mean maps of the range pass.
    pub range_means: Vec<PairMeans>,
    pub scale: Option<ColourScale>,
    pub video: Option<Video>,
    pub pictures: Vec<PictureRow>,
    pub own_error_pictures: usize,
    /// Agreement with the same score threshold for both models.
    pub strict: Agreement,
    /// Agreement with a lower threshold for the artifact.
    pub tolerant: Agreement,
}

impl<'o> InspectionSession<'o> {
    fn new(options: &'o InspectOptions, pair: ModelPair, labels: Option<Labels>) -> Result<Self> {
        let plan = std::sync::Arc::clone(pair.plan());
        let steps = plan.steps.len();
        let selected = options.steps.of(&plan)?;
        let separate = options.hexbins.as_ref().map(|steps| steps.among(&selected, &plan)).transpose()?;
        let mut is_selected = vec![false; steps];
        selected.iter().for_each(|&step| is_selected[step] = true);
        let mut has_tensors = is_selected.clone();
        if let Some(steps) = &options.tensor_steps {
            has_tensors = vec![false; plan.steps.len()];
            steps.of_any(&plan)?.into_iter().for_each(|step| has_tensors[step] = true);
        }
        claim_folder(&options.out)?;
        options.tensors.as_deref().map_or(Ok(()), claim_folder)?;
        let video = options.video.as_deref().map(|path| Video::create(path, options.fps)).transpose()?;
        Ok(Self {
            stats: vec![StepStats::default(); steps],
            extents: vec![ValueExtent::default(); steps],
            hexbins: vec![None; steps],
            all: StepHexbins::new(&ValueExtent::default()),
            range_means: Vec::new(),
            scale: None,
            pictures: Vec::new(),
            own_error_pictures: 0,
            strict: Agreement::default(),
            tolerant: Agreement::default(),
            options,
            pair,
            is_selected,
            selected,
            separate,
            has_tensors,
            labels,
            label_counts: [LabelCounts::default(); 2],
            video,
        })
    }

    /// Number of sampled points of a step.
    fn points(&self) -> usize {
        if self.options.points == 0 { usize::MAX } else { self.options.points }
    }

    /// Values of maps and hexbin plots.
    pub(super) fn values(&self) -> &'static str {
        if self.options.before_relu { "before the activation function" } else { "after the activation function" }
    }

    /// Range pass of one picture: collects ranges and mean maps.
    fn collect_ranges(&mut self, picture: &Picture) -> Result<()> {
        let mut maps = PictureMaps::new(picture, None, self.values(), self.pair.quantized_row.precision);
        let points = self.points();
        let Self { pair, is_selected, extents, hexbins, .. } = self;
        let mut add_maps = |_: StepId, step: &StepMaps<'_>| maps.add("", step);
        let mut observer = PictureObserver {
            selected: is_selected,
            before_relu: self.options.before_relu,
            stats: None,
            extents: Some(extents),
            hexbins,
            all: None,
            points,
            with_error_maps: false,
            on_maps: Some(&mut add_maps),
            tensors: None,
        };
        pair.on_own_inputs(picture, &mut observer)?;
        self.range_means.extend(maps.means());
        Ok(())
    }

    /// Creates the hexbin plots and the colour scale from the range pass.
    fn set_ranges(&mut self) {
        let mut all = ValueExtent::default();
        for &step in &self.selected {
            all.join(&self.extents[step]);
            self.hexbins[step] = Some(StepHexbins::new(&self.extents[step]));
        }
        self.all = StepHexbins::new(&all);
        let maps: Vec<_> = self.range_means.iter().flat_map(|means| [&means.reference, &means.quantized]).collect();
        self.scale = (!maps.is_empty()).then(|| ColourScale::of_activations(&maps));
        self.range_means = Vec::new();
    }

    /// Main pass of picture number `at`.
    fn add_picture(&mut self, at: usize, file: &PictureFile) -> Result<()> {
        let picture = file.open()?;
        let path = file.path.as_path();
        let name = file_name(at, path);
        let options = self.options;
        let has_maps = at < options.maps;
        let has_mosaic = at < options.mosaics;
        let folder = has_maps.then(|| options.out.join("maps").join(&name));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        }
        let mut maps = PictureMaps::new(&picture, folder.as_deref(), self.values(), self.pair.quantized_row.precision);
        let wants_maps = has_maps || has_mosaic || self.video.is_some();
        let plan = std::sync::Arc::clone(self.pair.plan());
        let points = self.points();
        let precisions: Vec<&'static str> =
            self.pair.int8().mixed_precision().precision.iter().map(|precision| precision.name()).collect();
        let detections = {
            let Self { pair, is_selected, stats, hexbins, all, has_tensors, .. } = self;
            let tensors = match &options.tensors {
                Some(folder) if at < options.tensor_pictures => {
                    let (reference, model) = (&pair.reference_row, &pair.quantized_row);
                    let source = TensorSource { picture: path, reference, model };
                    Some(TensorFiles::create(folder.join(&name), &source, &plan, has_tensors, &precisions)?)
                }
                _ => None,
            };
            let mut add_maps = |step: StepId, step_maps: &StepMaps<'_>| maps.add(&plan.steps[step].name, step_maps);
            let mut observer = PictureObserver {
                selected: is_selected,
                before_relu: options.before_relu,
                stats: Some(stats),
                extents: None,
                hexbins,
                all: Some(all),
                points,
                with_error_maps: has_maps,
                on_maps: wants_maps.then_some(&mut add_maps),
                tensors,
            };
            let detections = pair.on_own_inputs(&picture, &mut observer).map_err(|error| error.at(path.display()))?;
            observer.tensors.map_or(Ok(()), TensorFiles::finish)?;
            detections
        };
        let means = maps.means();
        let sheets = maps.finish()?;
        if has_maps {
            self.write_maps_page(&name, path, &sheets)?;
        }
        let mut agreement = Agreement::default();
        agreement.add(&detections.reference, &detections.int8, options.score, options.score);
        let mut tolerant = Agreement::default();
        let lower_score = (options.score - SCORE_TOLERANCE).max(0.0);
        tolerant.add(&detections.reference, &detections.int8, options.score, lower_score);
        self.strict.merge(&agreement);
        self.tolerant.merge(&tolerant);

        let labels = self.labels.as_ref().map(|labels| {
            let compare = |detections| labels.compare(at, detections, options.score);
            MosaicLabels {
                boxes: labels.boxes(at),
                matches: [&detections.reference, &detections.int8].map(|d| compare(d)),
            }
        });
        let label_counts = labels.as_ref().map(|labels| labels.matches.each_ref().map(|matches| matches.counts));
        if let Some(counts) = &label_counts {
            self.label_counts.iter_mut().zip(counts).for_each(|(sum, counts)| sum.merge(counts));
        }
        let mut is_drawn = false;
        if let Some(means) = means.as_ref().filter(|_| has_mosaic || self.video.is_some()) {
            let own_scale = || ColourScale::of_activations(&[&means.reference, &means.quantized]);
            let scale = *self.scale.get_or_insert_with(own_scale);
            let mosaic = Mosaic {
                heading: &name,
                values: self.values(),
                picture: &picture,
                detections: &detections,
                labels: labels.as_ref(),
                means,
                scale: &scale,
                score: options.score,
            };
            let sheet = mosaic.draw(&self.pair);
            if has_mosaic {
                let folder = options.out.join("side-by-side");
                std::fs::create_dir_all(&folder).map_err(|source| Error::writing(&folder, source))?;
                let path = folder.join(format!("{name}.jpg"));
                std::fs::write(&path, sheet.to_jpeg_of_quality(MOSAIC_QUALITY)?)
                    .map_err(|source| Error::writing(&path, source))?;
                is_drawn = true;
            }
            if let Some(video) = &mut self.video {
                video.add(&sheet)?;
            }
        }
        let last = |stats: &StepStats| stats.sqnr_db.last().copied().filter(|db| db.is_finite());
        let steps = self.stats.iter().enumerate();
        let worst = steps.filter_map(|(step, stats)| Some((step, last(stats)?))).min_by(|a, b| a.1.total_cmp(&b.1));
        self.pictures.push(PictureRow {
            picture: path.display().to_string(),
            name,
            width: picture.width,
            height: picture.height,
            detections: [&detections.reference, &detections.int8]
                .map(|detections| detections.iter().filter(|one| one.score >= options.score).count()),
            agreement,
            labels: label_counts,
            pyramid_db: last(&self.stats[plan.levels[0].step]).map(f64::from),
            worst: worst.map(|(step, db)| (plan.steps[step].name.clone(), f64::from(db))),
            has_maps,
            has_mosaic: is_drawn,
        });
        Ok(())
    }

    /// Own-error pass of one picture.
    fn add_own_errors(&mut self, file: &PictureFile) -> Result<()> {
        let picture = file.open()?;
        let Self { pair, stats, .. } = self;
        pair.on_reference_inputs(&picture, &mut OwnErrorObserver(stats))?;
        self.own_error_pictures += 1;
        Ok(())
    }
}

/// Name of the file that marks a folder as one of this command.
const MARKER: &str = ".lookout-inspect";

/// Creates the folder `out`, or takes it if it is empty or was written by this command.
fn claim_folder(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).map_err(|source| Error::writing(out, source))?;
    let entries = std::fs::read_dir(out).map_err(|source| Error::reading(out, source))?;
    // Folders of earlier versions have no marker, but these two files.
    let is_ours =
        out.join(MARKER).exists() || (out.join("report.json").exists() && out.join("sensitivity.csv").exists());
    if entries.count() > 0 && !is_ours {
        let text = format!("{} is not empty and holds no earlier inspection; name another folder", out.display());
        return Err(Error::new(Kind::CannotCreate, text));
    }
    let marker = out.join(MARKER);
    std::fs::write(&marker, "").map_err(|source| Error::writing(&marker, source))
}

/// Name of the files of a picture: its number and its stem in plain ASCII.
fn file_name(at: usize, path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(plain).take(60).collect();
    format!("{:04}-{stem}", at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_evenly_spread() {
        assert_eq!(evenly_spread(10, 3), [0, 3, 6]);
        assert_eq!(evenly_spread(2, 3), [0, 1]);
        assert!(evenly_spread(0, 3).is_empty() && evenly_spread(5, 0).is_empty());
    }

    #[test]
    fn only_an_empty_folder_or_an_earlier_inspection_is_written_to() {
        let root = tempfile::tempdir().unwrap();
        let (new, other) = (root.path().join("new"), root.path().join("other"));
        claim_folder(&new).unwrap();
        std::fs::write(new.join("index.html"), "of an earlier run").unwrap();
        claim_folder(&new).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("index.html"), "a web site").unwrap();
        assert_eq!(claim_folder(&other).unwrap_err().kind(), Kind::CannotCreate);
        assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name(0, Path::new("a/b c/é ü.tar.png")), "0001-____.tar".replace("____", "___"));
    }
}
