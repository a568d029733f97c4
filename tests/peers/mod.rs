//! The service with real peers: mosquitto, nginx, Prometheus and its promtool, Chromium, schemathesis, a full disk. Run
//! by `tests/peers.sh`, which installs them; where one is absent its tests say so and pass over.

mod broker;
mod browser;
mod buttons;
mod daemon;
mod disk;
mod link;
mod messages;
mod mosquitto;
mod outage;
mod page;
mod proxy;
#[cfg(feature = "mqtt-tls")]
mod tls;
