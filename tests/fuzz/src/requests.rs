//! Requests: control socket, MQTT, HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lookout::clock::SystemClock;
use lookout::control::Control;
use lookout::metrics::Metrics;
use lookout::publish::mqtt::PacketFilter;
use lookout::publish::history::{History, HistoryLimits, Query};
use lookout::web::{Live, Server, WebConfig};
use serde_json::{Value, json};

use crate::scratch;

/// A history with some events.
fn history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(|| {
        let limits = HistoryLimits { max_age: Duration::from_secs(u32::MAX.into()), max_size: 1 << 30, min_free: 0 };
        let history = History::open(scratch().join("events.redb"), limits, Arc::new(SystemClock), "boot", None);
        for number in 0..20 {
            let event = json!({
                "schema": "lookout/1", "device": "d", "id": number.to_string(), "at": "2026-11-23T10:00:00Z",
                "event": if number % 2 == 0 { "object.new" } else { "camera.lost" }, "camera": "front",
            });
            history.keep(&serde_json::from_value(event).unwrap()).unwrap();
        }
        history
    })
}

fn find(arguments: Value) -> lookout::error::Result<Value> {
    let query: Query = serde_json::from_value(arguments)
        .map_err(|error| lookout::error::Error::new(lookout::error::Kind::Usage, "no query").because(error))?;
    Ok(serde_json::to_value(history().find(&query)?).unwrap())
}

/// A request on the control socket; its arguments as a query of the history.
pub fn request(input: &[u8]) {
    if let Ok((_, arguments)) = lookout::daemon::parse_request(input) {
        let _ = find(arguments);
    }
}

/// An order over MQTT.
pub fn order(input: &[u8]) {
    if let Ok(arguments) = lookout::publish::mqtt::order_arguments(input) {
        let _ = find(arguments);
    }
}

/// The stream of a broker. What passes does not depend on the chunks in which it arrives, and no PUBLISH packet above the
/// limit does.
pub fn packets(input: &[u8]) {
    let [flags, chunk, stream @ ..] = input else { return };
    // The packet that stands for another has up to 163 bytes.
    let limit = 200 + usize::from(flags >> 1);
    let filter = || PacketFilter::new(limit, flags & 1 == 1);
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    filter().feed(stream, &mut whole);
    let mut by_parts = filter();
    for part in stream.chunks(usize::from(*chunk).max(1)) {
        by_parts.feed(part, &mut parts);
    }
    assert_eq!(whole, parts);
    let mut rest = &whole[..];
    while let [first, after @ ..] = rest {
        let digits = after.iter().take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        // A malformed length passes with all that follows; the end may be missing.
        if digits > 4 || digits > after.len() {
            break;
        }
        let length = after[..digits].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        assert!(first >> 4 != 3 || 1 + digits + length <= limit, "{first} {length}");
        rest = after.get(digits + length..).unwrap_or_default();
    }
}

/// Address of a server without a token and of one with a token.
fn servers() -> [SocketAddr; 2] {
    static SERVERS: OnceLock<[SocketAddr; 2]> = OnceLock::new();
    *SERVERS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let addresses = [None, Some(b"sixteen characters".to_vec())].map(|token| {
            let control = Control::default();
            control.register("status", |_| Ok(json!({ "state": "ok", "reasons": [], "cameras": {} })));
            control.register("generations", |_| Ok(json!([])));
            let config = WebConfig {
                cameras: vec!["front".into()],
                pictures: true,
                token,
                control,
                metrics: Arc::new(Metrics::new()),
                live: Live::new(),
                latest: Arc::new(|_| None),
                events: Some(Arc::new(find)),
                thumbnail: Some(Arc::new(|key| history().thumbnail(key))),
                maps: None,
                proxy: Default::default(),
                on_listening: None,
                fault: lookout::fault::FaultReporter::ignored(),
            };
            let server = Server::listen(([127, 0, 0, 1], 0).into(), config).unwrap();
            let address = server.address().unwrap();
            tokio::spawn(server.serve());
            address
        });
        std::mem::forget(runtime);
        addresses
    })
}

/// An HTTP request, whole or not. The server answers or closes the connection, and never with 500.
pub fn http(input: &[u8]) {
    let Some((which, request)) = input.split_first() else { return };
    let mut stream = TcpStream::connect(servers()[usize::from(which & 1)]).unwrap();
    // Without a linger the port is free at once.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    if stream.write_all(request).is_err() || stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut answer = [0; 4096];
    let mut text = Vec::new();
    // The live stream does not end.
    while text.len() < 1 << 16 {
        match stream.read(&mut answer) {
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend(&answer[..read]),
        }
        if text.windows(17).any(|window| window == b"text/event-stream") {
            break;
        }
    }
    assert!(!text.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&text));
}
