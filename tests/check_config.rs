//! The command `check-config` on what a configuration names: models, labels, devices, sinks, ports.

use std::process::{Command, Stdio};

/// The exit code of `check-config` on `text`, and its standard error.
fn check(text: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    std::fs::write(&file, text.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
    let notes = folder.path().join("notes.txt");
    std::fs::write(&notes, "no model").unwrap();
    std::fs::set_permissions(&notes, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.arg("check-config").arg(&file).env_clear().env("HOME", folder.path()).env("PATH", folder.path());
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.stdout.is_empty());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a check leaves nothing behind: {left:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const CAMERA: &str = "[[camera]]\nname = \"front\"\nkind = \"pattern\"\n";

#[test]
fn what_is_right_passes_in_silence() {
    let text = format!(
        "[model]\nartifact = \"demo-int8\"\nreference = \"demo-fp32\"\n{CAMERA}limits = {{ Vehicle = {{ min_score = 0.5 }}, \"*\" = {{ min_score = 0.3 }} }}\n[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\nlabels = [\"Person\"]\n[[publish]]\nkind = \"file\"\npath = \"FOLDER/a/b.jsonl\"\n[web]\nenabled = true\nlisten = \"127.0.0.1:0\"\n"
    );
    assert_eq!(check(&text, &[]), (0, String::new()));
}

#[test]
fn what_is_wrong_is_an_error_where_it_is_written() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[web]\nenabled = true\nlisten = \"{}\"\n", port.local_addr().unwrap());
    let model = "[model]\nartifact = \"demo-int8\"\n";
    for (text, place, wanted) in [
        (CAMERA.to_owned(), "", "there is no model"),
        (model.to_owned(), "", "there is no camera"),
        (format!("[model]\nartifact = \"FOLDER/gone\"\n{CAMERA}"), ":2: model.artifact", "cannot read"),
        (format!("[model]\nartifact = \"FOLDER/notes.txt\"\n{CAMERA}"), ":2: model.artifact", "not a checkpoint"),
        (
            format!(
                "{model}{CAMERA}[web]\nenabled = true\nlisten = \"127.0.0.1:0\"\ntoken_file = \"FOLDER/notes.txt\"\n"
            ),
            ":9: web.token_file",
            "every user of this machine can read it (mode 644)",
        ),
        (format!("[model]\nartifact = \"demo-fp32\"\n{CAMERA}"), ":2: model.artifact", "model.checkpoint takes it"),
        (format!("[model]\ncheckpoint = \"demo-int8\"\n{CAMERA}"), ":2: model.checkpoint", "model.artifact takes it"),
        (format!("{model}reference = \"demo-int8\"\n{CAMERA}"), ":3: model.reference", "an artifact"),
        (
            format!("{model}{CAMERA}limits = {{ Vehicel = {{ min_score = 0.5 }} }}\n"),
            ":6: camera[0].limits.Vehicel",
            "did you mean \"Vehicle\"?",
        ),
        (
            format!("{model}{CAMERA}[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\nlabels = [\"Person\", \"car\"]\n"),
            ":9: publish[0].labels[1]",
            "the model has no label \"car\"",
        ),
        (
            format!("{model}{CAMERA}[[camera]]\nname = \"b\"\nkind = \"v4l2\"\ndevice = \"\"\n"),
            "camera[1].device",
            "is empty",
        ),
        (
            format!("{model}[[camera]]\nname = \"b\"\nkind = \"rtsp\"\n"),
            "camera[0].kind",
            "kind = \"ffmpeg\" with input",
        ),
        (
            format!("{model}{CAMERA}[[publish]]\nkind = \"file\"\npath = \"FOLDER/notes.txt/x.jsonl\"\n"),
            "publish[0].path",
            "is no folder",
        ),
        (format!("{model}{CAMERA}[[publish]]\nkind = \"file\"\npath = \"FOLDER\"\n"), "publish[0].path", "is a folder"),
        (format!("{model}{CAMERA}{listen}"), "web.listen", "another program has"),
        (format!("log_level = \"info\"\n{model}{CAMERA}"), ":1: log_level", "did you mean \"device.log_level\"?"),
        (
            format!("{model}{CAMERA}[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\nlabels = []\ntopic_prefix = \"a/#\"\n"),
            "publish[0].topic_prefix",
            "cannot begin a topic",
        ),
    ] {
        let (code, stderr) = check(&text, &[]);
        assert!(code == 78 && stderr.contains(wanted) && stderr.contains(place), "{text}\n{code}: {stderr}");
    }
}

#[test]
fn what_may_come_later_and_what_is_not_read_are_warnings() {
    let text = "[model]\nartifact = \"demo-int8\"\n[[camera]]\nname = \"a\"\nkind = \"v4l2\"\ndevice = \"/dev/video-gone\"\n\
                [[camera]]\nname = \"b\"\nkind = \"replay\"\npath = \"FOLDER/gone\"\n\
                [[camera]]\nname = \"c\"\nkind = \"ffmpeg\"\ninput = \"rtsp://127.0.0.1/s\"\n";
    let (code, stderr) = check(text, &[("LOOKOUT_DETECTOR_THREADS", "2")]);
    assert_eq!(code, 0, "{stderr}");
    for wanted in [
        "warning: the variable LOOKOUT_DETECTOR_THREADS is not read; did you mean LOOKOUT__DETECTOR__THREADS?",
        "/dev/video-gone is not there now",
        "/gone does not exist",
        "ffmpeg is not installed",
    ] {
        assert!(stderr.contains(wanted), "{wanted}: {stderr}");
    }
    assert!(stderr.lines().all(|line| line.starts_with("lookout: warning: ")), "{stderr}");
}

#[test]
fn the_service_refuses_labels_that_its_model_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    std::fs::write(
        &file,
        format!("[model]\nartifact = \"demo-int8\"\n{CAMERA}limits = {{ person = {{ min_score = 0.5 }} }}\n"),
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command
        .args(["run", "--config"])
        .arg(&file)
        .env_clear()
        .env("RUNTIME_DIRECTORY", folder.path())
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(78) && stderr.contains("did you mean \"Person\"?"), "{stderr}");
}
