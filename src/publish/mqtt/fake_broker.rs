//! A broker for tests: it acknowledges what it receives, and misbehaves on request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::sync::IgnorePoison;

/// What the broker does beside acknowledging.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// True for MQTT 5.
    pub is_v5: bool,
    /// Maximum Packet Size in CONNACK, for MQTT 5.
    pub announced_max: Option<u32>,
    /// Acknowledges no PUBLISH packet, as a broker that hangs.
    pub is_silent: bool,
    /// Reason code in PUBACK for events, for MQTT 5.
    pub refuses_events: Option<u8>,
    /// Size of a packet at which the connection is closed.
    pub closes_at: Option<usize>,
    /// Number of PUBLISH packets that are acknowledged before the connection is closed.
    pub closes_after: Option<usize>,
    /// Messages sent after the subscription: topic, payload, retained.
    pub sends: Vec<(String, Vec<u8>, bool)>,
}

/// What the broker has seen.
#[derive(Default)]
pub struct Seen {
    /// Number of connections.
    pub connections: usize,
    /// Number of connections that have ended.
    pub ended: usize,
    /// Number of PUBACK packets.
    pub acknowledgements: usize,
    /// Acknowledged messages: number of the connection, topic, payload.
    pub messages: Vec<(usize, String, Vec<u8>)>,
    /// Largest packet received, in bytes.
    pub largest: usize,
}

impl Seen {
    /// Payloads on `topic`, in their order.
    pub fn on(&self, topic: &str) -> Vec<String> {
        let of_topic = self.messages.iter().filter(|(_, name, _)| name == topic);
        of_topic.map(|(.., payload)| String::from_utf8_lossy(payload).into_owned()).collect()
    }
}

/// The broker; it ends when it is dropped.
pub struct FakeBroker {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeBroker {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let seen_by_task = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut seen = seen_by_task.lock().ignore_poison();
                    seen.connections += 1;
                    seen.connections
                };
                // What is acknowledged before the connection is closed must have left.
                stream.set_nodelay(true).unwrap();
                // One client alone connects.
                let _ = serve(stream, &behaviour, number, &seen_by_task).await;
                seen_by_task.lock().ignore_poison().ended += 1;
            }
        });
        Self { port, seen, task }
    }

    pub fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().ignore_poison())
    }

    /// Waits until `is`, and panics with `what` after 40 s.
    pub async fn until(&self, what: &str, is: impl Fn(&Seen) -> bool) {
        for _ in 0..4000 {
            if self.seen(&is) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: not within 40 s");
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, behaviour: &Behaviour, number: usize, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut published = 0;
    loop {
        let first = stream.read_u8().await?;
        let length = read_length(&mut stream).await?;
        {
            let mut seen = seen.lock().ignore_poison();
            seen.largest = seen.largest.max(length + 2);
        }
        if behaviour.closes_at.is_some_and(|size| length >= size) {
            return Ok(());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match first >> 4 {
            1 => stream.write_all(&connack(behaviour)).await?,
            3 => {
                let (topic, identifier, payload) = parse_publish(first, &body, behaviour.is_v5);
                let refusal = behaviour.refuses_events.filter(|_| topic.ends_with("/events"));
                seen.lock().ignore_poison().messages.push((number, topic, payload));
                match (identifier.filter(|_| !behaviour.is_silent), refusal) {
                    (Some([high, low]), Some(code)) => stream.write_all(&[0x40, 0x03, high, low, code]).await?,
                    (Some([high, low]), None) => stream.write_all(&[0x40, 0x02, high, low]).await?,
                    (None, _) => {}
                }
                published += 1;
                if behaviour.closes_after.is_some_and(|count| published >= count) {
                    return Ok(());
                }
            }
            4 => seen.lock().ignore_poison().acknowledgements += 1,
            8 => {
                let mut answer = vec![0x90, 0x03, body[0], body[1]];
                if behaviour.is_v5 {
                    answer[1] = 0x04;
                    answer.push(0);
                }
                answer.push(1);
                stream.write_all(&answer).await?;
                for (index, (topic, payload, retained)) in behaviour.sends.iter().enumerate() {
                    let identifier = (index as u16 + 1).to_be_bytes();
                    stream.write_all(&publish(topic, payload, *retained, identifier, behaviour.is_v5)).await?;
                }
            }
            12 => stream.write_all(&[0xd0, 0x00]).await?,
            14 => return Ok(()),
            _ => {}
        }
    }
}

async fn read_length(stream: &mut TcpStream) -> std::io::Result<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let digit = stream.read_u8().await?;
        length |= usize::from(digit & 0x7f) << shift;
        if digit & 0x80 == 0 {
            break;
        }
    }
    Ok(length)
}

fn with_length(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 0x7f {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

fn connack(behaviour: &Behaviour) -> Vec<u8> {
    let mut body = vec![0, 0];
    if behaviour.is_v5 {
        match behaviour.announced_max {
            Some(max) => {
                body.extend_from_slice(&[5, 0x27]);
                body.extend_from_slice(&max.to_be_bytes());
            }
            None => body.push(0),
        }
    }
    with_length(0x20, &body)
}

/// A PUBLISH packet of QoS 1.
fn publish(topic: &str, payload: &[u8], retained: bool, identifier: [u8; 2], is_v5: bool) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&identifier);
    if is_v5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    with_length(0x32 | u8::from(retained), &body)
}

/// Topic, packet identifier and payload. Properties are taken to be shorter than 128 bytes.
fn parse_publish(first: u8, body: &[u8], is_v5: bool) -> (String, Option<[u8; 2]>, Vec<u8>) {
    let (length, rest) = body.split_at(2);
    let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
    let mut identifier = None;
    if first & 0b0110 != 0 {
        identifier = Some([rest[0], rest[1]]);
        rest = &rest[2..];
    }
    if is_v5 {
        rest = &rest[1 + usize::from(rest[0])..];
    }
    (String::from_utf8_lossy(topic).into_owned(), identifier, rest.to_vec())
}
