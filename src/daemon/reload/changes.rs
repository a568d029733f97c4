//! Comparison of two configurations: the sections that changed, and what must be rebuilt.

use serde::Serialize;

use crate::config::{CameraSettings, ModelSource, Settings, SinkKind};
use crate::publish::mqtt::CameraInfo;
use crate::tensor::regular_file::FileStamp;

/// Answer of the verb `reload`.
#[derive(Debug, Serialize)]
pub struct ReloadAnswer {
    /// The sections that changed.
    pub changed: Vec<&'static str>,
}

/// The files of a model as they were when it was loaded: another file under the same name is another model.
#[derive(Debug, PartialEq)]
pub struct ModelFiles(Vec<Option<FileStamp>>);

impl ModelFiles {
    /// The current files of `source`; `None` stands for a file that cannot be read.
    pub fn of(source: &ModelSource) -> Self {
        Self(match source {
            ModelSource::None => Vec::new(),
            ModelSource::Artifact(path) | ModelSource::Checkpoint(path) => vec![FileStamp::of(path)],
            ModelSource::Live { checkpoint, .. } => vec![FileStamp::of(checkpoint)],
            ModelSource::Quantize { checkpoint, pictures, .. } => {
                vec![FileStamp::of(checkpoint), FileStamp::of(pictures)]
            }
        })
    }
}

/// True if the settings of the model changed.
pub fn model_changed(current: &Settings, next: &Settings) -> bool {
    next.model != current.model || next.detector != current.detector
}

/// The sections that changed; `model_changed` decides about `model`.
pub fn changed_sections(current: &Settings, next: &Settings, model_changed: bool) -> Vec<&'static str> {
    let sections = [
        ("device", next.device != current.device),
        ("model", model_changed),
        ("camera", next.cameras != current.cameras),
        ("track", next.track != current.track),
        ("publish", next.sinks != current.sinks),
        ("monitor", next.monitor != current.monitor),
        ("history", next.history != current.history),
        ("web", next.web != current.web),
        ("supervision", next.supervision != current.supervision),
    ];
    sections.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect()
}

/// True if a camera must be opened anew because more than its rules changed.
pub fn needs_opening(before: &CameraSettings, after: &CameraSettings) -> bool {
    let opened_with = |camera: &CameraSettings| (camera.max_pixels, camera.rotate, camera.flip);
    before.kind != after.kind || opened_with(before) != opened_with(after)
}

/// True if a part changed that a run is built around: identity, folders, tracker, sinks, monitor, history, web. A new
/// model needs a new run only if the monitor observes it, or its labels were announced to a broker.
pub fn needs_new_run(current: &Settings, next: &Settings, model_changed: bool) -> bool {
    let device = |settings: &Settings| {
        let device = &settings.device;
        (device.id.clone(), device.state_dir.clone(), device.runtime_dir.clone(), device.log_format)
    };
    let is_monitored = next.monitor.enabled || matches!(next.model.source, ModelSource::Live { .. });
    device(current) != device(next)
        || known_cameras(current) != known_cameras(next)
        || has_broker(next) && known_regions(current) != known_regions(next)
        || current.track != next.track
        || current.sinks != next.sinks
        || current.monitor != next.monitor
        || current.history != next.history
        || current.web != next.web
        || model_changed && (is_monitored || has_broker(next))
}

fn has_broker(settings: &Settings) -> bool {
    settings.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Mqtt { .. }))
}

/// The zones and lines that were announced to a broker.
fn known_regions(settings: &Settings) -> Vec<CameraInfo> {
    settings.cameras.iter().map(CameraInfo::from).collect()
}

/// The camera names that page, history, monitor and brokers know from the start of a run; none without such a part.
fn known_cameras(settings: &Settings) -> Vec<&str> {
    let is_live = matches!(settings.model.source, ModelSource::Live { .. });
    let needs_names =
        settings.web.enabled || settings.history.enabled || settings.monitor.enabled || is_live || has_broker(settings);
    settings.cameras.iter().filter(|_| needs_names).map(|camera| camera.name.as_str()).collect()
}
