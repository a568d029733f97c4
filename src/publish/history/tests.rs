use std::collections::BTreeMap;

use super::*;
use crate::clock::SimulatedClock;
use crate::message::{Moment, Schema};

fn event(id: usize, name: EventName, clock: &SimulatedClock) -> Event {
    let details = BTreeMap::from([
        ("sequence".to_owned(), id.into()),
        ("box".to_owned(), serde_json::json!([1.0, 2.0, 3.0, 4.0])),
        ("padding".to_owned(), "x".repeat(100).into()),
    ]);
    Event {
        schema: Schema::V1,
        device: "d".into(),
        event: name,
        id: id.to_string(),
        at: Moment(clock.wall()),
        camera: Some(if id.is_multiple_of(2) { "front" } else { "rear" }.into()),
        details,
    }
}

fn open(folder: &std::path::Path, limits: HistoryLimits, clock: &Arc<SimulatedClock>) -> History {
    open_in("boot", folder, limits, clock)
}

fn open_in(boot_id: &str, folder: &std::path::Path, limits: HistoryLimits, clock: &Arc<SimulatedClock>) -> History {
    let thumbnail: ThumbnailOf =
        Arc::new(|camera, sequence, bbox| Some(format!("{camera} {sequence} {bbox:?}").into()));
    History::open(folder.join("history/events.redb"), limits, clock.clone(), boot_id, Some(thumbnail))
}

const ROOMY: HistoryLimits = HistoryLimits { max_age: Duration::from_secs(86_400), max_size: 1 << 30, min_free: 0 };

fn ids(page: &Page) -> Vec<usize> {
    page.events.iter().map(|kept| kept.message["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn events_are_found_page_by_page_after_a_crash_too() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let history = open(folder.path(), ROOMY, &clock);
    for id in 0..25 {
        let name = if id == 7 { EventName::DriftRaised } else { EventName::ObjectNew };
        history.keep(&event(id, name, &clock)).unwrap();
    }
    drop(history);
    let history = open(folder.path(), ROOMY, &clock);
    let query = Query { limit: Some(10), ..Query::default() };
    let first = history.find(&query).unwrap();
    assert_eq!(ids(&first), (15..25).rev().collect::<Vec<_>>());
    let second = history.find(&Query { before: first.next, ..query.clone() }).unwrap();
    assert_eq!(ids(&second), (5..15).rev().collect::<Vec<_>>());
    let third = history.find(&Query { before: second.next, ..query }).unwrap();
    assert_eq!((ids(&third), third.next), ((0..5).rev().collect(), None));
    let of = |event: &str, camera: Option<&str>| {
        let (event, camera) = (Some(event.to_owned()), camera.map(str::to_owned));
        ids(&history.find(&Query { event, camera, ..Query::default() }).unwrap())
    };
    assert_eq!(of("drift", None), [7]);
    assert_eq!(of("drift.raised", Some("front")), Vec::<usize>::new());
    assert_eq!(of("object", Some("rear")).len(), 11);
    assert_eq!(of("obj", None), Vec::<usize>::new());
    let newest = &first.events[0];
    assert!(newest.thumbnail);
    assert_eq!(history.thumbnail(newest.key).unwrap().unwrap(), b"front 24 [1.0, 2.0, 3.0, 4.0]");
    assert_eq!(history.thumbnail(9999).unwrap(), None);
}

#[test]
fn the_end_of_an_object_has_its_best_picture_and_updates_are_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let history = open(folder.path(), ROOMY, &clock);
    let keep = |id: usize, name: EventName, object: &str, score: f64| {
        let mut event = event(id, name, &clock);
        event.details.insert("object".into(), object.into());
        event.details.insert("score".into(), score.into());
        history.keep(&event).unwrap();
    };
    keep(0, EventName::ObjectNew, "a", 0.6);
    keep(2, EventName::ObjectNew, "b", 0.6);
    keep(4, EventName::ObjectUpdate, "a", 0.9);
    keep(6, EventName::ObjectUpdate, "a", 0.7);
    keep(8, EventName::ZoneEntered, "a", 0.7);
    keep(10, EventName::ObjectEnd, "a", 0.0);
    keep(12, EventName::ObjectEnd, "b", 0.0);
    let page = history.find(&Query::default()).unwrap();
    assert_eq!(ids(&page), [12, 10, 8, 2, 0]);
    let pictures: Vec<Option<String>> = page
        .events
        .iter()
        .map(|kept| history.thumbnail(kept.key).unwrap().map(|jpeg| String::from_utf8_lossy(&jpeg).into_owned()))
        .collect();
    let of = |sequence: usize| Some(format!("front {sequence} [1.0, 2.0, 3.0, 4.0]"));
    assert_eq!(pictures, [of(2), of(4), None, of(2), of(0)]);
    assert!(history.best().is_empty());
}

#[test]
fn the_old_and_the_too_much_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let limits = HistoryLimits { max_age: Duration::from_secs(100), max_size: 10_000, min_free: 0 };
    let history = open(folder.path(), limits, &clock);
    for id in 0..60 {
        history.keep(&event(id, EventName::ObjectNew, &clock)).unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let kept = ids(&history.find(&Query::default()).unwrap());
    assert_eq!(kept[0], 59);
    assert!((15..40).contains(&kept.len()), "{}", kept.len());
    clock.advance(Duration::from_secs(90));
    history.keep(&event(60, EventName::ObjectNew, &clock)).unwrap();
    let kept = ids(&history.find(&Query::default()).unwrap());
    assert_eq!(kept, (50..61).rev().collect::<Vec<_>>());
}

#[test]
fn a_damaged_store_is_begun_anew_and_a_missing_disk_is_told_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    std::fs::create_dir(folder.path().join("history")).unwrap();
    std::fs::write(folder.path().join("history/events.redb"), vec![3; 9000]).unwrap();
    let history = open(folder.path(), ROOMY, &clock);
    history.keep(&event(1, EventName::ObjectNew, &clock)).unwrap();
    assert_eq!(ids(&history.find(&Query::default()).unwrap()), [1]);
    assert!(folder.path().join("history/events.redb.damaged").exists());

    let full = open(&folder.path().join("b"), HistoryLimits { min_free: u64::MAX, ..ROOMY }, &clock);
    assert_eq!(full.keep(&event(1, EventName::ObjectNew, &clock)).unwrap_err().kind(), Kind::Io);
    std::fs::write(folder.path().join("c"), "no folder").unwrap();
    let none = open(&folder.path().join("c"), ROOMY, &clock);
    assert!(none.keep(&event(1, EventName::ObjectNew, &clock)).is_err());
    assert!(none.find(&Query::default()).is_err());
}

