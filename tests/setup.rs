//! `lookout setup`: by options, at a terminal, with a stream, and with what it must refuse.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lookout::config::{self, CameraKind, Inputs, ModelSource, Settings, SinkKind};
use lookout::frame::Picture;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A folder to set up in, with a small model.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/r18.safetensors");
        std::fs::create_dir_all(site.path("state/lookout")).unwrap();
        let imported = site.lookout(&[
            "import",
            golden,
            "--min-size",
            "64",
            "--max-size",
            "96",
            "--out",
            "state/lookout/small.safetensors",
        ]);
        assert!(imported.status.success(), "{}", text(&imported.stderr));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(arguments).current_dir(self.folder.path()).env_clear().env("PATH", path);
        command.env("XDG_STATE_HOME", self.path("state")).env("LOOKOUT__DETECTOR__THREADS", "1").stdin(Stdio::null());
        command
    }

    fn lookout(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `setup` into the folder `etc`.
    fn setup(&self, arguments: &[&str]) -> Output {
        self.lookout(&[&["setup", "--config-dir", "etc"], arguments].concat())
    }

    fn settings(&self) -> Settings {
        config::load(&Inputs { file: Some(self.path("etc/lookout.toml")), ..Inputs::default() }).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every answer as an option.
const ANSWERS: [&str; 14] = [
    "--camera",
    "pattern",
    "--name",
    "gate",
    "--picture",
    "seen.jpg",
    "--model",
    "state/lookout/small.safetensors",
    "--broker",
    "none",
    "--page",
    "no",
    "--start",
    "no",
];

/// [`ANSWERS`] with another value of `option`.
fn answers_with<'a>(option: &str, value: &'a str) -> Vec<&'a str> {
    let at = ANSWERS.iter().position(|answer| *answer == option).unwrap();
    let mut answers = ANSWERS.to_vec();
    answers[at + 1] = value;
    answers
}

#[test]
fn options_alone_make_a_configuration_that_is_never_replaced_unasked() {
    let site = Site::new();
    std::fs::write(site.path("secret"), "correct horse").unwrap();
    let broker = ["--broker-user", "camera", "--broker-password-file", "secret"];
    let answers = [answers_with("--broker", "127.0.0.1:9"), broker.to_vec()].concat();
    let output = site.setup(&answers);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    // Size and rate of the camera, and the rate of every model.
    assert!(stdout.contains("The camera delivers 640×360") && stdout.contains("pictures a second"), "{stdout}");
    let timed = stdout.lines().filter(|line| line.contains(" frames a second at ")).count();
    assert_eq!(timed, 1 + usize::from(cfg!(feature = "demo")), "{stdout}");
    let picture = Picture::open(site.path("seen.jpg")).unwrap();
    assert_eq!((picture.width, picture.height), (640, 360));

    let settings = site.settings();
    assert_eq!((settings.cameras.len(), settings.cameras[0].name.as_str()), (1, "gate"));
    assert!(matches!(settings.cameras[0].kind, CameraKind::Pattern { .. }));
    let ModelSource::Checkpoint(model) = &settings.model.source else { panic!("{:?}", settings.model.source) };
    assert_eq!(*model, site.path("state/lookout/small.safetensors").canonicalize().unwrap());
    let SinkKind::Mqtt(mqtt) = &settings.sinks[0].kind else { panic!("{:?}", settings.sinks) };
    assert_eq!((mqtt.host.as_str(), mqtt.port), ("127.0.0.1", 9));
    assert!(!settings.web.enabled);
    // The broker was tried with the files that were written.
    assert!(stdout.contains("Broker 127.0.0.1:9: "), "{stdout}");
    // The password stays in its file.
    for file in ["lookout.toml", "conf.d/setup-broker.toml", "conf.d/setup-camera.toml", "conf.d/setup-model.toml"] {
        assert!(!std::fs::read_to_string(site.path(&format!("etc/{file}"))).unwrap().contains("horse"), "{file}");
    }
    let checked = site.lookout(&["check-config", "etc/lookout.toml"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    // The same answers change nothing; others are refused as a whole, but for --force.
    let camera = site.path("etc/conf.d/setup-camera.toml");
    let before = std::fs::read_to_string(&camera).unwrap();
    let again = answers_with("--picture", "none");
    assert!(again.windows(2).any(|pair| pair == ["--broker", "none"]));
    let other: Vec<&str> = again.iter().map(|answer| if *answer == "gate" { "yard" } else { answer }).collect();
    let refused = site.setup(&other);
    assert_eq!(refused.status.code(), Some(73), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("setup-camera.toml exists; --force"), "{}", text(&refused.stderr));
    assert_eq!(std::fs::read_to_string(&camera).unwrap(), before);
    let forced = site.setup(&[other.as_slice(), &["--force"]].concat());
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    assert!(std::fs::read_to_string(&camera).unwrap().contains("yard"));
    // The broker of the earlier set-up is gone with the answer "none".
    assert!(!site.settings().sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Mqtt(_))));
}

