//! The maps of one picture: every step's on a sheet of its own, and their means over all steps and by level.
//!
//! In: a step's maps as they come. Out: PNG sheets beside a `maps.json` that says which numbers their scales mean, and
//! the names of the files for the page. Nothing of a step is kept but its share in the means.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::map::{Between, ErrorMaps, Map, MeanMap};
use super::mosaic::size_within;
use super::panel::{ColourScale, Panel, colours, overlay, resized, sheet};
use super::watch::StepMaps;
use crate::error::{Error, Result};
use crate::frame::Picture;

/// A panel's size at most.
const MOST: (usize, usize) = (560, 420);
/// Relative errors below this are shown as this: they have no end upwards, so their maps show logarithms.
const LEAST_RATIO: f32 = 1e-3;

/// Least, mean and largest number of a map.
#[derive(Debug, Clone, Copy, Serialize)]
struct Numbers {
    least: f64,
    mean: f64,
    most: f64,
}

impl Numbers {
    fn of(map: &Map) -> Self {
        let sum: f64 = map.values.iter().map(|&value| f64::from(value)).sum();
        let ends = |from: f32, choose: fn(f32, f32) -> f32| f64::from(map.values.iter().copied().fold(from, choose));
        Self {
            least: ends(f32::INFINITY, f32::min),
            mean: sum / map.values.len().max(1) as f64,
            most: ends(f32::NEG_INFINITY, f32::max),
        }
    }
}

/// One sheet.
#[derive(Debug, Clone, Serialize)]
pub struct SheetRow {
    /// What it shows.
    pub title: String,
    /// Its file.
    pub file: String,
    /// Rows and columns of its maps.
    pub size: [usize; 2],
    /// Ends of the colour scale that both activation maps share.
    pub scale: [f64; 2],
    reference: Numbers,
    other: Numbers,
    absolute: Numbers,
    relative: Numbers,
    squared: Numbers,
}

/// The maps of one picture, as they come.
pub struct PictureMaps {
    ground: Picture,
    /// Where the sheets go; none are made without it.
    folder: Option<PathBuf>,
    what: String,
    words: [&'static str; 2],
    reference: MeanMap,
    other: MeanMap,
    absolute: MeanMap,
    relative: MeanMap,
    squared: MeanMap,
    sheets: Vec<SheetRow>,
    failed: Option<Error>,
}

impl PictureMaps {
    /// Takes the maps of `picture`; `what` tells of which values. Sheets go to `folder`.
    pub fn new(picture: &Picture, folder: Option<&Path>, what: &str, precision: &'static str) -> Self {
        let (width, height) = size_within(picture, MOST);
        Self {
            ground: if folder.is_some() { resized(picture, width, height) } else { Picture::default() },
            folder: folder.map(Path::to_path_buf),
            what: what.to_owned(),
            words: ["fp32", precision],
            reference: MeanMap::default(),
            other: MeanMap::default(),
            absolute: MeanMap::new(Between::Held),
            relative: MeanMap::new(Between::Held),
            squared: MeanMap::new(Between::Held),
            sheets: Vec::new(),
            failed: None,
        }
    }

    /// Takes a step's maps, and makes its sheet.
    pub fn take(&mut self, step: &str, maps: &StepMaps<'_>) {
        self.reference.add(maps.reference);
        self.other.add(maps.other);
        let Some(errors) = &maps.errors else { return };
        let squared = errors.absolute.clone().squared();
        self.absolute.add(&errors.absolute);
        self.relative.add(&errors.relative);
        self.squared.add(&squared);
        if self.folder.is_some() && self.failed.is_none() {
            let file = format!("{}.png", step.replace(['@', '/'], "-"));
            let title = format!("{step}, {}", self.what);
            self.failed = self.write(&title, &file, [maps.reference, maps.other], errors, &squared).err();
        }
    }

    /// The means of both networks' maps, at the largest size.
    pub fn means(&self) -> Option<[Map; 2]> {
        Some([self.reference.mean()?, self.other.mean()?])
    }

