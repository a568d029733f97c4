//! Advice for a `kind` of a camera or sink that is the name of something else: a protocol, a device, a file.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_other_names_get_advice() {
        assert!(kind_hint("camera[1].kind", "RTSP").unwrap().contains("ffmpeg"));
        assert!(kind_hint("publish[0].kind", "rtsp").is_none() && kind_hint("device.log_format", "rtsp").is_none());
    }
}
