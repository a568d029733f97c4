//! The built program as a service: a narrow network on synthetic pictures, with pipes and signals.

#[cfg(feature = "demo")]
mod demo;
mod outputs;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A folder with a model, pictures and a configuration.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(pictures: u32, camera: &str) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/r18.safetensors");
        let imported = program()
            .args(["import", golden, "--min-size", "64", "--max-size", "96", "--out"])
            .arg(site.path("model.safetensors"))
            .output()
            .unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        std::fs::create_dir(site.path("pictures")).unwrap();
        for index in 0..pictures {
            let picture =
                image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, index as u8]));
            picture.save(site.path(&format!("pictures/{index:03}.png"))).unwrap();
        }
        let text = format!(
            "[model]\ncheckpoint = {:?}\n[detector]\nthreads = 1\n[[camera]]\nname = \"front\"\nkind = \"replay\"\npath = {:?}\n{camera}\n",
            site.path("model.safetensors"),
            site.path("pictures"),
        );
        std::fs::write(site.path("lookout.toml"), text).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self) -> Command {
        let mut command = program();
        command.arg("run").arg("--config").arg(self.path("lookout.toml")).env("RUNTIME_DIRECTORY", self.path("run"));
        command
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code of a child that ends within `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("still running after {limit:?}");
}

/// A command that may start no thread, if there is a way to make one here. Root is exempt from the limit, so root becomes
/// another user.
fn without_threads() -> Option<Command> {
    let mut command = Command::new("prlimit");
    command.args(["--nproc=1", "--"]);
    if rustix::process::geteuid().is_root() {
        command.args(["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"]);
    }
    command.arg(env!("CARGO_BIN_EXE_lookout")).stdin(Stdio::null());
    let mut probe = Command::new(command.get_program());
    let probed = probe.args(command.get_args()).arg("--version").stdin(Stdio::null()).output();
    probed.is_ok_and(|output| output.status.success()).then_some(command)
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever runs the tests must see what was skipped")]
fn a_system_that_starts_no_thread_is_one_clear_error() {
    let Some(mut command) = without_threads() else {
        eprintln!("skipped: prlimit or setpriv is missing, or another user may not run the program");
        return;
    };
    let output = command.args(["run", "--demo"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("the system starts no thread") && text.contains("TasksMax="), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn a_replay_is_reported_picture_by_picture_and_ends_with_0() {
    let site = Site::new(5, "rate = 0");
    std::fs::write(site.path("pictures/002.png"), "garbage").unwrap();
    let output = site.run().output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let lines = lines(&output);
    let sequences: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [1, 2, 4, 5]);
    for line in &lines {
        assert_eq!((&line["schema"], &line["type"]), (&"lookout/1".into(), &"report".into()));
        assert_eq!((&line["camera"], &line["width"], &line["height"]), (&"front".into(), &64.into(), &48.into()));
        assert_eq!((&line["model"]["name"], &line["model"]["precision"]), (&"model".into(), &"fp32".into()));
        assert_eq!(line["model"]["sha256"].as_str().unwrap().len(), 64);
        assert!(line["timing_ms"]["total"].as_f64() >= line["timing_ms"]["detect"].as_f64());
        assert!(line["captured_at"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(log.matches("cannot be decoded").count(), 1, "{log}");
}

#[test]
fn a_recording_that_changes_its_size_and_lacks_end_markers_is_played_and_told() {
    let jpeg = |width, height, shade| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([shade; 3]));
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        let mut bytes = bytes.into_inner();
        assert!(bytes.ends_with(&[0xff, 0xd9]));
        bytes.truncate(bytes.len() - 2);
        bytes
    };
    let site = Site::new(1, "rate = 0");
    let film = [jpeg(64, 48, 90), jpeg(64, 48, 120), jpeg(128, 72, 90), jpeg(128, 72, 30)].concat();
    std::fs::write(site.path("film.mjpeg"), film).unwrap();
    let mut run = site.run();
    run.arg("--set").arg(format!(
        "camera=[{{ name = \"front\", kind = \"replay\", path = {:?}, rate = 0 }}]",
        site.path("film.mjpeg")
    ));
    let output = run.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let sizes: Vec<(u64, u64)> =
        lines(&output).iter().map(|line| (line["width"].as_u64().unwrap(), line["height"].as_u64().unwrap())).collect();
    assert_eq!(sizes, [(64, 48), (64, 48), (128, 72), (128, 72)]);
    let lines_with = |what: &str| log.lines().filter(|line| line.contains(what)).collect::<Vec<_>>();
    let size = lines_with("the size of the pictures has changed");
    assert!(size.len() == 1 && size[0].contains("64×48") && size[0].contains("128×72"), "{log}");
    let end = lines_with("without an end marker");
    assert!(end.len() == 1 && end[0].contains("pictures=4"), "{log}");
}

#[test]
fn a_signal_ends_the_service_with_complete_lines_and_0() {
    for kind in [Signal::TERM, Signal::INT] {
        let site = Site::new(3, "rate = 0\nloop = true");
        let mut child = site.run().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        for _ in 0..3 {
            reader.read_line(&mut text).unwrap();
        }
        signal(&child, kind);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
        assert!(text.ends_with('\n'));
        let sequences: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].as_u64().unwrap())
            .collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    }
}

/// Writes calibration pictures: a sky, a road, and a dark box that moves.
fn scenes(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for index in 0..4 {
        let picture = image::RgbImage::from_fn(96, 72, |x, y| {
            let dark = (16 * index..16 * index + 20).contains(&x) && (30..52).contains(&y);
            let base = if dark { 30 } else { 220 - 2 * (y / 2) };
            image::Rgb([base as u8, (base / 2 + x) as u8, (base - (x * 7 + y * 3) % 11) as u8])
        });
        picture.save(folder.join(format!("{index}.png"))).unwrap();
    }
}

#[test]
fn quantized_at_start_or_before_is_the_same_model_to_the_byte() {
    let site = Site::new(2, "rate = 0");
    let (here, there) = (site.path("calibration"), site.path("elsewhere/below"));
    scenes(&here);
    scenes(&there);
    // The service on one thread, from one folder; then again from its cache.
    let start = |folder: &Path, state: &str, threads: u32| {
        let mut command = site.run();
        let set = |key: &str, value: String| ["--set".to_owned(), format!("{key}={value}")];
        command.args(set("model.calibration", format!("{folder:?}")));
        command.args(set("device.state_dir", format!("{:?}", site.path(state))));
        command.args(set("detector.threads", threads.to_string()));
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{log}");
        let reports = lines(&output);
        assert_eq!(reports.len(), 2, "{log}");
        assert!(reports.iter().all(|report| report["model"]["precision"] == "int8"), "{log}");
        let mut kept: Vec<PathBuf> =
            std::fs::read_dir(site.path(state).join("quantized")).unwrap().map(|entry| entry.unwrap().path()).collect();
        kept.retain(|path| path.extension().is_some_and(|extension| extension == "lookout"));
        let [artifact] = &kept[..] else { panic!("one artifact expected: {kept:?}") };
        (artifact.clone(), reports[0]["detections"].clone(), reports[0]["model"]["sha256"].clone(), log)
    };
    let (first, detections, sha256, log) = start(&here, "state", 1);
    assert!(log.contains("observing"), "{log}");
    let (again, .., log) = start(&here, "state", 1);
    assert!(again == first && !log.contains("observing"), "{log}");
    let (other, other_detections, other_sha256, _) = start(&there, "state2", 2);
    assert_eq!((&detections, &sha256), (&other_detections, &other_sha256));
    // `lookout quantize` on two threads, from the other folder.
    let offline = site.path("offline.lookout");
    let mut command = program();
    command.arg("quantize").arg(site.path("model.safetensors")).arg("--images").arg(&there).arg("--out").arg(&offline);
    let output = command.args(["--set", "detector.threads=2"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for made in [&first, &other] {
        let verified = program().arg("verify").arg(made).arg(&offline).output().unwrap();
        assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    let against = program().arg("verify").arg(&offline).arg(site.path("model.safetensors")).output().unwrap();
    assert_eq!(against.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&against.stderr).contains("differ: header"));
    let no_model = program().arg("verify").arg(&offline).arg(site.path("lookout.toml")).output().unwrap();
    assert_eq!(no_model.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&no_model.stderr).contains("lookout.toml"));
}

/// A service whose reader does not read, after every buffer has filled up.
fn stuck(site: &Site, grace_period: &str) -> Child {
    let mut command = site.run();
    command.args(["--set", &format!("supervision.grace_period={grace_period}")]);
    // Reports of the narrow network are large: the pipe and the queue are full soon.
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let cpu = |child: &Child| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(11).unwrap().parse::<u64>().unwrap()
    };
    let mut before = u64::MAX;
    while cpu(&child) != before {
        assert!(begin.elapsed() < Duration::from_secs(120));
        before = cpu(&child);
        std::thread::sleep(Duration::from_millis(500));
    }
    child
}

#[test]
fn a_reader_that_does_not_read_delays_the_end_at_most_by_the_grace_period() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let mut child = stuck(&site, "300ms");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(5)), Some(0));
}

#[test]
fn a_second_signal_ends_the_service_at_once() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let mut child = stuck(&site, "10m");
    signal(&child, Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "the service waits for its reader");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(5)), Some(143));
}

#[test]
fn settings_that_cannot_run_are_explained() {
    let site = Site::new(1, "rate = 0");
    let set = |setting: &str| {
        let output = site.run().args(["--set", setting]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.stdout.is_empty());
        (output.status.code(), text)
    };
    for (setting, code, expected) in [
        ("model.checkpoint=/nonexistent", 66, "/nonexistent"),
        ("model.checkpoint=", 78, "model.checkpoint"),
        ("camera=[]", 78, "[[camera]]"),
        ("camera[0].path=/nonexistent", 66, "/nonexistent"),
        ("camera[0].kind=v4l2", 78, "device is missing"),
        ("detector.thread=2", 78, "threads"),
        // No machine has both.
        (if cfg!(target_arch = "x86_64") { "detector.kernel=neon" } else { "detector.kernel=avx2" }, 69, "kernel"),
    ] {
        let (found, text) = set(setting);
        assert_eq!(found, Some(code), "{setting}: {text}");
        assert!(text.contains(expected) && text.lines().last().unwrap().starts_with("lookout: "), "{setting}: {text}");
    }
    let output = program().args(["run", "--config"]).arg(Path::new("/nonexistent.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(program().arg("walk").output().unwrap().status.code(), Some(64));
}

#[test]
fn a_running_service_answers_on_its_socket_and_a_second_one_is_refused() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let call =
        |arguments: &[&str]| program().args(arguments).env("RUNTIME_DIRECTORY", site.path("run")).output().unwrap();
    assert_eq!(call(&["status"]).status.code(), Some(69), "no service is running");
    let mut child = site.run().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let sink = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));

    let output = call(&["status", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let status = &lines(&output)[0];
    assert_eq!((&status["type"], &status["state"]), (&"status".into(), &"ok".into()));
    assert_eq!(status["cameras"]["front"]["state"], "streaming");
    let text = String::from_utf8(call(&["status"]).stdout).unwrap();
    assert!(text.starts_with("ok on ") && text.contains("\ncamera front: streaming, "), "{text}");

    let second = site.run().output().unwrap();
    assert_eq!(second.status.code(), Some(69));
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains(&format!("another lookout (process {})", child.id())), "{message}");

    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
    sink.join().unwrap().unwrap();
    assert!(!site.path("run/control.sock").exists(), "the socket is removed at the end");
    assert_eq!(call(&["status"]).status.code(), Some(69));
}

#[test]
fn sighup_applies_valid_settings_and_refuses_invalid_ones() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let call =
        |arguments: &[&str]| program().args(arguments).env("RUNTIME_DIRECTORY", site.path("run")).output().unwrap();
    let mut child = site.run().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    let sink = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let until = |condition: &dyn Fn(&Value) -> bool| {
        let begin = Instant::now();
        loop {
            let output = call(&["status", "--json"]);
            if output.status.success() && condition(&lines(&output)[0]) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let valid = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    std::fs::write(site.path("lookout.toml"), valid.replace("\"front\"", "\"back\"")).unwrap();
    signal(&child, Signal::HUP);
    until(&|status| status["cameras"].get("back").is_some() && status["cameras"].get("front").is_none());

    std::fs::write(site.path("lookout.toml"), "nonsense").unwrap();
    signal(&child, Signal::HUP);
    until(&|status| status["state"] == "degraded");
    let refused = call(&["reload"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(78), "{message}");
    assert!(message.contains("lookout.toml:1: not TOML"), "{message}");

    // A changed model and a changed tracker: a new run in the same process.
    std::fs::write(
        site.path("lookout.toml"),
        format!("{valid}\n[track]\nconfirm = 3\n").replace("threads = 1", "threads = 2"),
    )
    .unwrap();
    let applied = call(&["reload"]);
    assert_eq!(String::from_utf8(applied.stdout).unwrap(), "changed: model, camera, track\n");
    until(&|status| status["state"] == "ok" && status["cameras"].get("front").is_some());
    assert_eq!(String::from_utf8(call(&["reload", "--json"]).stdout).unwrap(), "{\"changed\":[]}\n");

    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
    sink.join().unwrap().unwrap();
}

#[test]
fn an_output_that_is_taken_can_be_corrected_by_sighup() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let valid = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let path = site.path("reports.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
    configure(&site, &format!("{valid}\n[[publish]]\nkind = \"unix\"\npath = {path:?}\n"));
    let mut child = site.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_status(&site, |status| status["state"] == "degraded" && status["reasons"].to_string().contains("unix"));

    configure(&site, "nonsense");
    let refused = reload(&site);
    assert_eq!(refused.status.code(), Some(78), "{}", String::from_utf8_lossy(&refused.stderr));
    configure(&site, &valid);
    signal(&child, Signal::HUP);
    until_status(&site, |status| status["state"] == "ok");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

/// The status of the service of `site`, once it answers.
fn status_of(site: &Site) -> Value {
    let begin = Instant::now();
    loop {
        let output = program().args(["status", "--json"]).env("RUNTIME_DIRECTORY", site.path("run")).output().unwrap();
        if output.status.success() {
            return lines(&output).remove(0);
        }
        // Only the socket may be missing yet.
        assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The status of the service, once it is as wanted; it must be within `limit`.
fn status_until(site: &Site, what: &str, limit: Duration, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let status = status_of(site);
        if is_wanted(&status) {
            return status;
        }
        assert!(begin.elapsed() < limit, "{what}: {status}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the status of the service is as wanted.
fn until_status(site: &Site, is_wanted: impl Fn(&Value) -> bool) {
    status_until(site, "status", Duration::from_secs(120), is_wanted);
}

/// `lookout reload`, once it is answered.
fn reload(site: &Site) -> Output {
    program().arg("reload").env("RUNTIME_DIRECTORY", site.path("run")).output().unwrap()
}

/// Replaces the configuration in one step, so that a reload reads it whole.
fn configure(site: &Site, text: &str) {
    std::fs::write(site.path("next.toml"), text).unwrap();
    std::fs::rename(site.path("next.toml"), site.path("lookout.toml")).unwrap();
}

#[test]
fn the_service_answers_from_the_first_second_and_takes_a_reload_while_it_quantizes() {
    let site = Site::new(3, "rate = 0\nloop = true");
    scenes(&site.path("calibration"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let get = |path: &str| -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let mut command = site.run();
    for (key, value) in [
        ("model.calibration", format!("{:?}", site.path("calibration"))),
        ("device.state_dir", format!("{:?}", site.path("state"))),
        ("web.enabled", "true".to_owned()),
        ("web.listen", format!("127.0.0.1:{port}")),
    ] {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = status_of(&site);
    assert_eq!((&status["state"], &status["type"]), (&"starting".into(), &"status".into()), "{status}");
    let begin = Instant::now();
    let alive = loop {
        match get("/healthz") {
            Ok(answer) => break answer,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "{error}"),
        }
    };
    assert!(alive.starts_with("HTTP/1.1 200") && alive.contains("\"starting\""), "{alive}");
    assert!(get("/readyz").unwrap().starts_with("HTTP/1.1 503"));
    assert_eq!(status_of(&site)["state"], "starting", "the model is not there yet");

    // By signal and by command, while nothing is there to apply it to.
    let valid = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    configure(&site, &valid.replace("\"front\"", "\"middle\""));
    signal(&child, Signal::HUP);
    configure(&site, &valid.replace("\"front\"", "\"back\""));
    let answer = reload(&site);
    assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stderr));
    until_status(&site, |status| status["state"] == "ok");
    let status = status_of(&site);
    assert_eq!(status["cameras"].as_object().unwrap().keys().collect::<Vec<_>>(), ["back"]);
    assert_eq!(status["model"]["precision"], "int8");
    assert!(get("/readyz").unwrap().starts_with("HTTP/1.1 200"));
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

#[test]
fn no_reload_is_lost_however_many_come_and_whenever() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let valid = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let mut child = site.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let reload = || {
        let mut command = program();
        command.arg("reload").env("RUNTIME_DIRECTORY", site.path("run")).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    status_of(&site);
    const ROUNDS: u64 = 24;
    for round in 0..ROUNDS {
        // Another tracker needs another run, another name does not. Every third round goes back to the one before.
        let number = if round % 3 == 2 { round - 1 } else { round };
        let text = valid.replace("\"front\"", &format!("\"camera-{number}\""));
        configure(&site, &format!("{text}\n[track]\nconfirm = {}\n", number % 4 + 1));
        signal(&child, Signal::HUP);
        for caller in [reload(), reload()] {
            let output = caller.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        }
        // The next round comes at any time: while a run ends, while the next is built, once it is in force.
        std::thread::sleep(Duration::from_millis(round * 37 % 150));
    }
    // The last round went back, so this is the round before.
    let last = format!("camera-{}", ROUNDS - 2);
    until_status(&site, |status| status["state"] == "ok" && status["cameras"].as_object().unwrap().keys().eq([&last]));
    let unchanged = reload().wait_with_output().unwrap();
    assert!(unchanged.status.success());
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

#[test]
fn a_run_that_cannot_be_built_again_is_tried_until_its_files_are_back() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let valid = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let mut child = site.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_status(&site, |status| status["state"] == "ok");
    // Neither the next run nor the previous one can be built without the pictures.
    std::fs::rename(site.path("pictures"), site.path("moved")).unwrap();
    configure(&site, &format!("{valid}\n[track]\nconfirm = 3\n"));
    assert_eq!(reload(&site).status.code(), Some(0));
    until_status(&site, |status| status["reasons"].to_string().contains("the last run failed and is tried again"));
    // The previous settings serve again, and the status says that others were asked for.
    std::fs::rename(site.path("moved"), site.path("pictures")).unwrap();
    until_status(&site, |status| status["reasons"].to_string().contains("the new configuration is refused"));
    // Now they can be applied.
    assert_eq!(reload(&site).status.code(), Some(0));
    until_status(&site, |status| status["state"] == "ok");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

/// The library that `faketime` preloads, if it is installed.
fn faketime() -> Option<String> {
    let output = Command::new("faketime").args(["-f", "+0", "sh", "-c", "echo $LD_PRELOAD"]).output().ok()?;
    let library = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !library.is_empty()).then_some(library)
}

#[test]
#[allow(clippy::print_stderr, reason = "whoever runs the tests must see what was skipped")]
fn a_wrong_clock_deletes_no_event_of_the_history_and_age_does() {
    let Some(library) = faketime() else {
        eprintln!("SKIPPED: faketime is not installed");
        return;
    };
    let site = Site::new(1, "");
    let text = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let camera = text.find("[[camera]]").unwrap();
    // A camera that is absent: each run stores that it is lost.
    let text = format!(
        "{}[[camera]]\nname = \"front\"\nkind = \"v4l2\"\ndevice = \"/dev/lookout-none\"\n\
         [device]\nstate_dir = {:?}\n[history]\nenabled = true\n",
        &text[..camera],
        site.path("state"),
    );
    std::fs::write(site.path("lookout.toml"), text).unwrap();
    let clock = site.path("clock");
    let start = |faked: Option<&str>, max_age: &str| {
        let mut command = site.run();
        command.arg("--set").arg(format!("history.max_age={max_age}")).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(offset) = faked {
            std::fs::write(&clock, offset).unwrap();
            command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
            // As on a real board: only wall time is wrong.
            command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.spawn().unwrap()
    };
    let events = || -> Option<Vec<Value>> {
        let output = program().args(["events", "--json"]).env("RUNTIME_DIRECTORY", site.path("run")).output().unwrap();
        output.status.success().then(|| lines(&output))
    };
    let until = |is_met: &dyn Fn(&[Value]) -> bool| {
        let begin = Instant::now();
        loop {
            let found = events();
            if found.as_deref().is_some_and(is_met) {
                return found.unwrap();
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{found:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let stop = |mut child: Child| {
        signal(&child, Signal::TERM);
        assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
    };
    let mut stored = 0;
    for (faked, year) in [(None, ""), (Some("+730d"), ""), (Some("@1970-01-02 00:00:00"), "1970"), (Some("-730d"), "")]
    {
        let child = start(faked, "30d");
        let found = until(&|found| found.len() > stored);
        stored = found.len();
        assert!(found[0]["at"].as_str().unwrap().starts_with(year), "{found:?}");
        if faked == Some("+730d") {
            // Forward, backward, and to 1970, while the service runs.
            for jump in ["+7300d", "-730d", "@1970-01-02 00:00:00", "+0"] {
                std::fs::write(&clock, jump).unwrap();
                std::thread::sleep(Duration::from_millis(300));
                assert_eq!(events().unwrap().len(), stored, "{jump}");
            }
        }
        stop(child);
    }
    // All are older than a second, whatever they say of themselves.
    let child = start(None, "1s");
    until(&|found| found.is_empty() || found.len() == 1);
    stop(child);
    let child = start(None, "30d");
    let found = until(&|found| !found.is_empty());
    assert!(found.len() <= 2, "{found:?}");
    stop(child);
}

#[test]
fn the_doctor_finds_faults() {
    let site = Site::new(1, "rate = 0");
    let doctor = |set: &[&str]| {
        let mut command = program();
        command.args(["doctor", "--json", "--config"]).arg(site.path("lookout.toml"));
        set.iter().for_each(|set| {
            command.args(["--set", set]);
        });
        let output = command.env("RUNTIME_DIRECTORY", site.path("run")).env("HOME", site.path("")).output().unwrap();
        (output.status.code(), lines(&output).remove(0))
    };
    let (code, report) = doctor(&[]);
    assert_eq!((code, &report["fit"]), (Some(0), &Value::Bool(true)), "{report}");
    let grade = |report: &Value, what: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["what"] == what).unwrap()["grade"].as_str().unwrap().to_owned()
    };
    for what in ["CPU", "configuration", "model", "memory", "camera", "state", "daemon", "page size"] {
        assert_eq!(grade(&report, what), "good", "{what}: {report}");
    }
    for (set, what) in [
        ("camera[0].path=/nonexistent", "camera"),
        ("model.checkpoint=/nonexistent", "model"),
        ("detector.thread=1", "configuration"),
        ("device.state_dir=/dev/null/lookout", "state"),
    ] {
        let (code, report) = doctor(&[set]);
        assert_eq!((code, grade(&report, what).as_str()), (Some(69), "bad"), "{set}: {report}");
    }
}
