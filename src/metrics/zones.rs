//! Metrics of zones and lines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::message::ZoneCount;
use crate::sync::IgnorePoison;

/// Labels of objects in a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct ZoneObjectLabels {
    /// The camera's name.
    pub camera: String,
    /// Name of the zone.
    pub zone: String,
    /// Name of the class.
    pub label: String,
}

/// Labels of crossings of a line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CrossingLabels {
    /// The camera's name.
    pub camera: String,
    /// Name of the line.
    pub line: String,
    /// Name of the direction.
    pub direction: String,
    /// Name of the class.
    pub label: String,
}

/// The metrics.
#[derive(Debug, Default)]
pub struct ZoneMetrics {
    objects: Family<ZoneObjectLabels, Gauge>,
    entries: Family<ZoneObjectLabels, Counter>,
    crossings: Family<CrossingLabels, Counter>,
    /// Labels that `objects` has.
    counted: Mutex<BTreeSet<ZoneObjectLabels>>,
}

impl ZoneMetrics {
    /// The metrics at zero, in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("zone_objects", "Tracked objects in a zone", metrics.objects.clone());
        registry.register("zone_entries", "Entries of tracked objects into a zone", metrics.entries.clone());
        registry.register("line_crossings", "Crossings of a line by tracked objects", metrics.crossings.clone());
        metrics
    }

    /// Records the objects in the zones of a camera. Others become 0.
    pub fn count(&self, camera: &str, zones: &BTreeMap<String, ZoneCount>) {
        let mut counted = self.counted.lock().ignore_poison();
        for (zone, count) in zones {
            for (label, &count) in &count.objects {
                let labels = ZoneObjectLabels { camera: camera.into(), zone: zone.clone(), label: label.clone() };
                self.objects.get_or_create(&labels).set(i64::from(count));
                counted.insert(labels);
            }
        }
        let has = |labels: &ZoneObjectLabels| {
            zones.get(&labels.zone).is_some_and(|zone| zone.objects.contains_key(&labels.label))
        };
        for labels in counted.iter().filter(|labels| labels.camera == camera && !has(labels)) {
            self.objects.get_or_create(labels).set(0);
        }
    }

    /// Counts an entry.
    pub fn entered(&self, camera: &str, zone: &str, label: &str) {
        let [camera, zone, label] = [camera, zone, label].map(str::to_owned);
        self.entries.get_or_create(&ZoneObjectLabels { camera, zone, label }).inc();
    }

    /// Counts a crossing.
    pub fn crossed(&self, camera: &str, line: &str, direction: &str, label: &str) {
        let [camera, line, direction, label] = [camera, line, direction, label].map(str::to_owned);
        self.crossings.get_or_create(&CrossingLabels { camera, line, direction, label }).inc();
    }
}
