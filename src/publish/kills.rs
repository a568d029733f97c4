//! Kill tests: a child process writes and reports what it has completed. The parent kills it, opens its files and checks
//! that nothing is lost or duplicated and that all counts balance. `LOOKOUT_KILLS` sets the number of kills.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::history::{self, History, Query};
use super::spool::{self, Rank, Spool};
use super::wear::number;
use crate::clock::{Clock, SystemClock};
use crate::message::{Event, EventName, Moment, Schema};

const CHILD: &str = "LOOKOUT_KILLS_CHILD";

fn kills() -> usize {
    number("LOOKOUT_KILLS", 12)
}

/// Prints a line that the parent reads.
fn report(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nchild: {line}").and_then(|()| out.flush()).unwrap();
}

/// Runs `child` (a test of this module) in `folder` from number `first` on and kills it after `delay`. Returns its
/// output.
fn killed(child: &str, folder: &Path, first: usize, delay: Duration) -> Vec<String> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("publish::kills::{child}"), "--nocapture", "--test-threads", "1"])
        .env(CHILD, folder)
        .env("LOOKOUT_KILLS_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // The delay counts from its first write.
    let begun = lines.by_ref().map_while(Result::ok).any(|line| line == "child: begin");
    assert!(begun, "the child never began");
    std::thread::sleep(delay);
    process.kill().unwrap();
    process.wait().unwrap();
    lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("child: ").map(str::to_owned)).collect()
}

/// Task of the child, if this process is one.
fn task() -> Option<(std::path::PathBuf, usize)> {
    let folder = std::env::var_os(CHILD)?.into();
    Some((folder, std::env::var("LOOKOUT_KILLS_FIRST").unwrap().parse().unwrap()))
}

/// Delays from 0 to about 50 ms, all different.
fn delay(round: usize) -> Duration {
    Duration::from_micros((round as u64 * 7919 + 131) % 50_000)
}

fn open_history(folder: &Path) -> History {
    let limits = history::HistoryLimits { max_age: Duration::from_secs(86_400), max_size: 60_000, min_free: 0 };
    let thumbnail: history::ThumbnailOf = Arc::new(|_, _, _| Some(vec![9; 300]));
    History::open(folder.join("history/events.redb"), limits, Arc::new(SystemClock), "boot", Some(thumbnail))
}

#[test]
fn history_child() {
    let Some((folder, first)) = task() else { return };
    let history = open_history(&folder);
    report(format_args!("begin"));
    for id in first.. {
        let details = [("sequence".to_owned(), id.into()), ("box".to_owned(), serde_json::json!([0, 0, 9, 9]))].into();
        history
            .keep(&Event {
                schema: Schema::V1,
                device: "d".into(),
                event: EventName::ObjectNew,
                id: id.to_string(),
                at: Moment(SystemClock.wall()),
                camera: Some("front".into()),
                details,
            })
            .unwrap();
        report(format_args!("{id}"));
    }
}

#[test]
fn a_history_outlives_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 0;
    for round in 0..kills() {
        let output = killed("history_child", folder.path(), next, delay(round));
        let completed = output.last().map_or(next, |id| id.parse::<usize>().unwrap() + 1);
        let history = open_history(folder.path());
        let page = history.find(&Query { limit: Some(1000), ..Query::default() }).unwrap();
        let ids: Vec<usize> =
            page.events.iter().map(|kept| kept.message["id"].as_str().unwrap().parse().unwrap()).collect();
        // An unfinished operation may be present or not; completed ones are.
        let newest = ids.first().map_or(0, |id| id + 1);
        assert!(newest == completed || newest == completed + 1, "round {round}: {completed} completed, {newest} found");
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "round {round}: {ids:?}");
        assert!(ids.len() >= newest.min(90) && ids.len() <= 140, "round {round}: {} kept", ids.len());
        for kept in &page.events {
            assert_eq!(history.thumbnail(kept.key).unwrap().map(|jpeg| jpeg.len()), Some(300));
        }
        assert!(!folder.path().join("history/events.redb.damaged").exists());
        next = newest;
    }
    assert!(next > kills() / 2, "the children hardly wrote: {next}");
}

fn open_spool(folder: &Path) -> Spool {
    let limits = spool::SpoolLimits { max_size: 1 << 30, max_age: Duration::from_secs(86_400), min_free: 0 };
    Spool::open(folder.join("spool.redb"), limits, Arc::new(SystemClock), "boot")
}

#[test]
fn spool_child() {
    let Some((folder, first)) = task() else { return };
    let mut spool = open_spool(&folder);
    report(format_args!("begin"));
    for id in first.. {
        spool.push(Rank::Object, id.to_string().into_bytes());
        report(format_args!("pushed {id}"));
        // Two of three are delivered.
        if id % 3 != 0 {
            let (number, payload) = spool.waiting(1, &BTreeSet::new()).pop().unwrap();
            spool.delivered(&[number]);
            report(format_args!("delivered {}", String::from_utf8(payload).unwrap()));
        }
    }
}

#[test]
fn a_spool_outlives_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (mut pushed, mut delivered) = (0, 0);
    for round in 0..kills() {
        for line in killed("spool_child", folder.path(), pushed, delay(round)) {
            let (what, id) = line.split_once(' ').unwrap();
            let id: usize = id.parse().unwrap();
            let counter = if what == "pushed" { &mut pushed } else { &mut delivered };
            assert_eq!(id, *counter, "round {round}: in order, none twice");
            *counter += 1;
        }
        let mut spool = open_spool(folder.path());
        assert_eq!(spool.fault(), None, "round {round}");
        let counts = spool.counts().clone();
        assert!(counts.dropped.is_empty(), "round {round}: {counts:?}");
        assert_eq!(counts.produced, counts.delivered + spool.size().0, "round {round}");
        let waiting: Vec<usize> = spool
            .waiting(usize::MAX, &BTreeSet::new())
            .into_iter()
            .map(|(_, payload)| String::from_utf8(payload).unwrap().parse().unwrap())
            .collect();
        let (produced, gone) = (counts.produced as usize, counts.delivered as usize);
        assert!(produced == pushed || produced == pushed + 1, "round {round}: {produced} of {pushed}");
        assert!(gone == delivered || gone == delivered + 1, "round {round}: {gone} of {delivered}");
        assert_eq!(waiting, (gone..produced).collect::<Vec<_>>(), "round {round}");
        (pushed, delivered) = (produced, gone);
    }
    assert!(pushed > kills() / 2, "the children hardly wrote: {pushed}");
}
