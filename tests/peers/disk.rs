//! A full disk: spool, history and file on a file system of two megabytes that another program fills to the last block
//! and empties again. Mounting it takes root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lookout::clock::{Clock, SimulatedClock};
use lookout::message::{Event, EventName, Message, Moment, Schema};
use lookout::publish::history::{self, History, Query};
use lookout::publish::spool::{self, Rank, Spool};
use lookout::publish::{Files, Sink};

/// A file system in memory, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            Some(Self(folder))
        } else {
            eprintln!("SKIPPED: a file system cannot be mounted here; root can");
            None
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes every byte there is; gives the file that has them.
    fn fill(&self) -> PathBuf {
        use std::io::Write;

        let path = self.path().join("filler");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn event(id: usize, clock: &SimulatedClock) -> Event {
    Event {
        schema: Schema::V1,
        device: "d".into(),
        event: EventName::ObjectNew,
        id: id.to_string(),
        at: Moment(clock.wall()),
        camera: Some("front".into()),
        details: [("padding".to_owned(), "x".repeat(400).into())].into(),
    }
}

fn balanced(spool: &Spool) {
    let tally = spool.counts();
    let dropped: u64 = tally.dropped.values().sum();
    assert_eq!(tally.produced, tally.delivered + spool.size().0 + dropped, "{tally:?}");
}

#[test]
#[ignore = "mounts a small file system as root: run tests/peers.sh"]
fn a_spool_on_a_full_disk_goes_on_in_memory_and_comes_back() {
    let Some(disk) = Disk::mount() else { return };
    let clock = Arc::new(SimulatedClock::default());
    let limits = spool::SpoolLimits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), min_free: 0 };
    let path = disk.path().join("spool.redb");
    let open = || Spool::open(path.clone(), limits, clock.clone(), "boot");
    let mut spool = open();
    for id in 0..200 {
        spool.push(Rank::Object, format!("{id:0400}").into_bytes());
    }
    let filler = disk.fill();
    for id in 200..6000 {
        spool.push(Rank::Object, format!("{id:0400}").into_bytes());
        if id % 100 == 0 {
            clock.advance(Duration::from_secs(1));
            spool.maintain();
        }
        balanced(&spool);
    }
    let dropped: u64 = spool.counts().dropped.values().sum();
    assert!(dropped > 1000 && spool.size().0 > 500, "{:?} {:?}", spool.counts(), spool.size());
    std::fs::remove_file(filler).unwrap();
    clock.advance(Duration::from_secs(60));
    for id in 6000..6020 {
        spool.push(Rank::System, format!("{id:0400}").into_bytes());
    }
    balanced(&spool);
    let (size, tally) = (spool.size(), spool.counts().clone());
    drop(spool);
    let mut spool = open();
    assert_eq!((spool.size(), spool.counts()), (size, &tally), "everything reached the disk");
    assert!(!path.with_extension("redb.damaged").exists());
    let waiting = spool.waiting(usize::MAX, &Default::default());
    assert_eq!(waiting.len() as u64, size.0);
    spool.delivered(&waiting.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    balanced(&spool);
    assert_eq!(spool.size(), (0, 0));
}

#[test]
#[ignore = "mounts a small file system as root: run tests/peers.sh"]
fn a_history_on_a_full_disk_says_so_and_comes_back_with_what_it_had() {
    let Some(disk) = Disk::mount() else { return };
    let clock = Arc::new(SimulatedClock::default());
    let limits = history::HistoryLimits { max_age: Duration::from_secs(86_400), max_size: 1 << 30, min_free: 0 };
    let history = History::open(disk.path().join("events.redb"), limits, clock.clone(), "boot", None);
    for id in 0..100 {
        history.keep(&event(id, &clock)).unwrap();
    }
    let filler = disk.fill();
    let failed = (100..4000)
        .filter(|id| {
            clock.advance(Duration::from_secs(1));
            history.keep(&event(*id, &clock)).is_err()
        })
        .count();
    assert!(failed > 1000, "{failed}");
    std::fs::remove_file(filler).unwrap();
    clock.advance(Duration::from_secs(11));
    history.keep(&event(4000, &clock)).unwrap();
    let page = history.find(&Query { limit: Some(1000), ..Query::default() }).unwrap();
    assert_eq!(page.events[0].message["id"], "4000");
    let mut before = Some(u64::MAX);
    let mut kept = Vec::new();
    while let Some(at) = before {
        let page = history.find(&Query { limit: Some(1000), before: Some(at), ..Query::default() }).unwrap();
        kept.extend(page.events.iter().map(|kept| kept.message["id"].as_str().unwrap().parse::<usize>().unwrap()));
        before = page.next;
    }
    assert_eq!(kept.len(), 4001 - failed, "what was kept is there, what failed is not");
    assert_eq!(&kept[kept.len() - 100..], (0..100).rev().collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "mounts a small file system as root: run tests/peers.sh"]
async fn a_file_on_a_full_disk_never_holds_half_a_line() {
    let Some(disk) = Disk::mount() else { return };
    let clock = SimulatedClock::default();
    let path = disk.path().join("lines.jsonl");
    let mut files = Files::open(&path, 1 << 30, 2).unwrap();
    let filler = disk.fill();
    let mut failed = 0;
    for id in 0..200 {
        if id == 150 {
            std::fs::remove_file(&filler).unwrap();
        }
        failed += usize::from(files.send(&Message::Event(event(id, &clock))).await.is_err());
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Message> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 200 - failed);
    assert!((100..=150).contains(&failed), "{failed}");
}
