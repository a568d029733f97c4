//! What lookout does with real peers: mosquitto, promtool, Chromium, schemathesis. Run by `tests/peers.sh`, which
//! installs them; where one is absent its tests say so and pass over.

mod broker;
mod mosquitto;
