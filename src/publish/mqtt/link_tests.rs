//! The sink on links and with brokers that misbehave: messages that are too large, connections that break.

use std::collections::BTreeSet;

use super::fake_broker::{Behaviour, FakeBroker};
use super::tests::{config, event};
use super::*;
use crate::clock::SystemClock;
use crate::metrics::{OversizeLabels, SinkLabel};

const EVENTS: &str = "lookout/d/events";

/// The sink of a test, connected to `broker`.
fn start(folder: &std::path::Path, broker: &FakeBroker, is_v5: bool, change: impl FnOnce(&mut MqttConfig)) -> Mqtt {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut config = config(folder, &clock, &[MessageKind::Event]);
    config.broker.port = broker.port;
    config.broker.protocol = if is_v5 { 5 } else { 4 };
    change(&mut config);
    Mqtt::start(config).unwrap()
}

fn oversize(sink: &Mqtt, direction: &'static str) -> u64 {
    let labels = OversizeLabels { sink: "mqtt".into(), direction };
    sink.shared.metrics.mqtt_oversize.get_or_create(&labels).get()
}

fn is_connected(sink: &Mqtt) -> bool {
    sink.shared.metrics.mqtt_connected.get_or_create(&SinkLabel { sink: "mqtt".into() }).get() == 1
}

fn ids(payloads: &[String]) -> Vec<String> {
    let id =
        |text: &String| serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].as_str().unwrap().to_owned();
    payloads.iter().map(id).collect()
}

#[tokio::test]
async fn messages_that_are_too_large_are_acknowledged_and_do_not_cost_the_connection() {
    for is_v5 in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        // More of them than a broker leaves unacknowledged, on both subscriptions.
        let topic =
            |index: usize| if index.is_multiple_of(2) { "lookout/d/cmd/camera" } else { "homeassistant/status" };
        let sends = (0..60).map(|index| (topic(index).to_owned(), vec![b'x'; 150_000 + index], true)).collect();
        let broker = FakeBroker::start(Behaviour { is_v5, sends, ..Behaviour::default() }).await;
        let mut sink = start(folder.path(), &broker, is_v5, |_| {});
        for id in 0..20 {
            sink.send(&event(id, EventName::ObjectNew)).await.unwrap();
        }
        broker.until("all are acknowledged", |seen| seen.acknowledgements == 120).await;
        broker.until("events arrive", |seen| seen.on(EVENTS).len() == 20).await;
        assert_eq!(broker.seen(|seen| (seen.connections, seen.ended)), (1, 0), "MQTT 5: {is_v5}");
        assert_eq!(oversize(&sink, "received"), 120, "once for each subscription");
        sink.flush().await.unwrap();
    }
}

#[tokio::test]
async fn events_pass_a_link_that_breaks_early_and_their_acknowledgements_count() {
    let folder = tempfile::tempdir().unwrap();
    let broker = FakeBroker::start(Behaviour { closes_after: Some(40), ..Behaviour::default() }).await;
    let labels: Vec<String> = (0..100).map(|label| format!("label-{label}")).collect();
    let mut config = config(folder.path(), &(Arc::new(SystemClock) as Arc<dyn Clock>), &[MessageKind::Event]);
    (config.broker.port, config.broker.protocol, config.about.labels) = (broker.port, 4, labels);
    // They wait before the first connection.
    for id in 0..40 {
        config.spool.push(Rank::Object, json(&event(id, EventName::ObjectNew)).unwrap());
    }
    let mut sink = Mqtt::start(config).unwrap();
    sink.send(&super::tests::report(1)).await.unwrap();
    broker.until("every event arrives", |seen| seen.on(EVENTS).len() >= 40 && seen.ended >= 3).await;
    let received = ids(&broker.seen(|seen| seen.on(EVENTS)));
    let distinct: BTreeSet<&String> = received.iter().collect();
    assert_eq!((received.len(), distinct.len()), (40, 40), "none is sent twice: its acknowledgement counts");
    // No topic is published a second time before all others were, but for the first one of each connection.
    let retained = broker.seen(|seen| {
        let of_table = seen.messages.iter().filter(|(_, topic, _)| topic != EVENTS && !topic.ends_with("availability"));
        of_table.map(|(_, topic, _)| topic.clone()).collect::<Vec<_>>()
    });
    let distinct: BTreeSet<&String> = retained.iter().collect();
    assert!(retained.len() > 40 && distinct.len() == retained.len(), "{retained:?}");
    assert!(broker.seen(|seen| seen.connections) <= 4, "delays between connections grow");
}

