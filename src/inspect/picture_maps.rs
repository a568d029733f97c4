//! Maps of one picture: a sheet for every step, and sheets of the means over all steps and by level.
//!
//! In: the maps of each step. Out: JPEG sheets, a `maps.json` with the values of their scales, and the file names for the
//! page. Only the means are stored between steps.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::map::{ErrorMaps, Interpolation, LevelMean, MeanMap, ScalarMap};
use super::observers::StepMaps;
use super::panel::{ColourScale, Panel, PanelSize, colours, overlay, resized, sheet};
use crate::error::{Error, Result};
use crate::frame::Picture;

/// Largest size of a panel.
const LARGEST_PANEL: PanelSize = PanelSize { width: 560, height: 420 };
/// JPEG quality of sheets. Maps are smooth or noise, and a sheet has a sixth of the bytes of a PNG.
const SHEET_QUALITY: u8 = 65;
/// Lower limit of relative errors in maps. They have no upper limit, so their maps show logarithms.
const MIN_RATIO: f32 = 1e-3;

/// Least, mean and largest value of a map.
#[derive(Debug, Clone, Copy, Serialize)]
struct MapStatistics {
    least: f64,
    mean: f64,
    most: f64,
}

impl MapStatistics {
    fn of(map: &ScalarMap) -> Self {
        let sum: f64 = map.values.iter().map(|&value| f64::from(value)).sum();
        let ends = |from: f32, choose: fn(f32, f32) -> f32| f64::from(map.values.iter().copied().fold(from, choose));
        Self {
            least: ends(f32::INFINITY, f32::min),
            mean: sum / map.values.len().max(1) as f64,
            most: ends(f32::NEG_INFINITY, f32::max),
        }
    }
}

/// Entry of `maps.json` for one sheet.
#[derive(Debug, Clone, Serialize)]
pub struct SheetRow {
    /// Title.
    pub title: String,
    /// File name.
    pub file: String,
    /// Height and width of its maps.
    pub size: [usize; 2],
    /// Range of the colour scale of both activation maps.
    pub scale: [f64; 2],
    reference: MapStatistics,
    #[serde(rename = "other")]
    quantized: MapStatistics,
    absolute: MapStatistics,
    relative: MapStatistics,
    squared: MapStatistics,
}

impl SheetRow {
    /// The caption of the sheet, in sentences.
    pub fn caption(&self) -> String {
        let [rows, columns] = self.size;
        let MapStatistics { mean, most, .. } = self.absolute;
        format!(
            "The maps show {}, at {columns}×{rows} pixels. The largest absolute error of a pixel's channels is {} at most \
             and {} on average. The relative error of a pixel is {:.2} % on average.",
            self.title,
            short(most),
            short(mean),
            self.relative.mean * 100.0
        )
    }
}

/// A number with three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !(1e-3..1e4).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    let decimals = (2.0 - value.abs().log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// Mean maps of both networks over all steps, at the largest size.
#[derive(Debug, Clone)]
pub struct PairMeans {
    /// Mean of the reference.
    pub reference: ScalarMap,
    /// Mean of the quantized network.
    pub quantized: ScalarMap,
}

/// Maps of one sheet.
#[derive(Clone, Copy)]
struct SheetMaps<'a> {
    reference: &'a ScalarMap,
    quantized: &'a ScalarMap,
    errors: &'a ErrorMaps,
    squared: &'a ScalarMap,
}

/// Collects the maps of one picture.
pub struct PictureMaps {
    background: Picture,
    /// Folder of the sheets; without it none are drawn.
    folder: Option<PathBuf>,
    /// Values of the maps, before or after the activation function.
    values: String,
    /// Precision of the quantized network.
    precision: &'static str,
    reference: MeanMap,
    quantized: MeanMap,
    absolute: MeanMap,
    relative: MeanMap,
    squared: MeanMap,
    sheets: Vec<SheetRow>,
    failed: Option<Error>,
}

impl PictureMaps {
    /// A collection for `picture`; sheets are written to `folder`.
    pub fn new(picture: &Picture, folder: Option<&Path>, values: &str, precision: &'static str) -> Self {
        let size = LARGEST_PANEL.of(picture);
        Self {
            background: if folder.is_some() { resized(picture, size.width, size.height) } else { Picture::default() },
            folder: folder.map(Path::to_path_buf),
            values: values.to_owned(),
            precision,
            reference: MeanMap::default(),
            quantized: MeanMap::default(),
            absolute: MeanMap::new(Interpolation::ClampedCubic),
            relative: MeanMap::new(Interpolation::ClampedCubic),
            squared: MeanMap::new(Interpolation::ClampedCubic),
            sheets: Vec::new(),
            failed: None,
        }
    }

    /// Adds the maps of a step to the means and writes its sheet.
    pub fn add(&mut self, step: &str, maps: &StepMaps<'_>) {
        self.reference.add(maps.reference);
        self.quantized.add(maps.quantized);
        let Some(errors) = &maps.errors else { return };
        let squared = errors.absolute.clone().squared();
        self.absolute.add(&errors.absolute);
        self.relative.add(&errors.relative);
        self.squared.add(&squared);
        if self.folder.is_some() && self.failed.is_none() {
            let file = format!("{}.jpg", step.replace(['@', '/'], "-"));
            let title = format!("{step}, {}", self.values);
            let content = SheetMaps { reference: maps.reference, quantized: maps.quantized, errors, squared: &squared };
            self.failed = self.write(&title, &file, &content).err();
        }
    }

