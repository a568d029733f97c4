//! The page behind nginx: as its guide writes it, with the usual `Host $host`, and below a path.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::control::Control;
use lookout::message::{Event, EventName, Message, Moment, Schema};
use lookout::metrics::Metrics;
use lookout::web::{Live, ProxySettings, Server, WebConfig};
use serde_json::json;

use super::broker::{find, free_port, until};

const TOKEN: &str = "a token of sixteen or more";

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nginx {
    /// Starts nginx in `folder` with these servers.
    fn start(folder: &Path, servers: &str) -> Option<Self> {
        let program = find("nginx")?;
        let paths =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log nginx.err;\nevents {{}}\nhttp {{ access_log off; {} {servers} }}\n",
            paths.join(" ")
        );
        std::fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).args(["-c", "nginx.conf"]).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self(command.spawn().unwrap()))
    }
}

/// Status, head and body of the answer to a request as a browser sends it.
fn ask(port: u16, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

fn serve(proxy: ProxySettings) -> (SocketAddr, Live, tokio::task::JoinHandle<()>) {
    let live = Live::new();
    let control = Control::default();
    control.register("recalibrate", |_| Ok(json!({})));
    let setup = WebConfig {
        cameras: Vec::new(),
        pictures: true,
        token: Some(TOKEN.into()),
        control,
        metrics: Arc::new(Metrics::new()),
        live: live.clone(),
        latest: Arc::new(|_| None),
        events: None,
        thumbnail: None,
        maps: None,
        proxy,
        on_listening: None,
        fault: lookout::fault::FaultReporter::ignored(),
    };
    let server = Server::listen(([127, 0, 0, 1], 0).into(), setup).unwrap();
    (server.address().unwrap(), live, tokio::spawn(server.serve()))
}

fn event() -> Message {
    let at = Moment(jiff::Timestamp::UNIX_EPOCH);
    let (device, id, event) = ("d".into(), "1".into(), EventName::CameraLost);
    Message::Event(Event { schema: Schema::V1, device, event, id, at, camera: None, details: Default::default() })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx: run tests/peers.sh"]
async fn the_page_works_behind_nginx() {
    let folder = tempfile::tempdir().unwrap();
    let [guide, host, below] = [free_port(), free_port(), free_port()];
    let public_url = Some(format!("http://127.0.0.1:{guide}"));
    let (address, live, _serving) = serve(ProxySettings { public_url, ..ProxySettings::default() });
    let servers = format!(
        "server {{ listen 127.0.0.1:{guide}; location / {{ proxy_pass http://{address}; }} }}
         server {{ listen 127.0.0.1:{host}; location / {{ proxy_pass http://{address}; proxy_set_header Host $host; }} }}
         server {{ listen 127.0.0.1:{below}; location /lookout/ {{ proxy_pass http://{address}/; proxy_set_header Host $http_host; }} }}"
    );
    let Some(_nginx) = Nginx::start(folder.path(), &servers) else { return };
    let work = move || {
        for (port, path) in [(guide, "/"), (host, "/"), (below, "/lookout/")] {
            until("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
            let origin = format!("Origin: http://127.0.0.1:{port}");
            let (status, _, page) = ask(port, &format!("GET {path}"), &[], "");
            assert_eq!(status, 200, "{path}");
            for file in ["page.css", "page.js"] {
                assert!(page.contains(&format!("\"{file}\"")), "{page}");
                assert_eq!(ask(port, &format!("GET {path}{file}"), &[], "").0, 200, "{path}{file}");
            }
            let json = "Content-Type: application/json";
            let login = json!({ "token": TOKEN }).to_string();
            let (status, head, body) = ask(port, &format!("POST {path}login"), &[&origin, json], &login);
            assert_eq!(status, 204, "{head} {body}");
            let cookie =
                head.lines().find_map(|line| line.strip_prefix("set-cookie: ").or(line.strip_prefix("Set-Cookie: ")));
            let cookie = format!("Cookie: {}", cookie.unwrap().split(';').next().unwrap());
            let order = format!("POST {path}api/v1/recalibrate");
            let (status, _, body) = ask(port, &order, &[&origin, json, &cookie], "{}");
            assert_eq!(status, 200, "{path}: {body}");
            let evil = ["Origin: http://evil.example", json, &cookie];
            let (status, _, body) = ask(port, &order, &evil, "{}");
            assert!(status == 403 && body.contains("evil.example") && body.contains("127.0.0.1"), "{body}");

            // An event arrives at once, not with the next full buffer.
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let request = format!("GET {path}api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (begin, mut text, mut buffer) = (Instant::now(), String::new(), [0; 4096]);
            while !text.contains("event: event") {
                assert!(begin.elapsed() < Duration::from_secs(5), "{text}");
                live.add(&event());
                let read = stream.read(&mut buffer).unwrap_or(0);
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}
