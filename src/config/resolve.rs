//! Resolution of the [`Document`] into [`Settings`]: checks across keys. Texts become paths, durations and enums. The keys
//! of a camera or sink must be those of its kind, and names must be unique.

use std::path::PathBuf;
use std::time::Duration;

use config::{Value, ValueKind};
use tracing_subscriber::EnvFilter;

use super::document::{self, Document};
use super::secret::secret_file;
use super::settings::{
    DetectorSettings, DeviceSettings, HistorySettings, ModelSettings, ModelSource, MonitorSettings, Recalibrate,
    Settings, SupervisionSettings, TrackSettings, WebSettings,
};
use super::{ConfigProblem, Refusal, units};
use crate::kernel::isa::IsaName;

/// Resolves a whole configuration.
///
/// # Errors
///
/// All contradictions and invalid values.
pub fn resolve(document: &Document, merged: &Value) -> Result<Settings, Refusal> {
    let mut resolver = Resolver { merged, problems: Vec::new() };
    let settings = Settings {
        device: resolver.device(&document.device),
        model: resolver.model(&document.model),
        detector: resolver.detector(&document.detector),
        cameras: resolver.cameras(&document.camera),
        track: resolver.track(&document.track),
        sinks: resolver.sinks(&document.publish),
        monitor: resolver.monitor(&document.monitor),
        history: resolver.history(&document.history),
        web: resolver.web(&document.web),
        supervision: resolver.supervision(&document.supervision),
    };
    if !settings.track.enabled {
        resolver.untracked_rules(&document.camera);
    }
    if resolver.problems.is_empty() { Ok(settings) } else { Err(Refusal(resolver.problems)) }
}

/// Collects problems with the origin of each key.
pub(super) struct Resolver<'a> {
    pub(super) merged: &'a Value,
    problems: Vec<ConfigProblem>,
}

/// A non-empty text.
pub(super) fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

/// A non-empty text as a path.
pub(super) fn path(text: &Option<String>) -> Option<PathBuf> {
    given(text).map(PathBuf::from)
}

/// The value at the dotted `key`, or the one nearest above it.
pub(super) fn locate<'a>(root: &'a Value, key: &str) -> &'a Value {
    let mut value = root;
    for segment in key.replace('[', ".[").split('.') {
        let below = match (&value.kind, segment.strip_prefix('[').and_then(|index| index.strip_suffix(']'))) {
            (ValueKind::Array(items), Some(index)) => index.parse().ok().and_then(|index: usize| items.get(index)),
            (ValueKind::Table(table), None) => table.get(segment),
            _ => None,
        };
        match below {
            Some(below) => value = below,
            None => break,
        }
    }
    value
}

