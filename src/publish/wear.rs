//! Wear: bytes that a process writes for each event. A child process stores events in a history and delivers them through
//! a spool, as the service does with a connected broker. It reads its own counts from `/proc/self/io`.
//! `LOOKOUT_WEAR` sets the number of events, `LOOKOUT_WEAR_PACE` the milliseconds between two.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::history::{History, HistoryLimits};
use super::spool::{Rank, Spool, SpoolLimits};
use crate::clock::{Clock, SystemClock};
use crate::message::{Event, EventName, Message, Moment, Schema};

const CHILD: &str = "LOOKOUT_WEAR_CHILD";
/// Bytes that an event may cost at most.
const GOAL: u64 = 8000;

/// The number in the environment variable `name`.
pub(super) fn number<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Bytes that this process passed to `write`, and those that it made dirty on a disk.
fn written() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let count = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (count("wchar:"), count("write_bytes:"))
}

/// An event as tracks make them.
fn event(id: u64) -> Event {
    let details = [
        ("sequence", id.into()),
        ("track", id.into()),
        ("label", "TwoWheeler".into()),
        ("score", 0.987_654_3.into()),
        ("box", serde_json::json!([612.123_4, 180.456_7, 710.012_3, 240.987_6])),
        ("zones", serde_json::json!(["gate", "pavement"])),
        ("seen_s", 12.345.into()),
    ];
    Event {
        schema: Schema::V1,
        device: "3f2a91d0c4b7".into(),
        event: if id.is_multiple_of(2) { EventName::ObjectNew } else { EventName::ObjectEnd },
        id: format!("0192f0c1-3b5a-7c1e-9d2f-{id:012}"),
        at: Moment(SystemClock.wall()),
        camera: Some("front".into()),
        details: details.map(|(key, value)| (key.to_owned(), value)).into(),
    }
}

#[test]
#[allow(clippy::print_stdout)]
fn wear_child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    let (events, pace) = (number("LOOKOUT_WEAR", 200), Duration::from_millis(number("LOOKOUT_WEAR_PACE", 10)));
    let clock = Arc::new(SystemClock);
    let begin = written();
    let limits = HistoryLimits { max_age: Duration::from_secs(86_400), max_size: 1 << 28, min_free: 0 };
    let history = History::open(folder.join("history/events.redb"), limits, clock.clone(), "boot", None);
    let limits = SpoolLimits { max_size: 1 << 26, max_age: Duration::from_secs(86_400), min_free: 0 };
    let mut spool = Spool::open(folder.join("spool/broker.redb"), limits, clock, "boot");
    let opened = written();
    let mut text = 0;
    for id in 0..events {
        let event = event(id);
        history.keep(&event).unwrap();
        let payload = serde_json::to_vec(&Message::Event(event)).unwrap();
        text += payload.len();
        spool.push(Rank::Object, payload);
        // The session removes what the broker acknowledged five times a second.
        if id % 4 == 3 {
            let numbers: Vec<u64> = spool.waiting(16, &BTreeSet::new()).into_iter().map(|(number, _)| number).collect();
            spool.delivered(&numbers);
        }
        std::thread::sleep(pace);
    }
    let stored = written();
    drop((history, spool));
    let end = written();
    let each = |from: (u64, u64), to: (u64, u64)| ((to.0 - from.0) / events, (to.1 - from.1) / events);
    println!(
        "\nwear: {} bytes of text; opening {:?} bytes, each event {:?}, closing {:?}",
        text as u64 / events,
        (opened.0 - begin.0, opened.1 - begin.1),
        each(opened, stored),
        (end.0 - stored.0, end.1 - stored.1),
    );
    let whole = each(begin, end);
    println!("wear of an event: {}", whole.0.max(whole.1));
}

#[test]
#[allow(clippy::print_stdout)]
fn an_event_costs_little_of_a_memory_card() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publish::wear::wear_child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    println!("{text}");
    let cost = text.lines().find_map(|line| line.strip_prefix("wear of an event: ")).expect("the child tells its cost");
    assert!(cost.parse::<u64>().unwrap() <= GOAL, "{cost} bytes");
}
