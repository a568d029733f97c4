//! Tests of the whole server over HTTP on a port.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::frame::Picture;
use crate::message::{Event, EventName, Message, Model, ModelPrecision, Moment, Schema, Timing};

const TOKEN: &str = "correct horse battery staple";

struct Site {
    address: SocketAddr,
    live: Live,
    rolled_back: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

fn report(sequence: u64) -> Report {
    Report {
        schema: Schema::V1,
        device: "d".into(),
        camera: "front".into(),
        sequence,
        captured_at: Moment(Timestamp::UNIX_EPOCH),
        captured_monotonic_ns: sequence * 1_000_000_000,
        boot_id: "b".into(),
        clock_synchronized: true,
        width: 400,
        height: 300,
        model: Model { name: "m".into(), precision: ModelPrecision::Int8, generation: 0, sha256: String::new() },
        timing_ms: Timing::default(),
        detections: Vec::new(),
        objects: BTreeMap::new(),
        occupied: Vec::new(),
        zones: BTreeMap::new(),
        removed: Vec::new(),
    }
}

fn config(state: &'static str) -> (WebConfig, Arc<AtomicUsize>) {
    let control = Control::default();
    control.register("status", move |_| Ok(json!({ "state": state, "reasons": ["so"], "cameras": {} })));
    let rolled_back = Arc::new(AtomicUsize::new(0));
    let count = rolled_back.clone();
    control.register("generations", move |args| {
        if args["do"] == "rollback" {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(json!([]))
    });
    let frame = Frame {
        image: Picture::filled(400, 300, [90, 120, 150]).into(),
        sequence: 7,
        captured_at: Timestamp::UNIX_EPOCH,
        captured_monotonic_ns: 1,
    };
    let seen = (Arc::new(frame), Arc::new(report(7)));
    let config = WebConfig {
        cameras: vec!["front".into(), "rear".into()],
        pictures: true,
        token: None,
        control,
        metrics: Arc::new(Metrics::new()),
        live: Live::new(),
        latest: Arc::new(move |camera| (camera == "front").then(|| seen.clone())),
        events: Some(Arc::new(|args| Ok(json!({ "events": [], "next": null, "asked": args })))),
        thumbnail: Some(Arc::new(|key| Ok((key == 3).then(|| b"jpeg".to_vec())))),
        maps: Some(Arc::new(|| vec![("P3".into(), b"png".to_vec())])),
        proxy: Default::default(),
        on_listening: None,
        fault: FaultReporter::ignored(),
    };
    (config, rolled_back)
}

fn serve(change: impl FnOnce(&mut WebConfig)) -> Site {
    serve_in("ok", change)
}

fn serve_in(state: &'static str, change: impl FnOnce(&mut WebConfig)) -> Site {
    let (mut config, rolled_back) = config(state);
    change(&mut config);
    let live = config.live.clone();
    let server = Server::listen(([127, 0, 0, 1], 0).into(), config).unwrap();
    let address = server.address().unwrap();
    Site { address, live, rolled_back, serving: tokio::spawn(server.serve()) }
}

impl Site {
    /// Sends a request; gives status, headers in lower case, body.
    async fn ask(&self, line: &str, headers: &[&str], body: &str) -> (u16, String, Vec<u8>) {
        self.ask_from(1, line, headers, body).await
    }

    /// A connection from the address 127.0.0.`host`.
    async fn connect_from(&self, host: u8) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, host], 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// A live stream from the address 127.0.0.`host`, after its request.
    async fn watch_from(&self, host: u8) -> TcpStream {
        let mut stream = self.connect_from(host).await;
        let request = format!("GET /api/v1/stream HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// As [`ask`](Self::ask), from the address 127.0.0.`host`.
    async fn ask_from(&self, host: u8, line: &str, headers: &[&str], body: &str) -> (u16, String, Vec<u8>) {
        let mut stream = self.connect_from(host).await;
        let named = headers.iter().any(|header| header.starts_with("Host:"));
        let host = if named { String::new() } else { format!("Host: {}\r\n", self.address) };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let text =
            format!("{line} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
    }

    async fn get(&self, path: &str) -> u16 {
        self.ask(&format!("GET {path}"), &[], "").await.0
    }

    async fn json(&self, path: &str) -> Value {
        let (status, head, body) = self.ask(&format!("GET {path}"), &[], "").await;
        assert_eq!(status, 200, "{path}: {head}");
        serde_json::from_slice(&body).unwrap()
    }
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn everything_that_is_described_answers_and_nothing_else_does() {
    let site = serve(|_| {});
    let document = site.json("/api/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 15);
    for (path, operations) in paths {
        let path = path.replace("{camera}", "front").replace("{key}", "3").replace("{name}", "P3");
        if path == "/api/v1/stream" {
            continue;
        }
        let (method, headers): (_, &[&str]) =
            if operations.get("post").is_some() { ("POST", &[JSON]) } else { ("GET", &[]) };
        let (status, head, _) = site.ask(&format!("{method} {path}"), headers, "").await;
        let known = match path.as_str() {
            // StreamMessage of the camera's first report, the monitor and its verbs, which are not here.
            "/api/v1/cameras/front/report" | "/api/v1/drift" | "/api/v1/drift/series" | "/api/v1/recalibrate" => 404,
            _ => 200,
        };
        assert_eq!(status, known, "{method} {path}: {head}");
        assert_eq!(site.ask(&format!("DELETE {path}"), &[JSON], "").await.0, 405, "{path}");
    }
    // All requests of the page are described.
    let mut requests = 0;
    for (name, script) in page::MODULES {
        for part in script.split("api/v1/").skip(1) {
            let path = part.split(['"', '`', '?']).next().unwrap_or_default();
            let path = format!("/api/v1/{}", path.split("${").next().unwrap_or_default());
            assert!(paths.keys().any(|known| known.starts_with(&path)), "{name}: {path}");
            requests += 1;
        }
    }
    assert!(requests > 10, "{requests}");
    for nothing in ["/api/v1/", "/api", "/etc/passwd", "/../etc/passwd", "/page/x.js", "/api/v1/cameras/x/picture"] {
        assert_eq!(site.get(nothing).await, 404, "{nothing}");
    }
    for wrong in [
        "/api/v1/cameras/front/picture?width=1",
        "/api/v1/cameras/front/picture?width=x",
        "/api/v1/events?limit=0",
        "/api/v1/events?limit=9999",
        "/api/v1/events?order=x",
        "/api/v1/events/x/thumbnail",
    ] {
        assert_eq!(site.get(wrong).await, 400, "{wrong}");
    }
    assert_eq!(site.json("/api/v1/events?limit=5&camera=front").await["asked"]["camera"], "front");
}

#[tokio::test]
async fn without_a_token_only_this_machine_and_our_page_are_heard() {
    let site = serve(|_| {});
    for (header, status) in [
        ("Host: evil.example", 421),
        ("Host: 192.168.1.7:8480", 421),
        ("Host: localhost:1", 200),
        ("Origin: http://evil.example", 403),
        ("Origin: null", 403),
        ("Sec-Fetch-Site: cross-site", 403),
        ("Sec-Fetch-Site: same-origin", 200),
    ] {
        assert_eq!(site.ask("GET /api/v1/status", &[header], "").await.0, status, "{header}");
    }
    let order = "POST /api/v1/generations/rollback";
    assert_eq!(site.ask(order, &["Content-Type: text/plain"], "{}").await.0, 415);
    assert_eq!(site.ask(order, &["Content-Type: application/x-www-form-urlencoded"], "").await.0, 415);
    assert_eq!(site.ask(order, &["Origin: http://evil.example", JSON], "{}").await.0, 403);
    assert_eq!(site.rolled_back.load(Ordering::Relaxed), 0);
    for body in ["[]", "null", "{\"a\": 1}", "{"] {
        assert_eq!(site.ask(order, &[JSON], body).await.0, 400, "{body}");
    }
    assert_eq!(site.rolled_back.load(Ordering::Relaxed), 0);
    let ours = format!("Origin: http://{}", site.address);
    assert_eq!(site.ask(order, &[&ours, JSON], "{}").await.0, 200);
    assert_eq!(site.rolled_back.load(Ordering::Relaxed), 1);
    let (_, head, _) = site.ask("GET /", &[], "").await;
    for header in ["content-security-policy: default-src 'none'", "x-frame-options: deny", "cache-control: no-store"] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(site.ask("POST /login", &[JSON], &"x".repeat(20_000)).await.0, 413);
    let open = Server::listen(([0, 0, 0, 0], 0).into(), config("ok").0);
    assert_eq!(open.err().map(|error| error.kind()), Some(Kind::Config));
}

#[tokio::test]
async fn with_a_token_nothing_of_the_device_is_told_without_it() {
    let site = serve(|config| config.token = Some(TOKEN.into()));
    let Value::Object(paths) = openapi::description()["paths"].clone() else { panic!("no paths") };
    // Liveness alone needs none; see below.
    let private = paths.keys().map(String::as_str).filter(|path| *path != "/healthz");
    for path in private.chain(["/api", "/x", "/metrics?x", "//api/v1/status", "/login/../metrics"]) {
        for method in ["GET", "HEAD", "POST", "PUT", "OPTIONS"] {
            let (status, _, body) = site.ask(&format!("{method} {path}"), &[JSON], "").await;
            assert_eq!(status, 401, "{method} {path}");
            assert!(!String::from_utf8_lossy(&body).contains("front"));
        }
    }
    for public in ["/", "/page/main.js", "/page.css"] {
        assert_eq!(site.get(public).await, 200);
    }
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(site.ask("GET /metrics", &[&bearer], "").await.0, 200);
    assert_eq!(site.ask("GET /metrics", &["Authorization: Bearer wrong"], "").await.0, 401);
    // With a token, any host name is accepted, but not pages of other sites.
    assert_eq!(site.ask("GET /api/v1/status", &[&bearer, "Host: gate.example"], "").await.0, 200);
    assert_eq!(site.ask("GET /api/v1/status", &[&bearer, "Origin: http://evil.example"], "").await.0, 403);

    assert_eq!(site.ask("POST /login", &[JSON], "{\"token\": \"guess\"}").await.0, 401);
    assert_eq!(site.ask("POST /login", &[JSON], "{\"token\": 5}").await.0, 400);
    let (status, head, _) = site.ask("POST /login", &[JSON], &json!({ "token": TOKEN }).to_string()).await;
    assert_eq!(status, 204);
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict") && !cookie.contains(TOKEN), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(site.ask("GET /api/v1/features", &[&cookie], "").await.0, 200);
}

#[tokio::test]
async fn wrong_tokens_are_limited_by_address_and_stop_nobody_else() {
    let login = |token: &str| json!({ "token": token }).to_string();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    // By the peer's address, or by the forwarded one behind a trusted proxy.
    for trusted in [false, true] {
        let site = serve(|config| {
            config.token = Some(TOKEN.into());
            if trusted {
                config.proxy.trusted = vec![("127.0.0.0".parse().unwrap(), 8)];
            }
        });
        let client = |number: u8| {
            let forwarded = format!("X-Forwarded-For: 192.0.2.{number}");
            if trusted { (1, forwarded) } else { (number, "X: y".to_owned()) }
        };
        let (host, guesser) = client(7);
        let mut statuses = Vec::new();
        for number in 0..60 {
            let guess = format!("Authorization: Bearer guess number {number}");
            let answer = match number % 2 {
                0 => site.ask_from(host, "GET /api/v1/status", &[&guess, &guesser], "").await,
                _ => site.ask_from(host, "POST /login", &[JSON, &guesser], &login(&guess)).await,
            };
            assert!(answer.0 == 401 || answer.1.contains("retry-after: 1"), "{}", answer.1);
            statuses.push(answer.0);
        }
        assert_eq!(statuses[..10], [401; 10]);
        let refused = statuses.iter().filter(|status| **status == 429).count();
        assert!(refused > 25, "{statuses:?}");

        let (other, here) = client(8);
        let begin = std::time::Instant::now();
        assert_eq!(site.ask_from(other, "GET /api/v1/status", &[&bearer, &here], "").await.0, 200);
        let (status, head, _) = site.ask_from(other, "POST /login", &[JSON, &here], &login(TOKEN)).await;
        assert_eq!(status, 204);
        assert!(begin.elapsed() < std::time::Duration::from_secs(5), "nobody waits for another's guesses");
        // Who is logged in stays so, whoever guesses at the same address.
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
        assert_eq!(site.ask_from(host, "GET /api/v1/status", &[&cookie, &guesser], "").await.0, 200);
        assert_eq!(site.ask_from(host, "GET /", &[&guesser], "").await.0, 200);
        // A right token is accepted again once the address has waited.
        let begin = std::time::Instant::now();
        while site.ask_from(host, "GET /api/v1/status", &[&bearer, &guesser], "").await.0 != 200 {
            assert!(begin.elapsed() < std::time::Duration::from_secs(20));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        // Forwarded headers of a client that is no trusted proxy do not make it another one.
        if !trusted {
            for number in 0..20 {
                let forged = format!("X-Forwarded-For: 192.0.2.{number}");
                site.ask_from(9, "GET /api/v1/status", &["Authorization: Bearer guess", &forged], "").await;
            }
            assert_eq!(site.ask_from(9, "GET /api/v1/status", &[&bearer], "").await.0, 429);
        }
    }
}

#[tokio::test]
async fn connections_of_one_address_leave_room_for_others_and_for_itself() {
    let site = serve(|_| {});
    let mut watching = site.watch_from(2).await;
    let mut buffer = [0; 4096];
    assert!(watching.read(&mut buffer).await.unwrap() > 0);
    let mut greedy = Vec::new();
    for _ in 0..600 {
        let mut stream = site.connect_from(1).await;
        let _ = stream.write_all(b"GET / HT").await;
        greedy.push(stream);
    }
    for client in [1, 3] {
        assert_eq!(site.ask_from(client, "GET /api/v1/status", &[], "").await.0, 200, "{client}");
    }
    site.live.add(&Message::Report(report(1)));
    let text = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        let mut text = String::new();
        while !text.contains("event: report") {
            let read = watching.read(&mut buffer).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    });
    text.await.expect("the stream of another address goes on");
    // Of the greedy address's connections most were closed.
    let open = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        let mut open = 0;
        for stream in &mut greedy {
            let read = tokio::time::timeout(std::time::Duration::from_millis(20), stream.read(&mut buffer)).await;
            open += usize::from(read.is_err());
        }
        open
    });
    assert!(open.await.unwrap() <= 64);
}

#[tokio::test]
async fn a_proxy_is_known_by_the_public_address_and_embedding_by_its_list() {
    let bearer = format!("Authorization: bearer {TOKEN}");
    let order = "POST /api/v1/recalibrate";
    let proxied = |config: &mut WebConfig| {
        config.token = Some(TOKEN.as_bytes().to_vec());
        config.proxy.public_url = Some("https://home.example/lookout".into());
        config.proxy.embed_origins = vec!["https://ha.example:8123".into()];
    };
    let site = serve(proxied);
    let ours = "Origin: https://home.example";
    assert_ne!(site.ask(order, &[&bearer, ours, JSON], "{}").await.0, 403);
    let (status, _, body) = site.ask(order, &[&bearer, "Origin: https://evil.example", JSON], "{}").await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 403);
    let both = body.contains("https://evil.example") && body.contains(&site.address.to_string());
    assert!(both && body.contains("web.public_url"), "{body}");
    let (_, head, _) = site.ask("GET /", &[], "").await;
    assert!(
        head.contains("frame-ancestors 'self' https://ha.example:8123") && !head.contains("x-frame-options"),
        "{head}"
    );
    let (_, head, _) = site.ask("POST /login", &[JSON, ours], &json!({ "token": TOKEN }).to_string()).await;
    assert!(head.to_lowercase().contains("samesite=none; path=/lookout/; secure"), "{head}");

    let plain = serve(|config| config.token = Some(TOKEN.as_bytes().to_vec()));
    let (_, head, _) = plain.ask("GET /", &[], "").await;
    assert!(head.contains("frame-ancestors 'none'") && head.contains("x-frame-options: deny"), "{head}");
    // Forwarded headers of a client that is no trusted proxy do not count.
    let forged = ["X-Forwarded-Host: evil.example", "Origin: http://evil.example", &bearer, JSON];
    assert_eq!(plain.ask(order, &forged, "{}").await.0, 403);
    let trusting = serve(|config| {
        config.token = Some(TOKEN.as_bytes().to_vec());
        config.proxy.trusted = vec![("127.0.0.0".parse().unwrap(), 8)];
    });
    assert_ne!(trusting.ask(order, &forged, "{}").await.0, 403);
    let standard =
        ["Forwarded: for=192.0.2.1;host=cam.example;proto=https", "Origin: https://cam.example", &bearer, JSON];
    assert_ne!(trusting.ask(order, &standard, "{}").await.0, 403);
    assert_eq!(plain.ask(order, &standard, "{}").await.0, 403);
    // Without a token nobody else has access, even through a proxy that sends the server's own name as Host.
    let open = serve(|_| {});
    for header in ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"] {
        assert_eq!(open.ask("GET /api/v1/status", &[header], "").await.0, 421, "{header}");
    }
    assert_eq!(open.ask("GET /api/v1/status", &["X-Forwarded-For: 127.0.0.1"], "").await.0, 200);
    let login = ["X-Forwarded-Proto: https", JSON];
    let (_, head, _) = trusting.ask("POST /login", &login, &json!({ "token": TOKEN }).to_string()).await;
    assert!(head.to_lowercase().contains("samesite=strict; path=/; secure"), "{head}");
}

#[tokio::test]
async fn health_is_what_the_status_says() {
    for (state, alive, ready) in
        [("ok", 200, 200), ("degraded", 200, 503), ("starting", 200, 503), ("stopping", 503, 503)]
    {
        let site = serve_in(state, |_| {});
        assert_eq!((site.get("/healthz").await, site.get("/readyz").await), (alive, ready), "{state}");
    }
    let dead = serve(|config| config.control = Control::default());
    assert!(dead.get("/healthz").await >= 400);
}

#[tokio::test]
async fn metrics_come_in_both_formats() {
    let site = serve(|_| {});
    let (_, head, body) = site.ask("GET /metrics", &[], "").await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(String::from_utf8(body).unwrap().ends_with("# EOF\n"));
    let (_, head, body) = site.ask("GET /metrics", &["Accept: text/plain"], "").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(!String::from_utf8(body).unwrap().contains("# EOF"));
}

#[tokio::test]
async fn pictures_are_shared_and_can_be_forbidden() {
    let site = serve(|_| {});
    let (status, head, jpeg) = site.ask("GET /api/v1/cameras/front/picture?width=200", &[], "").await;
    assert_eq!(status, 200);
    assert!(head.contains("x-lookout-sequence: 7") && head.contains("content-type: image/jpeg"), "{head}");
    let picture = Picture::decode(&jpeg).unwrap();
    assert_eq!((picture.width, picture.height), (200, 150));
    assert_eq!(site.get("/api/v1/cameras/rear/picture").await, 404);

    let blind = serve(|config| config.pictures = false);
    assert_eq!(blind.get("/api/v1/cameras/front/picture").await, 403);
    assert_eq!(blind.get("/api/v1/events/3/thumbnail").await, 403);
    blind.live.add(&Message::Report(report(9)));
    assert_eq!(blind.json("/api/v1/cameras/front/report").await["sequence"], 9);
    assert_eq!(blind.json("/api/v1/features").await["pictures"], false);
}

#[tokio::test]
async fn the_stream_tells_what_is_said_and_ends_with_the_server() {
    let site = serve(|_| {});
    let mut stream = site.watch_from(1).await;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("event: event") {
        site.live.add(&Message::Event(Event {
            schema: Schema::V1,
            device: "d".into(),
            event: EventName::CameraLost,
            id: "1".into(),
            at: Moment(Timestamp::UNIX_EPOCH),
            camera: None,
            details: Default::default(),
        }));
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read(&mut buffer)).await;
        let read = read.unwrap().unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(text.contains("text/event-stream") && text.contains("\"event\":\"camera.lost\""), "{text}");
    site.serving.abort();
    let rest = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    });
    rest.await.expect("a connection does not outlive the server");
}

