//! What an inspection leaves in its folder: tables, plots, hexagons and pages.

use std::path::{Path, PathBuf};

use super::picture_maps::SheetRow;
use super::report::Report;
use super::session::Session;
use super::watch::Hexbins;
use super::{page, plots, table};
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::preprocess::TransformParams;

/// Worst steps that are named, and that get hexagons of their own where none are asked for.
const WORST: usize = 5;

impl Session<'_> {
    /// Writes the page of one picture's maps.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] naming the file.
    pub(super) fn write_maps_page(&self, name: &str, path: &Path, sheets: &[SheetRow]) -> Result<()> {
        let page = page::of_maps(&path.display().to_string(), self.what(), sheets);
        self.write(&format!("maps/{name}/index.html"), &page)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.options.out.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| Error::writing(parent, source))?;
        }
        std::fs::write(&path, text).map_err(|source| Error::writing(&path, source))
    }

    fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(value)
            .map_err(|source| Error::new(Kind::Internal, format!("{name} has no JSON form")).because(source))?;
        self.write(name, &json)
    }

    /// Writes tables, plots and the page.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] naming the file.
    pub(super) fn finish(mut self) -> Result<(Report, PathBuf)> {
        if let Some(video) = self.video.take() {
            video.finish()?;
        }
        let plan = std::sync::Arc::clone(self.pair.plan());
        let mixed_precision = self.pair.int8().mixed_precision();
        let rows = table::rows(&plan, &self.stats, |step| mixed_precision.precision[step]);
        let kept = table::sensitivity(&plan, &self.stats, &self.macs()?);
        self.write("steps.csv", &table::to_csv(&rows))?;
        self.write_json("steps.json", &rows)?;
        self.write("sensitivity.csv", &table::kept_to_csv(&kept))?;
        self.write_json("sensitivity.json", &kept)?;
        for (name, plot) in plots::over_depth(&plan, &rows) {
            self.write(&format!("plots/{name}"), &plot)?;
        }
        if self.alone > 0 {
            self.write("plots/kept.svg", &plots::kept(&kept))?;
        }
        let worst = Report::worst_of(&rows, WORST);
        let hexbins = self.write_hexbins(&worst.iter().map(|worst| worst.step.as_str()).collect::<Vec<_>>())?;
        let (kernel, threads) = self.pair.kernel();
        let [reference, model] = self.pair.rows.clone();
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            reference,
            model,
            is_related: self.pair.is_related,
            kernel,
            threads,
            score: self.options.score,
            before_relu: self.options.before_relu,
            selected: self.selected.iter().map(|&step| plan.steps[step].name.clone()).collect(),
            alone: self.alone,
            points: self.options.points,
            strict: self.agreement[0],
            tolerant: self.agreement[1],
            worst,
            pictures: std::mem::take(&mut self.pictures),
        };
        self.write("pictures.csv", &report.pictures_to_csv())?;
        self.write_json("report.json", &report)?;
        self.write("index.html", &page::index(&report, &rows, &kept, &hexbins))?;
        Ok((report, self.options.out.join("index.html")))
    }

    /// Multiply-adds by step on the first picture's canvas.
    fn macs(&self) -> Result<Vec<u64>> {
        let plan = self.pair.plan();
        let Some(first) = self.pictures.first() else { return Ok(vec![0; plan.steps.len()]) };
        let fit = TransformParams::from(&plan.settings.transform).fit(first.width, first.height)?;
        let proposals = plan.settings.rpn.post_nms_top_n;
        Ok(plan.macs(&plan.shapes(fit.canvas_height, fit.canvas_width, proposals)))
    }

    /// Writes the hexagons of all steps, and of those asked for or else the `worst`. Returns what there is.
    fn write_hexbins(&self, worst: &[&str]) -> Result<Vec<page::HexbinRow>> {
        let plan = self.pair.plan();
        let chosen: Vec<StepId> = match &self.own {
            Some(steps) => steps.clone(),
            None => worst.iter().filter_map(|name| plan.find(name)).filter(|&step| self.mask[step]).collect(),
        };
        let mut written = vec![self.write_hexbin("all", &format!("all {} steps", self.selected.len()), &self.all)?];
        for step in chosen {
            let name = &plan.steps[step].name;
            if let Some(bins) = &self.hexbins[step] {
                written.push(self.write_hexbin(&name.replace('@', "-"), name, bins)?);
            }
        }
        Ok(written)
    }

    fn write_hexbin(&self, file: &str, title: &str, bins: &Hexbins) -> Result<page::HexbinRow> {
        let mut row = page::HexbinRow { title: title.to_owned(), plots: Vec::new() };
        for (kind, bins) in Hexbins::KINDS.iter().zip(&bins.plots) {
            let [error, scale] = *kind;
            let label = format!("{error} error");
            let base = format!("hexbins/{file}-{error}-{scale}");
            for colouring in plots::Colouring::ALL {
                let name = format!("{base}-{}.svg", colouring.name());
                self.write(&name, &plots::hexagons(title, bins, &label, colouring))?;
                row.plots.push(name);
            }
            self.write(&format!("{base}.csv"), &bins.to_csv())?;
            self.write_json(&format!("{base}.json"), &bins.summary())?;
        }
        Ok(row)
    }
}
