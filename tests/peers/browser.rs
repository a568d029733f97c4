//! A headless Chromium, told what to do over WebDriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::{find, free_port, until};

/// A browser with one window; closed when dropped.
pub struct Browser {
    port: u16,
    session: String,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window of `width` by `height` pixels; a phone's screen, with fingers for a mouse, if `phone`.
    pub fn open(width: u32, height: u32, phone: bool) -> Option<Self> {
        let (driver, chromium) = (find("chromedriver")?, find("chromium")?);
        let port = free_port();
        let driver = Command::new(driver)
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { port, session: String::new(), driver, _profile: profile };
        until("chromedriver listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let mut options = json!({
            "binary": chromium,
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", format!("--window-size={width},{height}"),
                format!("--user-data-dir={}", browser._profile.path().display()),
            ],
        });
        if phone {
            options["mobileEmulation"] = json!({
                "deviceMetrics": { "width": width, "height": height, "pixelRatio": 2.0, "mobile": true, "touch": true },
            });
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" }, "unhandledPromptBehavior": "ignore",
        } } });
        let session = browser.send("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        Some(browser)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        // The connection is kept open whatever is asked.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        answer["value"].take()
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let value = self.send(method, &format!("/session/{}/{path}", self.session), &body);
        assert!(value.get("error").is_none(), "{path}: {value}");
        value
    }

    /// Goes to `url`.
    pub fn visit(&self, url: &str) {
        self.ask("POST", "url", json!({ "url": url }));
    }

    /// Result of the script `text`.
    pub fn run(&self, text: &str) -> Value {
        self.ask("POST", "execute/sync", json!({ "script": text, "args": [] }))
    }

    /// Waits until the expression `text` is true in the page.
    pub fn wait(&self, text: &str) {
        until(text, || self.run(&format!("return Boolean({text})")) == true);
    }

    /// Clicks on what `selector` finds, as a finger or mouse would.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("element/{element}/click"), json!({}));
    }

    /// Types `text` into what `selector` finds.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("element/{element}/value"), json!({ "text": text }));
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("POST", "element", json!({ "using": "css selector", "value": selector }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// Says yes to the question that the page asks; gives the question.
    pub fn agree(&self) -> String {
        let question = self.ask("GET", "alert/text", Value::Null).as_str().unwrap().to_owned();
        self.ask("POST", "alert/accept", json!({}));
        question
    }

    /// Writes what is seen to the file at `path`, a PNG.
    pub fn picture(&self, path: &Path) {
        let text = self.ask("GET", "screenshot", Value::Null);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, base64(text.as_str().unwrap())).unwrap();
    }

    /// Errors of the console, without the refusals that a test provokes.
    pub fn console_errors(&self) -> Vec<String> {
        let log = self.ask("POST", "se/log", json!({ "type": "browser" }));
        let lines = log.as_array().unwrap().iter();
        let severe = lines.filter(|line| line["level"] == "SEVERE" && line["source"] != "network");
        severe.map(|line| line["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.send("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let text: Vec<u8> = text.bytes().filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte)).collect();
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        let bits = four.iter().fold(0, |bits, byte| bits << 6 | value(*byte)) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
