//! The MQTT sink with a real broker: retained messages of any size, a link that is cut, a broker with a limit of its own,
//! and a flood of orders.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lookout::metrics::{Metrics, OrderLabels, OversizeLabels};
use lookout::publish::Sink;
use lookout::publish::mqtt::Mqtt;
use rumqttc_v5::PublishOptions;

use super::broker::{Broker, Subscriber};
use super::mosquitto::{OPEN, balanced, connected, count, event, eventually, send, setup};

fn oversize(metrics: &Metrics, direction: &'static str) -> u64 {
    metrics.mqtt_oversize.get_or_create(&OversizeLabels { sink: "mqtt".into(), direction }).get()
}

fn orders(metrics: &Metrics, result: &'static str) -> u64 {
    metrics.mqtt_orders.get_or_create(&OrderLabels { sink: "mqtt".into(), result }).get()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn retained_messages_of_any_size_do_not_cost_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    let subscriber = Subscriber::open(broker.port, None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Around the limit, and far above it; more of them than the broker leaves unacknowledged.
    let sizes = [11_000, 100_000, 131_000, 131_072, 200_000, 1_000_000, 5_000_000];
    let retained = || PublishOptions::at_least_once().retained();
    for (index, size) in sizes.into_iter().cycle().take(35).enumerate() {
        let topic = format!("lookout/d/cmd/x{index}");
        subscriber.client.publish(topic, vec![b'x'; size], retained()).await.unwrap();
    }
    subscriber.client.publish("homeassistant/status", vec![b'x'; 300_000], retained()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for protocol in [4, 5] {
        subscriber.clear();
        let setup = setup(&folder.path().join(protocol.to_string()), broker.port, |setup| {
            setup.broker.protocol = protocol;
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        send(&mut sink, 0..200).await;
        let watched = metrics.clone();
        eventually("events are delivered", move || count(&watched, "delivered") == 200).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(connected(&metrics));
        assert_eq!(subscriber.on("lookout/d/availability"), ["online"], "protocol {protocol}: it never went away");
        assert_eq!(subscriber.events().len(), 200);
        // One of MQTT 5 knows the announced limit and sends none of them.
        let passed_over = oversize(&metrics, "received");
        assert!(if protocol == 4 { passed_over > 15 } else { passed_over == 0 }, "protocol {protocol}: {passed_over}");
        sink.flush().await.unwrap();
        balanced(&metrics);
    }
}

/// A proxy before `port` that cuts each connection after the client has sent `limit` bytes.
fn cutting_proxy(port: u16, limit: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let (address, counted) = (listener.local_addr().unwrap(), cuts.clone());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            let Ok(mut broker) = TcpStream::connect(("127.0.0.1", port)) else { return };
            for stream in [&client, &broker] {
                stream.set_nodelay(true).unwrap();
            }
            let (mut answers, mut to_client) = (broker.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut to_client));
            let (mut sent, mut buffer) = (0, [0; 1024]);
            while let Ok(length @ 1..) = client.read(&mut buffer) {
                sent += length;
                if broker.write_all(&buffer[..length]).is_err() || sent >= limit {
                    break;
                }
            }
            counted.fetch_add(1, Ordering::SeqCst);
            // Acknowledgements of what was passed on arrive.
            std::thread::sleep(Duration::from_millis(200));
            let _ = (client.shutdown(std::net::Shutdown::Both), broker.shutdown(std::net::Shutdown::Both));
        }
    });
    (address.port(), cuts)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn events_get_out_on_a_link_that_cuts_after_half_of_the_retained_topics() {
    for protocol in [4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
        let subscriber = Subscriber::open(broker.port, None);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (port, cuts) = cutting_proxy(broker.port, 30_000);
        let setup = setup(folder.path(), port, |setup| {
            setup.broker.protocol = protocol;
            setup.about.labels = (0..60).map(|label| format!("label-{label}")).collect();
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        send(&mut sink, 0..150).await;
        let watched = metrics.clone();
        eventually("events are delivered", move || count(&watched, "delivered") == 150).await;
        let cuts = cuts.load(Ordering::SeqCst);
        assert!(cuts >= 1, "the link was not cut");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(subscriber.events().len(), 150);
        let received = subscriber.on("lookout/d/events").len();
        eprintln!("protocol {protocol}: {received} receptions of 150 events over {cuts} cuts");
        assert!(received <= 150 + 2 * cuts, "{received} receptions: acknowledgements before a cut count");
        balanced(&metrics);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn pictures_above_the_limit_of_the_broker_are_passed_over() {
    for protocol in [4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let Some(broker) = Broker::start(folder.path(), &format!("{OPEN}max_packet_size 20000\n")) else { return };
        let subscriber = Subscriber::open(broker.port, None);
        let setup = setup(folder.path(), broker.port, |setup| {
            setup.broker.protocol = protocol;
            setup.about.pictures = true;
            setup.picture = Some(Arc::new(|_, _| Some(vec![0xff; 60_000])));
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        let mut started = event(1);
        if let lookout::message::Message::Event(event) = &mut started {
            event.camera = Some("front".into());
            event.details.insert("sequence".into(), 7.into());
        }
        sink.send(&started).await.unwrap();
        let watched = metrics.clone();
        eventually("the limit is known", move || oversize(&watched, "sent") > 0 && connected(&watched)).await;
        send(&mut sink, 100..150).await;
        let watched = metrics.clone();
        eventually("events are delivered", move || count(&watched, "delivered") == 51).await;
        subscriber.clear();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(connected(&metrics) && subscriber.on("lookout/d/availability").is_empty(), "protocol {protocol}");
        sink.flush().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn a_flood_of_orders_costs_neither_events_nor_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), OPEN) else { return };
    for (protocol, listed) in [(4, false), (5, true)] {
        let setup = setup(&folder.path().join(protocol.to_string()), broker.port, |setup| {
            setup.broker.protocol = protocol;
            setup.about.orders = if listed { ["echo".to_owned()].into() } else { Default::default() };
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        let watched = metrics.clone();
        eventually("connects", move || connected(&watched)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let subscriber = Subscriber::open(broker.port, None);
        let client = subscriber.client.clone();
        let flood = tokio::spawn(async move {
            let begin = Instant::now();
            let mut sent = 0_u64;
            while begin.elapsed() < Duration::from_secs(5) {
                client.publish("lookout/d/cmd/echo", "{}", PublishOptions::at_most_once()).await.unwrap();
                sent += 1;
            }
            sent
        });
        for id in 0..50 {
            send(&mut sink, id..id + 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let sent = flood.await.unwrap();
        let watched = metrics.clone();
        eventually("events are delivered", move || count(&watched, "delivered") == 50).await;
        assert!(connected(&metrics));
        let results = ["executed", "failed", "refused", "excess"].map(|result| orders(&metrics, result));
        eprintln!("protocol {protocol}: {sent} orders sent; executed, failed, refused, excess: {results:?}");
        let [executed, failed, refused, excess] = results;
        assert_eq!(failed, 0);
        assert!(if listed { (1..100).contains(&executed) && refused == 0 && excess > 100 } else { executed == 0 });
        assert!(listed || refused > 100, "{refused}");
        let replies = subscriber.on("lookout/d/reply/echo").len() as u64;
        assert!(if listed { replies <= executed } else { replies <= 1 }, "{replies}");
        sink.flush().await.unwrap();
    }
}

#[test]
#[ignore = "needs mosquitto: run tests/peers.sh"]
fn doctor_asks_the_broker_with_the_configured_password() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let Some(tool) = super::broker::find("mosquitto_passwd") else { return };
    let made = std::process::Command::new(tool).args(["-b", "-c"]).arg(at("passwords")).args(["cam", "right"]).status();
    assert!(made.unwrap().success());
    for (path, mode) in [(folder.path().to_owned(), 0o755), (at("passwords"), 0o644)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let lines =
        format!("listener PORT 127.0.0.1\nallow_anonymous false\npassword_file {}\n", at("passwords").display());
    let Some(mut broker) = Broker::start(folder.path(), &lines) else { return };
    let finding = |password: &str, protocol: u8, port: u16| {
        std::fs::write(at("password"), password).unwrap();
        let text = format!(
            "[[publish]]\nkind = \"mqtt\"\nhost = \"127.0.0.1\"\nport = {port}\nprotocol = {protocol}\nusername = \"cam\"\npassword_file = {:?}\n",
            at("password")
        );
        std::fs::write(at("lookout.toml"), text).unwrap();
        let mut doctor = std::process::Command::new(env!("CARGO_BIN_EXE_lookout"));
        let output = doctor.args(["doctor", "--json", "--config"]).arg(at("lookout.toml")).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let broker = findings.iter().find(|finding| finding["what"] == "broker").unwrap();
        (broker["grade"].as_str().unwrap().to_owned(), broker["text"].as_str().unwrap().to_owned())
    };
    for protocol in [4, 5] {
        let (grade, text) = finding("right\n", protocol, broker.port);
        assert!(grade == "good" && text.contains("accepts the connection"), "{grade}: {text}");
        let (grade, text) = finding("wrong-7\n", protocol, broker.port);
        assert!(grade == "bad" && text.contains("refuses") && !text.contains("wrong-7"), "{grade}: {text}");
    }
    broker.kill();
    assert_eq!(finding("right\n", 5, broker.port).0, "doubtful");
}
