//! `lookout import`: convert a torchvision state dict to a `checkpoint/1`.

use std::fmt;
use std::path::PathBuf;

use super::console;
use crate::detector::checkpoint::{EpsReason, ImportOptions, ImportReport, import};
use crate::error::Result;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// State dict of a torchvision Faster R-CNN: .pth or .safetensors
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Checkpoint to write
    #[arg(long, value_name = "DST")]
    out: PathBuf,
    /// File of class names, one a line, without the background [default: from SRC, else class_1, class_2, …]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Shorter side of resized pictures, in pixels [default: from SRC, else 800]
    #[arg(long, value_name = "N")]
    min_size: Option<u32>,
    /// Largest longer side of resized pictures, in pixels [default: from SRC, else 1333]
    #[arg(long, value_name = "N")]
    max_size: Option<u32>,
    /// Epsilon of batch norm [default: from SRC, else 0 for torchvision's COCO_V1, 1e-5 otherwise]
    #[arg(long, value_name = "E")]
    bn_eps: Option<f64>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Reads and checks the state dict, writes the checkpoint and prints a summary.
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
        console::print_note(format_args!("lookout: warning: {warning}"));
    }
    if args.json {
        console::print(console::json(&report)?)?;
    } else {
        console::print(ImportSummary(&report))?;
    }
    Ok(())
}

/// Class names that the summary lists at most.
const SHOWN_LABELS: usize = 10;

/// Text of an import report.
struct ImportSummary<'a>(&'a ImportReport);

impl fmt::Display for ImportSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let architecture = &report.architecture;
        let precision = match (report.half_precision, report.tensors) {
            (0, _) => "f32",
            (half, all) if half == all => "f16",
            _ => "f16 and f32",
        };
        let reason = match report.batch_norm_eps.reason {
            EpsReason::Given => "from the command line",
            EpsReason::Metadata => "from the file's metadata",
            EpsReason::CocoV1 => "for torchvision's COCO_V1",
            EpsReason::Default => "default",
        };
        for note in &report.notes {
            writeln!(f, "note          {note}")?;
        }
        if report.renamed > 0 {
            writeln!(f, "note          {} tensors renamed from the scheme before torchvision 0.13", report.renamed)?;
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
