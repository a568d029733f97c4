use super::geometry::Point;
use super::*;
use crate::config::CrowdSettings;
use crate::message::Detection;
use crate::track::Object;

const SECOND: u64 = 1_000_000_000;
/// The left half of the picture.
const LEFT: &[Point] = &[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];

fn zone() -> ZoneSettings {
    ZoneSettings { polygon: LEFT.to_vec(), loitering: None, crowd: None }
}

/// The zone `gate`, the left half, and the line `kerb` between the halves, upwards: its right is the right half.
fn settings(inertia: u32) -> RuleSettings {
    let line = LineSettings { points: [[0.5, 1.0], [0.5, 0.2]], left: "out".into(), right: "in".into() };
    RuleSettings {
        zones: BTreeMap::from([("gate".into(), zone())]),
        lines: BTreeMap::from([("kerb".into(), line)]),
        inertia,
    }
}

/// Object `track` with the middle of the lower edge of its box of 20 × 20 at (x, y), in a picture of 200 × 100.
fn object(track: u64, x: f32, y: f32) -> Object {
    let latest = Detection {
        label: "Person".into(),
        class_id: 1,
        score: 0.9,
        bbox: [x - 10.0, y - 20.0, x + 10.0, y],
        track: Some(track),
        zones: Vec::new(),
    };
    let best = latest.clone();
    Object { track, first_ns: 0, last_ns: 0, frames: 1, latest, best, stationary: false }
}

fn shape(second: u64) -> FrameShape {
    FrameShape { now_ns: second * SECOND, width: 200, height: 100 }
}

/// What happened, as text: second, name, zone or line, direction.
fn text(event: &RuleEvent) -> String {
    let second = event.at_ns / SECOND;
    let to = |heading: &Option<Heading>| heading.map_or("-", Heading::name);
    match &event.change {
        Change::Entered { zone, heading, .. } => format!("{second} entered {zone} {}", to(heading)),
        Change::Left { zone, heading, entered_ns, .. } => {
            format!("{second} left {zone} {} after {}", to(heading), second - entered_ns / SECOND)
        }
        Change::Loitering { zone, .. } => format!("{second} loitering {zone}"),
        Change::Crowded { zone, count, .. } => format!("{second} crowded {zone} {count}"),
        Change::Cleared { zone, count, .. } => format!("{second} cleared {zone} {count}"),
        Change::Crossed { line, direction, .. } => format!("{second} crossed {line} {direction}"),
    }
}

/// One object at one of `xs` a second, `None` while it is not seen; then it ends.
fn walk(settings: &RuleSettings, xs: &[Option<f32>]) -> Vec<String> {
    let mut state = RuleState::default();
    let mut events = Vec::new();
    let mut last = 0;
    for (second, x) in xs.iter().enumerate() {
        let seen = x.map(|x| object(1, x, 60.0));
        last = if x.is_some() { second as u64 } else { last };
        events.extend(state.update(settings, shape(second as u64), seen.iter().map(|seen| (seen, true))));
    }
    events.extend(state.end(1, settings, last * SECOND).unwrap().1);
    events.iter().map(text).collect()
}

fn path(xs: &[f32]) -> Vec<Option<f32>> {
    xs.iter().copied().map(Some).collect()
}

#[test]
fn an_object_enters_leaves_and_crosses_once_with_the_time_of_the_border() {
    let xs = path(&[150.0, 130.0, 110.0, 90.0, 70.0, 50.0, 50.0, 80.0, 120.0, 140.0, 150.0]);
    let expected = ["3 entered gate left", "3 crossed kerb out", "8 left gate right after 5", "8 crossed kerb in"];
    for inertia in [1, 2, 3] {
        assert_eq!(walk(&settings(inertia), &xs), expected, "{inertia}");
    }
    let short = path(&[150.0, 120.0, 90.0, 120.0, 150.0, 150.0, 150.0]);
    assert_eq!(walk(&settings(1), &short).len(), 4);
    assert!(walk(&settings(2), &short).is_empty(), "one frame is too short for two");
}

#[test]
fn an_object_that_stands_on_a_border_changes_nothing() {
    let xs: Vec<_> = (0..60).map(|step| Some(100.0 + [0.3, -0.4, 0.6, -0.2, -0.7, 0.5][step % 6])).collect();
    let mut from_outside = path(&[150.0, 130.0, 110.0]);
    from_outside.extend(&xs);
    assert!(walk(&settings(2), &from_outside).is_empty());
    // A slow walk over the border is one change, however near it stays.
    let slow: Vec<_> = (0..60).map(|step| Some(100.9 - 0.031 * step as f32)).collect();
    assert_eq!(walk(&settings(2), &slow)[..2], ["30 entered gate left", "30 crossed kerb out"]);
}

#[test]
fn a_hidden_object_crosses_where_it_was_hidden() {
    let mut xs = path(&[150.0, 130.0]);
    xs.extend([None, None, None]);
    xs.extend(path(&[60.0, 40.0, 20.0]));
    assert_eq!(walk(&settings(2), &xs), ["5 entered gate left", "5 crossed kerb out", "7 left gate - after 2"]);
}

