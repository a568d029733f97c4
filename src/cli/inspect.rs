//! `lookout inspect`: compare int8 with fp32 in maps, plots and tables, written to a folder with an HTML page.

use std::path::{Path, PathBuf};

use super::{ConfigArgs, console};
use crate::error::{Error, Kind, Result};
use crate::evaluate::{ClassMap, DatasetSource, Split};
use crate::frame::PictureFolder;
use crate::inspect::{InspectOptions, InspectionReport, LabelSource, PictureSource, StepSelection, inspect};

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Reference checkpoint
    #[arg(long, value_name = "CHECKPOINT")]
    reference: PathBuf,
    /// Artifact quantized from it
    #[arg(long, value_name = "ARTIFACT")]
    model: PathBuf,
    /// Pictures (JPEG, PNG) and folders of them; with --dataset coco:… the one folder of its pictures
    #[arg(long, required_unless_present = "dataset", num_args = 1.., value_name = "PATH")]
    images: Vec<PathBuf>,
    /// Labelled pictures, as for evaluate: kitti:DIR, coco:ANNOTATIONS.json or voc:DIR; detections and labels are drawn
    /// together
    #[arg(long, value_name = "LAYOUT:PATH")]
    dataset: Option<DatasetSource>,
    /// Pictures of the dataset: all, paper, paper-batch, paper-training, or a file with one picture name a line
    #[arg(long, value_name = "SPLIT", default_value = "all", requires = "dataset")]
    split: Split,
    /// TOML file that maps labelled classes to the models' classes: "Van" = "Vehicle", "Misc" = "ignore"
    #[arg(long, value_name = "FILE", requires = "dataset")]
    class_map: Option<PathBuf>,
    /// Output folder; index.html is the page
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Convolutions before the proposals that get maps and hexbin plots: all, first:N, or names and prefixes separated
    /// by commas (backbone.body.layer1, rpn.head.conv.0.0@P3)
    #[arg(long, value_name = "STEPS", default_value = "all")]
    steps: StepSelection,
    /// Use the values before the activation function and rounding for maps and hexbin plots
    #[arg(long)]
    before_relu: bool,
    /// Number of pictures, from the first, with maps of every selected step
    #[arg(long, value_name = "N", default_value_t = 1)]
    maps: usize,
    /// Selected steps with separate hexbin plots: all, first:N or names [default: the worst five]
    #[arg(long, value_name = "STEPS")]
    hexbins: Option<StepSelection>,
    /// Approximate number of values sampled for hexbin plots, a step and picture; 0 for all
    #[arg(long, value_name = "N", default_value_t = 32768)]
    points: usize,
    /// Number of pictures on which each layer's own error is measured; each needs one more pass of both models
    #[arg(long, value_name = "N", default_value_t = 16)]
    own_error: usize,
    /// Number of pictures, from the first, shown side by side with detections and mean maps [default: all]
    #[arg(long, value_name = "N")]
    side_by_side: Option<usize>,
    /// Also write fp32 and int8 values of steps as safetensors, one file a step and picture: fp32, int8, scale, zero_point
    #[arg(long, value_name = "DIR")]
    tensors: Option<PathBuf>,
    /// Steps with tensors: any step by name or prefix, all, or first:N [default: as --steps]
    #[arg(long, value_name = "STEPS", requires = "tensors")]
    tensor_steps: Option<StepSelection>,
    /// Number of pictures, from the first, with tensors
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tensors")]
    tensor_pictures: usize,
    /// Also write the side-by-side pictures as a video, .mjpeg or .y4m
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Frames a second of the video
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Lowest score of detections that are drawn and compared
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = super::parse_share)]
    score: f64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Writes the page and prints a summary with its path.