#[test]
fn wrong_and_missing_answers_are_refused_before_anything_is_written() {
    let site = Site::new();
    let says = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = site.setup(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        words.iter().for_each(|word| assert!(stderr.contains(word), "{arguments:?}: {stderr}"));
        assert!(!stderr.contains("s3cret"), "{stderr}");
        assert!(!site.path("etc").exists() && !site.path("seen.jpg").exists(), "{arguments:?}");
    };
    // Without a terminal one error names every missing option.
    says(&[], 64, &["no terminal", "--camera, --name, --picture, --model, --broker, --page, --start", "--yes"]);
    says(&ANSWERS[2..], 64, &["give --camera, or --yes"]);
    // A password is no argument.
    says(&answers_with("--camera", "rtsp://viewer:s3cret@127.0.0.1:9/"), 64, &["--camera-file"]);
    says(&answers_with("--camera", "viewer:s3cret@127.0.0.1"), 64, &["rtsp://"]);
    says(&answers_with("--camera", "/dev/video99"), 66, &["camera gate", "/dev/video99"]);
    says(&answers_with("--model", "nothing.lookout"), 66, &["nothing.lookout"]);
    says(&answers_with("--broker", "mqtt://broker"), 64, &["HOST:PORT"]);
    says(&[ANSWERS.as_slice(), &["--size", "640x480"]].concat(), 64, &["--size is for V4L2"]);
    says(&[ANSWERS.as_slice(), &["--broker-user", "x"]].concat(), 64, &["--broker none"]);
    says(&answers_with("--page", "perhaps"), 64, &["neither yes nor no"]);
    says(&answers_with("--start", "yes"), 64, &["/etc/lookout/lookout.toml alone"]);
}

#[test]
fn what_check_config_refuses_is_not_written() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("etc/conf.d")).unwrap();
    std::fs::write(site.path("etc/conf.d/own.toml"), "[track]\npatiense = \"3s\"\n").unwrap();
    let output = site.setup(&ANSWERS);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("own.toml:2"), "{}", text(&output.stderr));
    // A later file that takes the camera away is named, too.
    std::fs::write(site.path("etc/conf.d/own.toml"), "").unwrap();
    std::fs::write(site.path("etc/conf.d/z.toml"), "[[camera]]\nname = \"z\"\nkind = \"pattern\"\n").unwrap();
    let output = site.setup(&ANSWERS);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("setup-camera.toml"), "{}", text(&output.stderr));
    let files: Vec<_> =
        std::fs::read_dir(site.path("etc/conf.d")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}

/// A server of Motion JPEG on a free port, until it is dropped.
struct Stream {
    address: String,
    is_ended: Arc<AtomicBool>,
}

