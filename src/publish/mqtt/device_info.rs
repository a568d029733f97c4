//! Description of the device for topics and Home Assistant: cameras, zones, lines, labels.

use std::collections::BTreeSet;

use super::topics::{Region, Topics};
use crate::config::{CameraSettings, LineSettings};
use crate::message::MessageKind;

/// Description of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Name of the device.
    pub device: String,
    /// Name of the model.
    pub model: String,
    /// The cameras.
    pub cameras: Vec<CameraInfo>,
    /// Labels that are counted.
    pub labels: Vec<String>,
    /// True if pictures are published.
    pub pictures: bool,
    /// True if the monitor is enabled: it reports drift.
    pub monitor: bool,
    /// Verbs of the orders that are obeyed.
    pub orders: BTreeSet<String>,
    /// Address of the page, if it is enabled.
    pub page_url: Option<String>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraInfo {
    /// Its name.
    pub name: String,
    /// Names of its zones.
    pub zones: Vec<String>,
    /// Its lines.
    pub lines: Vec<LineInfo>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineInfo {
    /// Its name.
    pub name: String,
    /// Names of its directions.
    pub directions: [String; 2],
}

impl From<&str> for CameraInfo {
    /// A camera without zones and lines.
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), zones: Vec::new(), lines: Vec::new() }
    }
}

impl From<&CameraSettings> for CameraInfo {
    fn from(camera: &CameraSettings) -> Self {
        let line = |(name, line): (&String, &LineSettings)| LineInfo {
            name: name.clone(),
            directions: [line.left.clone(), line.right.clone()],
        };
        Self {
            name: camera.name.clone(),
            zones: camera.zones.keys().cloned().collect(),
            lines: camera.lines.iter().map(line).collect(),
        }
    }
}

impl CameraInfo {
    /// Its zones and lines.
    pub fn regions(&self) -> impl Iterator<Item = Region<'_>> {
        let zones = self.zones.iter().map(|zone| Region::Zone(zone));
        zones.chain(self.lines.iter().map(|line| Region::Line(&line.name)))
    }
}

/// Topics that the broker retains for this configuration, without discovery.
pub fn configured_topics(about: &DeviceInfo, messages: &[MessageKind], topics: &Topics) -> BTreeSet<String> {
    let mut retained = BTreeSet::from([topics.availability()]);
    retained.extend(messages.contains(&MessageKind::Status).then(|| topics.status()));
    for CameraInfo { name: camera, zones, lines } in &about.cameras {
        retained.extend([topics.state(camera), topics.stats(camera)]);
        retained.extend(about.pictures.then(|| topics.picture(camera)));
        for label in &about.labels {
            retained.extend([topics.count(camera, label), topics.occupancy(camera, label)]);
            for zone in zones {
                retained.extend([topics.zone_count(camera, zone, label), topics.zone_occupancy(camera, zone, label)]);
            }
            for line in lines {
                retained.extend(line.directions.iter().map(|way| topics.line_count(camera, &line.name, way, label)));
            }
        }
    }
    if about.pictures {
        let pictures = about
            .cameras
            .iter()
            .flat_map(|camera| camera.regions().map(|region| topics.region_picture(&camera.name, region)));
        retained.extend(pictures);
    }
    retained
}
