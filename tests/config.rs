//! The configuration from outside. The documented file is the defaults, and layers override in their order. Every
//! mistake is refused with file, line, key and the right form.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lookout::config::document::Document;
use lookout::config::{self, CameraKind, ConfigProblem, Inputs, ModelSource, Settings, SinkKind, defaults};
use lookout::message::MessageKind;

#[test]
fn cameras_have_names_of_any_script() {
    for name in ["front", "Haustür 2", "الباب", "行人", "🚗", "cafe\u{301}", "cmd", "$SYS", "+", "#"] {
        let file = File::new(&format!("[[camera]]\nname = \"{name}\"\nkind = \"pattern\"\n"));
        assert_eq!(file.load().unwrap().cameras[0].name, name);
    }
}

/// A configuration file in a folder of its own.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lookout.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("lookout.toml")
    }

    fn inputs(&self) -> Inputs {
        Inputs { file: Some(self.path()), ..Inputs::default() }
    }

    fn load(&self) -> Result<Settings, Vec<ConfigProblem>> {
        config::load(&self.inputs()).map_err(|refusal| refusal.0)
    }
}

fn check_config(path: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.args(["check-config", "--offline"]).arg(path).env_clear().output().unwrap()
}

fn documented() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/lookout.toml")).unwrap()
}

#[test]
fn the_documented_file_is_exactly_the_defaults() {
    assert_eq!(toml::from_str::<Document>(&documented()).unwrap(), defaults::document());
    let empty = File::new("").load().unwrap();
    assert_eq!(File::new(&documented()).load().unwrap(), empty);
    assert_eq!(empty.sinks.len(), 1, "nobody named means stdout");
    assert_eq!(empty.sinks[0].messages, [MessageKind::Report]);
    assert_eq!(empty.model.source, ModelSource::None);
}

#[test]
fn every_key_is_documented() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(|value| value.as_object()) {
            found.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|below| keys(below, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|below| keys(below, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    keys(&schemars::schema_for!(Document).to_value(), &mut found);
    assert!(found.len() > 50);
    let text = documented();
    for key in found {
        let stands = text.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.strip_prefix(&key).is_some_and(|rest| rest.starts_with([' ', ']']))
                || line.contains(&format!(".{key}]"))
                || line.split(['{', ',']).skip(1).any(|item| item.trim_start().starts_with(&format!("{key} = ")))
        });
        assert!(stands, "{key} is not in config/lookout.toml");
    }
}

