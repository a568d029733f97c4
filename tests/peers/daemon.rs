//! The built program as a service on the synthetic street, with page, history and a file of everything it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{free_port, until};

/// Token of the page, where it requires one.
pub const TOKEN: &str = "a token of the test's own";

/// `lookout run --demo` with its page, in a folder of its own.
pub struct Daemon {
    pub port: u16,
    child: Child,
    pub folder: tempfile::TempDir,
}

impl Daemon {
    pub fn start(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("token"), TOKEN).unwrap();
        std::fs::set_permissions(at("token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!(
            "[device]\nid = \"gate\"\nstate_dir = {:?}\nruntime_dir = {:?}\n[history]\nenabled = true\n[web]\nenabled = true\nlisten = \"127.0.0.1:{port}\"\n{}",
            at("state"),
            at("run"),
            lines.replace("TOKEN", &at("token")),
        );
        std::fs::write(at("lookout.toml"), text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lookout"))
            .args(["run", "--demo", "--config", &at("lookout.toml"), "--set"])
            .arg(format!(
                "publish=[{{ kind = \"file\", path = {:?}, messages = [\"report\", \"event\", \"status\"] }}]",
                at("messages.jsonl")
            ))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self { port, child, folder };
        until("the daemon detects", || daemon.frames() > 3.0);
        daemon
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nAccept: text/plain\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    }

    /// Frames that were detected on.
    pub fn frames(&self) -> f64 {
        let text = self.get("/metrics").unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("lookout_frame_age_seconds_count "));
        count.and_then(|count| count.parse().ok()).unwrap_or(0.0)
    }

    /// Asks over the control socket.
    pub fn ask(&self, verb: &str, args: Value) -> Value {
        let mut stream = UnixStream::connect(self.folder.path().join("run/control.sock")).unwrap();
        writeln!(stream, "{}", json!({ "verb": verb, "args": args })).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
