//! Output files of an inspection: tables, plots, hexbin plots and pages.

use std::path::{Path, PathBuf};

use super::observers::StepHexbins;
use super::picture_maps::SheetRow;
use super::report::{InspectionReport, LabelReport};
use super::session::{InspectionSession, PictureSource};
use super::{findings, observers, page, plots, table};
use crate::detector::plan::StepId;
use crate::error::{Error, Kind, Result};
use crate::preprocess::TransformParams;

/// Number of worst steps that are listed and get separate hexbin plots by default.
const WORST: usize = 5;

impl InspectionSession<'_> {
    /// Writes the page of the maps of one picture.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] naming the file.
    pub(super) fn write_maps_page(&self, name: &str, path: &Path, sheets: &[SheetRow]) -> Result<()> {
        let page = page::maps_page(&path.display().to_string(), self.values(), sheets);
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
        let json = serde_json::to_string_pretty(value).map_err(|source| {
            Error::new(Kind::Internal, format!("{name} cannot be written as JSON")).because(source)
        })?;
        self.write(name, &json)
    }

    /// Writes tables, plots and the page.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] naming the file.
    pub(super) fn finish(mut self) -> Result<(InspectionReport, PathBuf)> {
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
        for plots::PlotFile { name, svg } in plots::over_depth(&plan, &rows) {
            self.write(&format!("plots/{name}"), &svg)?;
        }
        if self.own_error_pictures > 0 {
            self.write("plots/kept.svg", &plots::kept(&kept))?;
        }
        let worst = InspectionReport::worst_of(&rows, WORST);
        let hexbins = self.write_hexbins(&worst.iter().map(|worst| worst.step.as_str()).collect::<Vec<_>>())?;
        let labels = match &self.options.pictures {
            PictureSource::Files(_) => None,
            PictureSource::Labelled(source) => Some(LabelReport {
                dataset: format!("{}:{}", source.dataset.layout.name(), source.dataset.path.display()),
                counts: self.label_counts,
            }),
        };
        let mut report = InspectionReport {
            findings: Default::default(),
            version: env!("CARGO_PKG_VERSION"),
            reference: self.pair.reference_row.clone(),
            model: self.pair.quantized_row.clone(),
            is_related: self.pair.is_related,
            kernel: self.pair.kernel(),
            threads: self.pair.threads(),
            score: self.options.score,
            before_relu: self.options.before_relu,
            selected: self.selected.iter().map(|&step| plan.steps[step].name.clone()).collect(),
            own_error_pictures: self.own_error_pictures,
            points: self.options.points,
            strict: self.strict,
            tolerant: self.tolerant,
            labels,
            worst,
            pictures: std::mem::take(&mut self.pictures),
        };
        report.findings = findings::findings(&report, &rows, &kept);
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

    /// Writes the hexbin plots of all steps together, and of the requested steps or else the `worst`.
    fn write_hexbins(&self, worst: &[&str]) -> Result<Vec<page::HexbinRow>> {
        let plan = self.pair.plan();
        let separate: Vec<StepId> = match &self.separate {
            Some(steps) => steps.clone(),
            None => worst.iter().filter_map(|name| plan.find(name)).filter(|&step| self.is_selected[step]).collect(),
        };
        let mut written = vec![self.write_hexbin("all", &format!("all {} steps", self.selected.len()), &self.all)?];
        for step in separate {
            let name = &plan.steps[step].name;
            if let Some(bins) = &self.hexbins[step] {
                written.push(self.write_hexbin(&name.replace('@', "-"), name, bins)?);
            }
        }
        Ok(written)
    }

    fn write_hexbin(&self, file: &str, title: &str, bins: &StepHexbins) -> Result<page::HexbinRow> {
        let mut row = page::HexbinRow { title: title.to_owned(), plots: Vec::new() };
        for (kind, bins) in StepHexbins::KINDS.iter().zip(&bins.plots) {
            let observers::HexbinKind { error, scale } = *kind;
            let label = format!("{error} error");
            let base = format!("hexbins/{file}-{error}-{scale}");
            for colouring in plots::Colouring::ALL {
                let name = format!("{base}-{}.svg", colouring.name());
                self.write(&name, &plots::hexbin(title, bins, &label, colouring))?;
                row.plots.push(name);
            }
            self.write(&format!("{base}.csv"), &bins.to_csv())?;
            self.write_json(&format!("{base}.json"), &bins.summary())?;
        }
        Ok(row)
    }
}
