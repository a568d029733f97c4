//! One inspection from its first picture to its last file.
//!
//! A first look at up to three pictures, spread over all, lays the hexagons and freezes the colour scale of the
//! side-by-side pictures. Then every picture once: figures, hexagons, side-by-side, for the first ones maps of every
//! step. On some, every layer runs on the reference's inputs too, which tells its own error from what it was handed.

use std::path::{Path, PathBuf};

use super::map::Map;
use super::models::Pair;
use super::mosaic::mosaic;
use super::panel::ColourScale;
use super::picture_maps::PictureMaps;
use super::report::{PictureRow, Report};
use super::stats::StepStats;
use super::video::Video;
use super::watch::{Extent, Hexbins, Injected, StepMaps, Steps, Watch};
use crate::detector::DetectorOptions;
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;
use crate::measure::Agreement;

/// Pictures of the first look.
const SCOUTS: usize = 3;
/// How much lower a score may be in the artifact for the tolerant agreement.
const TOLERANCE: f32 = 0.2;

/// What to inspect, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Checkpoint: the reference.
    pub reference: PathBuf,
    /// Artifact.
    pub model: PathBuf,
    /// Pictures, in order.
    pub images: Vec<PathBuf>,
    /// Folder of the results.
    pub out: PathBuf,
    /// Steps that maps and hexagons are of.
    pub steps: Steps,
    /// Steps with hexagons of their own; the worst if `None`.
    pub hexbins: Option<Steps>,
    /// Whether maps and hexagons are of the values before ReLU.
    pub before_relu: bool,
    /// Pictures, from the first, that get maps of every step.
    pub maps: usize,
    /// Pictures, from the first, that get a side-by-side picture.
    pub mosaics: usize,
    /// Pictures, spread over all, that every step's own error is measured on.
    pub alone: usize,
    /// Points of a step and picture that the hexagons get, at most about; 0 for every one.
    pub points: usize,
    /// Score from which detections are drawn and compared.
    pub score: f32,
    /// Film of the side-by-side pictures.
    pub video: Option<PathBuf>,
    /// Its pictures a second.
    pub fps: u32,
    /// Kernels, threads, and numbers of the model to replace.
    pub detector: DetectorOptions,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What `report.json` holds.
    pub report: Report,
    /// The page.
    pub index: PathBuf,
    /// Pictures that could not be used, and the kind of the first such failure.
    pub failed: (usize, Option<Kind>),
}

/// Inspects. `progress` is told how many looks at pictures are done, and of how many; `note` what could not be used.
///
/// # Errors
/// As `Pair::load`; [`Kind::Usage`] for a step that does not exist; [`Kind::CannotCreate`] or [`Kind::Io`] for the
/// folder; the first picture's failure if none could be used.
pub fn inspect(
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
    note: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let pair = Pair::load(&options.reference, &options.model, &options.detector)?;
    if !pair.is_related {
        note(&format!(
            "{} does not say that it was made from {}: errors include those of the weights",
            options.model.display(),
            options.reference.display()
        ));
    }
    let mut session = Session::new(options, pair)?;
    let count = options.images.len();
    let scouts = spread(count, SCOUTS);
    let alone = spread(count, options.alone);
    let all = scouts.len() + count + alone.len();
    let mut done = 0;
    let mut step = |progress: &mut dyn FnMut(usize, usize)| {
        done += 1;
        progress(done, all);
    };
    progress(0, all);
    for &at in &scouts {
        // What cannot be used is said when its turn comes.
        if let Ok(picture) = Picture::open(&options.images[at]) {
            session.scout(&picture).ok();
        }
        step(progress);
    }
    session.lay();
    let mut failed = (0, None);
    for (at, path) in options.images.iter().enumerate() {
        match session.look(at, path) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Kind::CannotCreate | Kind::Io | Kind::Internal) => return Err(error),
            Err(error) if count == 1 => return Err(error),
            Err(error) => {
                note(&error.chain());
                failed.0 += 1;
                failed.1.get_or_insert(error.kind());
            }
        }
        step(progress);
    }
    if session.pictures.is_empty() {
        let kind = failed.1.unwrap_or(Kind::NoInput);
        return Err(Error::new(kind, format!("none of the {count} pictures could be used")));
    }
    for &at in &alone {
        session.look_alone(&options.images[at]).ok();
        step(progress);
    }
    let (report, index) = session.finish()?;
    Ok(Outcome { report, index, failed })
}

/// Up to `most` numbers below `count`, evenly spread, the first among them.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let most = most.min(count);
    (0..most).map(|at| at * count / most).collect()
}

/// An inspection on its way.
pub(super) struct Session<'o> {
    pub options: &'o Options,
    pub pair: Pair,
    /// By step: whether maps and hexagons are of it.
    pub mask: Vec<bool>,
    pub selected: Vec<StepId>,
    /// Steps with hexagons of their own; the worst if `None`.
    pub own: Option<Vec<StepId>>,
    pub stats: Vec<StepStats>,
    pub extents: Vec<Extent>,
    pub hexbins: Vec<Option<Hexbins>>,
    pub all: Hexbins,
    pub scouted: Vec<[Map; 2]>,
    pub scale: Option<ColourScale>,
    pub video: Option<Video>,
    pub pictures: Vec<PictureRow>,
    pub alone: usize,
    pub agreement: [Agreement; 2],
}