#[test]
fn later_layers_win() {
    let file = File::new("[detector]\nthreads = 1\nproposals = 1\nscore = 0.1\nmax_detections = 1\n");
    let drop_ins = file.folder.path().join("conf.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("20.toml"), "[detector]\nproposals = 3\n").unwrap();
    std::fs::write(drop_ins.join("10.toml"), "[detector]\nproposals = 2\nscore = 0.2\nmax_detections = 2\n").unwrap();
    std::fs::write(drop_ins.join("99.bak"), "nonsense").unwrap();
    let inputs = Inputs {
        environment: vec![
            ("LOOKOUT__DETECTOR__SCORE".into(), "0.3".into()),
            ("LOOKOUT__DETECTOR__MAX_DETECTIONS".into(), "3".into()),
            ("LOOKOUT_SHARED".into(), "is not ours".into()),
        ],
        set: vec!["detector.max_detections=4".into()],
        ..file.inputs()
    };
    let detector = config::load(&inputs).unwrap().detector;
    assert_eq!(detector.threads, Some(1));
    assert_eq!(detector.proposals, Some(3));
    assert_eq!(detector.score, Some(0.3));
    assert_eq!(detector.max_detections, Some(4));
}

#[test]
fn environment_and_arguments_reach_into_lists() {
    let file = File::new("[[camera]]\nname = \"A-1\"\nkind = \"replay\"\npath = \"x\"\n");
    let inputs = Inputs {
        environment: vec![("LOOKOUT__CAMERA__0__PATH".into(), "1234".into())],
        set: vec!["camera[0].rate=0".into(), "camera[0].loop=true".into(), "device.id=007".into()],
        ..file.inputs()
    };
    let settings = config::load(&inputs).unwrap();
    let expected = CameraKind::Replay { path: "1234".into(), rate: None, repeat: true };
    assert_eq!(settings.cameras[0].kind, expected);
    assert_eq!(settings.cameras[0].name, "A-1");
    assert_eq!(settings.device.id.as_deref(), Some("007"), "text stays text, whatever it looks like");

    let empty = File::new("");
    let inputs = Inputs {
        set: vec![
            r#"camera=[{ name = "a", kind = "replay", path = "p" }]"#.into(),
            r#"publish=[{kind="stdout"}]"#.into(),
        ],
        ..empty.inputs()
    };
    let settings = config::load(&inputs).unwrap();
    assert_eq!(settings.cameras.len(), 1);
    assert_eq!(settings.sinks[0].kind, SinkKind::Stdout);
}

#[test]
fn wrong_settings_name_where_they_came_from() {
    let refuse = |environment: Option<(&str, &str)>, set: &str| {
        let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let set = Some(set.to_owned()).filter(|set| !set.is_empty()).into_iter().collect();
        config::load(&Inputs { environment, set, ..File::new("").inputs() }).unwrap_err().to_string()
    };
    let text = refuse(Some(("LOOKOUT__DETECTOR__THREAD", "2")), "");
    assert_eq!(
        text,
        "environment LOOKOUT__DETECTOR__THREAD: detector.thread: there is no such key; did you mean \"threads\"?"
    );
    let text = refuse(None, "detector.threads=two");
    assert_eq!(text, "--set: detector.threads: a whole number is expected, this is text");
    assert!(refuse(None, "detector.threads").contains("a value is missing"));
    assert!(refuse(None, "supervision.grace_period=10").starts_with("--set: supervision.grace_period: \"10\" is no"));
}

/// Configurations broken one way each, with what the message must say: `line: key: …`.
const BROKEN: &[(&str, &str)] = &[
    ("[detector]\nthread = 2", ":2: detector.thread: there is no such key; did you mean \"threads\"?"),
    ("\n[detecter]\nthreads = 2", ":2: detecter: there is no such key; did you mean \"detector\"?"),
    ("[detector]\nthreads = \"two\"", ":2: detector.threads: a whole number is expected, this is text"),
    ("[detector]\nthreads = 1.5", ":2: detector.threads: a whole number is expected, this is a number"),
    ("[detector]\nthreads = -1", ":2: detector.threads: -1 is out of range: 0 to 1024"),
    ("[detector]\n\nscore = 1.5", ":3: detector.score: 1.5 is out of range: 0 to 1"),
    ("[detector]\nscore = nan", ":2: detector.score: NaN is out of range: 0 to 1"),
    ("[detector]\nkernel = \"avx3\"", ":2: detector.kernel: \"avx3\" is no kernel"),
    ("[device]\nlog_format = \"jsn\"", ":2: device.log_format: \"jsn\" is not one of"),
    ("[device]\nlog_level = \"inof\"", ":2: device.log_level: \"inof\" is no log level"),
    ("device = 3", ":1: device: a table is expected, this is a whole number"),
    ("[detector\nthreads = 2", ":1: not TOML"),
    ("[detector]\nthreads = 1\nthreads = 2", ":3: not TOML"),
    ("[model]\nartifact = \"a\"\ncheckpoint = \"b\"", ":2: model.artifact: an artifact"),
    ("[model]\ncalibration = \"live\"", ":2: model.calibration: there is nothing to calibrate"),
    ("[camera]\nname = \"a\"", ":1: camera: there may be several: write [[camera]]"),
    ("[[camera]]\nname = \"a\"\nkind = \"replay\"", ":1: camera[0]: path is missing"),
    ("[[camera]]\nname = \"a\"\nkind = \"reply\"", ":3: camera[0].kind: \"reply\" is not one of"),
    ("[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\ndevice = \"y\"", ":5: camera[0].device: is for kind"),
    ("[[camera]]\nkind = \"replay\"\npath = \"x\"", ":1: camera[0]: name is missing"),
    ("[[camera]]\nname = \"a/b\"\nkind = \"replay\"\npath = \"x\"", ":2: camera[0].name: \"a/b\" is no name"),
    ("[[camera]]\nname = \"a \"\nkind = \"replay\"\npath = \"x\"", ":2: camera[0].name: \"a \" is no name"),
    ("[[camera]]\nname = \"..\"\nkind = \"replay\"\npath = \"x\"", ":2: camera[0].name: \"..\" is no name"),
    (
        "[[camera]]\nname = \"a\u{200b}\"\nkind = \"replay\"\npath = \"x\"",
        ":2: camera[0].name: \"a\\u{200b}\" is no name",
    ),
    ("[[camera]]\nname = \"a\\u0000\"\nkind = \"replay\"\npath = \"x\"", ":2: camera[0].name: \"a\\0\" is no name"),
    ("[device]\nid = \"gaté\"", ":2: device.id: \"gaté\" is no name"),
    (
        "[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\ndiscovery = \"ha/#\"",
        ":4: publish[0].discovery: \"ha/#\" cannot begin",
    ),
    ("[[publish]]\nkind = \"mqtt\"\nhost = \"mqtt://h\"", ":3: publish[0].host: is no host name"),
    (
        "[[camera]]\nname = \"a\"\nkind = \"ffmpeg\"\nurl = \"rtsp://h/s\"",
        ":4: camera[0].url: there is no such key; an address",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"v4l2\"\ndevice = \"x\"\nformat = \"MJPEG\"",
        ":5: camera[0].format: \"MJPEG\" cannot be read",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\n[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"",
        ":6: camera[1].name: \"a\" is already the name of camera[0]",
    ),
    ("[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\nrate = -1", ":5: camera[0].rate: -1 is out of range"),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\nmax_pixels = 0",
        ":5: camera[0].max_pixels: 0 is out of range",
    ),
    ("[[camera]]\nname = \"a\"\nkind = \"pattern\"\nmax_pixels = 9", ":4: camera[0].max_pixels: is for kind"),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\nrotate = 45",
        ":5: camera[0].rotate: 45 is not one of",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\nmasks = [[[0.0, 0.0], [1.0, 1.0]]]",
        ":5: camera[0].masks[0]: 2 corners; a polygon has at least 3",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nlines = { gate = [[0.0, 0.0]] }",
        ":4: camera[0].lines.gate: 1 points; a line has 2",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nlines = { gate = [[0.0, 0.0], [0.0, 1.5]] }",
        ":4: camera[0].lines.gate: a point lies outside the picture",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nlines = { gate = { points = [[0.0, 0.0], [0.0, 1.0]], left = \"right\" } }",
        ":4: camera[0].lines.gate: left and right are both called",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nzones = { gate = { loitering = \"5s\" } }",
        ":4: camera[0].zones.gate: polygon is missing",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nzones = { gate = { polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], loitering = \"5\" } }",
        ":4: camera[0].zones.gate.loitering: \"5\" is no duration",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nzones = { gate = { polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], crowds = 5 } }",
        ":4: camera[0].zones.gate.crowds: there is no such key; did you mean \"crowd\"?",
    ),
    ("[[camera]]\nname = \"a\"\nkind = \"pattern\"\ninertia = 0", ":4: camera[0].inertia: 0 is out of range"),
    (
        "[[camera]]\nname = \"a\"\nkind = \"pattern\"\nlines = { gate = [[0.0, 0.0], [1.0, 1.0]] }\n[track]\nenabled = false",
        ":4: camera[0].lines: needs tracked objects",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\ninclude = [[[0.0, 0.0], [1.5, 1.0], [0.0, 1.0]]]",
        ":5: camera[0].include[0]: a corner lies outside the picture",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\n[camera.limits.Car]\nmin_scroe = 0.5",
        ":6: camera[0].limits.Car.min_scroe: there is no such key; did you mean \"min_score\"?",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\n[camera.limits.Car]\nmin_area = 0.5\nmax_area = 0.1",
        ":5: camera[0].limits.Car: min_area = 0.5 is above max_area = 0.1",
    ),
    (
        "[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\nmotion_interval = \"0s\"",
        ":5: camera[0].motion_interval: \"0s\" is no duration",
    ),
    ("[[publish]]\nkind = \"mqtt\"", ":1: publish[0]: host is missing"),
    (
        "[[publish]]\nkind = \"stdout\"\nmessages = [\"reports\"]",
        ":3: publish[0].messages[0]: \"reports\" is not one of",
    ),
    (
        "[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\norders = [\"camera\", \"recalibrat\"]",
        ":4: publish[0].orders[1]: \"recalibrat\" is not one of",
    ),
    (
        "[[publish]]\nkind = \"unix\"\npath = \"s\"\nmode = \"660\"\n[[publish]]\nkind = \"unix\"\npath = \"t\"\nmode = \"0770\"",
        ":8: publish[1].mode: \"0770\" is no mode of a socket",
    ),
    ("[[publish]]\nkind = \"stdout\"\norders = []", ":3: publish[0].orders: is for kind \"mqtt\"; this is \"stdout\""),
    ("[supervision]\ngrace_period = \"soon\"", ":2: supervision.grace_period: \"soon\" is no duration"),
    ("[supervision]\ngrace_period = 10", ":2: supervision.grace_period: text in quotes is expected"),
    (
        "[web]\nenabled = true\nlisten = \"0.0.0.0:8480\"\ntoken_file = \"\"",
        ":3: web.listen: \"0.0.0.0:8480\" is not a loopback address",
    ),
    ("[web]\npublic_url = \"home.example\"", ":2: web.public_url: \"home.example\" is no address"),
    ("[web]\npublic_url = \"https://u:p@home.example\"", ":2: web.public_url: "),
    (
        "[web]\nenabled = true\npublic_url = \"https://home.example\"",
        ":3: web.public_url: a page that others reach needs web.token_file",
    ),
    ("[web]\ntrusted_proxies = [\"10.0.0.0/33\"]", ":2: web.trusted_proxies[0]: \"10.0.0.0/33\" is no address"),
    ("[web]\nembed_origins = [\"https://ha.example/x\"]", ":2: web.embed_origins[0]: "),
    ("[web]\nlisten = \"localhost\"", ":2: web.listen: \"localhost\" is no address and port"),
    ("[monitor]\nrecalibrate = \"often\"", ":2: monitor.recalibrate: \"often\" is neither"),
    ("[monitor.thresholds]\nraise = 1.0\nclear = 2.0", ":3: monitor.thresholds.clear: 2 is above raise"),
    ("[monitor]\nthresholds = { rise = 1.0 }", ":2: monitor.thresholds.rise: there is no such key"),
];

#[test]
fn every_broken_configuration_is_refused_where_it_is_broken() {
    for (text, expected) in BROKEN {
        let file = File::new(text);
        let problems = file.load().expect_err(text);
        let found = problems.iter().map(ConfigProblem::to_string).collect::<Vec<_>>().join("\n");
        let expected = format!("{}{expected}", file.path().display());
        assert!(found.contains(&expected), "{text}\nsaid: {found}\nexpected: {expected}");
    }
}

#[test]
fn the_program_says_so_on_one_line_and_exits_78() {
    for (text, expected) in BROKEN {
        let file = File::new(text);
        let output = check_config(&file.path());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}\n{stderr}");
        assert!(stderr.contains(expected), "{text}\n{stderr}");
        assert!(stderr.lines().all(|line| line.starts_with("lookout: ")), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_program_accepts_what_is_right() {
    let output = check_config(File::new(&documented()).path().as_path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty() && output.stdout.is_empty());
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let output = check_config(Path::new("/nonexistent/lookout.toml"));
    assert_eq!(output.status.code(), Some(78));
    let file = File::new("");
    std::fs::write(file.path(), b"[device]\nid = \"\xff\"\n").unwrap();
    assert_eq!(check_config(&file.path()).status.code(), Some(78));
    assert_eq!(check_config(file.folder.path()).status.code(), Some(78), "a folder is no file");
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let kind = CameraKind::Ffmpeg { input: "rtsp://user:secret@camera/".into() };
    assert!(!format!("{kind:?}").contains("secret"));
}

#[test]
fn what_is_in_force_is_shown_with_its_origin_and_without_secrets() {
    let file = File::new("[detector]\nthreads = 3\n[[camera]]\nname = \"a\"\nkind = \"replay\"\npath = \"x\"\n");
    let output = Command::new(env!("CARGO_BIN_EXE_lookout"))
        .args(["config", "show", "--json", "--set", "device.id=gate", "--config"])
        .arg(file.path())
        .env_clear()
        .env("LOOKOUT__CAMERA__0__PATH", "rtsp://me:secret@host/x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let find = |key: &str| shown["keys"].as_array().unwrap().iter().find(|shown| shown["key"] == key).unwrap().clone();
    let place = file.path().display().to_string();
    for (key, value, origin) in [
        ("detector.threads", serde_json::json!(3), format!("{place}:2")),
        ("device.id", serde_json::json!("gate"), "--set".to_owned()),
        ("camera[0].path", serde_json::json!("rtsp://***@host/x"), "environment LOOKOUT__CAMERA__0__PATH".to_owned()),
        ("monitor.share", serde_json::json!(0.1), "built-in".to_owned()),
    ] {
        assert_eq!((&find(key)["value"], find(key)["origin"].as_str()), (&value, Some(origin.as_str())), "{key}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    let output =
        command.args(["config", "show", "--origin", "--config"]).arg(file.path()).env_clear().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("detector.threads = 3 ") && line.ends_with("lookout.toml:2")),
        "{text}"
    );
}

#[test]
fn the_schemas_are_what_the_program_goes_by() {
    let print = |of: &str| -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_lookout")).args(["schema", of]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert!(print("config")["properties"]["camera"]["items"]["properties"]["motion_gate"].is_object());
    let message = print("message").to_string();
    for word in ["lookout/1", "captured_monotonic_ns", "drift.raised", "uptime_s"] {
        assert!(message.contains(word), "{word}");
    }
}
