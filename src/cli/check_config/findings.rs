//! Checks of what a valid configuration names: models, labels, devices, folders, sinks, ports.

use std::net::TcpListener;
use std::path::Path;

use crate::cli::unit::Unit;
use crate::cli::{ConfigArgs, client, machine};
use crate::config::{CameraKind, ModelSource, Settings, SinkKind, WrongValue, credential, read_secret};
use crate::daemon;
use crate::detector;
use crate::error::Result;
use crate::frame::PictureFolder;
use crate::publish::group_id;

/// Weight of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The service would not start, or not do what is written.
    Error,
    /// A mistake that may be gone when the service starts.
    Warning,
}

/// Something that is not as the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Key and text; an empty key if it concerns no single key.
    pub value: WrongValue,
    /// Weight.
    pub severity: Severity,
}

/// Everything that is wrong on this machine, for the user who asks.
pub fn all(settings: &Settings, args: &ConfigArgs) -> Vec<Finding> {
    let mut findings = Findings::new(args);
    if let Err(error) = daemon::check_settings(settings) {
        findings.error("", error.chain());
    }
    findings.model(settings);
    findings.cameras(settings);
    findings.sinks(settings);
    findings.folders(settings);
    findings.web(settings, args);
    findings.found
}

/// What is wrong with the outputs: sinks and the history.
pub fn outputs(settings: &Settings, args: &ConfigArgs) -> Vec<Finding> {
    let mut findings = Findings::new(args);
    findings.sinks(settings);
    findings.history(settings);
    findings.found
}

struct Findings {
    found: Vec<Finding>,
    /// The unit whose user will run the service, if another user than this one will.
    unit: Option<Unit>,
}

impl Findings {
    fn new(args: &ConfigArgs) -> Self {
        Self { found: Vec::new(), unit: Unit::to_check(args.config.as_deref()) }
    }

    fn add(&mut self, key: &str, text: impl Into<String>, severity: Severity) {
        let value = WrongValue { key: key.to_owned(), text: text.into() };
        self.found.push(Finding { value, severity });
    }

