//! Hints for common mistakes: variables with one underscore, kinds by the name of a protocol, keys without their section.

use serde_json::Value as Json;

use super::layer::PREFIX;
use super::shape;

/// Begin of a variable that was probably meant to set a key.
const NEAR_PREFIX: &str = "LOOKOUT_";

/// A hint for every variable in `names` that looks like a key of the configuration, but is not read.
pub fn environment_hints(names: impl Iterator<Item = String>) -> Vec<String> {
    let schema = shape::schema();
    let mut hints: Vec<String> = names
        .filter(|name| name.starts_with(NEAR_PREFIX) && !name.starts_with(PREFIX))
        .map(|name| {
            let words: Vec<&str> = name.strip_prefix(NEAR_PREFIX).unwrap_or_default().split('_').collect();
            // A section and a key, where either may have underscores of its own.
            let split = (1..words.len()).map(|at| (words[..at].join("_"), words[at..].join("_")));
            let known = |(section, key): &(String, String)| {
                let key = format!("{}.{}", section.to_ascii_lowercase(), key.to_ascii_lowercase());
                shape::find(&schema, &key).is_ok()
            };
            match split.clone().find(known) {
                Some((section, key)) => {
                    format!("the variable {name} is not read; did you mean {PREFIX}{section}__{key}?")
                }
                None => format!("the variable {name} is not read; write {PREFIX}SECTION__KEY, with two underscores"),
            }
        })
        .collect();
    hints.sort();
    hints
}

/// Advice for a `kind` that is the name of something else.
pub fn kind_hint(key: &str, word: &str) -> Option<&'static str> {
    const CAMERAS: &[(&[&str], &str)] = &[
        (
            &["rtsp", "rtsps", "rtmp", "http", "https", "srt", "onvif", "ip", "ipcam", "stream", "network", "url"],
            "an address is read by kind = \"ffmpeg\" with input = \"rtsp://…\"",
        ),
        (
            &["usb", "uvc", "webcam", "camera", "v4l", "device", "csi"],
            "a device is read by kind = \"v4l2\" with device",
        ),
        (
            &["file", "film", "video", "mp4", "mjpeg", "folder", "images", "pictures"],
            "pictures and recordings are read by kind = \"replay\" with path, films by kind = \"ffmpeg\" with input",
        ),
        (&["demo", "test", "fake", "synthetic"], "the synthetic street is kind = \"pattern\""),
    ];
    const SINKS: &[(&[&str], &str)] = &[
        (
            &["homeassistant", "home-assistant", "hass", "ha", "broker", "mqtts"],
            "Home Assistant is served by kind = \"mqtt\"",
        ),
        (&["socket", "tcp", "pipe"], "a local socket is kind = \"unix\" with path"),
        (&["json", "log", "jsonl"], "JSON lines are written by kind = \"file\" or kind = \"stdout\""),
    ];
    let table = match key.split('[').next() {
        Some("camera") => CAMERAS,
        Some("publish") => SINKS,
        _ => return None,
    };
    let word = word.to_lowercase();
    table.iter().find(|(words, _)| words.contains(&word.as_str())).map(|(_, hint)| *hint)
}

/// The dotted keys that end with `name`, in sections of the configuration that are no lists.
pub fn keys_called(schema: &Json, name: &str) -> Vec<String> {
    let Some(sections) = schema["properties"].as_object() else { return Vec::new() };
    let has = |section: &&String| shape::find(schema, &format!("{section}.{name}")).is_ok();
    sections.keys().filter(has).map(|section| format!("{section}.{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_not_read_names_the_one_that_is() {
        let names = ["LOOKOUT_DETECTOR_THREADS", "LOOKOUT_WEB_TOKEN_FILE", "LOOKOUT_X", "LOOKOUT__WEB__LISTEN", "HOME"];
        let hints = environment_hints(names.into_iter().map(str::to_owned));
        assert_eq!(hints.len(), 3);
        assert!(hints[0].ends_with("did you mean LOOKOUT__DETECTOR__THREADS?"), "{hints:?}");
        assert!(hints[1].ends_with("did you mean LOOKOUT__WEB__TOKEN_FILE?"), "{hints:?}");
        assert!(hints[2].contains("LOOKOUT__SECTION__KEY"), "{hints:?}");
    }

    #[test]
    fn kinds_and_keys_of_other_names_get_advice() {
        assert!(kind_hint("camera[1].kind", "RTSP").unwrap().contains("ffmpeg"));
        assert!(kind_hint("publish[0].kind", "rtsp").is_none() && kind_hint("device.log_format", "rtsp").is_none());
        assert_eq!(keys_called(&shape::schema(), "log_level"), ["device.log_level"]);
        assert!(keys_called(&shape::schema(), "enabled").len() > 2);
    }
}
