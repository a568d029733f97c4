//! `lookout inspect`: fp32 beside int8 in pictures, written into a folder with a page that opens from disk.

use std::path::{Path, PathBuf};

use super::{ConfigArgs, console};
use crate::error::{Error, Kind, Result};
use crate::frame::pictures_in;
use crate::inspect::{Options, Report, Steps, inspect};

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint that is the reference, as `lookout import` wrote it
    #[arg(long, value_name = "CHECKPOINT")]
    reference: PathBuf,
    /// Artifact quantized from it
    #[arg(long, value_name = "ARTIFACT")]
    model: PathBuf,
    /// Pictures (JPEG, PNG) and folders of them
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    images: Vec<PathBuf>,
    /// Folder to write, with index.html in it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Steps that maps and hexagons are of: all, first:N, or names and beginnings of names with commas
    /// (backbone.body.layer1, rpn.head.conv.0.0@P3); convolutions before the proposals
    #[arg(long, value_name = "STEPS", default_value = "all")]
    steps: Steps,
    /// Maps and hexagons of the values before ReLU, and before rounding, instead of after
    #[arg(long)]
    before_relu: bool,
    /// Pictures, from the first, that get maps of every chosen step
    #[arg(long, value_name = "N", default_value_t = 1)]
    maps: usize,
    /// Steps with hexagons of their own beside those of all chosen ones: all, first:N or names [default: the worst five]
    #[arg(long, value_name = "STEPS")]
    hexbins: Option<Steps>,
    /// Values of a step and picture that the hexagons count, at most about; 0 for every one
    #[arg(long, value_name = "N", default_value_t = 32768)]
    points: usize,
    /// Pictures, spread over all, on which every layer's own error is measured too; each costs one more pass of both
    #[arg(long, value_name = "N", default_value_t = 16)]
    own_error: usize,
    /// Pictures, from the first, that get detections and mean maps of both models side by side [default: all]
    #[arg(long, value_name = "N")]
    side_by_side: Option<usize>,
    /// Write the side-by-side pictures as a film, too: a name that ends in .mjpeg or .y4m
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Pictures a second of the film
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Lowest score of what is drawn and compared
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = super::parse_share)]
    score: f64,
    /// The summary as JSON; the folder holds the rest
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Inspects and says where the page is.
///
/// # Errors
/// What [`inspect()`] gives, or the kind of the first picture that could not be used.
pub fn execute(args: Args) -> Result<()> {
    let options = Options {
        images: pictures(&args.images, &args.out)?,
        reference: args.reference,
        model: args.model,
        out: args.out,
        steps: args.steps,
        hexbins: args.hexbins,
        before_relu: args.before_relu,
        maps: args.maps,
        mosaics: args.side_by_side.unwrap_or(usize::MAX),
        alone: args.own_error,
        points: args.points,
        score: args.score as f32,
        video: args.video,
        fps: args.fps,
        detector: super::detector_options(&args.config)?,
    };
    let bar = console::progress_bar(0, console::REMAINING);
    let mut progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let mut note = |text: &str| bar.suspend(|| console::note(text));
    let outcome = inspect(&options, &mut progress, &mut note);
    bar.finish_and_clear();
    let outcome = outcome?;
    if args.json {
        let json = serde_json::to_string(&outcome.report);
        let json = json.map_err(|source| Error::new(Kind::Internal, "the report has no JSON form").because(source))?;
        console::print(json)?;
    } else {
        console::print(summary(&outcome.report, &outcome.index))?;
    }
    let (failed, kind) = outcome.failed;
    match kind {
        None => Ok(()),
        Some(kind) => {
            let text = format!("{failed} of {} pictures could not be used", options.images.len());
            Err(Error::new(kind, text))
        }
    }
}

/// The pictures that `paths` stand for, in order, without those that an earlier inspection wrote into `out`.
fn pictures(paths: &[PathBuf], out: &Path) -> Result<Vec<PathBuf>> {
    let out = out.canonicalize().ok();
    let mut found = Vec::new();
    for path in paths {
        let kind = std::fs::metadata(path).map_err(|source| Error::reading(path, source))?;
        if !kind.is_dir() {
            found.push(path.clone());
            continue;
        }
        let own = |file: &PathBuf| {
            let out = out.as_ref().filter(|out| path.canonicalize().is_ok_and(|path| path != **out));
            out.is_some_and(|out| file.canonicalize().is_ok_and(|file| file.starts_with(out)))
        };
        found.extend(pictures_in(path)?.into_iter().filter(|file| !own(file)));
    }
    Ok(found)
}

fn summary(report: &Report, index: &Path) -> String {
    let mut text = format!(
        "{} ({}) beside {} (fp32), {} pictures, kernel {}, threads {}\n",
        report.model.name,
        report.model.precision,
        report.reference.name,
        report.pictures.len(),
        report.kernel,
        report.threads
    );
    for (words, row) in [("at this score", &report.strict), ("a score 0.2 lower in the artifact", &report.tolerant)] {
        text.push_str(&format!(
            "detections of score {} or more, {words}: {} of {} matched ({} shifted), {} vanished, {} appeared\n",
            report.score,
            row.matched,
            row.reference(),
            row.shifted,
            row.vanished,
            row.appeared
        ));
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

    #[test]
    fn what_an_earlier_inspection_wrote_is_left_out() {
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
