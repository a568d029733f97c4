//! Zones, lines and masks of a camera.

use std::collections::BTreeMap;
use std::time::Duration;

use super::defaults;
use super::document;
use super::resolve::{CAMERA_RULE, Resolver, given, is_camera_name};
use super::settings::{CrowdSettings, LineSettings, ZoneSettings};

impl Resolver<'_> {
    /// The zones of the camera at `key`.
    pub(super) fn zones(
        &mut self,
        key: &str,
        zones: Option<&BTreeMap<String, document::Zone>>,
    ) -> BTreeMap<String, ZoneSettings> {
        let mut resolved = BTreeMap::new();
        for (name, zone) in zones.into_iter().flatten() {
            let key = format!("{key}.zones.{name}");
            self.region_name(&key, name);
            let region = match zone {
                document::Zone::Polygon(polygon) => {
                    document::ZoneRegion { polygon: Some(polygon.clone()), ..document::ZoneRegion::default() }
                }
                document::Zone::Region(region) => region.clone(),
            };
            let Some(polygon) = region.polygon else {
                self.report(&key, "polygon is missing: the corners of the zone");
                continue;
            };
            self.polygon(&key, &polygon);
            let loitering =
                given(&region.loitering).map(|text| self.duration(&format!("{key}.loitering"), &Some(text)));
            if region.crowd.is_none() && region.crowd_time.is_some() {
                self.report(&format!("{key}.crowd_time"), "there is no crowd; crowd is the most objects that are none");
            }
            let crowd =
                region.crowd.map(|limit| CrowdSettings { limit, time: self.crowd_time(&key, region.crowd_time) });
            resolved.insert(name.clone(), ZoneSettings { polygon, loitering, crowd });
        }
        resolved
    }

    fn crowd_time(&mut self, key: &str, text: Option<String>) -> Duration {
        let text = text.unwrap_or_else(|| defaults::camera::CROWD_TIME.to_owned());
        self.duration(&format!("{key}.crowd_time"), &Some(text))
    }

    /// The lines of the camera at `key`.
    pub(super) fn lines(
        &mut self,
        key: &str,
        lines: Option<&BTreeMap<String, document::Line>>,
    ) -> BTreeMap<String, LineSettings> {
        let mut resolved = BTreeMap::new();
        for (name, line) in lines.into_iter().flatten() {
            let key = format!("{key}.lines.{name}");
            self.region_name(&key, name);
            let named = match line {
                document::Line::Points(points) => {
                    document::NamedLine { points: Some(points.clone()), ..document::NamedLine::default() }
                }
                document::Line::Named(named) => named.clone(),
            };
            let points = named.points.unwrap_or_default();
            let [from, to] = points[..] else {
                self.report(&key, format!("{} points; a line has 2, as in [[0.1, 0.5], [0.9, 0.5]]", points.len()));
                continue;
            };
            self.shares(&key, &points);
            if from == to {
                self.report(&key, "both points are the same; nothing would cross it");
            }
            let [left, right] = defaults::camera::DIRECTIONS.map(str::to_owned);
            let (left, right) = (given(&named.left).unwrap_or(left), given(&named.right).unwrap_or(right));
            for (side, direction) in [("left", &left), ("right", &right)] {
                self.region_name(&format!("{key}.{side}"), direction);
            }
            if left == right {
                self.report(&key, format!("left and right are both called \"{left}\"; each has a name of its own"));
            }
            resolved.insert(name.clone(), LineSettings { points: [from, to], left, right });
        }
        resolved
    }

    /// Refuses rules that need tracks, which there are none.
    pub(super) fn untracked_rules(&mut self, cameras: &[document::Camera]) {
        for (index, camera) in cameras.iter().enumerate() {
            let mut keys = Vec::new();
            keys.extend(camera.lines.as_ref().filter(|lines| !lines.is_empty()).map(|_| "lines".to_owned()));
            for (name, zone) in camera.zones.iter().flatten() {
                let document::Zone::Region(region) = zone else { continue };
                keys.extend(given(&region.loitering).map(|_| format!("zones.{name}.loitering")));
                keys.extend(region.crowd.map(|_| format!("zones.{name}.crowd")));
            }
            for key in keys {
                self.report(&format!("camera[{index}].{key}"), "needs tracked objects: set track.enabled = true");
            }
        }
    }

    /// Refuses names that messages and topics cannot show.
    fn region_name(&mut self, key: &str, name: &str) {
        if !is_camera_name(name) {
            self.report(key, format!("{name:?} is no name: {CAMERA_RULE}"));
        }
    }

    fn shares(&mut self, key: &str, points: &[[f32; 2]]) {
        if points.iter().flatten().any(|share| !(0.0..=1.0).contains(share)) {
            self.report(key, "a point lies outside the picture; x and y are shares from 0 to 1");
        }
    }

    /// The polygons of all masks, and those of the private ones.
    pub(super) fn masks(
        &mut self,
        key: &str,
        masks: &[document::Mask],
    ) -> (Vec<document::Polygon>, Vec<document::Polygon>) {
        let (mut all, mut private) = (Vec::new(), Vec::new());
        for (index, mask) in masks.iter().enumerate() {
            let (polygon, is_private) = match mask {
                document::Mask::Polygon(polygon) => (Some(polygon), false),
                document::Mask::Region(region) => (region.polygon.as_ref(), region.private.unwrap_or_default()),
            };
            match polygon {
                Some(polygon) => all.push(polygon.clone()),
                None => self.report(&format!("{key}.masks[{index}]"), "polygon is missing: the corners of the region"),
            }
            private.extend(polygon.filter(|_| is_private).cloned());
        }
        (all, private)
    }

    pub(super) fn polygon(&mut self, key: &str, corners: &[[f32; 2]]) {
        if corners.len() < 3 {
            self.report(key, format!("{} corners; a polygon has at least 3", corners.len()));
        }
        if corners.iter().flatten().any(|share| !(0.0..=1.0).contains(share)) {
            self.report(key, "a corner lies outside the picture; x and y are shares from 0 to 1");
        }
    }
}
