use std::collections::BTreeMap;

use super::*;
use crate::clock::SimulatedClock;
use crate::message::{CameraStatus, Detection, Event, Model, ModelPrecision, Moment, Schema, State, Timing, ZoneCount};
use crate::publish::spool::SpoolLimits;

fn moment() -> Moment {
    Moment(jiff::Timestamp::UNIX_EPOCH)
}

pub fn event(id: usize, event: EventName) -> Message {
    let details = BTreeMap::from([("sequence".to_owned(), 1.into())]);
    let camera = Some("front".into());
    Message::Event(Event {
        schema: Schema::V1,
        device: "d".into(),
        event,
        id: id.to_string(),
        at: moment(),
        camera,
        details,
    })
}

/// A report with this many objects, and with as many detections that are none.
pub fn report(cars: u32) -> Message {
    let car =
        Detection { label: "Car".into(), class_id: 1, score: 0.1, bbox: [0.0; 4], track: None, zones: Vec::new() };
    Message::Report(Report {
        schema: Schema::V1,
        device: "d".into(),
        camera: "front".into(),
        sequence: 1,
        captured_at: moment(),
        captured_monotonic_ns: 0,
        boot_id: "b".into(),
        clock_synchronized: false,
        width: 10,
        height: 10,
        model: Model { name: "m".into(), precision: ModelPrecision::Int8, generation: 0, sha256: String::new() },
        timing_ms: Timing { total: 40.0, ..Timing::default() },
        detections: vec![car; 2 * cars as usize],
        objects: BTreeMap::from([("Car".to_owned(), cars)]),
        occupied: if cars > 0 { vec!["Car".into()] } else { Vec::new() },
        zones: BTreeMap::new(),
        removed: Vec::new(),
    })
}

fn status(state: CameraState) -> Message {
    let dropped = BTreeMap::new();
    let camera = CameraStatus { state, fps: 5.0, analysed_fps: 5.0, latency_ms: None, dropped, last_error: None };
    Message::Status(Status {
        schema: Schema::V1,
        device: "d".into(),
        at: moment(),
        uptime_s: 1,
        state: State::Ok,
        reasons: Vec::new(),
        cameras: BTreeMap::from([("front".to_owned(), camera)]),
        model: None,
        throttle: None,
        drift: None,
    })
}

pub fn config(folder: &std::path::Path, clock: &Arc<dyn Clock>, messages: &[MessageKind]) -> MqttConfig {
    let limits = SpoolLimits { max_size: 1 << 20, max_age: Duration::from_secs(3600), min_free: 0 };
    MqttConfig {
        name: "mqtt".into(),
        broker: Broker {
            host: "127.0.0.1".into(),
            // Nobody listens there.
            port: 1,
            protocol: 5,
            tls: None,
            username: None,
            password_file: None,
            keep_alive: Duration::from_secs(20),
        },
        client_id: "lookout-d".into(),
        about: DeviceInfo {
            device: "d".into(),
            model: "m".into(),
            cameras: vec!["front".into()],
            labels: vec!["Car".into(), "Person".into()],
            pictures: true,
            monitor: true,
            orders: Default::default(),
            page_url: None,
        },
        messages: messages.to_vec(),
        discovery: Some("homeassistant".into()),
        topic_prefix: "lookout".into(),
        retained_file: folder.join("retained.json"),
        spool: Spool::open(folder.join("mqtt.redb"), limits, clock.clone(), "boot"),
        control: Control::default(),
        picture: Some(Arc::new(|camera, sequence| Some(format!("{camera} {sequence}").into_bytes()))),
        counts: Arc::new(|_| Vec::new()),
        clock: clock.clone(),
        metrics: Arc::new(Metrics::new()),
        faults: MqttFaults { connection: FaultReporter::ignored(), spool: FaultReporter::ignored() },
    }
}

