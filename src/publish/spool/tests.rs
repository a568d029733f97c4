use std::path::Path;

use super::*;
use crate::clock::SimulatedClock;

fn limits(max_size: u64) -> SpoolLimits {
    SpoolLimits { max_size, max_age: Duration::from_secs(86_400), min_free: 0 }
}

fn open(path: &Path, limits: SpoolLimits, clock: &Arc<SimulatedClock>) -> Spool {
    Spool::open(path.to_owned(), limits, clock.clone(), "boot")
}

/// Asserts that the counts balance.
fn balanced(spool: &Spool) {
    let counts = spool.counts();
    let dropped: u64 = counts.dropped.values().sum();
    assert_eq!(counts.produced, counts.delivered + spool.size().0 + dropped, "{counts:?} {:?}", spool.size());
}

fn texts(spool: &mut Spool) -> Vec<String> {
    spool.waiting(usize::MAX, &BTreeSet::new()).into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect()
}

#[test]
fn what_waits_survives_and_goes_out_by_rank_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool/mqtt.redb");
    let clock = Arc::new(SimulatedClock::default());
    let mut spool = open(&path, limits(1 << 20), &clock);
    spool.push(Rank::Object, b"car 1".to_vec());
    spool.push(Rank::System, b"drift".to_vec());
    spool.push(Rank::Object, b"car 2".to_vec());
    drop(spool);
    let mut spool = open(&path, limits(1 << 20), &clock);
    assert_eq!(texts(&mut spool), ["drift", "car 1", "car 2"]);
    let first = spool.waiting(1, &BTreeSet::new())[0].0;
    assert_eq!(spool.waiting(1, &[first].into())[0].1, b"car 1");
    spool.delivered(&[first, first, 99]);
    balanced(&spool);
    drop(spool);
    let mut spool = open(&path, limits(1 << 20), &clock);
    assert_eq!(texts(&mut spool), ["car 1", "car 2"]);
    assert_eq!((spool.counts().produced, spool.counts().delivered), (3, 1));
    spool.push(Rank::Object, b"car 3".to_vec());
    assert_eq!(texts(&mut spool), ["car 1", "car 2", "car 3"]);
}

#[test]
fn an_hour_without_a_broker_is_accounted_for_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.redb");
    let clock = Arc::new(SimulatedClock::default());
    let tight = SpoolLimits { max_size: 40_000, max_age: Duration::from_secs(1800), min_free: 0 };
    let mut spool = open(&path, tight, &clock);
    for second in 0..3600u32 {
        clock.advance(Duration::from_secs(1));
        if second % 2 == 0 {
            spool.push(Rank::Object, format!("{second:0200}").into_bytes());
        }
        if second % 600 == 0 {
            spool.push(Rank::System, format!("{second:0100}").into_bytes());
        }
        if second % 60 == 0 {
            spool.maintain();
        }
        if second % 500 == 499 {
            drop(spool);
            spool = open(&path, tight, &clock);
        }
        balanced(&spool);
        assert!(spool.size().1 <= 40_000);
    }
    assert_eq!(spool.counts().produced, 1806);
    // 30 minutes of system events are kept whatever the objects do.
    let waiting = texts(&mut spool);
    assert_eq!(waiting.iter().filter(|text| text.len() == 100).count(), 3);
    let numbers: Vec<u64> = spool.waiting(usize::MAX, &BTreeSet::new()).into_iter().map(|(number, _)| number).collect();
    for part in numbers.chunks(7) {
        spool.delivered(part);
        balanced(&spool);
    }
    assert_eq!((spool.size(), spool.counts().delivered), ((0, 0), numbers.len() as u64));
    assert!(spool.counts().dropped[&DropReason::Size] > 1000 && spool.counts().dropped[&DropReason::Age] == 3);
}

