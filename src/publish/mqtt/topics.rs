//! Topic names of a device; see the table in [`super`]. Different names have different topics.
//!
//! A name of ASCII letters, digits, `-` and `_` is its own topic level. Other characters that a level cannot hold, and the
//! first one of a name that a fixed topic has, are percent-encoded.

use crate::tensor::digest::sha256;

/// Levels below a camera that are no labels.
const CAMERA_LEVELS: &[&str] = &["detections", "state", "stats", "picture", "zones", "lines"];
/// Levels below a zone or a line that are no labels and no directions.
const REGION_LEVELS: &[&str] = &["event", "picture"];
/// Levels below a device that have levels of their own.
const DEVICE_LEVELS: &[&str] = &["cmd", "reply"];
/// Hexadecimal digits of the digest in an identifier.
const DIGEST: usize = 8;

/// A zone or a line, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region<'a> {
    /// A zone.
    Zone(&'a str),
    /// A line.
    Line(&'a str),
}

/// The topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// Topics of `device` below `prefix`.
    pub fn new(prefix: &str, device: &str) -> Self {
        Self { base: format!("{prefix}/{}", level(device, &[])) }
    }

    /// `online`, `stopped` or `offline`, retained.
    pub fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// The status, retained.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// Events.
    pub fn events(&self) -> String {
        format!("{}/events", self.base)
    }

    /// Reports of a camera.
    pub fn detections(&self, camera: &str) -> String {
        format!("{}/detections", self.camera(camera))
    }

    /// Number of objects of a label in sight of a camera, retained.
    pub fn count(&self, camera: &str, label: &str) -> String {
        format!("{}/{}", self.camera(camera), level(label, CAMERA_LEVELS))
    }

    /// `ON` while there is an object of a label in sight of a camera, `OFF` after a delay, retained.
    pub fn occupancy(&self, camera: &str, label: &str) -> String {
        format!("{}/occupancy", self.count(camera, label))
    }

    /// State of a camera, retained.
    pub fn state(&self, camera: &str) -> String {
        format!("{}/state", self.camera(camera))
    }

    /// A camera's rate and latency, retained.
    pub fn stats(&self, camera: &str) -> String {
        format!("{}/stats", self.camera(camera))
    }

    /// Last JPEG picture of a camera in which an object started, retained.
    pub fn picture(&self, camera: &str) -> String {
        format!("{}/picture", self.camera(camera))
    }

    /// Number of objects of a label in a zone, retained.
    pub fn zone_count(&self, camera: &str, zone: &str, label: &str) -> String {
        format!("{}/{}", self.region(camera, Region::Zone(zone)), level(label, REGION_LEVELS))
    }

    /// `ON` while there is an object of a label in a zone, `OFF` after a delay, retained.
    pub fn zone_occupancy(&self, camera: &str, zone: &str, label: &str) -> String {
        format!("{}/occupancy", self.zone_count(camera, zone, label))
    }

    /// Number of crossings of a line since the last reset, retained.
    pub fn line_count(&self, camera: &str, line: &str, direction: &str, label: &str) -> String {
        let direction = level(direction, REGION_LEVELS);
        format!("{}/{direction}/{}", self.region(camera, Region::Line(line)), level(label, &[]))
    }

    /// Events of a zone or a line, for automations; not retained.
    pub fn region_event(&self, camera: &str, region: Region<'_>) -> String {
        format!("{}/event", self.region(camera, region))
    }

    /// JPEG picture of the last event of a zone or a line, retained.
    pub fn region_picture(&self, camera: &str, region: Region<'_>) -> String {
        format!("{}/picture", self.region(camera, region))
    }

    fn region(&self, camera: &str, region: Region<'_>) -> String {
        let (kind, name) = match region {
            Region::Zone(name) => ("zones", name),
            Region::Line(name) => ("lines", name),
        };
        format!("{}/{kind}/{}", self.camera(camera), level(name, &[]))
    }

    /// Commands: `verb`, or `+` for all.
    pub fn command(&self, verb: &str) -> String {
        format!("{}/cmd/{verb}", self.base)
    }

    /// Replies to commands without a response topic.
    pub fn reply(&self, verb: &str) -> String {
        format!("{}/reply/{verb}", self.base)
    }

    /// Verb of a command topic.
    pub fn verb<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let verb = topic.strip_prefix(&self.base)?.strip_prefix("/cmd/")?;
        (!verb.is_empty() && !verb.contains('/')).then_some(verb)
    }

    fn camera(&self, camera: &str) -> String {
        format!("{}/{}", self.base, level(camera, DEVICE_LEVELS))
    }
}