#[tokio::test]
async fn without_a_broker_events_wait_and_the_rest_is_kept_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let config = config(folder.path(), &(clock.clone() as Arc<dyn Clock>), &[MessageKind::Event, MessageKind::Status]);
    let metrics = config.metrics.clone();
    let mut sink = Mqtt::start(config).unwrap();
    sink.send(&status(CameraState::Streaming)).await.unwrap();
    for id in 0..20 {
        sink.send(&event(id, EventName::ObjectNew)).await.unwrap();
        sink.send(&report(id as u32 % 3)).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    sink.send(&event(99, EventName::CameraLost)).await.unwrap();
    let shared = sink.shared.clone();
    let value = |topic: &str| {
        let state = shared.state();
        state.table.get(topic).map(|payload| String::from_utf8_lossy(payload).into_owned())
    };
    assert_eq!(value("lookout/d/front/Car").as_deref(), Some("1"));
    assert_eq!(value("lookout/d/front/Car/occupancy").as_deref(), Some("ON"));
    assert_eq!(value("lookout/d/front/Person").as_deref(), Some("0"));
    assert_eq!(value("lookout/d/front/Person/occupancy").as_deref(), Some("OFF"));
    assert_eq!(value("lookout/d/front/state").as_deref(), Some("streaming"));
    assert_eq!(value("lookout/d/front/stats").as_deref(), Some(r#"{"fps":1.0,"latency_ms":40.0}"#));
    assert_eq!(value("lookout/d/front/picture").as_deref(), Some("front 1"));
    assert!(value("homeassistant/device/lookout_d/config").is_some());
    assert_eq!(value("lookout/d/availability"), None);
    let waiting = sink.shared.spool().waiting(usize::MAX, &Default::default());
    assert_eq!(waiting.len(), 21);
    assert!(String::from_utf8_lossy(&waiting[0].1).contains("camera.lost"));
    let count = |result| metrics.spool.get_or_create(&SpoolLabels { sink: "mqtt".into(), result }).get();
    assert_eq!((count("produced"), count("delivered")), (21, 0));

    sink.send(&status(CameraState::Backoff)).await.unwrap();
    assert_eq!(value("lookout/d/front/Car").as_deref(), Some("0"));
    assert_eq!(value("lookout/d/front/Car/occupancy").as_deref(), Some("OFF"));
    assert_eq!(value("lookout/d/front/state").as_deref(), Some("backoff"));
    assert!(sink.shared.state().transient.is_empty(), "reports are not passed on unasked");
    tokio::time::timeout(Duration::from_secs(5), sink.flush()).await.unwrap().unwrap();
}

#[tokio::test]
async fn zones_and_lines_have_counts_events_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let mut config = config(folder.path(), &(clock.clone() as Arc<dyn Clock>), &[MessageKind::Event]);
    let line = LineInfo { name: "kerb".into(), directions: ["in".into(), "out".into()] };
    config.about.cameras =
        vec![CameraInfo { zones: vec!["gate".into()], lines: vec![line], ..CameraInfo::from("front") }];
    let count = |count| LineCount {
        camera: "front".into(),
        line: "kerb".into(),
        direction: "in".into(),
        label: "Car".into(),
        count,
    };
    let counted = Arc::new(std::sync::atomic::AtomicU64::new(7));
    let of_sink = counted.clone();
    config.counts = Arc::new(move |_| vec![count(of_sink.load(std::sync::atomic::Ordering::Relaxed))]);
    let mut sink = Mqtt::start(config).unwrap();
    let shared = sink.shared.clone();
    let value = |topic: &str| {
        let state = shared.state();
        state.table.get(topic).map(|payload| String::from_utf8_lossy(payload).into_owned())
    };
    // Known from earlier runs, before any report.
    assert_eq!(value("lookout/d/front/lines/kerb/in/Car").as_deref(), Some("7"));
    assert_eq!(value("lookout/d/front/lines/kerb/out/Person").as_deref(), Some("0"));
    let Message::Report(mut with_zone) = report(1) else { panic!() };
    let zone = ZoneCount { objects: [("Car".to_owned(), 2)].into(), occupied: vec!["Car".into()], crowded: vec![] };
    with_zone.zones.insert("gate".into(), zone);
    counted.store(0, std::sync::atomic::Ordering::Relaxed);
    sink.send(&Message::Report(with_zone)).await.unwrap();
    let gate = "lookout/d/front/zones/gate";
    assert_eq!(value(&format!("{gate}/Car")).as_deref(), Some("2"));
    assert_eq!(value(&format!("{gate}/Car/occupancy")).as_deref(), Some("ON"));
    assert_eq!(value(&format!("{gate}/Person/occupancy")).as_deref(), Some("OFF"));
    assert_eq!(value("lookout/d/front/lines/kerb/in/Car").as_deref(), Some("0"), "after a reset");

    for (id, name, details) in [
        (1, EventName::ZoneEntered, ("zone", "gate")),
        (2, EventName::LineCrossed, ("line", "kerb")),
        (3, EventName::ObjectUpdate, ("object", "a")),
    ] {
        let Message::Event(mut event) = event(id, name) else { panic!() };
        event.details.insert(details.0.into(), details.1.into());
        event.details.insert("direction".into(), "in".into());
        sink.send(&Message::Event(event)).await.unwrap();
    }
    let sent: Vec<(String, serde_json::Value)> = shared
        .state()
        .transient
        .iter()
        .map(|message| (message.topic.clone(), serde_json::from_slice(&message.payload).unwrap()))
        .collect();
    assert_eq!((sent[0].0.as_str(), &sent[0].1["event_type"]), ("lookout/d/front/zones/gate/event", &"entered".into()));
    assert_eq!((sent[1].0.as_str(), &sent[1].1["event_type"]), ("lookout/d/front/lines/kerb/event", &"in".into()));
    assert_eq!((sent[2].0.as_str(), sent.len()), ("lookout/d/events", 3), "an update is not spooled");
    assert_eq!(shared.spool().size().0, 2);
    assert_eq!(value("lookout/d/front/zones/gate/picture").as_deref(), Some("front 1"));
    assert_eq!(value("lookout/d/front/lines/kerb/picture").as_deref(), Some("front 1"));
    sink.send(&status(CameraState::Backoff)).await.unwrap();
    assert_eq!(value(&format!("{gate}/Car")).as_deref(), Some("0"));
    assert_eq!(value(&format!("{gate}/Car/occupancy")).as_deref(), Some("OFF"));
}

#[tokio::test]
async fn names_whose_identifiers_are_the_same_are_refused_with_both() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let cameras = |names: &[&str]| names.iter().map(|&name| CameraInfo::from(name)).collect::<Vec<_>>();
    check_names(&cameras(&["front", "yard"]), &names(&["行人", "汽车", "卡车", "a b", "a_b", "fps"])).unwrap();
    let error = check_names(&cameras(&["a", "a_b"]), &names(&["b_c", "c"])).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    for name in ["camera \"a\" with label \"b_c\"", "camera \"a_b\" with label \"c\""] {
        assert!(error.message().contains(name), "{error}");
    }
}

#[tokio::test]
async fn reports_that_nobody_takes_are_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::default());
    let config = config(folder.path(), &(clock.clone() as Arc<dyn Clock>), &[MessageKind::Report]);
    let metrics = config.metrics.clone();
    let mut sink = Mqtt::start(config).unwrap();
    for _ in 0..TRANSIENT_QUEUE + 5 {
        sink.send(&report(1)).await.unwrap();
    }
    sink.send(&event(1, EventName::ObjectNew)).await.unwrap();
    assert_eq!(sink.shared.state().transient.len(), TRANSIENT_QUEUE);
    assert_eq!(metrics.publish.get_or_create(&MessageLabels { sink: "mqtt".into(), result: "dropped" }).get(), 5);
    assert_eq!(sink.shared.spool().size().0, 0, "events were not asked for");
}