impl Resolver<'_> {
    /// Adds a problem of the value at `key`.
    pub(super) fn report(&mut self, key: &str, text: impl Into<String>) {
        self.problems.push(ConfigProblem::at(locate(self.merged, key), key, text.into()));
    }

    /// The keys of the table at `key`, sorted.
    pub(super) fn keys(&self, key: &str) -> Vec<String> {
        let ValueKind::Table(table) = &locate(self.merged, key).kind else { return Vec::new() };
        let mut keys: Vec<_> = table.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// A positive duration.
    pub(super) fn duration(&mut self, key: &str, text: &Option<String>) -> Duration {
        match text.as_deref().and_then(units::duration) {
            Some(duration) if !duration.is_zero() => duration,
            _ => {
                let text = text.as_deref().unwrap_or_default();
                self.report(key, format!("\"{text}\" is no duration; write \"500ms\", \"10s\", \"5m\" or \"1h30m\""));
                Duration::ZERO
            }
        }
    }

    /// A positive size in bytes.
    pub(super) fn size(&mut self, key: &str, text: &str) -> u64 {
        match units::size(text) {
            Some(size) if size > 0 => size,
            _ => {
                self.report(key, format!("\"{text}\" is no size; write \"500kB\", \"64MiB\" or \"2GiB\""));
                0
            }
        }
    }

    fn device(&mut self, device: &document::Device) -> DeviceSettings {
        let log_level = device.log_level.clone().unwrap_or_default();
        if log_level.is_empty() || EnvFilter::try_new(&log_level).is_err() || !is_filter(&log_level) {
            let nearest = crate::suggest::suggestion(&log_level, LEVELS.iter().copied());
            self.report(
                "device.log_level",
                format!("\"{log_level}\" is no log level; write error, warn, info, debug or trace{nearest}"),
            );
        }
        if let Some(id) = given(&device.id)
            && !is_device_name(&id)
        {
            self.report("device.id", format!("{id:?} is no name: {DEVICE_RULE}"));
        }
        DeviceSettings {
            id: given(&device.id),
            state_dir: path(&device.state_dir),
            runtime_dir: path(&device.runtime_dir),
            log_level,
            log_format: device.log_format.unwrap_or(document::LogFormat::Auto),
        }
    }

    fn model(&mut self, model: &document::Model) -> ModelSettings {
        let count = model.calibration_count.unwrap_or_default();
        let source = match (path(&model.artifact), path(&model.checkpoint), given(&model.calibration)) {
            (None, None, None) => ModelSource::None,
            (Some(artifact), None, None) => ModelSource::Artifact(artifact),
            (None, Some(checkpoint), None) => ModelSource::Checkpoint(checkpoint),
            (None, Some(checkpoint), Some(from)) if from == "live" => ModelSource::Live { checkpoint, count },
            (None, Some(checkpoint), Some(from)) => {
                ModelSource::Quantize { checkpoint, pictures: PathBuf::from(from), count }
            }
            (Some(_), Some(_), _) => {
                let place = locate(self.merged, "model.checkpoint").origin().unwrap_or("built-in").to_owned();
                self.report(
                    "model.artifact",
                    format!("an artifact (int8) and a checkpoint (fp32, {place}) are named; only one can serve"),
                );
                ModelSource::None
            }
            (_, None, Some(_)) => {
                self.report(
                    "model.calibration",
                    "there is nothing to calibrate: name the checkpoint as model.checkpoint",
                );
                ModelSource::None
            }
        };
        ModelSettings { source, reference: path(&model.reference) }
    }

    fn detector(&mut self, detector: &document::Detector) -> DetectorSettings {
        let kernel = match given(&detector.kernel).as_deref() {
            None | Some("auto") => None,
            Some(name) => {
                let known = IsaName::from_name(name);
                if known.is_none() {
                    let names: Vec<&str> =
                        std::iter::once("auto").chain(IsaName::ALL.iter().map(|isa| isa.name())).collect();
                    let nearest = crate::suggest::suggestion(name, names.iter().copied());
                    self.report(
                        "detector.kernel",
                        format!("\"{name}\" is no kernel; there are {}{nearest}", names.join(", ")),
                    );
                }
                known
            }
        };
        DetectorSettings {
            threads: detector.threads.filter(|&threads| threads > 0).map(|threads| threads as usize),
            kernel,
            score: detector.score,
            proposals: detector.proposals.map(|proposals| proposals as usize),
            max_detections: detector.max_detections.map(|detections| detections as usize),
        }
    }

    fn track(&mut self, track: &document::Track) -> TrackSettings {
        TrackSettings {
            enabled: track.enabled.unwrap_or_default(),
            begin_score: track.begin_score.unwrap_or_default(),
            confirm: track.confirm.unwrap_or_default(),
            patience: self.duration("track.patience", &track.patience),
            stationary_patience: self.duration("track.stationary_patience", &track.stationary_patience),
        }
    }

    fn monitor(&mut self, monitor: &document::Monitor) -> MonitorSettings {
        let thresholds = monitor.thresholds.clone().unwrap_or_default();
        let (raise, clear) = (thresholds.raise.unwrap_or_default(), thresholds.clear.unwrap_or_default());
        if clear > raise {
            self.report(
                "monitor.thresholds.clear",
                format!("{clear} is above raise = {raise}; drift would never clear"),
            );
        }
        let recalibrate = match given(&monitor.recalibrate).as_deref() {
            Some("never") | None => Recalibrate::Never,
            Some("on-drift") => Recalibrate::OnDrift,
            Some(text) => match units::duration(text) {
                Some(interval) if !interval.is_zero() => Recalibrate::Every(interval),
                _ => {
                    let text =
                        format!("\"{text}\" is neither \"never\" nor \"on-drift\" nor an interval such as \"24h\"");
                    self.report("monitor.recalibrate", text);
                    Recalibrate::Never
                }
            },
        };
        let sample_interval = self.duration("monitor.sample_interval", &monitor.sample_interval);
        let max_interval = self.duration("monitor.max_interval", &monitor.max_interval);
        if max_interval < sample_interval {
            self.report("monitor.max_interval", "is shorter than monitor.sample_interval; no sample would be due");
        }
        if monitor.enabled == Some(true) && monitor.share.is_some_and(|share| share < 0.001) {
            self.report(
                "monitor.share",
                "0 leaves nothing to compare with; the least is 0.001, and enabled = false is off",
            );
        }
        MonitorSettings {
            enabled: monitor.enabled.unwrap_or_default(),
            share: monitor.share.unwrap_or_default(),
            sample_interval,
            max_interval,
            reservoir: self.size("monitor.reservoir", monitor.reservoir.as_deref().unwrap_or_default()),
            keep_frames: monitor.keep_frames.unwrap_or_default(),
            keep_max_size: self.size("monitor.keep_max_size", monitor.keep_max_size.as_deref().unwrap_or_default()),
            keep_max_age: self.duration("monitor.keep_max_age", &monitor.keep_max_age),
            thresholds: (raise, clear),
            recalibrate,
            keep_generations: monitor.keep_generations.unwrap_or_default(),
        }
    }

    fn history(&mut self, history: &document::History) -> HistorySettings {
        HistorySettings {
            enabled: history.enabled.unwrap_or_default(),
            path: path(&history.path),
            max_age: self.duration("history.max_age", &history.max_age),
            max_size: self.size("history.max_size", history.max_size.as_deref().unwrap_or_default()),
        }
    }

    fn web(&mut self, web: &document::Web) -> WebSettings {
        let text = web.listen.clone().unwrap_or_default();
        let listen = text.parse().unwrap_or_else(|_| {
            self.report(
                "web.listen",
                format!("\"{text}\" is no address and port; write \"127.0.0.1:8480\" or \"[::1]:8480\""),
            );
            std::net::SocketAddr::from(([127, 0, 0, 1], 0))
        });
        let token_file = secret_file(&web.token_file);
        if web.enabled == Some(true) && !listen.ip().is_loopback() && token_file.is_none() {
            self.report("web.listen", format!("\"{listen}\" is not a loopback address, so web.token_file is needed"));
        }
        WebSettings {
            enabled: web.enabled.unwrap_or_default(),
            listen,
            token_file,
            public_url: self.public_url(web),
            trusted_proxies: self.trusted_proxies(web),
            embed_origins: self.embed_origins(web),
            pictures: web.pictures.unwrap_or_default(),
        }
    }

    /// The public address; a host beyond this machine needs a token.
    fn public_url(&mut self, web: &document::Web) -> Option<String> {
        let url = given(&web.public_url)?;
        match web_address(&url) {
            Some(_) if url.contains(['?', '#']) || !is_header_text(&url) => {
                self.report("web.public_url", format!("\"{url}\" has more than scheme, host, port and path"));
            }
            Some(host) => {
                let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
                if web.enabled == Some(true) && !is_local && path(&web.token_file).is_none() {
                    self.report("web.public_url", "a page that others reach needs web.token_file");
                }
            }
            None => {
                let text = format!(
                    "\"{url}\" is no address; write \"https://cam.example\" or \"https://home.example/lookout\""
                );
                self.report("web.public_url", text);
            }
        }
        Some(url)
    }

    fn trusted_proxies(&mut self, web: &document::Web) -> Vec<(std::net::IpAddr, u8)> {
        let mut networks = Vec::new();
        for (index, text) in web.trusted_proxies.iter().flatten().enumerate() {
            match network(text) {
                Some(network) => networks.push(network),
                None => self.report(
                    &format!("web.trusted_proxies[{index}]"),
                    format!("\"{text}\" is no address and no network; write \"127.0.0.1\", \"172.18.0.0/16\" or \"fd00::/8\""),
                ),
            }
        }
        networks
    }

    fn embed_origins(&mut self, web: &document::Web) -> Vec<String> {
        let origins: Vec<String> = web.embed_origins.clone().unwrap_or_default();
        for (index, origin) in origins.iter().enumerate() {
            let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
            let is_origin = web_address(origin).is_some() && !rest.contains(['/', '?', '#']) && is_header_text(origin);
            if !is_origin {
                self.report(
                    &format!("web.embed_origins[{index}]"),
                    format!("\"{origin}\" is no origin; write scheme, host and port alone, as in \"https://ha.example:8123\""),
                );
            }
        }
        origins
    }

    fn supervision(&mut self, supervision: &document::Supervision) -> SupervisionSettings {
        if let (Some(throttle), Some(pause)) = (supervision.throttle_celsius, supervision.pause_celsius)
            && throttle > pause
        {
            self.report(
                "supervision.throttle_celsius",
                format!("{throttle} is above pause_celsius = {pause}; throttling comes before pausing"),
            );
        }
        SupervisionSettings {
            stall_timeout: self.duration("supervision.stall_timeout", &supervision.stall_timeout),
            grace_period: self.duration("supervision.grace_period", &supervision.grace_period),
            throttle_celsius: supervision.throttle_celsius,
            pause_celsius: supervision.pause_celsius,
        }
    }
}

