//! Check that all names have identifiers of their own in Home Assistant.

use std::collections::BTreeMap;

use super::device_info::CameraInfo;
use super::discovery;
use super::topics::{Region, identifier};
use crate::error::{Error, Kind, Result};

/// Refuses names of cameras, zones, lines and labels that Home Assistant's identifiers cannot tell apart.
///
/// # Errors
///
/// [`Kind::Config`] with both names.
pub fn check_names(cameras: &[CameraInfo], labels: &[String]) -> Result<()> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut check = |key: String, name: String| match known.insert(key, name.clone()) {
        Some(other) if other != name => {
            let text = format!("MQTT cannot tell {other} and {name} apart: their identifiers are the same; rename one");
            Err(Error::new(Kind::Config, text))
        }
        _ => Ok(()),
    };
    for camera in cameras {
        let (key, of_camera) = (identifier(&camera.name), format!("camera \"{}\"", camera.name));
        for entity in discovery::CAMERA_ENTITIES {
            check(format!("{key}_{entity}"), of_camera.clone())?;
        }
        for label in labels {
            let name = format!("{of_camera} with label \"{label}\"");
            check(discovery::label_key(&camera.name, label, "count"), name.clone())?;
            check(discovery::label_key(&camera.name, label, "occupancy"), name)?;
        }
        for zone in &camera.zones {
            let name = format!("{of_camera} with zone \"{zone}\"");
            for entity in discovery::REGION_ENTITIES {
                check(discovery::region_key(&camera.name, Region::Zone(zone), entity), name.clone())?;
            }
            for label in labels {
                let (name, key) =
                    (format!("{name} and label \"{label}\""), discovery::zone_key(&camera.name, zone, label));
                check(format!("{key}_count"), name.clone())?;
                check(format!("{key}_occupancy"), name)?;
            }
        }
        for line in &camera.lines {
            let name = format!("{of_camera} with line \"{}\"", line.name);
            for entity in discovery::REGION_ENTITIES.iter().chain(&["reset"]) {
                check(discovery::region_key(&camera.name, Region::Line(&line.name), entity), name.clone())?;
            }
            for direction in &line.directions {
                for label in labels {
                    let key = discovery::crossings_key(&camera.name, &line.name, direction, label);
                    check(key, format!("{name}, direction \"{direction}\" and label \"{label}\""))?;
                }
            }
        }
    }
    Ok(())
}