#[test]
fn a_file_of_before_the_journal_goes_on_and_a_copy_has_what_only_the_journal_had() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    {
        let database = crate::publish::store::open(&folder.path().join("history/events.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let text = br#"{"event": "object.new", "id": "0", "camera": "front"}"#;
            let value = [&[0; 8][..], &crc32fast::hash(text).to_le_bytes(), text].concat();
            let events: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("events");
            transaction.open_table(events).unwrap().insert(41, value.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    let history = open(folder.path(), ROOMY, &clock);
    for id in 1..4 {
        history.keep(&event(id, EventName::ObjectNew, &clock)).unwrap();
    }
    let page = history.find(&Query::default()).unwrap();
    assert_eq!(ids(&page), [3, 2, 1, 0]);
    assert_eq!(page.events.iter().map(|event| event.key).collect::<Vec<_>>(), [44, 43, 42, 41]);
    assert!(history.thumbnail(44).unwrap().is_some() && history.thumbnail(41).unwrap().is_none());
    // What a killed process leaves: its files as they are.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("history")).unwrap();
    for name in ["history/events.redb", "history/events.journal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(open(copy.path(), ROOMY, &clock).find(&Query::default()).unwrap(), page);
    // The same after the journal was moved into the database, and twice.
    history.records().commit_recent(&history.now()).unwrap();
    for _ in 0..2 {
        assert_eq!(history.find(&Query::default()).unwrap(), page);
        std::fs::copy(folder.path().join("history/events.redb"), copy.path().join("history/events.redb")).unwrap();
        assert_eq!(open(copy.path(), ROOMY, &clock).find(&Query::default()).unwrap(), page);
    }
    // Old events are not found although only a few came since. The time of the first was never known, but it is older.
    clock.advance(Duration::from_secs(90_000));
    history.keep(&event(4, EventName::ObjectNew, &clock)).unwrap();
    assert_eq!(ids(&history.find(&Query::default()).unwrap()), [4]);
}

const DAY: Duration = Duration::from_secs(86_400);
const MONTH: HistoryLimits = HistoryLimits { max_age: Duration::from_secs(30 * 86_400), ..ROOMY };

/// A clock in another boot, `since_boot` after its begin, at wall time `wall`.
fn rebooted(wall: &str, since_boot: Duration, is_synchronized: bool) -> Arc<SimulatedClock> {
    let clock = Arc::new(SimulatedClock::default());
    clock.advance(since_boot);
    clock.set_wall(wall.parse().unwrap());
    clock.set_synchronized(is_synchronized);
    clock
}

fn keep(history: &History, clock: &SimulatedClock, numbers: std::ops::Range<usize>) {
    numbers.for_each(|id| history.keep(&event(id, EventName::ObjectNew, clock)).unwrap());
}

/// Everything that the files have, whatever its age.
fn stored(history: &History) -> Vec<u64> {
    let first_boot = Stamp { boot: 0, boot_ns: 0, wall_s: 0 };
    let page = history.records().find(&Query { limit: Some(1000), ..Query::default() }, &first_boot).unwrap();
    page.events.iter().rev().map(|event| event.key).collect()
}

#[test]
fn a_clock_that_jumps_within_a_boot_deletes_nothing_and_time_does() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let history = open(folder.path(), MONTH, &clock);
    for (step, wall) in ["2026-05-01T00:00:00Z", "2028-05-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-05-01T01:00:00Z"]
        .into_iter()
        .enumerate()
    {
        // Synchronized or not: a time server may be wrong, too.
        clock.set_synchronized(step % 2 == 0);
        clock.set_wall(wall.parse().unwrap());
        keep(&history, &clock, 10 * step..10 * step + 10);
        clock.advance(DAY);
        history.maintain().unwrap();
        assert_eq!(stored(&history).len(), 10 * step + 10, "{wall}");
        assert_eq!(history.find(&Query::default()).unwrap().events.len(), 10 * step + 10, "{wall}");
    }
    // Suspended or not, a month is a month: the first ten are gone, then the others.
    clock.suspend(27 * DAY - Duration::from_secs(10));
    history.maintain().unwrap();
    assert_eq!(stored(&history).len(), 30);
    clock.advance(DAY + Duration::from_secs(4000));
    history.maintain().unwrap();
    assert_eq!(stored(&history).len(), 10);
    assert_eq!(history.thumbnail(1).unwrap(), None);
}

#[test]
fn no_boot_with_a_wrong_clock_deletes_anything_until_the_clock_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let right = rebooted("2026-05-01T00:00:00Z", Duration::from_secs(60), true);
    let history = open_in("first", folder.path(), MONTH, &right);
    keep(&history, &right, 0..10);
    drop(history);
    for (boot, wall) in [("ahead", "2028-05-01T00:00:00Z"), ("behind", "1970-01-01T00:00:00Z")] {
        let wrong = rebooted(wall, Duration::from_secs(60), false);
        let history = open_in(boot, folder.path(), MONTH, &wrong);
        keep(&history, &wrong, 10..15);
        wrong.advance(DAY);
        history.maintain().unwrap();
        let count = if boot == "ahead" { 15 } else { 20 };
        assert_eq!(stored(&history).len(), count, "{boot}");
        assert_eq!(history.find(&Query::default()).unwrap().events.len(), count, "{boot}");
    }
    // The clock is set during the fourth boot. Events from before are then as old as they are.
    let clock = rebooted("2028-05-01T00:00:00Z", Duration::from_secs(60), false);
    let history = open_in("fourth", folder.path(), MONTH, &clock);
    keep(&history, &clock, 20..25);
    history.maintain().unwrap();
    clock.set_wall("2026-05-20T00:00:00Z".parse().unwrap());
    clock.set_synchronized(true);
    clock.advance(Duration::from_secs(60));
    history.maintain().unwrap();
    assert_eq!(stored(&history).len(), 25);
    drop(history);
    // 31 days after the first boot: its events go, those of unknown time do not hold it up and stay themselves.
    let clock = rebooted("2026-06-01T00:00:00Z", Duration::from_secs(60), true);
    let history = open_in("fifth", folder.path(), MONTH, &clock);
    history.maintain().unwrap();
    assert_eq!(stored(&history), (11..=25).collect::<Vec<_>>());
    drop(history);
    // 31 days after the fourth boot, which came after them: all are older. Its first events were completed.
    let clock = rebooted("2026-06-20T00:00:00Z", Duration::from_secs(60), true);
    let history = open_in("sixth", folder.path(), MONTH, &clock);
    assert!(history.find(&Query::default()).unwrap().events.is_empty());
    history.maintain().unwrap();
    assert_eq!(stored(&history), [] as [u64; 0]);
}

#[test]
fn old_events_are_deleted_within_an_hour_without_new_ones_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let history = open(folder.path(), HistoryLimits { max_age: Duration::from_secs(60), ..ROOMY }, &clock);
    history.maintain().unwrap();
    keep(&history, &clock, 0..9000);
    for _ in 0..62 {
        clock.advance(Duration::from_secs(60));
        history.maintain().unwrap();
    }
    assert!(stored(&history).is_empty());
    // Nothing is written as long as there is nothing to delete.
    let modified = || std::fs::metadata(folder.path().join("history/events.redb")).unwrap().modified().unwrap();
    let before = modified();
    for _ in 0..300 {
        clock.advance(Duration::from_secs(60));
        history.maintain().unwrap();
    }
    assert_eq!(modified(), before);
}

#[test]
fn size_demands_deletion_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = rebooted("1970-01-01T00:00:00Z", Duration::ZERO, false);
    let history = open(folder.path(), HistoryLimits { max_size: 10_000, ..MONTH }, &wrong);
    keep(&history, &wrong, 0..200);
    let kept = ids(&history.find(&Query::default()).unwrap());
    assert!(kept[0] == 199 && (15..40).contains(&kept.len()), "{kept:?}");
}