    /// The mean maps of both networks; `None` if no step was added.
    pub fn means(&self) -> Option<PairMeans> {
        Some(PairMeans { reference: self.reference.mean()?, quantized: self.quantized.mean()? })
    }

    /// Writes the sheets of the means, over all steps and by level, and `maps.json`. Returns all sheets, the means
    /// first.
    ///
    /// # Errors
    /// As [`Picture::save`], also for the sheets of [`PictureMaps::add`].
    pub fn finish(mut self) -> Result<Vec<SheetRow>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(folder) = self.folder.clone() else { return Ok(Vec::new()) };
        let steps = std::mem::take(&mut self.sheets);
        let means =
            [&self.reference, &self.quantized, &self.absolute, &self.relative, &self.squared].map(MeanMap::mean);
        if let [Some(f), Some(q), Some(absolute), Some(relative), Some(squared)] = means {
            let title = format!("mean over {} steps, {}", steps.len(), self.values);
            let errors = ErrorMaps { absolute, relative };
            let content = SheetMaps { reference: &f, quantized: &q, errors: &errors, squared: &squared };
            self.write(&title, "mean.jpg", &content)?;
        }
        let others = [&self.quantized, &self.absolute, &self.relative, &self.squared].map(MeanMap::levels);
        for LevelMean { map: f, count } in self.reference.levels() {
            let same = |levels: &Vec<LevelMean>| {
                levels.iter().find(|level| level.map.is_of_size(&f)).map(|level| level.map.clone())
            };
            // A level whose errors are not finite has no sheet.
            let [Some(q), Some(absolute), Some(relative), Some(squared)] = others.each_ref().map(same) else {
                continue;
            };
            let (rows, columns) = (f.height, f.width);
            let steps = if count == 1 { "one step".to_owned() } else { format!("mean over {count} steps") };
            let title = format!("{steps} of {columns}x{rows} pixels, {}", self.values);
            let file = format!("level-{columns}x{rows}.jpg");
            let errors = ErrorMaps { absolute, relative };
            let content = SheetMaps { reference: &f, quantized: &q, errors: &errors, squared: &squared };
            self.write(&title, &file, &content)?;
        }
        self.sheets.extend(steps);
        let json = serde_json::to_vec_pretty(&self.sheets)
            .map_err(|source| Error::new(crate::error::Kind::Internal, "maps have no JSON form").because(source))?;
        let path = folder.join("maps.json");
        std::fs::write(&path, json).map_err(|source| Error::writing(&path, source))?;
        Ok(self.sheets)
    }

    /// Writes a sheet to `file` and adds its entry.
    fn write(&mut self, title: &str, file: &str, maps: &SheetMaps<'_>) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let SheetMaps { reference: f, quantized: q, errors: ErrorMaps { absolute, relative }, squared } = *maps;
        let scale = ColourScale::of_activations(&[f, q]);
        let (width, height) = (self.background.width, self.background.height);
        let plain = |map: &ScalarMap, title: String, scale: ColourScale| Panel {
            picture: colours(map, &scale, width, height),
            title,
            scale: Some(scale),
        };
        let over = |map: &ScalarMap, title: String, scale: ColourScale| Panel {
            picture: overlay(&self.background, map, &scale),
            title,
            scale: Some(scale),
        };
        let (fp32, int8) = ("fp32", self.precision);
        let ratios = relative.clone().log10(MIN_RATIO);
        let of_ratios = ColourScale::of_logarithms(&[&ratios]);
        let of_errors = |map: &ScalarMap| ColourScale::of_errors(&[map]);
        let panels = [
            plain(f, format!("{fp32}: largest of the channels"), scale),
            plain(q, format!("{int8}: largest of the channels, same scale"), scale),
            over(f, format!("{fp32}, over the picture"), scale),
            over(absolute, "absolute error, over the picture".to_owned(), of_errors(absolute)),
            plain(absolute, format!("absolute error |{int8} - {fp32}|, largest of the channels"), of_errors(absolute)),
            plain(&ratios, format!("relative error of a pixel's channels, |{int8} - {fp32}| / |{fp32}|"), of_ratios),
            plain(squared, format!("squared error ({int8} - {fp32})^2, largest of the channels"), of_errors(squared)),
        ];
        let path = folder.join(file);
        let bytes = sheet(title, &panels, 2).to_jpeg_of_quality(SHEET_QUALITY)?;
        std::fs::write(&path, bytes).map_err(|source| Error::writing(&path, source))?;
        self.sheets.push(SheetRow {
            title: title.to_owned(),
            file: file.to_owned(),
            size: [f.height, f.width],
            scale: [scale.low, scale.high],
            reference: MapStatistics::of(f),
            quantized: MapStatistics::of(q),
            absolute: MapStatistics::of(absolute),
            relative: MapStatistics::of(relative),
            squared: MapStatistics::of(squared),
        });
        Ok(())
    }
}
