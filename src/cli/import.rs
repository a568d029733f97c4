//! `lookout import`: convert a torchvision state dict to a checkpoint.

use std::fmt;
use std::path::PathBuf;

use super::console;
use super::overwrite::{self, Output};
use crate::detector::checkpoint::{DetectorBuilder, EpsReason, ImportOptions, ImportReport, import};
use crate::detector::settings::BatchNormEps;
use crate::error::Result;

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// State dict of a torchvision Faster R-CNN: .pth or .safetensors
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// State dict to take if SRC holds several, by its name in the list that import prints
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Checkpoint to write
    #[arg(long, value_name = "DST")]
    out: PathBuf,
    /// File of class names, one a line [default: from SRC, COCO's for 91 classes, else class_1, class_2, …]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Shorter side of resized pictures, in pixels [default: from SRC, else 800]
    #[arg(long, value_name = "N")]
    min_size: Option<u32>,
    /// Largest longer side of resized pictures, in pixels [default: from SRC, else 1333]
    #[arg(long, value_name = "N")]
    max_size: Option<u32>,
    /// Epsilon of batch norm [default: from SRC, else 0 for torchvision's first COCO weights, 1e-5 otherwise]
    #[arg(long, value_name = "E")]
    bn_eps: Option<f64>,
    /// Builder function of torchvision, where the weights fit several
    #[arg(long, value_name = "NAME")]
    builder: Option<DetectorBuilder>,
    /// TOML file of settings that no state dict holds, as tests/checkpoints/settings.py writes it
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Take a file whose content is not what its name promises; replace a file that is not a checkpoint
    #[arg(long)]
    force: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Reads and checks the state dict, writes the checkpoint and prints a summary.
pub fn execute(args: Args) -> Result<()> {
    overwrite::check(&args.out, Output::Checkpoint, args.force)?;
    let report = import(&ImportOptions {
        source: args.source,
        out: args.out,
        labels: args.labels,
        min_size: args.min_size,
        max_size: args.max_size,
        batch_norm_eps: args.bn_eps,
        builder: args.builder,
        settings: args.settings,
        force: args.force,
        key: args.key,
    })?;
    for warning in &report.warnings {
        console::print_warning(warning);
    }
    if args.json {
        console::print(console::json(&report)?)?;
    } else {
        console::print(ImportSummary(&report))?;
    }
    Ok(())
}

/// Every hyper-parameter that neither file nor options gave, with its value.
struct AssumedSettings<'a>(&'a ImportReport);

impl fmt::Display for AssumedSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = serde_json::to_value(&self.0.settings).map_err(|_| fmt::Error)?;
        if self.0.assumed.is_empty() {
            return write!(f, "nothing");
        }
        for (index, name) in self.0.assumed.iter().enumerate() {
            let value = name.split('.').fold(&settings, |value, key| &value[key]);
            let separator = if index > 0 { "\n              " } else { "" };
            write!(f, "{separator}{name} = {value}")?;
        }
        Ok(())
    }
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
            EpsReason::Settings => "from the settings file",
            EpsReason::Metadata => "from the file's metadata",
            EpsReason::CocoV1 => "assumed: torchvision's COCO_V1",
            EpsReason::MobilenetV3 => "assumed: MobileNetV3 built without norm_layer",
            EpsReason::Default => "assumed: torchvision's default",
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
            "network       Faster R-CNN, {}, {} tensors, {:.2} M values, {precision}",
            architecture.describe(),
            report.tensors,
            report.values as f64 / 1e6
        )?;
        let shown = report.labels.get(..SHOWN_LABELS).unwrap_or(&report.labels).join(", ");
        let more = if report.labels.len() > SHOWN_LABELS { ", …" } else { "" };
        writeln!(f, "classes       {}: {shown}{more}", report.labels.len())?;
        let transform = &report.settings.transform;
        let sizes: Vec<String> = transform.min_size.iter().map(u32::to_string).collect();
        writeln!(f, "picture size  short side {}, long side at most {}", sizes.join("/"), transform.max_size)?;
        let BatchNormEps { body, pyramid, heads } = report.batch_norm_eps.value;
        let others = if (pyramid, heads) == (body, body) {
            String::new()
        } else {
            format!(" in the body, {pyramid:?} in the pyramid, {heads:?} in the heads")
        };
        writeln!(f, "batch norm    eps {body:?}{others}, {reason}")?;
        match report.builder {
            Some(builder) => writeln!(f, "builder       {}", builder.name())?,
            None => writeln!(f, "builder       none that is known; defaults are those of torchvision's FasterRCNN")?,
        }
        write!(f, "assumed       {}", AssumedSettings(report))
    }
}
