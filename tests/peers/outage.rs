//! An hour without a broker, on a simulated clock. Messages beyond the limits of age and size are dropped and counted.
//! The others arrive, and the broker received exactly those that are counted as delivered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lookout::clock::SimulatedClock;
use lookout::publish::Sink;
use lookout::publish::mqtt::Mqtt;
use lookout::publish::spool::{Spool, SpoolLimits};

use super::broker::{Broker, Subscriber};
use super::mosquitto::{OPEN, balanced, count, event, eventually, setup};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: run tests/peers.sh"]
async fn an_hour_of_outage_is_accounted_for_to_the_last_event() {
    for (name, limits) in [
        ("age", SpoolLimits { max_size: 1 << 30, max_age: Duration::from_secs(1800), min_free: 0 }),
        ("size", SpoolLimits { max_size: 300_000, max_age: Duration::from_secs(86_400), min_free: 0 }),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let Some(mut broker) = Broker::prepare(folder.path(), OPEN) else { return };
        let clock = Arc::new(SimulatedClock::default());
        let spool = Spool::open(folder.path().join("hour.redb"), limits, clock.clone(), "boot");
        let setup = setup(folder.path(), broker.port, |setup| {
            setup.spool = spool;
            setup.clock = clock.clone();
        });
        let metrics = setup.metrics.clone();
        let mut sink = Mqtt::start(setup).unwrap();
        let begin = Instant::now();
        for id in 0..3600 {
            clock.advance(Duration::from_secs(1));
            sink.send(&event(id)).await.unwrap();
        }
        eprintln!("{name}: 3600 events were spooled in {:.1} s", begin.elapsed().as_secs_f64());
        balanced(&metrics);
        broker.up();
        // What it subscribes to is kept for it, whoever connects first.
        let subscriber = Subscriber::open(broker.port, None);
        let watched = metrics.clone();
        eventually("everything is delivered or dropped", move || {
            count(&watched, "delivered") + count(&watched, "age") + count(&watched, "size") == 3600
        })
        .await;
        balanced(&metrics);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let received = subscriber.events();
        let delivered = count(&metrics, "delivered");
        let dropped = [count(&metrics, "age"), count(&metrics, "size")];
        eprintln!("{name}: {delivered} delivered, {} received, {dropped:?} dropped by age and size", received.len());
        assert_eq!(received.len() as u64, delivered, "{name}");
        assert_eq!(count(&metrics, "produced"), 3600);
        if name == "age" {
            let young: BTreeSet<String> = (3600 - received.len()..3600).map(|id| format!("{id:05}")).collect();
            assert_eq!(received, young, "the young ones, all of them");
            assert!((1790..=1801).contains(&delivered), "{delivered}");
        } else {
            assert!((0..360).all(|drift| received.contains(&format!("{:05}", drift * 10))), "system events are kept");
            assert!(dropped[1] > 1000 && dropped[0] == 0);
        }
        sink.flush().await.unwrap();
    }
}
