//! The MQTT sink against a real broker that is late, killed, frozen, full, suspicious.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::clock::SystemClock;
use lookout::control::Control;
use lookout::fault::FaultReporter;
use lookout::message::{Event, EventName, Message, MessageKind, Moment, Schema};
use lookout::metrics::{self, Metrics, SpoolLabels};
use lookout::publish::Sink;
use lookout::publish::mqtt::{Broker as Address, DeviceInfo, Mqtt, MqttConfig, MqttFaults};
use lookout::publish::spool::{Spool, SpoolLimits};

use super::broker::{Broker, Subscriber, until};

pub const OPEN: &str = "listener PORT 127.0.0.1\nallow_anonymous true\n";

pub fn event(id: usize) -> Message {
    let event = if id.is_multiple_of(10) { EventName::DriftRaised } else { EventName::ObjectNew };
    let (id, at) = (format!("{id:05}"), Moment(jiff::Timestamp::UNIX_EPOCH));
    let details = [("padding".to_owned(), "x".repeat(200).into())].into();
    Message::Event(Event { schema: Schema::V1, device: "d".into(), event, id, at, camera: None, details })
}

pub fn setup(folder: &Path, port: u16, change: impl FnOnce(&mut MqttConfig)) -> MqttConfig {
    let limits = SpoolLimits { max_size: 1 << 20, max_age: Duration::from_secs(3600), min_free: 0 };
    let control = Control::default();
    control.register("echo", Ok);
    let mut setup = MqttConfig {
        name: "mqtt".into(),
        broker: Address {
            host: "127.0.0.1".into(),
            port,
            protocol: 5,
            tls: None,
            username: None,
            password_file: None,
            keep_alive: Duration::from_secs(5),
        },
        client_id: "lookout-d".into(),
        about: DeviceInfo {
            device: "d".into(),
            model: "m".into(),
            cameras: vec!["front".into()],
            labels: vec!["Car".into()],
            pictures: false,
            monitor: true,
            orders: ["camera", "echo", "recalibrate"].map(str::to_owned).into(),
            page_url: None,
        },
        messages: vec![MessageKind::Event, MessageKind::Status],
        discovery: Some("homeassistant".into()),
        topic_prefix: "lookout".into(),
        retained_file: folder.join("retained.json"),
        spool: Spool::open(folder.join("spool.redb"), limits, Arc::new(SystemClock), "boot"),
        control,
        picture: None,
        counts: Arc::new(|_| Vec::new()),
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
        faults: MqttFaults { connection: FaultReporter::ignored(), spool: FaultReporter::ignored() },
    };
    change(&mut setup);
    setup
}

pub fn count(metrics: &Metrics, result: &'static str) -> u64 {
    metrics.spool.get_or_create(&SpoolLabels { sink: "mqtt".into(), result }).get()
}

pub fn connected(metrics: &Metrics) -> bool {
    metrics.mqtt_connected.get_or_create(&metrics::SinkLabel { sink: "mqtt".into() }).get() == 1
}

/// Produced, delivered, spooled and dropped must add up.
pub fn balanced(metrics: &Metrics) {
    let spooled = metrics.spool_entries.get_or_create(&metrics::SinkLabel { sink: "mqtt".into() }).get() as u64;
    let dropped: u64 = ["size", "age", "disk", "damaged", "refused"].map(|reason| count(metrics, reason)).iter().sum();
    let (produced, delivered) = (count(metrics, "produced"), count(metrics, "delivered"));
    assert_eq!(produced, delivered + spooled + dropped, "{delivered} + {spooled} + {dropped}");
}

/// Sends, and insists that it never takes long.
pub async fn send(sink: &mut Mqtt, ids: std::ops::Range<usize>) {
    for id in ids {
        let begin = Instant::now();
        sink.send(&event(id)).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(5), "sending blocked");
    }
}

/// Waits in an async test, which has a runtime of several threads.
pub async fn eventually(what: &'static str, is: impl FnMut() -> bool + Send + 'static) {
    tokio::task::spawn_blocking(move || until(what, is)).await.unwrap();
}

