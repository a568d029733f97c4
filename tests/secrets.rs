//! Secrets of camera addresses: they appear in nothing that the program writes, and reach ffmpeg unharmed.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Addresses; every secret has "secret" or "SECRET" in it. The second text is what ffmpeg must be given.
const ADDRESSES: &[(&str, &str)] = &[
    ("rtsp://admin:don't-secret-1@127.0.0.1:1/stream", "rtsp://admin:don%27t-secret-1@127.0.0.1:1/stream"),
    (r#"rtsp://admin:sec"secret-2@127.0.0.1:1/s"#, "rtsp://admin:sec%22secret-2@127.0.0.1:1/s"),
    ("rtsp://admin:a secret-3@127.0.0.1:1/s", "rtsp://admin:a%20secret-3@127.0.0.1:1/s"),
    ("rtsp://admin:a<secret-4`@127.0.0.1:1/s", "rtsp://admin:a%3Csecret-4%60@127.0.0.1:1/s"),
    ("rtsp://admin:a#secret-5/x?y@127.0.0.1:1/s", "rtsp://admin:a%23secret-5%2Fx%3Fy@127.0.0.1:1/s"),
    ("rtsp://secretuser7:pw@127.0.0.1:1/s", "rtsp://secretuser7:pw@127.0.0.1:1/s"),
    ("rtsp://admin:secret@127.0.0.1:1/s", "rtsp://admin:secret@127.0.0.1:1/s"),
    ("rtsp://admin:p%40secret-8@127.0.0.1:1/s", "rtsp://admin:p%40secret-8@127.0.0.1:1/s"),
    (
        "rtsp://127.0.0.1:1/user=admin&password=secret9&channel=1&stream=0.sdp?real_stream",
        "rtsp://127.0.0.1:1/user=admin&password=secret9&channel=1&stream=0.sdp?real_stream",
    ),
    (
        "http://127.0.0.1:1/videostream.cgi?loginuse=admin&loginpas=secret10",
        "http://127.0.0.1:1/videostream.cgi?loginuse=admin&loginpas=secret10",
    ),
    ("rtsp://127.0.0.1:1/user=admin_password=secret11_channel=1.sdp", "password=secret11_channel"),
    ("rtsps://127.0.0.1:1/SECRETSECRETx1yz?enableSrtp", "rtsps://127.0.0.1:1/SECRETSECRETx1yz?enableSrtp"),
    ("http://127.0.0.1:1/mjpg/password/secret-13-x/ch1", "http://127.0.0.1:1/mjpg/password/secret-13-x/ch1"),
    ("http://127.0.0.1:1/video?login:secret-14-x", "http://127.0.0.1:1/video?login:secret-14-x"),
    ("http://127.0.0.1:1/video?key%3Dsecret-15-x", "http://127.0.0.1:1/video?key%3Dsecret-15-x"),
    (" rtsp://admin:%73ecret-16@127.0.0.1:1/s\n", "'rtsp://admin:%73ecret-16@127.0.0.1:1/s'"),
];

/// A program in place of ffmpeg that repeats its input, as it is and in parts, and fails.
fn ffmpeg(folder: &Path) {
    let script = r#"#!/bin/bash
[ "$1" = -version ] && exit
read -r _; read -r file; address=${file#file \'}; address=${address%\'}
echo "'$address'" >> "$(dirname "$0")/given"
echo "[in#0] Impossible to open '$address'" >&2
echo "[tcp] user and password: ${address%%@*} refused; path /${address#*://*/}" >&2
exit 1
"#;
    let path = folder.join("ffmpeg");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookout"));
    command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", folder.display())).env("RUNTIME_DIRECTORY", folder);
    command.stdin(Stdio::null());
    command
}

#[test]
fn secrets_of_addresses_appear_nowhere_and_reach_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(folder.path());
    let mut text =
        "[device]\nlog_level = \"trace\"\n[model]\nartifact = \"demo-int8\"\n[history]\nenabled = true\n".to_owned();
    text.push_str("[[publish]]\nkind = \"stdout\"\nmessages = [\"event\", \"status\"]\n");
    for (index, (address, _)) in ADDRESSES.iter().enumerate() {
        text.push_str(&format!("[[camera]]\nname = \"c{index}\"\nkind = \"ffmpeg\"\ninput = {address:?}\n"));
    }
    let file = folder.path().join("lookout.toml");
    std::fs::write(&file, text).unwrap();
    let state = format!("device.state_dir={:?}", folder.path().join("state"));
    let mut child = program(folder.path())
        .args(["run", "--set", &state, "--config"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut written = String::new();
    while written.matches("camera.lost").count() < ADDRESSES.len() {
        assert_ne!(reader.read_line(&mut written).unwrap(), 0, "{written}");
    }
    for command in [&["status"][..], &["status", "--json"], &["events", "--json"], &["config", "show"]] {
        let output = program(folder.path()).args(command).arg("--config").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {text}");
        written.push_str(&text);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    reader.read_to_string(&mut written).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut written).unwrap();
    child.wait().unwrap();
    let shown: Vec<&str> = written.lines().filter(|line| line.to_lowercase().contains("secret")).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    assert!(written.contains("rtsp://***@127.0.0.1:1/stream"), "{written}");
    let history = std::fs::read(folder.path().join("state/history/events.redb")).unwrap();
    let has = |bytes: &[u8]| history.windows(bytes.len()).any(|window| window.eq_ignore_ascii_case(bytes));
    assert!(has(b"camera.lost") && !has(b"secret"));
    let given = std::fs::read_to_string(folder.path().join("given")).unwrap();
    for (_, wanted) in ADDRESSES {
        assert!(given.contains(wanted), "{wanted} in\n{given}");
    }
}

#[test]
fn errors_of_a_configuration_do_not_repeat_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lookout.toml");
    let camera = |input: &str| format!("[[camera]]\nname = \"a\"\nkind = \"ffmpeg\"\ninput = {input}\n");
    for (text, wanted) in [
        (camera("\"rtsp://admin:p@secret/1@127.0.0.1/s\""), "%40"),
        (camera("\"admin:secret-1@127.0.0.1/s\""), "rtsp://"),
        (camera("rtsp://admin:secret-1@127.0.0.1/s"), "not TOML"),
        (camera("\"rtsp://admin:secret-1@127.0.0.1/s"), "not TOML"),
        ("[device]\nlog_level = \"rtsp://admin:secret-1@h/s\"\n".to_owned(), "log_level"),
        ("[[publish]]\nkind = \"rtsp://admin:secret-1@h/s\"\n".to_owned(), "kind"),
        ("\"rtsp://admin:secret-1@h/s\" = 1\n".to_owned(), "no such key"),
        (camera("\"rtsp://admin:secret-1\""), "no valid host"),
        (camera("\"-i rtsp://admin:secret-1@h/s\""), "no address"),
        (camera("\"rtsp://admin:secret-1@h/s\\nx\""), "control character"),
        (
            camera("1\nurl = \"rtsp://admin:secret-1@h/s\"\npassword = \"secret-2\""),
            "USER:PASSWORD@HOST:PORT behind rtsp://",
        ),
        ("[[publish]]\nkind = \"mqtt\"\nhost = \"mqtt://u:secret-1@h:1883\"\n".to_owned(), "password_file"),
        ("[[publish]]\nkind = \"mqtt\"\nhost = \"u:secret-1@h\"\n".to_owned(), "password_file"),
        ("[[publish]]\nkind = \"mqtt\"\nhost = \"h\"\npassword = \"secret-1\"\n".to_owned(), "password_file"),
        (
            "[model]\nartifact = \"demo-int8\"\n[[camera]]\nname = \"a\"\nkind = \"pattern\"\n[web]\nenabled = true\n\
             listen = \"127.0.0.1:0\"\ntoken_file = \"secret\"\n"
                .to_owned(),
            "web.token_file",
        ),
    ] {
        std::fs::write(&file, &text).unwrap();
        let output = program(folder.path()).arg("check-config").arg(&file).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}{stderr}");
        assert!(stderr.contains(wanted) && !stderr.contains("secret"), "{text}{stderr}");
    }
    for set in [
        "rtsp://admin:secret-1@h/s",
        "admin:secret-1@h/s",
        "camera=[{input='rtsp://admin:secret-1@h/s'",
        "camera=[{input='admin:secret-1@h/s'",
    ] {
        let output = program(folder.path()).args(["check-config", "--set", set]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("secret") && output.status.code() == Some(78), "{stderr}");
    }
    for arguments in [&["run", "rtsp://admin:secret-1@h/s"][..], &["detect", "x", "--score", "http://h/?pwd=secret-1"]]
    {
        let output = program(folder.path()).args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("***") && !stderr.contains("secret") && output.status.code() == Some(64), "{stderr}");
    }
}
