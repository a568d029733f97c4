//! `lookout import`: torchvision state dict in, `checkpoint/1` out.

use std::path::PathBuf;

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
    min_size: Option<usize>,
    /// Longest that the long side may become, in pixels [default: the file's own, else 1333]
    #[arg(long, value_name = "N")]
    max_size: Option<usize>,
    /// Batch norm's epsilon in training [default: the file's own, else 0 for torchvision's COCO_V1, 1e-5 otherwise]
    #[arg(long, value_name = "E")]
    bn_eps: Option<f64>,
}

/// Reads the state dict, checks it, writes the checkpoint.
pub fn execute(args: Args) -> Result<()> {
    let _ = (args.source, args.out, args.labels, args.min_size, args.max_size, args.bn_eps);
    Err(Error::new(Kind::Unavailable, "import is not in this build yet"))
}