#[tokio::test]
async fn a_message_that_the_broker_does_not_take_is_passed_over() {
    // One broker announces its limit, the other only closes the connection.
    for (is_v5, announced_max, closes_at) in [(true, Some(20_000), None), (false, None, Some(20_000))] {
        let folder = tempfile::tempdir().unwrap();
        let behaviour = Behaviour { is_v5, announced_max, closes_at, ..Behaviour::default() };
        let broker = FakeBroker::start(behaviour).await;
        let mut sink = start(folder.path(), &broker, is_v5, |config| {
            config.picture = Some(Arc::new(|_, _| Some(vec![0xff; 50_000])));
        });
        sink.send(&event(1, EventName::ObjectNew)).await.unwrap();
        let breaks = if is_v5 { 0 } else { 2 };
        broker.until("the limit is known", |seen| seen.connections > breaks).await;
        sink.send(&event(2, EventName::ObjectNew)).await.unwrap();
        broker.until("events arrive", |seen| seen.on(EVENTS).len() == 2).await;
        broker.until("topics arrive", |seen| !seen.on("homeassistant/device/lookout_d/config").is_empty()).await;
        while oversize(&sink, "sent") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(is_connected(&sink));
        assert_eq!(broker.seen(|seen| (seen.connections, seen.ended)), (breaks + 1, breaks));
        if is_v5 {
            assert!(broker.seen(|seen| seen.largest) <= 20_000);
        }
        sink.flush().await.unwrap();
        assert_eq!(broker.seen(|seen| seen.on("lookout/d/availability")).last().map(String::as_str), Some("stopped"));
    }
}

fn orders(sink: &Mqtt, result: &'static str) -> u64 {
    let labels = crate::metrics::OrderLabels { sink: "mqtt".into(), result };
    sink.shared.metrics.mqtt_orders.get_or_create(&labels).get()
}

/// A command table whose verb `camera` counts its calls.
fn counting(control: &Control) -> Arc<std::sync::atomic::AtomicU64> {
    let calls = Arc::<std::sync::atomic::AtomicU64>::default();
    for verb in ["camera", "recalibrate"] {
        let calls = calls.clone();
        control.register(verb, move |args| {
            calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(args)
        });
    }
    calls
}

#[tokio::test]
async fn orders_that_are_not_listed_are_refused_counted_and_answered_once() {
    for (listed, executed) in [(&[][..], false), (&["camera"][..], true)] {
        let folder = tempfile::tempdir().unwrap();
        let order = |verb: &str| (format!("lookout/d/cmd/{verb}"), b"{}".to_vec(), false);
        let mut sends = vec![order("camera")];
        sends.extend((0..3000).map(|_| order("recalibrate")));
        sends.push(("lookout/d/cmd/camera".into(), b"{}".to_vec(), true));
        let broker = FakeBroker::start(Behaviour { sends, ..Behaviour::default() }).await;
        let control = Control::default();
        let calls = counting(&control);
        let mut sink = start(folder.path(), &broker, false, |config| {
            config.control = control;
            config.about.orders = listed.iter().map(|&verb| verb.to_owned()).collect();
        });
        // The fake broker sends them for each of two subscriptions.
        broker.until("orders arrive", |seen| seen.acknowledgements == 2 * 3002).await;
        broker.until("an answer", |seen| seen.messages.iter().any(|(_, topic, _)| topic.contains("/reply/"))).await;
        sink.flush().await.unwrap();
        let refused = if executed { 2 * 3000 } else { 2 * 3002 };
        let executed = if executed { 2 } else { 0 };
        assert_eq!(orders(&sink, "refused"), refused);
        assert_eq!((orders(&sink, "executed"), orders(&sink, "retained")), (executed, executed));
        assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), executed);
        let replies = broker.seen(|seen| {
            let replies = seen.messages.iter().filter(|(_, topic, _)| topic.contains("/reply/"));
            replies.map(|(.., payload)| String::from_utf8_lossy(payload).into_owned()).collect::<Vec<_>>()
        });
        let refusals = replies.iter().filter(|reply| reply.contains("is not allowed on this device")).count();
        assert_eq!((refusals, replies.len() as u64), (1, 1 + executed), "{replies:?}");
    }
}