///
/// # Errors
/// As [`inspect()`], or the kind of the first picture that could not be used.
pub fn execute(args: Args) -> Result<()> {
    let options = InspectOptions {
        pictures: match &args.dataset {
            Some(dataset) => PictureSource::Labelled(labelled(dataset, &args)?),
            None => PictureSource::Files(pictures(&args.images, &args.out)?),
        },
        reference: args.reference,
        model: args.model,
        out: args.out,
        steps: args.steps,
        hexbins: args.hexbins,
        before_relu: args.before_relu,
        maps: args.maps,
        mosaics: args.side_by_side.unwrap_or(usize::MAX),
        own_error_pictures: args.own_error,
        points: args.points,
        score: args.score as f32,
        tensors: args.tensors,
        tensor_steps: args.tensor_steps,
        tensor_pictures: args.tensor_pictures,
        video: args.video,
        fps: args.fps,
        detector: super::detector_options(&args.config)?,
    };
    let bar = console::progress_bar(0, console::REMAINING);
    let mut progress = console::progress_of(&bar);
    let mut note = |text: &str| bar.suspend(|| console::print_note(text));
    let inspection = inspect(&options, &mut progress, &mut note);
    bar.finish_and_clear();
    let inspection = inspection?;
    if args.json {
        console::print(console::json(&inspection.report)?)?;
    } else {
        console::print(summary(&inspection.report, &inspection.index))?;
    }
    match inspection.failures {
        None => Ok(()),
        Some(failures) => {
            let text = format!("{} of {} pictures could not be used", failures.count, inspection.pictures);
            Err(Error::new(failures.first, text))
        }
    }
}

/// The dataset with its options.
fn labelled(dataset: &DatasetSource, args: &Args) -> Result<LabelSource> {
    let images = match (dataset.layout.name(), args.images.as_slice()) {
        (_, []) => None,
        ("coco", [folder]) => Some(folder.clone()),
        _ => {
            let text = "--dataset names the pictures; --images beside it is the one folder of COCO's pictures";
            return Err(Error::new(Kind::Usage, text));
        }
    };
    let class_map = args.class_map.as_deref().map(ClassMap::read).transpose()?.unwrap_or_default();
    Ok(LabelSource { dataset: dataset.clone(), images, split: args.split.clone(), class_map })
}

/// The pictures of `paths`, files and folders, in order, without those that an earlier run wrote to `out`.
fn pictures(paths: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let out = out.canonicalize().ok();
    let mut found = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).map_err(|source| Error::reading(path, source))?;
        if !kind.is_dir() {
            found.push(path.clone());
            continue;
        }
        let is_output = |file: &PathBuf| {
            let out = out.as_ref().filter(|out| path.canonicalize().is_ok_and(|path| path != **out));
            out.is_some_and(|out| file.canonicalize().is_ok_and(|file| file.starts_with(out)))
        };
        let listed = PictureFolder::with_subfolders(path)?;
        if let Some(note) = listed.note() {
            console::print_warning(format_args!("{}: {note}", path.display()));
        }
        found.extend(listed.pictures.into_iter().filter(|file| !is_output(file)));
    }
    Ok(found)
}

fn summary(report: &InspectionReport, index: &Path) -> String {
    let mut text = format!(
        "{} ({}) against {} (fp32), pictures {}, kernel {}, threads {}\n",
        report.model.name,
        report.model.precision,
        report.reference.name,
        report.pictures.len(),
        report.kernel,
        report.threads
    );
    for (threshold, row) in [("the same in both", &report.strict), ("0.2 lower in the artifact", &report.tolerant)] {
        text.push_str(&format!(
            "detections from score {}, {threshold}: {} of {} matched ({} shifted), {} vanished, {} appeared\n",
            report.score,
            row.matched,
            row.reference(),
            row.shifted,
            row.vanished,
            row.appeared
        ));
    }
    for finding in &report.findings {
        text.push_str(finding);
        text.push('\n');
    }
    text.push_str("worst steps:");
    for worst in &report.worst {
        text.push_str(&format!(" {} {:.1} dB,", worst.step, worst.sqnr_db));
    }
    text.truncate(text.trim_end_matches(',').len());
    text.push_str(&format!("\n{}", index.display()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn output_of_an_earlier_run_is_skipped() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        std::fs::create_dir_all(&out).unwrap();
        for name in ["a.png", "out/b.png"] {
            std::fs::write(root.path().join(name), b"").unwrap();
        }
        let found = pictures(&[root.path().to_path_buf()], &out).unwrap();
        assert_eq!(found, [root.path().join("a.png")]);
        assert_eq!(pictures(std::slice::from_ref(&out), &out).unwrap().len(), 1);
        assert_eq!(pictures(&[root.path().join("none")], &out).unwrap_err().kind(), Kind::NoInput);
    }
}