    /// Writes the sheets of the means, over all steps and by level, and `maps.json`. Returns all sheets, the means
    /// first.
    ///
    /// # Errors
    /// What writing a sheet gave, now or before.
    pub fn finish(mut self) -> Result<Vec<SheetRow>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(folder) = self.folder.clone() else { return Ok(Vec::new()) };
        let steps = std::mem::take(&mut self.sheets);
        let means = [&self.reference, &self.other, &self.absolute, &self.relative, &self.squared].map(MeanMap::mean);
        if let [Some(f), Some(q), Some(absolute), Some(relative), Some(squared)] = means {
            let title = format!("mean over {} steps, {}", steps.len(), self.what);
            self.write(&title, "mean.png", [&f, &q], &ErrorMaps { absolute, relative }, &squared)?;
        }
        let others = [&self.other, &self.absolute, &self.relative, &self.squared].map(MeanMap::levels);
        for (f, count) in self.reference.levels() {
            let same = |levels: &Vec<(Map, usize)>| {
                levels
                    .iter()
                    .find(|(map, _)| (map.height, map.width) == (f.height, f.width))
                    .map(|(map, _)| map.clone())
            };
            // A level whose errors are not numbers has no sheet.
            let [Some(q), Some(absolute), Some(relative), Some(squared)] = others.each_ref().map(same) else {
                continue;
            };
            let (rows, columns) = (f.height, f.width);
            let what = if count == 1 { "the one step".to_owned() } else { format!("mean over the {count} steps") };
            let title = format!("{what} of {columns}x{rows} pixels, {}", self.what);
            let file = format!("level-{columns}x{rows}.png");
            self.write(&title, &file, [&f, &q], &ErrorMaps { absolute, relative }, &squared)?;
        }
        self.sheets.extend(steps);
        let json = serde_json::to_vec_pretty(&self.sheets)
            .map_err(|source| Error::new(crate::error::Kind::Internal, "maps have no JSON form").because(source))?;
        let path = folder.join("maps.json");
        std::fs::write(&path, json).map_err(|source| Error::writing(&path, source))?;
        Ok(self.sheets)
    }

    fn write(&mut self, title: &str, file: &str, maps: [&Map; 2], errors: &ErrorMaps, squared: &Map) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let ErrorMaps { absolute, relative } = errors;
        let scale = ColourScale::of_activations(&maps);
        let (width, height) = (self.ground.width, self.ground.height);
        let plain = |map: &Map, title: String, scale: ColourScale| Panel {
            picture: colours(map, &scale, width, height),
            title,
            scale: Some(scale),
        };
        let over = |map: &Map, title: String, scale: ColourScale| Panel {
            picture: overlay(&self.ground, map, &scale),
            title,
            scale: Some(scale),
        };
        let [f, q] = maps;
        let [fp32, int8] = self.words;
        let ratios = relative.clone().log10(LEAST_RATIO);
        let of_ratios = ColourScale::of_logarithms(&[&ratios]);
        let of_errors = |map: &Map| ColourScale::of_errors(&[map]);
        let panels = [
            plain(f, format!("{fp32}: channels' maximum"), scale),
            plain(q, format!("{int8}: channels' maximum, same scale"), scale),
            over(f, format!("{fp32}, over the picture"), scale),
            over(q, format!("{int8}, over the picture"), scale),
            plain(absolute, format!("absolute error |{int8} - {fp32}|"), of_errors(absolute)),
            over(absolute, "absolute error, over the picture".to_owned(), of_errors(absolute)),
            plain(&ratios, format!("log10 of relative error |{int8} - {fp32}| / |{fp32}|"), of_ratios),
            plain(squared, format!("squared error ({int8} - {fp32})^2"), of_errors(squared)),
        ];
        let path = folder.join(file);
        sheet(title, &panels, 2).save(&path)?;
        self.sheets.push(SheetRow {
            title: title.to_owned(),
            file: file.to_owned(),
            size: [f.height, f.width],
            scale: [scale.low, scale.high],
            reference: Numbers::of(f),
            other: Numbers::of(q),
            absolute: Numbers::of(absolute),
            relative: Numbers::of(relative),
            squared: Numbers::of(squared),
        });
        Ok(())
    }
}