impl<'o> Session<'o> {
    fn new(options: &'o Options, pair: Pair) -> Result<Self> {
        let plan = std::sync::Arc::clone(pair.plan());
        let steps = plan.steps.len();
        let selected = options.steps.of(&plan)?;
        let own = options.hexbins.as_ref().map(|steps| steps.among(&selected, &plan)).transpose()?;
        let mut mask = vec![false; steps];
        selected.iter().for_each(|&step| mask[step] = true);
        std::fs::create_dir_all(&options.out).map_err(|source| Error::writing(&options.out, source))?;
        let video = options.video.as_deref().map(|path| Video::create(path, options.fps)).transpose()?;
        Ok(Self {
            stats: vec![StepStats::default(); steps],
            extents: vec![Extent::default(); steps],
            hexbins: vec![None; steps],
            all: Hexbins::new(&Extent::default()),
            scouted: Vec::new(),
            scale: None,
            pictures: Vec::new(),
            alone: 0,
            agreement: [Agreement::default(); 2],
            options,
            pair,
            mask,
            selected,
            own,
            video,
        })
    }

    fn points(&self) -> usize {
        if self.options.points == 0 { usize::MAX } else { self.options.points }
    }

    /// Which values maps are of.
    pub(super) fn what(&self) -> &'static str {
        if self.options.before_relu { "before ReLU" } else { "after ReLU" }
    }

    /// The first look at one picture: extents and mean maps.
    fn scout(&mut self, picture: &Picture) -> Result<()> {
        let mut maps = PictureMaps::new(picture, None, self.what(), self.pair.rows[1].precision);
        let points = self.points();
        let Self { pair, mask, extents, hexbins, .. } = self;
        let mut see = |_: StepId, step: &StepMaps<'_>| maps.take("", step);
        let mut watch = Watch {
            steps: mask,
            before_relu: self.options.before_relu,
            stats: None,
            extents: Some(extents),
            hexbins,
            all: None,
            points,
            want_errors: false,
            see_maps: Some(&mut see),
        };
        pair.on_own_inputs(picture, &mut watch)?;
        self.scouted.extend(maps.means());
        Ok(())
    }

    /// Lays the hexagons and freezes the scale, by what the first look saw.
    fn lay(&mut self) {
        let mut all = Extent::default();
        for &step in &self.selected {
            all.join(&self.extents[step]);
            self.hexbins[step] = Some(Hexbins::new(&self.extents[step]));
        }
        self.all = Hexbins::new(&all);
        let maps: Vec<&Map> = self.scouted.iter().flatten().collect();
        self.scale = (!maps.is_empty()).then(|| ColourScale::of_activations(&maps));
        self.scouted = Vec::new();
    }

    fn look(&mut self, at: usize, path: &Path) -> Result<()> {
        let picture = Picture::open(path)?;
        let name = file_name(at, path);
        let options = self.options;
        let has_maps = at < options.maps;
        let has_mosaic = at < options.mosaics;
        let folder = has_maps.then(|| options.out.join("maps").join(&name));
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).map_err(|source| Error::writing(folder, source))?;
        }
        let mut maps = PictureMaps::new(&picture, folder.as_deref(), self.what(), self.pair.rows[1].precision);
        let wants_maps = has_maps || has_mosaic || self.video.is_some();
        let plan = std::sync::Arc::clone(self.pair.plan());
        let points = self.points();
        let found = {
            let Self { pair, mask, stats, hexbins, all, .. } = self;
            let mut see = |step: StepId, seen: &StepMaps<'_>| maps.take(&plan.steps[step].name, seen);
            let mut watch = Watch {
                steps: mask,
                before_relu: options.before_relu,
                stats: Some(stats),
                extents: None,
                hexbins,
                all: Some(all),
                points,
                want_errors: has_maps,
                see_maps: wants_maps.then_some(&mut see),
            };
            pair.on_own_inputs(&picture, &mut watch).map_err(|error| error.at(path.display()))?
        };
        let means = maps.means();
        let sheets = maps.finish()?;
        if has_maps {
            self.write_maps_page(&name, path, &sheets)?;
        }
        let mut agreement = Agreement::default();
        agreement.add(&found[0], &found[1], options.score, options.score);
        let mut tolerant = Agreement::default();
        tolerant.add(&found[0], &found[1], options.score, (options.score - TOLERANCE).max(0.0));
        self.agreement[0].merge(&agreement);
        self.agreement[1].merge(&tolerant);

        let mut is_drawn = false;
        if let Some([f, q]) = means.as_ref().filter(|_| has_mosaic || self.video.is_some()) {
            let scale = *self.scale.get_or_insert_with(|| ColourScale::of_activations(&[f, q]));
            let sheet = mosaic([&name, self.what()], &picture, &self.pair, &found, [f, q], &scale, options.score);
            if has_mosaic {
                let folder = options.out.join("side-by-side");
                std::fs::create_dir_all(&folder).map_err(|source| Error::writing(&folder, source))?;
                sheet.save(folder.join(format!("{name}.jpg")))?;
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
            detections: found.map(|found| found.iter().filter(|one| one.score >= options.score).count()),
            agreement,
            pyramid_db: last(&self.stats[plan.key_steps.pyramid[0]]).map(f64::from),
            worst: worst.map(|(step, db)| (plan.steps[step].name.clone(), f64::from(db))),
            has_maps,
            has_mosaic: is_drawn,
        });
        Ok(())
    }

    fn look_alone(&mut self, path: &Path) -> Result<()> {
        let picture = Picture::open(path)?;
        let Self { pair, stats, .. } = self;
        pair.on_reference_inputs(&picture, &mut Injected(stats))?;
        self.alone += 1;
        Ok(())
    }
}

/// What the files of a picture are called: its number and its name, without what file systems dislike.
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
    fn spread_over_all() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 3), [0, 1]);
        assert!(spread(0, 3).is_empty() && spread(5, 0).is_empty());
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name(0, Path::new("a/b c/é ü.tar.png")), "0001-____.tar".replace("____", "___"));
    }
}