    fn error(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, text, Severity::Error);
    }

    fn warn(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, text, Severity::Warning);
    }

    /// The models are readable and of the right form, and have the labels that the configuration names.
    fn model(&mut self, settings: &Settings) {
        let (key, is_artifact) = match settings.model.source {
            ModelSource::Artifact(_) => ("model.artifact", true),
            _ => ("model.checkpoint", false),
        };
        if let Some(path) = daemon::model_file(settings)
            && let Some(labels) = self.model_file(key, path, is_artifact)
        {
            for wrong in settings.unknown_labels(&labels) {
                self.error(&wrong.key, wrong.text);
            }
            if let Err(error) = daemon::check_names(settings, &labels) {
                self.error("publish", error.chain());
            }
        }
        if let ModelSource::Quantize { pictures, .. } = &settings.model.source {
            match PictureFolder::with_subfolders(pictures) {
                Ok(found) => {
                    if let Some(note) = found.note() {
                        self.warn("model.calibration", format!("{}: {note}", pictures.display()));
                    }
                }
                Err(error) => self.warn("model.calibration", error.chain()),
            }
        }
        if let Some(path) = &settings.model.reference {
            self.model_file("model.reference", path, false);
        }
    }

    /// Checks a model's file and returns its labels.
    fn model_file(&mut self, key: &str, path: &Path, is_artifact: bool) -> Option<Vec<String>> {
        match detector::describe(path) {
            Err(error) => {
                self.error(key, error.chain());
                None
            }
            Ok(model) if model.is_artifact != is_artifact => {
                let (is, other) = if model.is_artifact {
                    ("an artifact (int8)", "model.artifact takes it")
                } else {
                    ("a checkpoint (fp32)", "model.checkpoint takes it")
                };
                self.error(key, format!("{} is {is}; {other}", path.display()));
                None
            }
            Ok(model) => {
                // The names of the built-in models are no paths.
                if path.exists() {
                    self.readable_by_unit(key, path);
                }
                Some(model.labels)
            }
        }
    }

    fn cameras(&mut self, settings: &Settings) {
        for (index, camera) in settings.cameras.iter().enumerate() {
            let key = |name: &str| format!("camera[{index}].{name}");
            match &camera.kind {
                // A relative name is that of a card, which `lookout cameras` lists.
                CameraKind::V4l2 { device, .. } if device.is_absolute() && !device.exists() => {
                    self.warn(
                        &key("device"),
                        format!("{} is not there now; lookout cameras lists the devices", device.display()),
                    );
                }
                CameraKind::Replay { path, .. } if !path.exists() => {
                    self.warn(&key("path"), format!("{} does not exist", path.display()));
                }
                CameraKind::Ffmpeg { input } => {
                    if machine::ffmpeg_folder().is_none() {
                        self.warn(&key("kind"), "ffmpeg is not installed; apt-get install ffmpeg");
                    }
                    let path = input.strip_prefix("file:").unwrap_or(input);
                    if !path.contains("://") && !Path::new(path).exists() {
                        self.warn(&key("input"), format!("{path} does not exist"));
                    }
                }
                _ => {}
            }
        }
    }

    fn sinks(&mut self, settings: &Settings) {
        for (index, sink) in settings.sinks.iter().enumerate() {
            let key = |name: &str| format!("publish[{index}].{name}");
            match &sink.kind {
                SinkKind::Stdout => {}
                SinkKind::File { path, .. } => self.writable_file(&key("path"), path),
                SinkKind::Unix { path, access } => {
                    if let Some(folder) = path.parent() {
                        self.writable_folder(&key("path"), folder, Severity::Error);
                    }
                    if let Some(Err(error)) = access.group.as_deref().map(group_id) {
                        self.error(&key("group"), error.chain());
                    }
                }
                SinkKind::Mqtt(mqtt) => {
                    let certificate = mqtt.certificate.as_ref();
                    self.secret(&key("password_file"), mqtt.password_file.as_deref(), read_secret);
                    let files = [
                        ("ca_file", mqtt.ca_file.as_ref()),
                        ("certificate_file", certificate.map(|(certificate, _)| certificate)),
                        ("key_file", certificate.map(|(_, private)| private)),
                    ];
                    for (name, path) in files {
                        self.readable(&key(name), path.map(std::path::PathBuf::as_path));
                    }
                }
            }
        }
    }

    fn folders(&mut self, settings: &Settings) {
        // The unit's state directory is its own: systemd creates it, and this user's is another one.
        let is_of_unit =
            settings.device.state_dir.is_none() && self.unit.as_ref().is_some_and(Unit::has_state_directory);
        match daemon::state_folder(&settings.device) {
            _ if is_of_unit => {}
            Ok(folder) => self.writable_folder("device.state_dir", &folder, Severity::Warning),
            Err(error) => self.warn("device.state_dir", error.chain()),
        }
        self.history(settings);
    }

    fn history(&mut self, settings: &Settings) {
        if let Some(folder) = settings.history.path.as_ref().filter(|_| settings.history.enabled) {
            self.writable_folder("history.path", folder, Severity::Error);
        }
    }

    /// The port is free, or the running service has it.
    fn web(&mut self, settings: &Settings, args: &ConfigArgs) {
        if !settings.web.enabled {
            return;
        }
        self.secret("web.token_file", settings.web.token_file.as_deref(), daemon::read_token);
        let listen = settings.web.listen;
        match TcpListener::bind(listen) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if client::request(args, "status", serde_json::Value::Null).is_err() {
                    self.error("web.listen", format!("another program has {listen}; choose another port"));
                }
            }
            Err(error) => self.error("web.listen", format!("nothing can listen at {listen}: {error}")),
        }
    }

    /// A file with a secret; a credential exists only in the unit.
    fn secret(&mut self, key: &str, path: Option<&Path>, read: fn(&Path) -> Result<Vec<u8>>) {
        let Some(path) = path.filter(|path| credential(path).is_ok()) else { return };
        match (read(path), self.unit_read_problem(path)) {
            (Err(error), _) => self.error(key, error.chain()),
            // A secret must not become readable by others.
            (Ok(_), Some(_)) => {
                let file = path.display();
                let text = format!(
                    "{file}: the unit's user cannot read it; add LoadCredential=NAME:{file} to the unit, and write \
                     \"credential:NAME\" here"
                );
                self.error(key, text);
            }
            (Ok(_), None) => {}
        }
    }

    /// The unit's user may read the file, too.
    fn readable_by_unit(&mut self, key: &str, path: &Path) {
        if let Some(problem) = self.unit_read_problem(path) {
            self.error(key, format!("{}: {problem}", path.display()));
        }
    }

    fn unit_read_problem(&self, path: &Path) -> Option<String> {
        self.unit.as_ref()?.read_problem(&std::path::absolute(path).ok()?)
    }

    /// The unit's user may write there, too. False, and a finding, if not.
    fn writable_by_unit(&mut self, key: &str, path: &Path, severity: Severity) -> bool {
        let problem = self.unit.as_ref().and_then(|unit| unit.write_problem(&std::path::absolute(path).ok()?));
        if let Some(problem) = &problem {
            self.add(key, format!("{}: {problem}", path.display()), severity);
        }
        problem.is_none()
    }

    /// A file that the service reads; a credential exists only in the unit.
    fn readable(&mut self, key: &str, path: Option<&Path>) {
        let Some(path) = path.and_then(|path| credential(path).ok()) else { return };
        match std::fs::File::open(&path) {
            Ok(_) => self.readable_by_unit(key, &path),
            Err(error) => self.error(key, format!("{} cannot be read: {error}", path.display())),
        }
    }

    fn writable_file(&mut self, key: &str, path: &Path) {
        if path.is_dir() {
            return self.error(key, format!("{} is a folder; name a file", path.display()));
        }
        if !self.writable_by_unit(key, path, Severity::Error) {
            return;
        }
        if path.exists() {
            if let Err(error) = std::fs::OpenOptions::new().append(true).open(path) {
                self.error(key, format!("{} cannot be written by this user: {error}", path.display()));
            }
        } else if let Some(folder) = path.parent() {
            self.writable_folder(key, folder, Severity::Error);
        }
    }

    /// The folder, or the nearest one above it that exists, takes a new file.
    fn writable_folder(&mut self, key: &str, folder: &Path, severity: Severity) {
        if !self.writable_by_unit(key, folder, severity) {
            return;
        }
        match machine::nearest_folder(folder) {
            Err(other) => self.add(key, format!("{} is no folder", other.display()), severity),
            Ok(nearest) => {
                if let Err(error) = machine::check_writable(nearest) {
                    let text = format!("{} cannot be written by this user: {error}", nearest.display());
                    self.add(key, text, severity);
                }
            }
        }
    }
}
