//! `[[camera]]` and `[[publish]]`: entries whose keys depend on their kind. A key of another kind is an error, and so is a
//! missing key that the kind requires.

use std::net::IpAddr;
use std::time::Duration;

use config::ValueKind;

use super::defaults;
use super::document;
use super::resolve::{CAMERA_RULE, Resolver, given, is_camera_name, locate, path};
use super::secret::secret_file;
use super::settings::{
    CameraKind, CameraSettings, MqttSettings, SinkKind, SinkSettings, SocketAccessSettings, WeatherLine,
};
use super::units;
use crate::redact::{self, Address};

/// Keys of every camera.
const CAMERA: &[&str] = &[
    "name",
    "kind",
    "rotate",
    "flip",
    "max_fps",
    "motion_gate",
    "motion_interval",
    "zones",
    "lines",
    "inertia",
    "include",
    "masks",
    "limits",
    "explain",
];

/// Keys of every sink.
const SINK: &[&str] = &["kind", "messages"];

/// A kind with its required and its optional keys.
type Keys = (&'static str, &'static [&'static str], &'static [&'static str]);

const CAMERA_KINDS: &[Keys] = &[
    ("v4l2", &["device"], &["width", "height", "format", "fps", "controls", "max_pixels"]),
    ("replay", &["path"], &["rate", "loop", "max_pixels"]),
    ("ffmpeg", &["input"], &["max_pixels"]),
    ("pattern", &[], &["seed", "width", "height", "fps", "timetable"]),
];

const SINK_KINDS: &[Keys] = &[
    ("stdout", &[], &[]),
    ("file", &["path"], &["max_size", "max_files"]),
    ("unix", &["path"], &["mode", "group"]),
    (
        "mqtt",
        &["host"],
        &[
            "port",
            "protocol",
            "tls",
            "ca_file",
            "certificate_file",
            "key_file",
            "username",
            "password_file",
            "keep_alive",
            "discovery",
            "topic_prefix",
            "labels",
            "pictures",
            "orders",
            "spool_size",
            "spool_age",
            "spool_free",
        ],
    ),
];

impl Resolver<'_> {
    pub(super) fn cameras(&mut self, cameras: &[document::Camera]) -> Vec<CameraSettings> {
        let mut names: Vec<String> = Vec::new();
        let mut resolved = Vec::new();
        for (index, camera) in cameras.iter().enumerate() {
            let key = format!("camera[{index}]");
            let name = self.camera_name(&key, camera, &names);
            names.push(name.clone());
            let Some(kind) = camera.kind else {
                self.report(&key, format!("kind is missing; it is one of {}", kinds(CAMERA_KINDS)));
                continue;
            };
            if self.entry(&key, kind.name(), CAMERA_KINDS, CAMERA) {
                resolved.push(self.camera(&key, name, kind, camera));
            }
        }
        resolved
    }

    fn camera_name(&mut self, key: &str, camera: &document::Camera, taken: &[String]) -> String {
        let name = camera.name.clone().unwrap_or_default();
        if name.is_empty() {
            self.report(key, "name is missing; messages identify the camera by it");
        } else if !is_camera_name(&name) {
            self.report(&format!("{key}.name"), format!("{name:?} is no name: {CAMERA_RULE}"));
        } else if let Some(first) = taken.iter().position(|other| *other == name) {
            self.report(&format!("{key}.name"), format!("\"{name}\" is already the name of camera[{first}]"));
        }
        name
    }

    fn camera(
        &mut self,
        key: &str,
        name: String,
        kind: document::CameraKind,
        camera: &document::Camera,
    ) -> CameraSettings {
        let rotate = camera.rotate.unwrap_or(defaults::camera::ROTATE);
        if ![0, 90, 180, 270].contains(&rotate) {
            self.report(&format!("{key}.rotate"), format!("{rotate} is not one of 0, 90, 180, 270"));
        }
        let include = camera.include.clone().unwrap_or_default();
        let (masks, private) = self.masks(key, camera.masks.as_deref().unwrap_or_default());
        for (name, polygons) in [("include", &include), ("masks", &masks)] {
            for (index, corners) in polygons.iter().enumerate() {
                self.polygon(&format!("{key}.{name}[{index}]"), corners);
            }
        }
        let limits = camera.limits.clone().unwrap_or_default();
        for (label, limits) in &limits {
            self.limits(&format!("{key}.limits.{label}"), limits);
        }
        let interval = camera.motion_interval.clone().unwrap_or_else(|| defaults::camera::MOTION_INTERVAL.to_owned());
        CameraSettings {
            name,
            kind: self.camera_kind(key, kind, camera),
            max_pixels: camera.max_pixels.map(u64::from),
            rotate,
            flip: camera.flip.unwrap_or(defaults::camera::FLIP),
            max_fps: Some(camera.max_fps.unwrap_or(defaults::camera::MAX_FPS)).filter(|&fps| fps > 0.0),
            motion_gate: camera.motion_gate.unwrap_or(defaults::camera::MOTION_GATE),
            motion_interval: self.duration(&format!("{key}.motion_interval"), &Some(interval)),
            zones: self.zones(key, camera.zones.as_ref()),
            lines: self.lines(key, camera.lines.as_ref()),
            inertia: camera.inertia.unwrap_or(defaults::camera::INERTIA),
            include,
            masks,
            private,
            limits,
            explain: camera.explain.unwrap_or(defaults::camera::EXPLAIN),
        }
    }

    fn limits(&mut self, key: &str, limits: &document::Limits) {
        for (name, least, most) in
            [("area", limits.min_area, limits.max_area), ("aspect", limits.min_aspect, limits.max_aspect)]
        {
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                self.report(
                    key,
                    format!("min_{name} = {least} is above max_{name} = {most}; nothing would be reported"),
                );
            }
        }
    }

    fn camera_kind(&mut self, key: &str, kind: document::CameraKind, camera: &document::Camera) -> CameraKind {
        let text = |text: &Option<String>| given(text).unwrap_or_default();
        match kind {
            document::CameraKind::Replay => CameraKind::Replay {
                path: text(&camera.path).into(),
                rate: Some(camera.rate.unwrap_or(defaults::camera::RATE)).filter(|&rate| rate > 0.0),
                repeat: camera.r#loop.unwrap_or(defaults::camera::LOOP),
            },
            document::CameraKind::V4l2 => CameraKind::V4l2 {
                device: text(&camera.device).into(),
                width: camera.width,
                height: camera.height,
                format: self.pixel_format(key, given(&camera.format)),
                fps: camera.fps,
                controls: camera.controls.clone().unwrap_or_default(),
            },
            document::CameraKind::Ffmpeg => CameraKind::Ffmpeg { input: self.input(key, text(&camera.input)) },
            document::CameraKind::Pattern => self.pattern(key, camera),
        }
    }

    /// An address or path for ffmpeg. Advice never repeats the address, which may hold a password.
    fn input(&mut self, key: &str, input: String) -> String {
        let key = format!("{key}.input");
        // Copied addresses often have a space or a newline at an end.
        let input = if input.contains("://") { input.trim().to_owned() } else { input };
        let address = Address::parse(&input);
        if input.contains(char::is_control) {
            self.report(&key, "has a control character, such as a newline; write one address or path");
        } else if let Some(problem) = address.as_ref().and_then(Address::problem) {
            self.report(&key, problem);
        } else if address.is_none() && input.contains("://") && !input.to_ascii_lowercase().starts_with("file:") {
            self.report(&key, "is no address: it begins with something else; write SCHEME://HOST/PATH alone");
        } else if Address::parse_without_scheme(&input).is_some() && !std::path::Path::new(&input).exists() {
            redact::learn(&input);
            self.report(&key, "looks like an address without a scheme; write rtsp:// or http:// before it");
        }
        input
    }

    fn pixel_format(&mut self, key: &str, format: Option<String>) -> Option<String> {
        let known = defaults::camera::FORMATS;
        let format = format.map(|format| format.to_ascii_uppercase());
        if let Some(format) = format.as_deref().filter(|format| !known.contains(format)) {
            let nearest = crate::suggest::suggestion(format, known.iter().copied());
            let text = format!("\"{format}\" cannot be read; there are {}{nearest}", known.join(", "));
            self.report(&format!("{key}.format"), text);
        }
        format
    }

    fn pattern(&mut self, key: &str, camera: &document::Camera) -> CameraKind {
        let [width, height] = defaults::camera::PATTERN_SIZE;
        let size = [camera.width.unwrap_or(width), camera.height.unwrap_or(height)];
        for (name, side) in [("width", size[0]), ("height", size[1])] {
            if !(16..=8192).contains(&side) {
                self.report(&format!("{key}.{name}"), format!("{side} is out of range: a pattern has 16 to 8192"));
            }
        }
        let fps = camera.fps.unwrap_or(defaults::camera::PATTERN_FPS);
        if fps <= 0.0 {
            self.report(&format!("{key}.fps"), "a pattern needs more than 0 frames a second");
        }
        let mut timetable: Vec<WeatherLine> = Vec::new();
        for (index, line) in camera.timetable.iter().flatten().enumerate() {
            let key = format!("{key}.timetable[{index}]");
            let mut time = |name: &str, text: &Option<String>, needed: bool| match given(text) {
                Some(text) => units::duration(&text).unwrap_or_else(|| {
                    self.report(
                        &format!("{key}.{name}"),
                        format!("\"{text}\" is no duration; write \"90s\" or \"5m\""),
                    );
                    Duration::ZERO
                }),
                None => {
                    if needed {
                        self.report(&key, format!("{name} is missing: when the change begins, as \"90s\""));
                    }
                    Duration::ZERO
                }
            };
            let (at, over) = (time("at", &line.at, true), time("over", &line.over, false));
            if timetable.last().is_some_and(|before| before.at > at) {
                self.report(&format!("{key}.at"), "is before the line above; times go upwards");
            }
            match line.weather {
                Some(weather) => timetable.push(WeatherLine { at, weather, over }),
                None => self.report(&key, "weather is missing; it is day, night, rain, fog or cap"),
            }
        }
        CameraKind::Pattern { seed: camera.seed.unwrap_or(defaults::camera::SEED), size, fps, timetable }
    }

    pub(super) fn sinks(&mut self, sinks: &[document::Publish]) -> Vec<SinkSettings> {
        let mut resolved = Vec::new();
        for (index, sink) in sinks.iter().enumerate() {
            let key = format!("publish[{index}]");
            let Some(kind) = sink.kind else {
                self.report(&key, format!("kind is missing; it is one of {}", kinds(SINK_KINDS)));
                continue;
            };
            if self.entry(&key, kind.name(), SINK_KINDS, SINK) {
                resolved.push(self.sink(&key, kind, sink));
            }
        }
        if sinks.is_empty() {
            let messages = defaults::publish::LINE_MESSAGES.to_vec();
            resolved.push(SinkSettings { kind: SinkKind::Stdout, messages });
        }
        resolved
    }

    fn sink(&mut self, key: &str, kind: document::PublishKind, sink: &document::Publish) -> SinkSettings {
        let default = match kind {
            document::PublishKind::Stdout | document::PublishKind::File => defaults::publish::LINE_MESSAGES,
            document::PublishKind::Unix => defaults::publish::ALL_MESSAGES,
            document::PublishKind::Mqtt => defaults::publish::BROKER_MESSAGES,
        };
        let messages = sink.messages.clone().unwrap_or_else(|| default.to_vec());
        if messages.is_empty() {
            self.report(&format!("{key}.messages"), "a sink needs a type of message; name one or remove the sink");
        }
        let text = |text: &Option<String>| given(text).unwrap_or_default();
        let kind = match kind {
            document::PublishKind::Stdout => SinkKind::Stdout,
            document::PublishKind::File => {
                let max_size = sink.max_size.as_deref().unwrap_or(defaults::publish::MAX_SIZE);
                SinkKind::File {
                    path: text(&sink.path).into(),
                    max_size: self.size(&format!("{key}.max_size"), max_size),
                    max_files: sink.max_files.unwrap_or(defaults::publish::MAX_FILES),
                }
            }
            document::PublishKind::Unix => {
                let access = SocketAccessSettings { mode: self.mode(key, sink), group: given(&sink.group) };
                SinkKind::Unix { path: text(&sink.path).into(), access }
            }
            document::PublishKind::Mqtt => self.mqtt(key, sink),
        };
        SinkSettings { kind, messages }
    }

    /// Permission bits of a socket. Its owner, the service, must be able to use it.
    fn mode(&mut self, key: &str, sink: &document::Publish) -> u32 {
        let text = given(&sink.mode).unwrap_or_else(|| defaults::publish::SOCKET_MODE.to_owned());
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| mode & !0o066 == 0o600);
        mode.unwrap_or_else(|| {
            let wrong = format!("\"{text}\" is no mode of a socket; write \"0600\", \"0660\" or \"0666\"");
            self.report(&format!("{key}.mode"), wrong);
            0o600
        })
    }

    fn mqtt(&mut self, key: &str, sink: &document::Publish) -> SinkKind {
        let tls = sink.tls.unwrap_or_default();
        let default_port = if tls { defaults::publish::PORT_TLS } else { defaults::publish::PORT };
        let certificate = match (path(&sink.certificate_file), path(&sink.key_file)) {
            (Some(certificate), Some(private)) => Some((certificate, private)),
            (None, None) => None,
            _ => {
                self.report(key, "certificate_file and key_file belong together; one of them is missing");
                None
            }
        };
        if !tls && (certificate.is_some() || path(&sink.ca_file).is_some()) {
            self.report(key, "certificates are used with tls = true only");
        }
        if given(&sink.host).is_some_and(|host| !is_host_name(&host)) {
            // The text may hold a password.
            let text = "is no host name; write the name or address alone, as \"broker.example\": the port belongs to port, \
                        the login to username and password_file";
            self.report(&format!("{key}.host"), text);
        }
        if path(&sink.password_file).is_some() && given(&sink.username).is_none() {
            self.report(key, "password_file without username");
        }
        let text = |given: &Option<String>, default: &str| given.clone().unwrap_or_else(|| default.to_owned());
        let topic_prefix = text(&sink.topic_prefix, defaults::publish::TOPIC_PREFIX);
        if !is_topic_prefix(&topic_prefix) {
            let text = format!("\"{topic_prefix}\" cannot begin a topic; write levels such as \"home/lookout\"");
            self.report(&format!("{key}.topic_prefix"), text);
        }
        let discovery = text(&sink.discovery, defaults::publish::DISCOVERY);
        if !discovery.is_empty() && !is_topic_prefix(&discovery) {
            let text = format!("\"{discovery}\" cannot begin a topic; write \"homeassistant\", or \"\" for none");
            self.report(&format!("{key}.discovery"), text);
        }
        let spool_size = text(&sink.spool_size, defaults::publish::SPOOL_SIZE);
        let spool_free = text(&sink.spool_free, defaults::publish::SPOOL_FREE);
        let keep_alive = Some(text(&sink.keep_alive, defaults::publish::KEEP_ALIVE));
        let spool_age = Some(text(&sink.spool_age, defaults::publish::SPOOL_AGE));
        SinkKind::Mqtt(Box::new(MqttSettings {
            host: given(&sink.host).unwrap_or_default(),
            // The schema check has validated both ranges.
            port: sink.port.unwrap_or(default_port) as u16,
            protocol: sink.protocol.unwrap_or(defaults::publish::PROTOCOL) as u8,
            tls,
            ca_file: path(&sink.ca_file),
            certificate,
            username: given(&sink.username),
            password_file: secret_file(&sink.password_file),
            keep_alive: self.duration(&format!("{key}.keep_alive"), &keep_alive),
            discovery: Some(discovery).filter(|prefix| !prefix.is_empty()),
            topic_prefix,
            labels: sink.labels.clone().unwrap_or_default(),
            pictures: sink.pictures.unwrap_or_default(),
            orders: sink.orders.clone().unwrap_or_default(),
            spool_size: self.size(&format!("{key}.spool_size"), &spool_size),
            spool_age: self.duration(&format!("{key}.spool_age"), &spool_age),
            spool_free: self.size(&format!("{key}.spool_free"), &spool_free),
        }))
    }

    /// Checks the keys of an entry against those of its kind. False if the entry cannot be resolved.
    fn entry(&mut self, key: &str, kind: &str, kinds: &[Keys], common: &[&str]) -> bool {
        let Some((_, needed, allowed)) = kinds.iter().find(|(name, ..)| *name == kind) else { return false };
        let present = self.keys(key);
        let mut right = true;
        for name in *needed {
            if !present.iter().any(|present| present == name) {
                self.report(key, format!("{name} is missing; kind \"{kind}\" needs it"));
                right = false;
            } else if matches!(&locate(self.merged, &format!("{key}.{name}")).kind, ValueKind::String(text) if text.trim().is_empty())
            {
                self.report(&format!("{key}.{name}"), format!("is empty; kind \"{kind}\" needs a value"));
                right = false;
            }
        }
        for name in &present {
            let of_this = |key: &&str| *key == name.as_str();
            if common.iter().chain(*needed).chain(*allowed).any(of_this) {
                continue;
            }
            let owners: Vec<&str> = kinds
                .iter()
                .filter(|(_, needed, allowed)| needed.iter().chain(*allowed).any(of_this))
                .map(|(owner, ..)| *owner)
                .collect();
            let owners = owners.join("\" or \"");
            self.report(&format!("{key}.{name}"), format!("is for kind \"{owners}\"; this is \"{kind}\""));
            right = false;
        }
        right
    }
}