/// The host of an address with http or https.
fn web_address(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.contains('@'))?;
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some("0"))?),
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
    (!host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok()).then(|| host.to_ascii_lowercase())
}

/// True for text that can stand in a header: no space, no separator of a policy.
fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && !b";,'\"".contains(&byte))
}

/// An address, or a network with the length of its prefix.
fn network(text: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: std::net::IpAddr = address.trim().parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.trim().parse().ok())?;
    (bits <= most).then_some((address, bits))
}

/// Longest name. Names become part of topics, labels and file names.
const DEVICE_RULE: &str = "letters from a to z, digits, - and _, at most 64";
pub(super) const CAMERA_RULE: &str =
    "letters, digits and signs of any script except /, without a space at an end, at most 64";

/// True if `text` is allowed as the name of a device.
fn is_device_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// True if `text` is allowed as the name of a camera: visible text that can be a part of a path of the API.
pub(super) fn is_camera_name(text: &str) -> bool {
    let is_visible = |c: char| !c.is_control() && !crate::suggest::is_invisible(c);
    (1..=64).contains(&text.chars().count())
        && text.trim() == text
        && ![".", ".."].contains(&text)
        && text.chars().all(|c| is_visible(c) && c != '/')
}

const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];

/// True if each directive has a level. Without this check, a misspelt level would be taken for a module name.
fn is_filter(directives: &str) -> bool {
    directives.split(',').all(|directive| {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known))
    })
}
