//! The page in a real browser, the metrics before Prometheus, the API before a fuzzer, and the daemon under clients that
//! take nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::broker::{find, free_port};
use super::browser::Browser;
use super::daemon::{Daemon, TOKEN};

/// Folder of the screenshots.
pub fn shots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

pub const SCREENS: [(&str, u32, u32, bool); 2] = [("desk", 1280, 900, false), ("phone", 390, 844, true)];

#[test]
#[ignore = "needs Chromium: run tests/peers.sh"]
fn the_page_shows_boxes_that_move_on_a_desk_and_on_a_phone() {
    let daemon = Daemon::start("");
    for (name, width, height, phone) in SCREENS {
        let Some(browser) = Browser::open(width, height, phone) else { return };
        browser.visit(&daemon.url("/"));
        let boxes = "JSON.parse(document.querySelector('canvas.view')?.dataset.boxes ?? '[]')";
        browser.wait(&format!("{boxes}.length > 0"));
        let first = browser.run(&format!("return JSON.stringify({boxes})"));
        browser.wait(&format!("{boxes}.length > 0 && JSON.stringify({boxes}) !== {first}"));
        browser.wait("document.getElementById('state').textContent === 'ok'");
        // A picture was drawn, not a flat colour.
        let colours = "const c = document.querySelector('canvas.view'); \
                       const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set(); \
                       for (let i = 0; i < d.length; i += 400) s.add(d[i] >> 4 << 8 | d[i + 1] >> 4 << 4 | d[i + 2] >> 4); \
                       return s.size";
        assert!(browser.run(colours).as_u64().unwrap() > 20);
        // Six seconds make three points of the plots.
        browser.wait("fetch('/api/v1/series') && performance.now() > 9000");
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true, "{name}");
        browser.picture(&shots().join(format!("live-{name}.png")));
        browser.run("location.hash = '#events'");
        browser.wait("[...document.querySelectorAll('#event-list img')].some((img) => img.naturalWidth > 20)");
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true, "{name}");
        browser.picture(&shots().join(format!("events-{name}.png")));
        browser.click("#event-list .card button");
        browser.wait(
            "document.getElementById('event').open && document.getElementById('event-facts').children.length > 4",
        );
        browser.picture(&shots().join(format!("event-{name}.png")));
        browser.click("#event-close");
        browser.run("location.hash = '#setup'");
        browser.wait("document.getElementById('setup-facts').textContent.includes('640×360')");
        // A zone by three points, closed by the button; its corners are in the configuration.
        let draw = "const c = document.getElementById('setup-view'), b = c.getBoundingClientRect(); \
                    for (const [x, y] of [[.1, .5], [.9, .5], [.5, .9]]) \
                    c.dispatchEvent(new MouseEvent('click', { clientX: b.left + x * b.width, clientY: b.top + y * b.height })); \
                    document.getElementById('setup-finish').click(); return document.getElementById('setup-toml').value";
        let toml = browser.run(draw);
        // A click is at a whole pixel.
        let (_, corners) = toml.as_str().unwrap().split_once("zones = { zone-1 = ").unwrap();
        let corners: Vec<[f64; 2]> = serde_json::from_str(corners.split_once(" }").unwrap().0).unwrap();
        let expected = [[0.1, 0.5], [0.9, 0.5], [0.5, 0.9]];
        let is_near =
            |(found, expected): (&[f64; 2], &[f64; 2])| (0..2).all(|axis| (found[axis] - expected[axis]).abs() < 0.01);
        assert!(corners.len() == 3 && corners.iter().zip(&expected).all(is_near), "{toml}");
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true, "{name}");
        browser.picture(&shots().join(format!("setup-{name}.png")));
        assert_eq!(browser.console_errors(), Vec::<String>::new());
    }
    daemon.stop();
}

#[test]
#[ignore = "needs Chromium: run tests/peers.sh"]
fn who_has_the_token_logs_in_and_boxes_show_where_pictures_are_forbidden() {
    let daemon = Daemon::start("token_file = \"TOKEN\"\npictures = false\n");
    let Some(browser) = Browser::open(800, 600, false) else { return };
    browser.visit(&daemon.url("/"));
    browser.wait("!document.getElementById('login').hidden");
    assert_eq!(browser.run("return document.querySelectorAll('.camera').length"), 0);
    browser.fill("#token", "not the token at all");
    browser.click("#login button");
    browser.wait("document.getElementById('login-error').textContent.includes('token is wrong')");
    browser.fill("#token", "\u{e009}a\u{e000}");
    browser.fill("#token", TOKEN);
    browser.click("#login button");
    browser.wait("JSON.parse(document.querySelector('canvas.view')?.dataset.boxes ?? '[]').length > 0");
    let status = browser.run("return fetch('/api/v1/cameras/demo/picture').then((answer) => answer.status)");
    assert_eq!(status, 403);
    browser.picture(&shots().join("no-pictures.png"));
    assert_eq!(browser.console_errors(), Vec::<String>::new());
    drop(browser);
    daemon.stop();
}

