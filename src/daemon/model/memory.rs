//! Memory estimate: a warning at start if the process may use less memory than the model needs.
//!
//! In: the configuration, and the memory limit of the machine and of the control groups. Out: one line in the log, since
//! the kernel ends a process beyond its limit without a message.

use crate::config::{ModelSource, Settings};
use crate::detector::demo;
use crate::monitor::memory_limit;

/// Memory of the service without its model, in bytes: code in use, threads, frames, queues, stores.
pub const SERVICE_MEMORY: u64 = 12 << 20;

/// Memory of the monitor without a reference, in bytes: its own buffers, the baseline, an eighth of 64 MiB for frames.
pub const MONITOR_MEMORY: u64 = 32 << 20;

/// Logs a warning if the memory limit is below the least need of `settings`.
pub fn warn_if_short(settings: &Settings) {
    let (Some(needed), Some(limit)) = (least_need(settings), memory_limit()) else { return };
    if limit < needed {
        tracing::warn!(
            needed_mib = needed.div_ceil(1 << 20),
            limit_mib = limit >> 20,
            "the memory limit is below what this configuration needs at least; beyond it the kernel kills the service: \
             raise MemoryMax=, turn off the monitor or choose a smaller model"
        );
    }
}

/// The least memory that `settings` need, in bytes; `None` without a readable model. Not counted are activations, which
/// depend on the size of the frames, and the monitor's reference, which is not loaded without memory for it.
fn least_need(settings: &Settings) -> Option<u64> {
    let bytes = |path: &std::path::Path| match demo::named(path) {
        Ok(Some(bytes)) => Some(bytes.len() as u64),
        _ => std::fs::metadata(path).ok().map(|metadata| metadata.len()),
    };
    let model = match &settings.model.source {
        // The weights as they are read, and packed; with the monitor also the file.
        ModelSource::Artifact(path) => bytes(path)? * if settings.monitor.enabled { 3 } else { 2 },
        // The packed weights, and tensors as they are read from the file.
        ModelSource::Checkpoint(path)
        | ModelSource::Quantize { checkpoint: path, .. }
        | ModelSource::Live { checkpoint: path, .. } => 2 * bytes(path)?,
        ModelSource::None => return None,
    };
    let monitor = if settings.monitor.enabled { MONITOR_MEMORY } else { 0 };
    Some(SERVICE_MEMORY + monitor + model)
}
