//! `lookout import`: torchvision state dict in, `checkpoint/1` out.

use std::fmt;
use std::path::PathBuf;

use super::console;
use crate::detector::checkpoint::{EpsReason, ImportOptions, ImportReport, import};
use crate::error::{Error, Kind, Result};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// State dict of a torchvision Faster R-CNN: .pth or .safetensors
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "DST")]
    out: PathBuf,
    /// Class names, one a line, without the background [default: the file's own, else class_1, class_2, …]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Short side that pictures are resized to, in pixels [default: the file's own, else 800]
    #[arg(long, value_name = "N")]
    min_size: Option<u32>,
    /// Longest that the long side may become, in pixels [default: the file's own, else 1333]
    #[arg(long, value_name = "N")]
    max_size: Option<u32>,
    /// Batch norm's epsilon in training [default: the file's own, else 0 for torchvision's COCO_V1, 1e-5 otherwise]
    #[arg(long, value_name = "E")]
    bn_eps: Option<f64>,
    /// Print what was found and decided as JSON
    #[arg(long)]
    json: bool,
}

/// Reads the state dict, checks it, writes the checkpoint, says what it is.
pub fn execute(args: Args) -> Result<()> {
    let report = import(&ImportOptions {
        source: args.source,
        out: args.out,
        labels: args.labels,
        min_size: args.min_size,
        max_size: args.max_size,
        batch_norm_eps: args.bn_eps,
    })?;
    for warning in &report.warnings {
        console::note(format_args!("lookout: warning: {warning}"));
    }
    if args.json {
        let json = serde_json::to_string(&report)
            .map_err(|e| Error::new(Kind::Internal, "the report has no JSON form").because(e))?;
        console::print(json)?;
    } else {
        console::print(Summary(&report))?;
    }
    Ok(())
}

/// How many class names the summary lists.
const SHOWN_LABELS: usize = 10;

/// An import in a few lines.
struct Summary<'a>(&'a ImportReport);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let architecture = &report.architecture;
        let precision = match (report.half_precision, report.tensors) {
            (0, _) => "f32",
            (half, all) if half == all => "f16",
            _ => "f16 and f32",
        };
        let reason = match report.batch_norm_eps.reason {
            EpsReason::Given => "as given",
            EpsReason::Metadata => "as the file says",
            EpsReason::CocoV1 => "the file is torchvision's COCO_V1",
            EpsReason::Default => "the usual one",
        };
        for note in &report.notes {
            writeln!(f, "note          {note}")?;
        }
        if report.renamed > 0 {
            writeln!(f, "note          {} tensors had names of before torchvision 0.13", report.renamed)?;
        }
        writeln!(f, "checkpoint    {}", report.out.display())?;
        writeln!(f, "sha256        {}", report.sha256)?;
        writeln!(
            f,
            "network       Faster R-CNN, ResNet-{} FPN, {} tensors, {:.2} M values, {precision}",
            u8::from(architecture.depth),
            report.tensors,
            report.values as f64 / 1e6
        )?;
        let shown = report.labels.get(..SHOWN_LABELS).unwrap_or(&report.labels).join(", ");
        let more = if report.labels.len() > SHOWN_LABELS { ", …" } else { "" };
        writeln!(f, "classes       {}: {shown}{more}", report.labels.len())?;
        let sizes: Vec<String> = report.transform.min_size.iter().map(u32::to_string).collect();
        writeln!(f, "picture size  short side {}, long side at most {}", sizes.join("/"), report.transform.max_size)?;
        write!(f, "batch norm    eps {:?}, {reason}", report.batch_norm_eps.value)
    }
}
