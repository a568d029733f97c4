//! Advice for names that other programs use: a `kind` that is a protocol, a device or a file; keys of a camera's address.

/// Advice for a key called `name` in the table `key` that other programs have.
pub fn key_hint(key: &str, name: &str) -> Option<&'static str> {
    const ADDRESS: &[&str] =
        &["url", "uri", "address", "source", "stream", "rtsp", "rtsp_url", "stream_url", "host", "ip"];
    const LOGIN: &[&str] = &["user", "username", "password", "pass", "login", "port"];
    let name = name.to_lowercase();
    let is_among = |names: &[&str]| names.contains(&name.as_str());
    match key.split('[').next() {
        Some("camera") if is_among(ADDRESS) => Some("an address is input = \"rtsp://HOST/PATH\" of kind = \"ffmpeg\""),
        Some("camera") if is_among(LOGIN) => {
            Some("login and port belong to the address in input: USER:PASSWORD@HOST:PORT behind rtsp://")
        }
        Some("publish") if name == "password" => Some("password_file names a file that holds the password"),
        _ => None,
    }
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
            "pictures and recordings are read by kind = \"replay\" with path, videos by kind = \"ffmpeg\" with input",
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
    fn keys_of_other_programs_get_advice() {
        assert!(key_hint("camera[0]", "url").unwrap().contains("input"));
        assert!(key_hint("camera[0]", "Password").unwrap().contains("USER:PASSWORD@HOST"));
        assert!(key_hint("publish[0]", "password").unwrap().contains("password_file"));
        assert!(key_hint("web", "password").is_none() && key_hint("camera[0]", "rate").is_none());
    }

    #[test]
    fn kinds_of_other_names_get_advice() {
        assert!(kind_hint("camera[1].kind", "RTSP").unwrap().contains("ffmpeg"));
        assert!(kind_hint("publish[0].kind", "rtsp").is_none() && kind_hint("device.log_format", "rtsp").is_none());
    }
}