/// True for the name or the address of a host, without scheme, login, port or path.
fn is_host_name(text: &str) -> bool {
    let is_address = text.trim_matches(['[', ']']).split('%').next().is_some_and(|ip| ip.parse::<IpAddr>().is_ok());
    is_address || text.chars().all(|c| c.is_alphanumeric() || "-._".contains(c))
}

/// True if `text` can be the begin of every topic: levels without wildcards, none empty.
fn is_topic_prefix(text: &str) -> bool {
    let is_level =
        |level: &str| !level.is_empty() && !level.contains(['+', '#']) && !level.chars().any(char::is_control);
    !text.starts_with('$') && text.len() <= 1024 && text.split('/').all(is_level)
}

fn kinds(kinds: &[Keys]) -> String {
    kinds.iter().map(|(name, ..)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_alone() {
        assert!(
            ["broker.example", "localhost", "10.0.0.1", "::1", "[fe80::1]", "fe80::1%eth0", "mein_broker"]
                .into_iter()
                .all(is_host_name)
        );
        assert!(!["mqtt://h", "h:1883", "u:p@h", "h/x", "h ", "10.0.0.1:1883"].into_iter().any(is_host_name));
    }

    #[test]
    fn a_topic_prefix_is_one_or_more_levels() {
        assert!(["lookout", "home/cameras", "Häuser"].into_iter().all(is_topic_prefix));
        assert!(!["", "/x", "x/", "a//b", "a/+", "#", "$SYS", "a\n"].into_iter().any(is_topic_prefix));
    }
}
