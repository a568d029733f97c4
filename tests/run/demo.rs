//! `run --demo` on a pipe and on a terminal, with its page.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::*;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn demo(folder: &Path, port: u16) -> Command {
    let mut command = program();
    command.args(["run", "--demo", "--set"]).arg(format!("web.listen=127.0.0.1:{port}"));
    command.env("RUNTIME_DIRECTORY", folder.join("run")).env("STATE_DIRECTORY", folder.join("state"));
    command
}

/// The lines of `stream` as they come.
fn follow(stream: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    receiver
}

/// The first line that `wanted` accepts, with those before it.
fn until(lines: &std::sync::mpsc::Receiver<String>, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    while !found.last().is_some_and(|line: &String| wanted(line)) {
        let line = lines.recv_timeout(Duration::from_secs(60));
        found.push(line.unwrap_or_else(|error| panic!("{error} after {found:#?}")));
    }
    found
}

fn page(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn is_report(line: &str) -> bool {
    line.starts_with('{') && serde_json::from_str::<Value>(line).unwrap()["type"] == "report"
}

/// A line such as `12:03:07  3 persons   15.0 fps   day   drift 0.8`.
fn is_summary(line: &str) -> bool {
    line.as_bytes().get(2) == Some(&b':') && line.contains(" fps   day   drift ")
}

fn end(mut child: Child) {
    signal(&child, Signal::TERM);
    assert_eq!(wait(&mut child, Duration::from_secs(20)), Some(0));
}

/// A pseudo-terminal: what a person reads, and what the program writes to.
fn terminal() -> (std::fs::File, OwnedFd) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (person.into(), program.into())
}

#[test]
fn on_a_pipe_reports_are_json_and_the_page_is_served_at_the_printed_address() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let mut child = demo(folder.path(), port).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (reports, log) = (follow(child.stdout.take().unwrap()), follow(child.stderr.take().unwrap()));
    let address = format!("live page: http://127.0.0.1:{port}");
    let before = until(&log, |line| line == address);
    assert!(before.iter().any(|line| line.contains("INFO")), "{before:?}");
    assert!(page(port).starts_with("HTTP/1.1 200"));
    let before = until(&reports, is_report);
    assert!(before.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{before:?}");
    end(child);
}

#[test]
fn a_port_in_use_is_one_warning_and_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut child = demo(folder.path(), port).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (reports, log) = (follow(child.stdout.take().unwrap()), follow(child.stderr.take().unwrap()));
    until(&reports, is_report);
    std::thread::sleep(Duration::from_secs(2));
    end(child);
    let log: Vec<String> = log.iter().collect();
    let about = |level: &str| -> Vec<&String> {
        let address = format!("127.0.0.1:{port}");
        log.iter().filter(|line| line.contains(level) && line.contains(&address)).collect()
    };
    assert!(about("WARN").len() == 1 && about("WARN")[0].contains("--set web.listen="), "{log:#?}");
    // The status at the start has it, too.
    assert!(about("INFO").len() == 1 && about("INFO")[0].contains("degraded"), "{log:#?}");
}

#[test]
fn on_a_terminal_a_line_a_second_is_printed_or_json_where_it_is_asked_for() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let (person, program) = terminal();
    let mut command = demo(folder.path(), port);
    let child = command.stdout(program.try_clone().unwrap()).stderr(program).spawn().unwrap();
    drop(command);
    let lines = follow(person);
    let mut shown = until(&lines, is_summary);
    for _ in 0..2 {
        shown.extend(until(&lines, is_summary));
    }
    assert!(shown.iter().any(|line| *line == format!("live page: http://127.0.0.1:{port}")), "{shown:#?}");
    assert!(!shown.iter().any(|line| line.contains("INFO") || line.starts_with('{')), "{shown:#?}");
    let seconds: Vec<&str> = shown.iter().filter(|line| is_summary(line)).map(|line| &line[..8]).collect();
    assert!(seconds.is_sorted_by(|a, b| a != b), "{seconds:?}");
    end(child);

    let (person, program) = terminal();
    let mut command = demo(folder.path(), port);
    let child = command.arg("--json").stdout(program).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    let shown = until(&follow(person), is_report);
    assert!(!shown.iter().any(|line| is_summary(line)), "{shown:#?}");
    end(child);

    assert_eq!(program_json_without_demo(), Some(64));
}

fn program_json_without_demo() -> Option<i32> {
    program().args(["run", "--json"]).stderr(Stdio::null()).status().unwrap().code()
}