/// `name` as a topic level, unlike every level in `reserved`.
fn level(name: &str, reserved: &[&str]) -> String {
    let mut level = String::new();
    for (index, c) in name.chars().enumerate() {
        let is_wrong = matches!(c, '/' | '+' | '#' | '%') || c.is_control() || matches!(c, '\u{fdd0}'..='\u{fdef}');
        if is_wrong || (index == 0 && reserved.contains(&name)) {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| level.push_str(&format!("%{byte:02X}")));
        } else {
            level.push(c);
        }
    }
    // No other name has a lone percent sign.
    if level.is_empty() { "%".to_owned() } else { level }
}

/// `name` as a part of an identifier: letters, digits, `_` and `-`. A name with other characters gets some digits of its
/// SHA-256, so that names which differ in them alone stay different.
pub fn identifier(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let digest = sha256(name.as_bytes());
    format!("{plain}-{}", digest.get(..DIGEST).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Names that differ only in what topics or identifiers cannot hold, and names of fixed topics.
    const NAMES: &[&str] = &[
        "",
        "_",
        "__",
        "行人",
        "汽车",
        "卡车",
        "человек",
        "машина",
        "a b",
        "a_b",
        "a-b",
        "a/b",
        "a+b",
        "a#b",
        "a%2Fb",
        "a%b",
        "%",
        "state",
        "stats",
        "picture",
        "detections",
        "cmd",
        "reply",
        "occupancy",
        "zones",
        "lines",
        "event",
        "état",
        "etat",
        "Car",
        "car",
        "a\nb",
        "traffic light",
        "traffic_light",
        "a/occupancy",
        "🚗",
        "🚙",
        "%73tate",
    ];

    #[test]
    fn plain_names_keep_their_topics_and_identifiers() {
        let topics = Topics::new("lookout", "gate");
        assert_eq!(topics.count("front", "Two-Wheeler_1"), "lookout/gate/front/Two-Wheeler_1");
        assert_eq!(topics.count("front", "Traffic light"), "lookout/gate/front/Traffic light");
        assert_eq!(identifier("Two-Wheeler_1"), "Two-Wheeler_1");
        assert_eq!(topics.count("front", "a/b+c#"), "lookout/gate/front/a%2Fb%2Bc%23");
        assert_eq!(topics.verb("lookout/gate/cmd/recalibrate"), Some("recalibrate"));
        for other in ["lookout/gate/cmd/", "lookout/gate/cmd/a/b", "lookout/other/cmd/a", "lookout/gate/status"] {
            assert_eq!(topics.verb(other), None);
        }
    }

    #[test]
    fn different_names_have_different_topics_and_identifiers() {
        let topics = Topics::new("home/lookout", "gate");
        let mut found = BTreeSet::new();
        let mut add = |topic: String| {
            assert!(!topic.contains(['+', '#', '\0', '\n']) && found.insert(topic.clone()), "{topic}");
            assert_eq!(topics.verb(&topic), None);
        };
        [topics.availability(), topics.status(), topics.events()].into_iter().for_each(&mut add);
        for camera in NAMES {
            for label in NAMES {
                add(topics.count(camera, label));
                add(topics.occupancy(camera, label));
            }
            for region in ["gate", "zones", "event", "a/b"] {
                for region in [Region::Zone(region), Region::Line(region)] {
                    [topics.region_event(camera, region), topics.region_picture(camera, region)]
                        .into_iter()
                        .for_each(&mut add);
                }
                for label in ["Car", "event", "picture", "in", "occupancy"] {
                    add(topics.zone_count(camera, region, label));
                    add(topics.zone_occupancy(camera, region, label));
                    ["in", "event"].iter().for_each(|way| add(topics.line_count(camera, region, way, label)));
                }
            }
            [topics.state(camera), topics.stats(camera), topics.picture(camera), topics.detections(camera)]
                .into_iter()
                .for_each(&mut add);
        }
        let identifiers: BTreeSet<String> = NAMES.iter().map(|name| identifier(name)).collect();
        assert_eq!(identifiers.len(), NAMES.len());
        assert!(identifiers.iter().all(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))));
    }
}
