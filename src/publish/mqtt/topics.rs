//! Topic names of a device; see the table in [`super`].

/// The topics of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// Topics of `device`.
    pub fn new(device: &str) -> Self {
        Self { base: format!("lookout/{}", level(device)) }
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
        format!("{}/{}/detections", self.base, level(camera))
    }

    /// Number of objects of a label in sight of a camera, retained.
    pub fn count(&self, camera: &str, label: &str) -> String {
        format!("{}/{}/{}", self.base, level(camera), level(label))
    }

    /// MqttState of a camera, retained.
    pub fn state(&self, camera: &str) -> String {
        format!("{}/{}/state", self.base, level(camera))
    }

    /// A camera's rate and latency, retained.
    pub fn stats(&self, camera: &str) -> String {
        format!("{}/{}/stats", self.base, level(camera))
    }

    /// Last JPEG picture of a camera in which an object started, retained.
    pub fn picture(&self, camera: &str) -> String {
        format!("{}/{}/picture", self.base, level(camera))
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
}

/// `name` as a topic level: reserved characters become `_`.
pub fn level(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '/' | '+' | '#') || c.is_control() { '_' } else { c }).collect()
}

/// `name` as a part of an identifier: letters, digits, `_` and `-`.
pub fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_level() {
        let topics = Topics::new("gate");
        assert_eq!(topics.count("front", "Traffic light"), "lookout/gate/front/Traffic light");
        assert_eq!(topics.count("front", "a/b+c#"), "lookout/gate/front/a_b_c_");
        assert_eq!(topics.verb("lookout/gate/cmd/recalibrate"), Some("recalibrate"));
        for other in ["lookout/gate/cmd/", "lookout/gate/cmd/a/b", "lookout/other/cmd/a", "lookout/gate/status"] {
            assert_eq!(topics.verb(other), None);
        }
        assert_eq!(identifier("Traffic light"), "Traffic_light");
    }
}
