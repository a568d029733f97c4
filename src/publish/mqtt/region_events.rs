//! Zones and lines on the broker: counts, occupancy, events for automations and their pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::connection::PublishMode;
use super::topics::Region;
use super::{MqttShared, MqttState, TransientMessage};
use crate::error::{Error, Kind, Result};
use crate::message::{Event, EventName, ZoneCount};

/// Types of events of a zone, as automations name them.
pub const ZONE_EVENTS: &[&str] = &["entered", "left", "loitering", "crowded", "cleared"];

impl MqttShared {
    /// Sets counts and occupancy of the zones of a camera.
    pub(super) fn zone_counts(&self, state: &mut MqttState, camera: &str, zones: &BTreeMap<String, ZoneCount>) {
        let Some(about) = self.about.cameras.iter().find(|about| about.name == camera) else { return };
        for name in &about.zones {
            let zone = zones.get(name);
            for label in &self.about.labels {
                let count = zone.and_then(|zone| zone.objects.get(label)).copied().unwrap_or(0);
                let is_occupied = zone.is_some_and(|zone| zone.occupied.contains(label));
                state.table.set(self.topics.zone_count(camera, name, label), count.to_string().into_bytes());
                let occupancy: &[u8] = if is_occupied { b"ON" } else { b"OFF" };
                state.table.set(self.topics.zone_occupancy(camera, name, label), occupancy.to_vec());
            }
        }
    }

    /// Sets the counts of the lines of a camera.
    pub(super) fn line_counts(&self, state: &mut MqttState, camera: &str) {
        let about = self.about.cameras.iter().find(|about| about.name == camera && !about.lines.is_empty());
        let Some(about) = about else { return };
        let counts = (self.counts)(camera);
        for line in &about.lines {
            for direction in &line.directions {
                for label in &self.about.labels {
                    let counted = counts.iter().find(|count| {
                        count.line == line.name && count.direction == *direction && count.label == *label
                    });
                    let count = counted.map_or(0, |count| count.count);
                    let topic = self.topics.line_count(camera, &line.name, direction, label);
                    state.table.set(topic, count.to_string().into_bytes());
                }
            }
        }
    }

    /// Publishes an event of a zone or a line for automations, and its picture. It is not kept while there is no broker: a
    /// late one would switch a light on for nobody.
    pub(super) async fn region_event(self: Arc<Self>, event: &Event) -> Result<()> {
        let text = |name: &str| event.details.get(name).and_then(Value::as_str).map(str::to_owned);
        let kind = match event.event {
            EventName::ZoneEntered => "entered",
            EventName::ZoneLeft => "left",
            EventName::ZoneLoitering => "loitering",
            EventName::ZoneCrowded => "crowded",
            EventName::ZoneCleared => "cleared",
            EventName::LineCrossed => "crossed",
            _ => return Ok(()),
        };
        let (zone, line) = (text("zone"), text("line"));
        let region = match (&zone, &line) {
            (Some(zone), _) => Region::Zone(zone),
            (None, Some(line)) => Region::Line(line),
            (None, None) => return Ok(()),
        };
        let Some(camera) = event.camera.clone() else { return Ok(()) };
        // The type of a crossing is its direction.
        let event_type = if kind == "crossed" { text("direction").unwrap_or_default() } else { kind.to_owned() };
        let mut fields = event.details.clone();
        fields.insert("event_type".to_owned(), event_type.into());
        fields.insert("id".to_owned(), event.id.clone().into());
        fields.insert("at".to_owned(), String::from(event.at).into());
        let payload = serde_json::to_vec(&fields)
            .map_err(|error| Error::new(Kind::Internal, "cannot write an event as JSON").because(error))?;
        let (topic, mode) = (self.topics.region_event(&camera, region), PublishMode::AtLeastOnce);
        self.enqueue(&mut self.state(), TransientMessage { topic, payload, mode, correlation: None });
        let topic = self.topics.region_picture(&camera, region);
        match event.details.get("sequence").and_then(Value::as_u64) {
            Some(sequence) => self.picture_on(topic, camera, sequence).await,
            None => Ok(()),
        }
    }
}