impl Stream {
    /// Serves pictures of 320×240, ten a second, to any client.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://127.0.0.1:{}/stream", listener.local_addr().unwrap().port());
        let is_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_ended);
        let jpeg = Picture::filled(320, 240, [90, 120, 150]).to_jpeg().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((mut client, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                let _ = client.read(&mut [0; 4096]);
                let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=b\r\n\r\n";
                let _ = client.write_all(head.as_bytes());
                while !ended.load(Ordering::Relaxed) {
                    let part = format!("--b\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
                    if client.write_all(&[part.as_bytes(), &jpeg, b"\r\n"].concat()).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        Self { address, is_ended }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_address_with_a_password_comes_from_a_file() {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        return eprintln!("skipped: ffmpeg is not installed");
    }
    let (site, stream) = (Site::new(), Stream::start());
    let address = stream.address.replace("http://", "http://viewer:s3cret-9@");
    std::fs::write(site.path("address"), format!("{address}\n")).unwrap();
    let output = site.setup(&[["--camera-file", "address"].as_slice(), &ANSWERS[2..]].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("The camera delivers 320×240"), "{stdout}");
    assert!(!stdout.contains("s3cret") && !stderr.contains("s3cret"), "{stdout}{stderr}");
    let CameraKind::Ffmpeg { input } = &site.settings().cameras[0].kind else { panic!("no address") };
    assert_eq!(*input, address);
    assert_eq!(mode(&site.path("etc/conf.d/setup-camera.toml")), 0o600);
    assert_eq!(mode(&site.path("etc/conf.d/setup-model.toml")), 0o644);
}

/// A program at a terminal of its own.
struct Terminal {
    child: std::process::Child,
    keyboard: std::fs::File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let open = || std::fs::File::options().read(true).write(true).open(&name).unwrap();
        let child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
        // The command holds ends of the terminal, which must close with the child.
        drop(command);
        let keyboard = std::fs::File::from(controller);
        let (mut reader, screen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(String::new())));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = reader.read(&mut bytes)
                && count > 0
            {
                shown.lock().unwrap().push_str(&text(&bytes[..count]));
            }
        });
        Self { child, keyboard, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits for `question` behind all that was answered, and types `answer`.
    fn answer(&mut self, from: &mut usize, question: &str, answer: &str) {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(at) = screen[*from..].find(question) {
                *from += at + question.len();
                break;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "no question {question:?}: {screen}");
            assert!(begin.elapsed() < Duration::from_secs(300), "no question {question:?}: {screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.keyboard.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
}

#[test]
fn at_a_terminal_questions_are_asked_and_the_password_is_not_shown() {
    let site = Site::new();
    let mut terminal = Terminal::start(site.command(&["setup", "--config-dir", "etc"]));
    let mut from = 0;
    terminal.answer(&mut from, "Camera: ", "no/such/folder");
    terminal.answer(&mut from, "Name of the camera [front]: ", "");
    // One that cannot be used is asked for again.
    terminal.answer(&mut from, "Camera: ", "pattern");
    terminal.answer(&mut from, "Name of the camera [front]: ", "street");
    terminal.answer(&mut from, "File of the test picture, or none [lookout-setup.jpg]: ", "");
    let small = site.path("state/lookout/small.safetensors").display().to_string();
    terminal.answer(&mut from, &format!("Model: its number or its path [{small}]: "), "");
    terminal.answer(&mut from, "MQTT broker: HOST or HOST:PORT, or none [none]: ", "not a host");
    terminal.answer(&mut from, "or none [none]: ", "127.0.0.1:9");
    terminal.answer(&mut from, "User at the broker: ", "camera");
    terminal.answer(&mut from, "Password of camera, not shown; empty for none: ", "tr0ub4dor");
    terminal.answer(&mut from, "on this machine alone? [yes]: ", "maybe");
    terminal.answer(&mut from, "[yes]: ", "n");
    let status = terminal.child.wait().unwrap();
    let screen = terminal.screen();
    assert!(status.success(), "{screen}");
    assert!(!screen.contains("tr0ub4dor"), "{screen}");

    let password = site.path("etc/mqtt-password");
    assert_eq!((std::fs::read_to_string(&password).unwrap().as_str(), mode(&password)), ("tr0ub4dor", 0o600));
    let settings = site.settings();
    let SinkKind::Mqtt(mqtt) = &settings.sinks[0].kind else { panic!("{:?}", settings.sinks) };
    assert_eq!((mqtt.username.as_deref(), mqtt.password_file.as_deref()), (Some("camera"), Some(password.as_path())));
    assert_eq!((settings.cameras[0].name.as_str(), settings.web.enabled), ("street", false));
    assert!(site.path("lookout-setup.jpg").is_file());
}

#[test]
fn proposals_are_taken_for_what_no_option_answers() {
    let site = Site::new();
    let output = site.setup(&["--yes", "--camera", "pattern"]);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    // Its own model is preferred to the built-in one, and without an answer there is no broker.
    let settings = site.settings();
    assert!(matches!(&settings.model.source, ModelSource::Checkpoint(path) if path.ends_with("small.safetensors")));
    assert!(!settings.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Mqtt(_))) && settings.web.enabled);
    assert!(stdout.contains("lookout run --config "), "{stdout}");
    // Without a camera there is nothing to propose on a machine that has none.
    if std::fs::read_dir("/dev")
        .unwrap()
        .flatten()
        .all(|entry| !entry.file_name().to_string_lossy().starts_with("video"))
    {
        let output = site.setup(&["--yes", "--force"]);
        assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("give --camera"), "{}", text(&output.stderr));
    }
}