#[tokio::test]
async fn a_taken_address_is_waited_for() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let server = Server::listen(address, config("ok").0).unwrap();
    assert!(server.address().is_none());
    let _serving = tokio::spawn(server.serve());
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(other);
    let begin = std::time::Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(10));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn two_hundred_clients_that_take_nothing_leave_room_for_one_that_does() {
    let site = serve(|_| {});
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(site.address).await.unwrap();
        // A partial request, or a complete one whose response is never read.
        let text = if number % 2 == 0 { "GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n" } else { "GET / HT" };
        stream.write_all(text.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    for sequence in 0..500 {
        site.live.add(&Message::Report(report(sequence)));
    }
    let begin = std::time::Instant::now();
    assert_eq!(site.get("/api/v1/status").await, 200);
    assert_eq!(site.json("/api/v1/cameras/front/report").await["sequence"], 499);
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn liveness_needs_no_token_and_tells_no_reasons_where_there_is_one() {
    let site = serve_in("degraded", |config| config.token = Some(b"a token of the test".to_vec()));
    for (path, header, expected) in [
        ("/healthz", None, (200, json!([]))),
        ("/healthz", Some("Authorization: Bearer a token of the test"), (200, json!([]))),
        ("/readyz", Some("Authorization: Bearer a token of the test"), (503, json!(["so"]))),
    ] {
        let headers: Vec<&str> = header.into_iter().collect();
        let (status, _, body) = site.ask(&format!("GET {path}"), &headers, "").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, body["reasons"].clone()), expected, "{path}");
        assert_eq!(body["state"], "degraded");
    }
    assert_eq!((site.get("/readyz").await, site.get("/metrics").await), (401, 401));
    let open = serve_in("degraded", |_| {});
    assert_eq!(open.json("/healthz").await["reasons"], json!(["so"]), "only this machine has access");
}

#[tokio::test]
async fn the_stream_says_that_it_ends() {
    let site = serve(|_| {});
    let mut stream = site.watch_from(1).await;
    while site.live.subscribers() == 0 {
        tokio::task::yield_now().await;
    }
    site.live.end();
    site.live.all_unsubscribed().await;
    let mut text = String::new();
    let end = "event: end\ndata: {\"state\":\"stopping\"}\n\n";
    while !text.contains(end) {
        let mut part = [0; 512];
        let length = stream.read(&mut part).await.unwrap();
        assert!(length > 0, "{text}");
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_fault_until_it_is_free() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (mut config, _) = config("ok");
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    config.fault = FaultReporter::new(move |report| drop(sender.send(report)));
    let server = Server::listen(address, config).unwrap();
    let reason = reports.recv().await.unwrap().unwrap();
    assert!(reason.contains(&address.to_string()), "{reason}");
    let serving = tokio::spawn(server.serve());
    drop(taken);
    while reports.recv().await.unwrap().is_some() {}
    serving.abort();
}