#[test]
#[ignore = "four minutes, and needs Chromium: run tests/peers.sh"]
fn the_demo_tells_a_nightfall_and_its_recalibration() {
    let daemon = Daemon::start("");
    for (name, width, height, phone) in SCREENS {
        let Some(browser) = Browser::open(width, height, phone) else { return };
        browser.visit(&daemon.url("/#model"));
        let story = "document.getElementById('story').textContent";
        let begin = Instant::now();
        for told in
            ["the pictures are darker than those of the calibration", "Recalibrated on this device. Generation 1"]
        {
            while browser.run(&format!("return {story}.includes('{told}')")) != true {
                // 80 s to full night, a minute to the drift, three to the recalibration.
                assert!(
                    begin.elapsed() < Duration::from_secs(320),
                    "{told}: {}",
                    browser.run(&format!("return {story}"))
                );
                std::thread::sleep(Duration::from_secs(1));
            }
            println!("{name}: {told}: after {} s of the page", begin.elapsed().as_secs());
        }
        browser.wait("document.getElementById('model-now').textContent.startsWith('The model works as calibrated')");
        browser.wait("[...document.querySelectorAll('#maps .map')].filter((map) => map.naturalWidth > 20).length >= 4");
        assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth"), true, "{name}");
        browser.picture(&shots().join(format!("model-{name}.png")));
        assert_eq!(browser.console_errors(), Vec::<String>::new());
    }
    daemon.stop();
}

#[test]
#[ignore = "needs promtool and prometheus: run tests/peers.sh"]
fn prometheus_takes_the_metrics() {
    let daemon = Daemon::start("token_file = \"TOKEN\"\n");
    let (Some(promtool), Some(prometheus)) = (find("promtool"), find("prometheus")) else { return };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(daemon.get("/metrics").unwrap().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success() && text.trim().is_empty(), "{text}");

    // The server itself asks for OpenMetrics.
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: lookout\n  authorization: {{ credentials: {TOKEN:?} }}\n  static_configs:\n  - targets: [\"127.0.0.1:{}\"]\n",
        daemon.port
    );
    std::fs::write(&config, text).unwrap();
    let mut server = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let query = |text: &str| -> f64 {
        let mut stream = match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => stream,
            Err(_) => return 0.0,
        };
        let request = format!("GET /api/v1/query?query={text} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_default();
        body["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    let begin = Instant::now();
    while query("lookout_frame_age_seconds_count") < 5.0 {
        assert!(begin.elapsed() < Duration::from_secs(40), "nothing was scraped");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(query("up"), 1.0);
    assert_eq!(query("lookout_camera_up%7Bcamera=%22demo%22%7D"), 1.0);
    server.kill().unwrap();
    server.wait().unwrap();
    daemon.stop();
}

#[test]
#[ignore = "needs schemathesis: run tests/peers.sh"]
fn the_api_keeps_to_its_description_whatever_is_asked() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/schemathesis");
    if !program.exists() {
        eprintln!("SKIPPED: schemathesis is not installed; tests/peers.sh installs it");
        return;
    }
    let daemon = Daemon::start("token_file = \"TOKEN\"\n");
    // The stream has no end; a wrong token costs a second, which a fuzzer has no patience for.
    let output = Command::new(program)
        .args(["run", &daemon.url("/api/openapi.json"), "--exclude-path", "/api/v1/stream", "--max-examples", "30"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--suppress-health-check", "all", "--no-color"])
        .env("HOME", daemon.folder.path())
        .current_dir(daemon.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.stop();
}

/// Clients that ask for much and take nothing, or hardly anything.
fn slow_clients(port: u16, count: usize) -> Vec<TcpStream> {
    let client = |number: usize| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let path =
            ["/api/v1/stream", "/api/v1/cameras/demo/picture?width=1920", "/api/v1/events?limit=1000"][number % 3];
        let text = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // Every fourth does not even finish its request.
        let text = if number % 4 == 3 { &text[..text.len() - 2] } else { &text };
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    (0..count).map(client).collect()
}

#[test]
#[ignore = "takes half a minute: run tests/peers.sh"]
fn two_hundred_slow_clients_cost_the_detector_nothing() {
    let daemon = Daemon::start("");
    let rate = |seconds: u64| {
        let (begin, before) = (Instant::now(), daemon.frames());
        std::thread::sleep(Duration::from_secs(seconds));
        (daemon.frames() - before) / begin.elapsed().as_secs_f64()
    };
    let alone = rate(10);
    let clients = slow_clients(daemon.port, 200);
    let crowded = rate(10);
    let still = clients.iter().filter(|client| client.peek(&mut [0]).is_ok()).count();
    eprintln!("{alone:.2} frames a second alone, {crowded:.2} with 200 slow clients, {still} of them were answered");
    assert!(crowded > 0.8 * alone, "{alone} {crowded}");
    assert!(daemon.get("/healthz").is_some());
    drop(clients);
    daemon.stop();
}
