//! Outputs that do not work: the status says so, detection goes on, and they are tried again.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{Site, reload, signal, wait};

#[test]
fn a_closed_pipe_ends_the_service_with_74() {
    let site = Site::new(3, "rate = 0\nloop = true");
    let mut child = site.run().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(wait(&mut child, Duration::from_secs(30)), Some(74));
}

#[test]
fn page_and_history_do_not_keep_a_service_alive_whose_only_output_is_gone() {
    let site = Site::new(
        3,
        "rate = 0\nloop = true\n[web]\nenabled = true\nlisten = \"127.0.0.1:0\"\n[history]\nenabled = true",
    );
    let mut child = site.run().env("STATE_DIRECTORY", site.path("state")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // As `head -1` does.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'));
    assert_eq!(wait(&mut child, Duration::from_secs(30)), Some(74));
}

impl Site {
    /// The status of the service, once it is as `is` has it.
    fn status_until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        super::status_until(self, what, Duration::from_secs(60), is)
    }
}

/// True if the status is degraded for a reason that holds `text`.
fn is_degraded(status: &Value, text: &str) -> bool {
    let mut reasons = status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    status["state"] == "degraded" && reasons.any(|reason| reason.contains(text))
}

#[test]
fn outputs_that_do_not_work_degrade_the_status_and_detection_goes_on() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Site::new(3, "rate = 20\nloop = true");
    let text = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let outputs = format!(
        "[[publish]]\nkind = \"stdout\"\n[[publish]]\nkind = \"file\"\npath = \"/dev/full\"\n[[publish]]\nkind = \"mqtt\"\n\
         host = \"127.0.0.1\"\nport = {}\n[web]\nenabled = true\nlisten = \"{}\"\n[history]\nenabled = true\npath = {:?}\n",
        silent.local_addr().unwrap().port(),
        taken.local_addr().unwrap(),
        site.path("lookout.toml").join("history"),
    );
    std::fs::write(site.path("lookout.toml"), text + &outputs).unwrap();
    let mut child = site
        .run()
        .env("STATE_DIRECTORY", site.path("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..3 {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    assert!(line.contains("\"report\""), "detection goes on");
    for reason in
        ["output file: ", "output mqtt: no connection", "output web: nothing can be served", "output history: "]
    {
        site.status_until(reason, |status| is_degraded(status, reason));
    }
    let camera = site.status_until("rates", |status| status["cameras"]["front"]["latency_ms"].is_f64());
    assert!(camera["cameras"]["front"]["analysed_fps"].as_f64() > Some(0.0), "{camera}");
    // The reader goes away; the file is an output that is left.
    drop(reader);
    site.status_until("output stdout: ", |status| is_degraded(status, "output stdout: the reader of stdout"));
    drop(taken);
    site.status_until("the page is served", |status| !is_degraded(status, "output web"));
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

#[test]
fn an_output_that_cannot_be_opened_at_start_is_opened_later() {
    let site = Site::new(3, "rate = 20\nloop = true");
    let text = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    // Files in place of folders.
    for name in ["lines", "sockets"] {
        std::fs::write(site.path(name), "").unwrap();
    }
    let outputs = format!(
        "[[publish]]\nkind = \"file\"\npath = {:?}\n[[publish]]\nkind = \"unix\"\npath = {:?}\nmode = \"0666\"\n",
        site.path("lines/reports.jsonl"),
        site.path("sockets/reports.sock"),
    );
    std::fs::write(site.path("lookout.toml"), text + &outputs).unwrap();
    let mut child = site.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let is_analysed = |status: &Value| status["cameras"]["front"]["analysed_fps"].as_f64() > Some(0.0);
    for output in ["output file: ", "output unix: "] {
        site.status_until(output, |status| is_degraded(status, output) && is_analysed(status));
    }
    for name in ["lines", "sockets"] {
        std::fs::remove_file(site.path(name)).unwrap();
    }
    site.status_until("both are open", |status| status["state"] == "ok");
    let mut line = String::new();
    let socket = std::os::unix::net::UnixStream::connect(site.path("sockets/reports.sock")).unwrap();
    BufReader::new(socket).read_line(&mut line).unwrap();
    assert!(line.contains("lookout/1") && site.path("lines/reports.jsonl").exists(), "{line}");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

#[test]
fn no_connection_to_the_page_is_refused_while_one_run_follows_another() {
    let site = Site::new(3, "rate = 20\nloop = true");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = std::fs::read_to_string(site.path("lookout.toml")).unwrap();
    let configure = |confirm: u32| {
        let page = format!("[web]\nenabled = true\nlisten = \"127.0.0.1:{port}\"\n[track]\nconfirm = {confirm}\n");
        super::configure(&site, &format!("{text}\n{page}"));
    };
    configure(1);
    let mut child = site.run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    site.status_until("ready", |status| status["state"] == "ok");
    let done = std::sync::atomic::AtomicBool::new(false);
    let connections = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut connections = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
                connections += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            connections
        });
        for round in 0..6 {
            configure(2 + round % 2);
            let answer = reload(&site);
            assert_eq!(answer.status.code(), Some(0), "{}", String::from_utf8_lossy(&answer.stderr));
            site.status_until("the next run", |status| status["state"] == "ok");
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        client.join().unwrap()
    });
    assert!(connections > 50, "{connections}");
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}
