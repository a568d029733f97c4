//! Home Assistant discovery: one retained message from which Home Assistant creates the device and its entities. It has
//! the format of MQTT device discovery (2024.12 and later).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::device_info::{CameraInfo, DeviceInfo};
use super::region_events::ZONE_EVENTS;
use super::topics::{Region, Topics, identifier};

/// Seconds after which a value that was not updated is shown as unavailable.
const EXPIRE_S: u32 = 180;

/// Topic of the discovery message, below Home Assistant's `prefix`.
pub fn topic(prefix: &str, device: &str) -> String {
    format!("{prefix}/device/lookout_{}/config", identifier(device))
}

/// Topic on which Home Assistant announces its start with `online`.
pub fn birth(prefix: &str) -> String {
    format!("{prefix}/status")
}

/// Entities of a camera beside those of its labels.
pub const CAMERA_ENTITIES: &[&str] = &["fps", "latency", "enabled", "picture"];

/// Key of an entity of a camera and a label.
pub fn label_key(camera: &str, label: &str, entity: &str) -> String {
    format!("{}_{}_{entity}", identifier(camera), identifier(label))
}

/// Entities of a zone and of a line beside those of labels.
pub const REGION_ENTITIES: &[&str] = &["event", "snapshot"];

/// Key of an entity of a zone or a line.
pub fn region_key(camera: &str, region: Region<'_>, entity: &str) -> String {
    let (kind, name) = match region {
        Region::Zone(name) => ("zone", name),
        Region::Line(name) => ("line", name),
    };
    format!("{}_{kind}_{}_{entity}", identifier(camera), identifier(name))
}

/// Begin of the keys of a zone and a label.
pub fn zone_key(camera: &str, zone: &str, label: &str) -> String {
    region_key(camera, Region::Zone(zone), &identifier(label))
}

/// Key of the crossings of a line.
pub fn crossings_key(camera: &str, line: &str, direction: &str, label: &str) -> String {
    let name = format!("{}_{}_crossings", identifier(direction), identifier(label));
    region_key(camera, Region::Line(line), &name)
}

/// The platform of each component, by key.
pub fn platforms(about: &DeviceInfo, topics: &Topics) -> BTreeMap<String, String> {
    let platform = |(key, component): (String, Value)| Some((key, component["platform"].as_str()?.to_owned()));
    components(about, topics).into_iter().filter_map(platform).collect()
}