#[tokio::test]
async fn a_flood_of_listed_orders_is_slowed_down() {
    let folder = tempfile::tempdir().unwrap();
    let sends = (0..5000).map(|_| ("lookout/d/cmd/camera".to_owned(), b"{}".to_vec(), false)).collect();
    let broker = FakeBroker::start(Behaviour { sends, ..Behaviour::default() }).await;
    let control = Control::default();
    let calls = counting(&control);
    let mut sink = start(folder.path(), &broker, false, |config| {
        config.control = control;
        config.about.orders = BTreeSet::from(["camera".to_owned()]);
    });
    broker.until("orders arrive", |seen| seen.acknowledgements == 10_000).await;
    // As many as Home Assistant sends for a house full of cameras.
    while calls.load(std::sync::atomic::Ordering::SeqCst) < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sink.flush().await.unwrap();
    let executed = calls.load(std::sync::atomic::Ordering::SeqCst);
    assert!((20..200).contains(&executed), "{executed}");
    // An order may have been accepted that was not executed before the end.
    let excess = orders(&sink, "excess");
    assert!((10_000 - executed - 20..=10_000 - executed).contains(&excess), "{executed} executed, {excess} ignored");
}

#[tokio::test]
async fn switches_offered_before_are_cleared_once_their_orders_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let discovery = "homeassistant/device/lookout_d/config";
    for (orders, seen_components) in [(&["camera"][..], vec![true]), (&[], vec![false, false])] {
        let broker = FakeBroker::start(Behaviour::default()).await;
        let mut sink = start(folder.path(), &broker, false, |config| {
            config.about.orders = orders.iter().map(|&verb| verb.to_owned()).collect();
        });
        broker.until("discovery", |seen| seen.on(discovery).len() == seen_components.len()).await;
        sink.flush().await.unwrap();
        let messages = broker.seen(|seen| seen.on(discovery));
        let components: Vec<serde_json::Value> = messages
            .iter()
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["components"]["front_enabled"].take())
            .collect();
        let is_offered: Vec<bool> = components.iter().map(|component| component["command_topic"].is_string()).collect();
        assert_eq!(is_offered, seen_components);
        if orders.is_empty() {
            assert_eq!(components[0], serde_json::json!({ "platform": "switch" }), "it is removed");
            assert_eq!(components[1], serde_json::Value::Null);
        }
    }
}

/// The reports of faults of a sink's connection.
fn connection_faults(config: &mut MqttConfig) -> tokio::sync::mpsc::UnboundedReceiver<Option<String>> {
    let (sender, reports) = tokio::sync::mpsc::unbounded_channel();
    config.faults.connection = FaultReporter::new(move |report| drop(sender.send(report)));
    reports
}

#[tokio::test]
async fn a_broker_that_is_absent_silent_or_refuses_events_is_a_fault() {
    let not_authorized = Some(0x87);
    for (behaviour, expected) in [
        (None, "no connection to the broker 127.0.0.1: "),
        (Some(Behaviour { is_silent: true, ..Behaviour::default() }), "the broker 127.0.0.1 acknowledges nothing"),
        (
            Some(Behaviour { is_v5: true, refuses_events: not_authorized, ..Behaviour::default() }),
            "the broker 127.0.0.1 refuses events",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let is_v5 = behaviour.as_ref().is_some_and(|behaviour| behaviour.is_v5);
        let broker = FakeBroker::start(behaviour.clone().unwrap_or_default()).await;
        let mut reports = None;
        let mut sink = start(folder.path(), &broker, is_v5, |config| {
            if behaviour.is_none() {
                // Nobody listens there.
                config.broker.port = 1;
            }
            reports = Some(connection_faults(config));
        });
        sink.send(&event(1, EventName::ObjectNew)).await.unwrap();
        let reported = tokio::time::timeout(Duration::from_secs(60), reports.unwrap().recv()).await.unwrap();
        assert!(reported.clone().unwrap().unwrap().contains(expected), "{reported:?}, not {expected}");
    }
}
