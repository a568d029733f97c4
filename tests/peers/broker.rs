//! A mosquitto of the test's own, and a client that keeps the messages it receives.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc_v5::mqttbytes::QoS;
use rumqttc_v5::mqttbytes::v5::Packet;
use rumqttc_v5::{AsyncClient, Event, MqttOptions};

/// The program, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: {program} is not installed; tests/peers.sh installs it");
    }
    found
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A broker with its folder.
pub struct Broker {
    pub port: u16,
    program: PathBuf,
    config: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Starts mosquitto in `folder` with `lines` added to its configuration.
    pub fn start(folder: &Path, lines: &str) -> Option<Self> {
        let mut broker = Self::prepare(folder, lines)?;
        broker.up();
        Some(broker)
    }

    /// The same, not started yet.
    pub fn prepare(folder: &Path, lines: &str) -> Option<Self> {
        let program = find("mosquitto")?;
        let port = free_port();
        let config = folder.join("mosquitto.conf");
        std::fs::write(&config, lines.replace("PORT", &port.to_string())).unwrap();
        Some(Self { port, program, config, child: None })
    }

    pub fn up(&mut self) {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        until("mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id() as i32)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `true`, and panics with `what` after 40 s.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(40), "{what}: not within 40 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A message as it was seen.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    pub topic: String,
    pub payload: String,
    pub retained: bool,
}

/// Subscribes to everything on a broker, and connects again after a loss.
pub struct Subscriber {
    received: Arc<Mutex<Vec<ReceivedMessage>>>,
    pub client: AsyncClient,
    task: tokio::task::JoinHandle<()>,
}

impl Subscriber {
    pub fn open(port: u16, login: Option<(&str, &str)>) -> Self {
        let mut options = MqttOptions::new(format!("subscriber-{port}-{}", free_port()), ("127.0.0.1", port));
        if let Some((user, password)) = login {
            options.set_credentials(user.to_owned(), password.to_owned().into_bytes());
        }
        // Discovery of many entities is longer than the default allows.
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut events) = AsyncClient::builder(options).capacity(100).build();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (list, subscriber) = (received.clone(), client.clone());
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber.try_subscribe("#", QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => list.lock().unwrap().push(ReceivedMessage {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload: String::from_utf8_lossy(&publish.payload).into_owned(),
                        retained: publish.retain,
                    }),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { received, client, task }
    }

    pub fn received(&self) -> Vec<ReceivedMessage> {
        self.received.lock().unwrap().clone()
    }

    pub fn clear(&self) {
        self.received.lock().unwrap().clear();
    }

    /// The payloads on `topic`, in their order.
    pub fn on(&self, topic: &str) -> Vec<String> {
        self.received().into_iter().filter(|message| message.topic == topic).map(|message| message.payload).collect()
    }

    pub fn last(&self, topic: &str) -> Option<String> {
        self.on(topic).pop()
    }

    /// The different event ids received.
    pub fn events(&self) -> std::collections::BTreeSet<String> {
        self.on("lookout/d/events")
            .iter()
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}