macro_rules! wait {
    ($what:literal, $metrics:expr, $is:expr) => {{
        let metrics = $metrics.clone();
        eventually($what, move || $is(&metrics)).await
    }};
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_broker_that_is_late_then_killed_gets_every_event_and_everything_again() {
    for protocol in [4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut broker) = Broker::prepare(folder.path(), OPEN) else { return };
        let setup = setup(folder.path(), broker.port, |setup| setup.broker.protocol = protocol);
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        send(&mut sink, 0..100).await;
        assert_eq!(count(&metrics, "produced"), 100);
        broker.up();
        let subscriber = Subscriber::open(broker.port, None);
        wait!("late broker", metrics, |metrics: &Metrics| count(metrics, "delivered") == 100);
        balanced(&metrics);
        send(&mut sink, 100..150).await;
        broker.kill();
        wait!("loss is noticed", metrics, |metrics: &Metrics| !connected(metrics));
        send(&mut sink, 150..250).await;
        broker.up();
        wait!("killed broker", metrics, |metrics: &Metrics| count(metrics, "delivered") == 250);
        balanced(&metrics);
        // A broker that lost its memory was told everything again.
        let late = Subscriber::open(broker.port, None);
        let clock = Instant::now();
        while late.last("homeassistant/device/lookout_d/config").is_none() && clock.elapsed() < Duration::from_secs(10)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(late.last("lookout/d/availability").as_deref(), Some("online"));
        assert!(late.received().iter().all(|message| message.retained));
        sink.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(late.last("lookout/d/availability").as_deref(), Some("stopped"), "protocol {protocol}");
        drop(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_frozen_broker_is_given_up_and_what_it_did_not_acknowledge_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    let setup = setup(folder.path(), broker.port, |_| {});
    let metrics = setup.metrics.clone();
    let mut sink = Mqtt::start(setup).unwrap();
    wait!("connects", metrics, connected);
    // Half open: the kernel still takes what we send, nobody reads it.
    let pid = rustix::process::Pid::from_raw(broker.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    send(&mut sink, 0..300).await;
    wait!("the silence is noticed", metrics, |metrics: &Metrics| !connected(metrics));
    balanced(&metrics);
    assert_eq!(count(&metrics, "delivered"), 0);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let subscriber = Subscriber::open(broker.port, None);
    wait!("all arrive", metrics, |metrics: &Metrics| count(metrics, "delivered") == 300);
    balanced(&metrics);
    drop((subscriber, sink));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_full_spool_drops_the_oldest_objects_and_says_how_many() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::prepare(folder.path(), OPEN) else { return };
    let limits = SpoolLimits { max_size: 40_000, max_age: Duration::from_secs(3600), min_free: 0 };
    let spool = Spool::open(folder.path().join("small.redb"), limits, Arc::new(SystemClock), "boot");
    let setup = setup(folder.path(), broker.port, |setup| setup.spool = spool);
    let metrics = setup.metrics.clone();
    let mut sink = Mqtt::start(setup).unwrap();
    send(&mut sink, 0..500).await;
    balanced(&metrics);
    let dropped = count(&metrics, "size");
    assert!(dropped > 300, "{dropped}");
    broker.up();
    let subscriber = Subscriber::open(broker.port, None);
    tokio::time::sleep(Duration::from_millis(200)).await;
    wait!("the rest arrives", metrics, |metrics: &Metrics| {
        count(metrics, "delivered") + count(metrics, "size") == 500
    });
    balanced(&metrics);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let received = subscriber.events();
    assert!(received.contains("00490") && received.contains("00499"), "{received:?}");
    assert!((0..50).all(|drift| received.contains(&format!("{:05}", drift * 10))), "system events are kept");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_wrong_password_is_told_and_a_corrected_one_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    let Some(tool) = super::broker::find("mosquitto_passwd") else { return };
    let made =
        std::process::Command::new(tool).args(["-b", "-c"]).arg(&passwords).args(["cam", "right"]).status().unwrap();
    assert!(made.success());
    // Mosquitto gives up root's rights and must still read it.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&passwords, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let lines = format!("listener PORT 127.0.0.1\nallow_anonymous false\npassword_file {}\n", passwords.display());
    let Some(broker) = Broker::start(folder.path(), &lines) else { return };
    for protocol in [4, 5] {
        let ours = folder.path().join("ours");
        std::fs::write(&ours, "wrong\n").unwrap();
        let named = ours.clone();
        let site = folder.path().join(format!("site-{protocol}"));
        let setup = setup(&site, broker.port, |setup| {
            setup.broker.protocol = protocol;
            setup.broker.username = Some("cam".into());
            setup.broker.password_file = Some(named);
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        send(&mut sink, 0..10).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!connected(&metrics));
        balanced(&metrics);
        std::fs::write(&ours, "right\n").unwrap();
        let subscriber = Subscriber::open(broker.port, Some(("cam", "right")));
        wait!("let in", metrics, |metrics: &Metrics| count(metrics, "delivered") == 10);
        sink.flush().await.unwrap();
        drop(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn orders_are_obeyed_and_home_assistant_is_greeted_when_it_starts() {
    use rumqttc_v5::PublishOptions;

    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    let setup = setup(folder.path(), broker.port, |_| {});
    let metrics = setup.metrics.clone();
    let mut sink = Mqtt::start(setup).unwrap();
    wait!("connects", metrics, connected);
    let subscriber = Subscriber::open(broker.port, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let once = PublishOptions::at_least_once;
    for (topic, payload) in
        [("echo", r#"{"a": 1}"#), ("echo", ""), ("echo", "ON"), ("nonsense", "{}"), ("echo", r#"{"last": true}"#)]
    {
        subscriber.client.publish(format!("lookout/d/cmd/{topic}"), payload, once()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answers = subscriber.on("lookout/d/reply/echo");
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert_eq!(answers[0], r#"{"ok":true,"result":{"a":1}}"#);
    assert!(answers[2].contains("\"kind\":\"usage\""), "{}", answers[2]);
    assert!(subscriber.last("lookout/d/reply/nonsense").unwrap().contains("is not allowed"));

    subscriber.clear();
    subscriber.client.publish("homeassistant/status", "online", once()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(subscriber.on("homeassistant/device/lookout_d/config").len(), 1);
    assert_eq!(subscriber.on("lookout/d/availability"), ["online"]);

    // An order that the broker kept is from another time.
    subscriber.client.publish("lookout/d/cmd/echo", "{}", once().retained()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    subscriber.clear();
    sink.flush().await.unwrap();
    let setup = setup_again(folder.path(), broker.port);
    let metrics = setup.metrics.clone();
    let mut sink = Mqtt::start(setup).unwrap();
    wait!("connects again", metrics, connected);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(subscriber.on("lookout/d/reply/echo").is_empty(), "{:?}", subscriber.on("lookout/d/reply/echo"));
    sink.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn what_an_earlier_run_published_is_cleared_and_names_of_any_script_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let labels = ["行人", "汽车", "卡车", "state", "a/b", "a b"];
    let status = |cameras: &[&str]| {
        let camera =
            |&name: &&str| (name.to_owned(), serde_json::json!({ "state": "ended", "fps": 0.0, "dropped": {} }));
        let cameras: serde_json::Map<String, serde_json::Value> = cameras.iter().map(camera).collect();
        let at = "2026-11-25T10:00:00Z";
        let status = serde_json::json!({
            "schema": "lookout/1", "type": "status", "device": "d", "at": at, "uptime_s": 1, "state": "ok",
            "reasons": [], "cameras": cameras,
        });
        serde_json::from_value::<Message>(status).unwrap()
    };
    // A run, a second without the camera, and a third of another name.
    for (device, cameras, prefix) in
        [("d", &["front", "yard"][..], "lookout"), ("d", &["yard"], "lookout"), ("e", &["yard"], "home/lookout")]
    {
        let setup = setup(folder.path(), broker.port, |setup| {
            setup.about = DeviceInfo {
                device: device.into(),
                cameras: cameras.iter().map(|&name| name.into()).collect(),
                labels: names(&labels),
                ..setup.about.clone()
            };
            setup.topic_prefix = prefix.into();
            // A message of this size needs both versions' limits raised.
            setup.broker.protocol = if cameras.len() == 2 { 4 } else { 5 };
        });
        let metrics = setup.metrics.clone();
        let subscriber = Subscriber::open(broker.port, None);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut sink = Mqtt::start(setup).unwrap();
        wait!("connects", metrics, connected);
        sink.send(&status(cameras)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        sink.flush().await.unwrap();
        let topic = format!("homeassistant/device/lookout_{device}/config");
        let sent: Vec<serde_json::Value> =
            subscriber.on(&topic).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let removed = |message: &serde_json::Value| {
            let components = message["components"].as_object().unwrap();
            components.values().filter(|component| component.as_object().unwrap().len() == 1).count()
        };
        if device == "d" && cameras.len() == 1 {
            assert!(sent.iter().any(|message| removed(message) == 2 * labels.len() + 3), "{sent:?}");
        }
        drop(subscriber);
        let subscriber = Subscriber::open(broker.port, None);
        let begin = Instant::now();
        while subscriber.last(&topic).is_none() && begin.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let retained: Vec<String> =
            subscriber.received().into_iter().filter(|message| message.retained).map(|message| message.topic).collect();
        let base = format!("{prefix}/{device}/");
        let of = |camera: &str| retained.iter().filter(|topic| topic.starts_with(&format!("{base}{camera}/"))).count();
        assert_eq!(of("yard"), 2 * labels.len() + 1, "{retained:?}");
        assert_eq!(of("front"), if cameras.len() == 2 { 2 * labels.len() + 1 } else { 0 }, "{retained:?}");
        assert!(retained.iter().all(|name| name.starts_with(&base) || *name == topic), "{retained:?}");
        let last: serde_json::Value = serde_json::from_str(&subscriber.last(&topic).unwrap()).unwrap();
        let components = last["components"].as_object().unwrap();
        assert_eq!((components.len(), removed(&last)), (cameras.len() * (2 * labels.len() + 3) + 4, 0));
        let topics: std::collections::BTreeSet<&str> =
            components.values().filter_map(|component| component["state_topic"].as_str()).collect();
        assert!(topics.len() > cameras.len() * 2 * labels.len(), "{topics:?}");
    }
}

fn setup_again(folder: &Path, port: u16) -> MqttConfig {
    setup(&folder.join("again"), port, |_| {})
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_death_without_a_word_is_announced_by_the_broker() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    let setup = setup(folder.path(), broker.port, |_| {});
    let metrics = setup.metrics.clone();
    let sink = Mqtt::start(setup).unwrap();
    wait!("connects", metrics, connected);
    let subscriber = Subscriber::open(broker.port, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(sink);
    let begin = Instant::now();
    while subscriber.last("lookout/d/availability").as_deref() != Some("offline") {
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", subscriber.on("lookout/d/availability"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
