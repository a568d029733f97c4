//! Files of the state folder: journals, databases, the ledger.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lookout::clock::SystemClock;
use lookout::monitor::Generations;
use lookout::publish::history::{History, HistoryLimits, Query};
use lookout::publish::spool::{Rank, Spool, SpoolLimits};
use serde_json::json;

use crate::{changed, scratch};

/// The folder `name` below [`scratch`], empty.
fn fresh(name: &str) -> PathBuf {
    let folder = scratch().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Long enough for any event of the past.
const MAX_AGE: Duration = Duration::from_secs(u32::MAX as u64);

/// A journal: the chunks of `input`, each after its length (2 bytes), as records with correct checksums.
fn journal(mut input: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut number = 0u64;
    while let Some((length, rest)) = input.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length) % 2048)));
        number += 1;
        let mut checked = number.to_le_bytes().to_vec();
        checked.extend(payload);
        file.extend((payload.len() as u32).to_le_bytes());
        file.extend(crc32fast::hash(&checked).to_le_bytes());
        file.extend(checked);
        input = rest;
    }
    file
}

fn open_history(folder: &Path) -> History {
    let limits = HistoryLimits { max_age: MAX_AGE, max_size: 1 << 20, min_free: 0 };
    History::open(folder.join("events.redb"), limits, Arc::new(SystemClock), "boot", None)
}

fn use_history(folder: &Path) {
    let history = open_history(folder);
    let page = history.find(&Query { limit: Some(1000), ..Query::default() }).unwrap();
    for stored in &page.events {
        let _ = history.thumbnail(stored.key);
    }
    let event = json!({
        "schema": "lookout/1", "device": "d", "id": "1", "at": "2026-11-23T10:00:00Z", "event": "camera.lost",
    });
    history.keep(&serde_json::from_value(event).unwrap()).unwrap();
    let page = history.find(&Query { limit: Some(1), ..Query::default() }).unwrap();
    assert_eq!(page.events[0].message["event"], "camera.lost", "a new event is stored, whatever the files held");
}

fn open_spool(folder: &Path) -> Spool {
    let limits = SpoolLimits { max_size: 1 << 20, max_age: Duration::from_secs(3600), min_free: 0 };
    Spool::open(folder.join("broker.redb"), limits, Arc::new(SystemClock), "boot")
}

fn use_spool(folder: &Path) {
    let mut spool = open_spool(folder);
    spool.waiting(usize::MAX, &Default::default());
    spool.push(Rank::System, b"new".to_vec());
    let waiting = spool.waiting(usize::MAX, &Default::default());
    assert!(waiting.iter().any(|(_, payload)| payload == b"new"), "a new message waits, whatever the files held");
    spool.maintain();
}

/// A journal of a history, as it is and as records.
pub fn history(input: &[u8]) {
    for content in [input.to_vec(), journal(input)] {
        let folder = fresh("history");
        std::fs::write(folder.join("events.journal"), content).unwrap();
        use_history(&folder);
    }
}

/// A journal of a spool, as it is and as records.
pub fn spool(input: &[u8]) {
    for content in [input.to_vec(), journal(input)] {
        let folder = fresh("spool");
        std::fs::write(folder.join("broker.journal"), content).unwrap();
        use_spool(&folder);
    }
}

/// The databases of a history and of a spool with some content.
fn databases() -> &'static [Vec<u8>; 2] {
    static DATABASES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    DATABASES.get_or_init(|| {
        let folder = fresh("whole");
        let history = open_history(&folder);
        let mut spool = open_spool(&folder);
        for number in 0..50 {
            let event = json!({
                "schema": "lookout/1", "device": "d", "id": number.to_string(), "at": "2026-11-23T10:00:00Z",
                "event": "object.new", "camera": "front",
            });
            history.keep(&serde_json::from_value(event).unwrap()).unwrap();
            spool.push(Rank::Object, vec![number; 200]);
        }
        drop((history, spool));
        ["events.redb", "broker.redb"].map(|name| std::fs::read(folder.join(name)).unwrap())
    })
}

/// Changes in the databases.
pub fn database(input: &[u8]) {
    let [history, spool] = databases();
    let folder = fresh("database");
    std::fs::write(folder.join("events.redb"), changed(history, input)).unwrap();
    std::fs::write(folder.join("broker.redb"), changed(spool, input)).unwrap();
    use_history(&folder);
    use_spool(&folder);
}

/// The ledger of generations.
pub fn ledger(input: &[u8]) {
    let folder = fresh("ledger");
    std::fs::create_dir_all(folder.join("models")).unwrap();
    std::fs::write(folder.join("models/ledger.json"), input).unwrap();
    let mut generations = Generations::open(&folder, "root", 3).unwrap();
    generations.list();
    let _ = generations.start("boot");
    let _ = generations.pin(Some(1));
    generations.next();
}