/// The message. Components `removed`, by key with their platforms, are listed without a configuration: Home Assistant removes
/// them.
pub fn payload(about: &DeviceInfo, topics: &Topics, removed: &BTreeMap<String, String>) -> Vec<u8> {
    let device = identifier(&about.device);
    let mut components = components(about, topics);
    components.extend(removed.iter().map(|(key, platform)| (key.clone(), json!({ "platform": platform }))));
    let mut device_map = json!({
        "identifiers": [format!("lookout_{device}")], "name": format!("lookout {}", about.device),
        "manufacturer": "lookout", "model": about.model, "sw_version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(url) = &about.page_url {
        device_map["configuration_url"] = json!(url);
    }
    let message = json!({
        "device": device_map,
        "origin": { "name": "lookout", "sw_version": env!("CARGO_PKG_VERSION") },
        "components": components,
        "availability": [{ "topic": topics.availability(), "value_template": AVAILABLE }],
        "qos": 1,
    });
    message.to_string().into_bytes()
}

/// The components of the device, by key.
fn components(about: &DeviceInfo, topics: &Topics) -> Map<String, Value> {
    let device = identifier(&about.device);
    let mut components = Map::new();
    let mut add = |key: String, mut component: Value| {
        if let Some(object) = component.as_object_mut() {
            object.insert("unique_id".to_owned(), json!(format!("lookout_{device}_{key}")));
        }
        components.insert(key, component);
    };
    for info in &about.cameras {
        let camera = info.name.as_str();
        let key = identifier(camera);
        // The count of a camera without frames is unknown.
        let available = json!([
            { "topic": topics.availability(), "value_template": AVAILABLE },
            { "topic": topics.state(camera),
              "value_template": "{{ 'online' if value == 'streaming' else 'offline' }}" },
        ]);
        for label in &about.labels {
            let topic = topics.count(camera, label);
            add(
                label_key(camera, label, "count"),
                json!({
                    "platform": "sensor", "name": format!("{camera} {label} count"), "state_topic": topic,
                    "state_class": "measurement", "availability": available, "availability_mode": "all",
                }),
            );
            add(
                label_key(camera, label, "occupancy"),
                json!({
                    "platform": "binary_sensor", "name": format!("{camera} {label} occupancy"),
                    "state_topic": topics.occupancy(camera, label), "device_class": "occupancy",
                    "payload_on": "ON", "payload_off": "OFF",
                    "availability": available, "availability_mode": "all",
                }),
            );
        }
        for (name, field, unit) in [("fps", "fps", "fps"), ("latency", "latency_ms", "ms")] {
            add(
                format!("{key}_{name}"),
                json!({
                    "platform": "sensor", "name": format!("{camera} {name}"), "state_topic": topics.stats(camera),
                    "value_template": format!("{{{{ value_json.{field} }}}}"), "unit_of_measurement": unit,
                    "state_class": "measurement", "entity_category": "diagnostic", "expire_after": EXPIRE_S,
                }),
            );
        }
        // Nothing is offered that would be refused.
        if about.orders.contains("camera") {
            add(
                format!("{key}_enabled"),
                json!({
                    "platform": "switch", "name": format!("{camera} detection"), "state_topic": topics.state(camera),
                    "value_template": "{{ 'OFF' if value == 'disabled' else 'ON' }}",
                    "state_on": "ON", "state_off": "OFF",
                    "command_topic": topics.command("camera"),
                    "payload_on": json!({ "camera": camera, "enabled": true }).to_string(),
                    "payload_off": json!({ "camera": camera, "enabled": false }).to_string(),
                }),
            );
        }
        for (key, component) in regions(about, info, topics) {
            add(key, component);
        }
        if about.pictures {
            add(
                format!("{key}_picture"),
                json!({
                    "platform": "image", "name": format!("{camera} picture"), "image_topic": topics.picture(camera),
                    "content_type": "image/jpeg",
                }),
            );
        }
    }
    let diagnostic = |name: &str, template: &str| {
        json!({
            "platform": "sensor", "name": name, "state_topic": topics.status(), "value_template": template,
            "entity_category": "diagnostic",
        })
    };
    add("state".to_owned(), diagnostic("state", "{{ value_json.state }}"));
    let mut temperature = diagnostic("temperature", "{{ (value_json.throttle or {}).get('celsius') }}");
    temperature["state_class"] = json!("measurement");
    temperature["unit_of_measurement"] = json!("°C");
    temperature["device_class"] = json!("temperature");
    add("temperature".to_owned(), temperature);
    if about.monitor {
        let mut drift = diagnostic("drift", "{{ (value_json.drift or {}).get('deviations') }}");
        drift["state_class"] = json!("measurement");
        add("drift".to_owned(), drift);
    }
    if about.monitor && about.orders.contains("recalibrate") {
        add(
            "recalibrate".to_owned(),
            json!({
                "platform": "button", "name": "recalibrate", "command_topic": topics.command("recalibrate"),
                "payload_press": "{}", "entity_category": "config",
            }),
        );
    }
    components
}

/// The components of a camera's zones and lines, by key. The device's availability applies: a camera without frames has no
/// objects in its zones.
fn regions(about: &DeviceInfo, info: &CameraInfo, topics: &Topics) -> Vec<(String, Value)> {
    let camera = info.name.as_str();
    let mut found = Vec::new();
    for zone in &info.zones {
        for label in &about.labels {
            let (key, name) = (zone_key(camera, zone, label), format!("{camera} {zone} {label}"));
            found.push((
                format!("{key}_count"),
                json!({
                    "platform": "sensor", "name": format!("{name} count"), "state_class": "measurement",
                    "state_topic": topics.zone_count(camera, zone, label),
                }),
            ));
            found.push((
                format!("{key}_occupancy"),
                json!({
                    "platform": "binary_sensor", "name": format!("{name} occupancy"), "device_class": "occupancy",
                    "state_topic": topics.zone_occupancy(camera, zone, label),
                    "payload_on": "ON", "payload_off": "OFF",
                }),
            ));
        }
    }
    for line in &info.lines {
        for direction in &line.directions {
            for label in &about.labels {
                let name = format!("{camera} {} {direction} {label} crossings", line.name);
                found.push((
                    crossings_key(camera, &line.name, direction, label),
                    json!({
                        // A reset begins another cycle of the total.
                        "platform": "sensor", "name": name, "state_class": "total_increasing",
                        "state_topic": topics.line_count(camera, &line.name, direction, label),
                    }),
                ));
            }
        }
        if about.orders.contains("counts") {
            found.push((
                region_key(camera, Region::Line(&line.name), "reset"),
                json!({
                    "platform": "button", "name": format!("{camera} {} reset crossings", line.name),
                    "command_topic": topics.command("counts"), "entity_category": "config",
                    "payload_press": json!({ "camera": camera, "line": line.name, "reset": true }).to_string(),
                }),
            ));
        }
    }
    for region in info.regions() {
        let (name, types) = match region {
            Region::Zone(name) => (name, ZONE_EVENTS.iter().map(|&name| name.to_owned()).collect()),
            Region::Line(name) => {
                let line = info.lines.iter().find(|line| line.name == name);
                (name, line.map(|line| line.directions.to_vec()).unwrap_or_default())
            }
        };
        found.push((
            region_key(camera, region, "event"),
            json!({
                "platform": "event", "name": format!("{camera} {name} event"), "event_types": types,
                "state_topic": topics.region_event(camera, region),
            }),
        ));
        if about.pictures {
            found.push((
                region_key(camera, region, "snapshot"),
                json!({
                    "platform": "image", "name": format!("{camera} {name} snapshot"), "content_type": "image/jpeg",
                    "image_topic": topics.region_picture(camera, region),
                }),
            ));
        }
    }
    found
}

/// Maps availability to Home Assistant's two values: `stopped` counts as not available.
const AVAILABLE: &str = "{{ 'online' if value == 'online' else 'offline' }}";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::publish::mqtt::LineInfo;

    #[test]
    fn every_entity_is_unique_and_reads_a_topic_of_ours() {
        let camera = CameraInfo {
            zones: vec!["gate".into()],
            lines: vec![LineInfo { name: "kerb".into(), directions: ["in".into(), "out".into()] }],
            ..CameraInfo::from("front")
        };
        let about = DeviceInfo {
            page_url: Some("http://127.0.0.1:8480".into()),
            device: "gate-1".into(),
            model: "road".into(),
            cameras: vec![camera, "rear".into()],
            labels: vec!["Car".into(), "Traffic light".into()],
            pictures: true,
            monitor: true,
            orders: ["camera", "recalibrate"].map(str::to_owned).into(),
        };
        let topics = Topics::new("lookout", &about.device);
        let message: Value = serde_json::from_slice(&payload(&about, &topics, &BTreeMap::new())).unwrap();
        let components = message["components"].as_object().unwrap();
        assert_eq!(components.len(), 2 * (2 * 2 + 4) + 4 + (2 * 2 + 2) + (2 * 2 + 2));
        assert_eq!(message["device"]["configuration_url"], "http://127.0.0.1:8480");
        let mut ids = BTreeSet::new();
        for (key, component) in components {
            let id = component["unique_id"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id}");
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{key}");
            let platform = component["platform"].as_str().unwrap();
            let topic_key = match platform {
                "button" => "command_topic",
                "image" => "image_topic",
                _ => "state_topic",
            };
            assert!(component[topic_key].as_str().unwrap().starts_with("lookout/gate-1/"), "{component}");
        }
        assert!(ids.contains("lookout_gate-1_front_Car_occupancy"));
        assert!(ids.iter().any(|id| id.starts_with("lookout_gate-1_front_Traffic_light-") && id.ends_with("_count")));
        assert_eq!(components["front_zone_gate_Car_count"]["state_topic"], "lookout/gate-1/front/zones/gate/Car");
        let event = &components["front_line_kerb_event"];
        assert_eq!(
            (&event["event_types"], &event["state_topic"]),
            (&json!(["in", "out"]), &json!("lookout/gate-1/front/lines/kerb/event"))
        );
        let crossings = &components["front_line_kerb_in_Car_crossings"];
        assert_eq!(crossings["state_topic"], "lookout/gate-1/front/lines/kerb/in/Car");
        let resets = DeviceInfo { orders: ["counts".to_owned()].into(), ..about.clone() };
        assert_eq!(platforms(&resets, &topics)["front_line_kerb_reset"], "button");
        let occupancy = &components["front_Car_occupancy"];
        assert_eq!(occupancy["state_topic"], "lookout/gate-1/front/Car/occupancy");
        let plain: Value = serde_json::from_slice(&payload(
            &DeviceInfo { monitor: false, ..about.clone() },
            &topics,
            &BTreeMap::new(),
        ))
        .unwrap();
        let missing = ["drift", "recalibrate"].map(|key| plain["components"].get(key).is_none());
        assert_eq!(missing, [true; 2], "nothing is offered that nobody does");
        let listed = |orders: &[&str]| {
            let orders = orders.iter().map(|&order| order.to_owned()).collect();
            platforms(&DeviceInfo { orders, ..about.clone() }, &topics)
        };
        let is_order = |platform: &&String| ["switch", "button"].contains(&platform.as_str());
        assert_eq!(listed(&[]).values().filter(is_order).count(), 0);
        assert_eq!(listed(&["recalibrate", "status"]).values().filter(is_order).count(), 1);
        assert_eq!(listed(&["camera"]).values().filter(is_order).count(), 2);
        assert_eq!(topic("homeassistant", "gate-1"), "homeassistant/device/lookout_gate-1/config");
        let removed = BTreeMap::from([("side_fps".to_owned(), "sensor".to_owned())]);
        let removal: Value = serde_json::from_slice(&payload(&about, &topics, &removed)).unwrap();
        assert_eq!(removal["components"]["side_fps"], json!({ "platform": "sensor" }));
        assert_eq!(platforms(&about, &topics).len(), components.len());
        assert_eq!(components["front_enabled"]["payload_off"], r#"{"camera":"front","enabled":false}"#);
    }

    #[test]
    fn the_documented_automation_reads_topics_of_the_documented_device() {
        let text = include_str!("../../../config/README.md");
        let section = text.split("### A person in a zone switches a light on").nth(1).unwrap();
        let topics = Topics::new("lookout", "porch");
        let expected =
            [topics.zone_occupancy("front", "gate", "Person"), topics.zone_occupancy("front", "gate", "Person")];
        let named = section.lines().filter_map(|line| line.trim().strip_prefix("topic: "));
        assert_eq!(named.collect::<Vec<_>>(), expected);
        let payloads = section.lines().filter_map(|line| line.trim().strip_prefix("payload: "));
        assert_eq!(payloads.collect::<Vec<_>>(), ["\"ON\"", "\"OFF\""]);
    }
}