#[test]
fn an_object_that_begins_and_ends_in_a_zone_enters_and_leaves_without_a_direction() {
    assert_eq!(walk(&settings(2), &path(&[50.0, 50.0, 50.0])), ["0 entered gate -", "2 left gate - after 2"]);
    // A crossing in the last frame before the object is gone counts.
    assert_eq!(walk(&settings(2), &path(&[80.0, 90.0, 115.0]))[1..], ["2 crossed kerb in", "2 left gate - after 2"]);
}

#[test]
fn a_way_around_the_end_of_a_line_is_no_crossing() {
    let settings = RuleSettings { zones: BTreeMap::new(), ..settings(2) };
    let mut state = RuleState::default();
    // The line ends at y = 20; the object passes above it, and comes back across it.
    let way = [(120.0, 15.0), (80.0, 15.0), (80.0, 60.0), (90.0, 60.0), (110.0, 60.0), (120.0, 60.0), (130.0, 60.0)];
    let mut events = Vec::new();
    for (second, (x, y)) in way.into_iter().enumerate() {
        let seen = object(1, x, y);
        events.extend(state.update(&settings, shape(second as u64), [(&seen, true)].into_iter()));
    }
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), ["4 crossed kerb in"]);
    let history = state.history(1).unwrap();
    assert_eq!(history.crossings, [("kerb".to_owned(), "in".to_owned(), 4 * SECOND)]);
}

#[test]
fn nothing_is_told_of_an_object_before_it_is_confirmed() {
    let settings = settings(1);
    let mut state = RuleState::default();
    let seen = object(1, 50.0, 60.0);
    assert!(state.update(&settings, shape(0), [(&seen, false)].into_iter()).is_empty());
    assert!(state.occupancy(0, Duration::ZERO).is_empty());
    let events = state.update(&settings, shape(1), [(&seen, true)].into_iter());
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), ["0 entered gate -"]);
    let mut never = RuleState::default();
    never.update(&settings, shape(0), [(&seen, false)].into_iter());
    assert!(never.end(1, &settings, 0).unwrap().1.is_empty());
}

#[test]
fn loitering_is_told_once_a_stay_and_also_while_the_object_is_hidden() {
    let mut settings = settings(1);
    settings.lines.clear();
    settings.zones.insert("gate".into(), ZoneSettings { loitering: Some(Duration::from_secs(3)), ..zone() });
    let mut xs = path(&[50.0, 50.0]);
    xs.extend([None, None, None]);
    xs.extend(path(&[50.0, 150.0, 50.0, 50.0, 50.0, 50.0]));
    assert_eq!(
        walk(&settings, &xs),
        [
            "0 entered gate -",
            "3 loitering gate",
            "6 left gate right after 6",
            "7 entered gate left",
            "10 loitering gate",
            "10 left gate - after 3",
        ]
    );
}

#[test]
fn a_crowd_begins_and_ends_after_its_time() {
    let mut settings = settings(1);
    settings.lines.clear();
    let crowd = Some(CrowdSettings { limit: 1, time: Duration::from_secs(2) });
    settings.zones.insert("gate".into(), ZoneSettings { crowd, ..zone() });
    let mut state = RuleState::default();
    let mut events = Vec::new();
    for (second, count) in [2, 1, 2, 2, 2, 2, 1, 2, 1, 1, 0, 0, 0, 0].into_iter().enumerate() {
        // Those beyond the count are outside.
        let seen: Vec<Object> =
            (0..2).map(|track| object(track, if track < count { 50.0 } else { 150.0 }, 60.0)).collect();
        events.extend(state.update(&settings, shape(second as u64), seen.iter().map(|seen| (seen, true))));
        let occupancy = state.occupancy(second as u64 * SECOND, Duration::from_secs(2));
        let gate = occupancy.get("gate").cloned().unwrap_or_default();
        assert_eq!(gate.objects.get("Person").copied().unwrap_or(0), count as u32);
        assert_eq!(gate.occupied == ["Person"], second <= 11, "{second}");
        assert_eq!(gate.crowded == ["Person"], (4..10).contains(&second), "{second}");
    }
    let crowds: Vec<String> =
        events.iter().map(text).filter(|text| text.contains('d') && text.contains(" c")).collect();
    assert_eq!(crowds, ["2 crowded gate 2", "8 cleared gate 0"]);
}

#[test]
fn an_object_leaves_a_zone_that_is_removed() {
    let mut state = RuleState::default();
    let seen = object(1, 50.0, 60.0);
    state.update(&settings(1), shape(0), [(&seen, true)].into_iter());
    let none = RuleSettings::default();
    let events = state.update(&none, shape(4), [(&seen, true)].into_iter());
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), ["4 left gate - after 4"]);
    assert!(state.occupancy(4 * SECOND, Duration::from_secs(60)).is_empty());
    let (history, events) = state.end(1, &none, 4 * SECOND).unwrap();
    assert!(events.is_empty());
    assert_eq!(history.zones(), ["gate"]);
    assert_eq!(history.visits[0].left_ns, Some(4 * SECOND));
}