#[test]
fn a_disk_that_fails_is_replaced_by_memory_until_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("state");
    std::fs::write(&blocked, "a file where the folder should be").unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let path = blocked.join("mqtt.redb");
    let mut spool = open(&path, limits(1 << 30), &clock);
    spool.push(Rank::Object, b"first".to_vec());
    for _ in 0..40 {
        spool.push(Rank::Object, vec![b'x'; 100_000]);
        balanced(&spool);
    }
    spool.push(Rank::System, b"last".to_vec());
    assert_eq!(spool.counts().dropped.keys().copied().collect::<Vec<_>>(), [DropReason::Disk]);
    assert_eq!(texts(&mut spool)[0], "last");
    std::fs::remove_file(&blocked).unwrap();
    spool.maintain();
    assert!(!path.exists());
    clock.advance(Duration::from_secs(11));
    spool.maintain();
    balanced(&spool);
    let (waiting, counts) = (texts(&mut spool), spool.counts().clone());
    drop(spool);
    let mut spool = open(&path, limits(1 << 30), &clock);
    assert_eq!((texts(&mut spool), spool.counts()), (waiting, &counts));
}

#[test]
fn free_space_is_left_alone_and_what_memory_held_is_not_missed_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.redb");
    let clock = Arc::new(SimulatedClock::default());
    let mut spool = open(&path, limits(1 << 20), &clock);
    spool.push(Rank::Object, b"kept".to_vec());
    drop(spool);
    let mut spool = open(&path, SpoolLimits { min_free: u64::MAX, ..limits(1 << 20) }, &clock);
    spool.push(Rank::Object, b"in memory".to_vec());
    assert_eq!(texts(&mut spool), ["kept", "in memory"]);
    let kept = spool.waiting(1, &BTreeSet::new())[0].0;
    spool.delivered(&[kept]);
    balanced(&spool);
    drop(spool);
    let mut spool = open(&path, limits(1 << 20), &clock);
    balanced(&spool);
    assert_eq!((texts(&mut spool).len(), spool.counts().produced), (0, 1));
}

#[test]
fn a_journal_is_taken_up_whatever_part_of_it_a_power_cut_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.redb");
    let clock = Arc::new(SimulatedClock::default());
    let mut spool = open(&path, limits(1 << 20), &clock);
    let mut after = Vec::new();
    for number in 0..20usize {
        spool.push(Rank::Object, format!("{number}").into_bytes());
        if number % 3 == 1 {
            let first = spool.waiting(1, &BTreeSet::new())[0].0;
            spool.delivered(&[first]);
        }
        after.push(texts(&mut spool));
    }
    let (files, counts) = (["mqtt.redb", "mqtt.journal"], spool.counts().clone());
    let read = |name: &&str| std::fs::read(folder.path().join(name)).unwrap();
    let [database, journal] = [read(&files[0]), read(&files[1])];
    let reopen = |journal: &[u8]| {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join(files[0]), &database).unwrap();
        std::fs::write(copy.path().join(files[1]), journal).unwrap();
        let mut spool = open(&copy.path().join(files[0]), limits(1 << 20), &clock);
        balanced(&spool);
        (texts(&mut spool), spool.counts().clone())
    };
    // A process that was killed has lost nothing.
    assert_eq!(reopen(&journal), (after.last().unwrap().clone(), counts.clone()));
    let end = journal.iter().rposition(|&byte| byte != 0).unwrap();
    for cut in (0..end).step_by(97) {
        let (waiting, _) = reopen(&journal[..cut]);
        let known = |state: &Vec<String>| state.iter().all(|text| waiting.contains(text)) && waiting.len() <= 20;
        assert!(waiting.is_empty() || after.iter().any(known), "cut at {cut}: {waiting:?}");
    }
    // A page in the middle is lost: later records count, and every message is accounted for.
    for at in (0..end).step_by(131) {
        let mut torn = journal.clone();
        torn[at] ^= 0x55;
        let (_, torn) = reopen(&torn);
        assert!(torn.produced <= counts.produced, "{torn:?}");
    }
}

#[test]
fn a_damaged_file_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mqtt.redb");
    let clock = Arc::new(SimulatedClock::default());
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let mut spool = open(&path, limits(1 << 20), &clock);
    spool.push(Rank::Object, b"one".to_vec());
    assert!(folder.path().join("mqtt.redb.damaged").exists());
    drop(spool);
    assert_eq!(texts(&mut open(&path, limits(1 << 20), &clock)), ["one"]);
}
