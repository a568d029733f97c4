//! Incoming packets above the size limit: passed over, so that a message that is too large does not cost the connection.
//!
//! In: the byte stream of a broker. Out: the same stream, in which a short PUBLISH packet stands for each PUBLISH packet
//! above the limit. It has the same packet identifier, so that the client library acknowledges the message. Otherwise
//! the broker would keep it, and a few of them would fill the broker's window of unacknowledged messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Topic of a packet that stands for one above the limit. No filter of a subscription matches it, so a broker sends it
/// of itself never. The payload is the size in bytes, a space, and the begin of the topic.
pub const TOPIC: &str = "$lookout/oversize";

/// Type of a PUBLISH packet, the upper four bits of its first byte.
const PUBLISH: u8 = 3;
/// Longest begin of a topic that is reported, in bytes.
const REPORTED_TOPIC: usize = 128;
/// Buffer for reading from the broker, in bytes.
const BUFFER: usize = 8 << 10;

/// Parser of the packets of a stream.
#[derive(Debug)]
pub struct PacketFilter {
    /// Largest packet that passes, in bytes.
    limit: usize,
    /// True for MQTT 5, whose PUBLISH packets have properties.
    has_properties: bool,
    state: State,
}

/// Position in the stream.
#[derive(Debug)]
enum State {
    /// In a fixed header, of which `length` bytes are there.
    Header { bytes: [u8; 5], length: usize },
    /// In a packet that passes, `rest` bytes before its end.
    Passing { rest: usize },
    /// In the topic or packet identifier of a PUBLISH packet above the limit, of `size` bytes, `rest` bytes before its end.
    Oversize { first: u8, size: usize, rest: usize, begin: Vec<u8> },
    /// In the remainder of a packet above the limit, `rest` bytes before its end.
    Skipping { rest: usize },
    /// After a malformed length: everything passes, and the client library reports the error.
    Malformed,
}

impl State {
    /// Before the first byte of a packet.
    const START: Self = Self::Header { bytes: [0; 5], length: 0 };

    fn passing(rest: usize) -> Self {
        if rest == 0 { Self::START } else { Self::Passing { rest } }
    }

    fn skipping(rest: usize) -> Self {
        if rest == 0 { Self::START } else { Self::Skipping { rest } }
    }
}

impl PacketFilter {
    /// Passes packets of up to `limit` bytes. `has_properties` is true for MQTT 5.
    pub fn new(limit: usize, has_properties: bool) -> Self {
        Self { limit, has_properties, state: State::START }
    }

    /// Takes the next bytes of the stream, and appends to `out` what passes.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let taken = self.step(bytes, out);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Takes at least one byte, and returns their number.
    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        match &mut self.state {
            State::Header { bytes: header, length } => {
                let (Some(&byte), Some(place)) = (bytes.first(), header.get_mut(*length)) else { return bytes.len() };
                *place = byte;
                *length += 1;
                let header = &header[..*length];
                match remaining_length(header) {
                    Some(rest) if header[0] >> 4 == PUBLISH && header.len() + rest > self.limit => {
                        let (first, size) = (header[0], header.len() + rest);
                        self.state = State::Oversize { first, size, rest, begin: Vec::new() };
                    }
                    Some(rest) => {
                        out.extend_from_slice(header);
                        self.state = State::passing(rest);
                    }
                    None if header.len() == 5 => {
                        out.extend_from_slice(header);
                        self.state = State::Malformed;
                    }
                    None => {}
                }
                1
            }
            State::Passing { rest } => {
                let taken = bytes.len().min(*rest);
                out.extend_from_slice(&bytes[..taken]);
                self.state = State::passing(*rest - taken);
                taken
            }
            State::Oversize { first, size, rest, begin } => {
                let needed = needed_begin(*first, begin);
                let taken = (needed - begin.len()).min(*rest).min(bytes.len());
                begin.extend_from_slice(&bytes[..taken]);
                *rest -= taken;
                let rest = *rest;
                if begin.len() == needed_begin(*first, begin) {
                    replace(*first, *size, begin, self.has_properties, out);
                    self.state = State::skipping(rest);
                } else if rest == 0 {
                    // The topic is longer than its packet. There is nothing to acknowledge.
                    self.state = State::START;
                }
                taken
            }
            State::Skipping { rest } => {
                let taken = bytes.len().min(*rest);
                self.state = State::skipping(*rest - taken);
                taken
            }
            State::Malformed => {
                out.extend_from_slice(bytes);
                bytes.len()
            }
        }
    }
}

/// Remaining length in a fixed header, once it is complete.
fn remaining_length(header: &[u8]) -> Option<usize> {
    let digits = header.get(1..).filter(|digits| digits.last().is_some_and(|digit| digit & 0x80 == 0))?;
    Some(digits.iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7f)))
}

/// Length of the topic with its two bytes of length, and of the packet identifier, as far as `begin` tells. It is larger
/// than the length of `begin` until both are complete.
fn needed_begin(first: u8, begin: &[u8]) -> usize {
    let has_identifier = first & 0b0110 != 0;
    match begin {
        [high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])) + if has_identifier { 2 } else { 0 },
        _ => 2,
    }
}

/// Writes the packet that stands for one of `size` bytes that begins with `begin`.
fn replace(first: u8, size: usize, begin: &[u8], has_properties: bool, out: &mut Vec<u8>) {
    let has_identifier = first & 0b0110 != 0;
    let (topic, identifier) = begin.split_at(begin.len() - if has_identifier { 2 } else { 0 });
    let topic = topic.get(2..).unwrap_or_default();
    let mut body = (TOPIC.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(TOPIC.as_bytes());
    body.extend_from_slice(identifier);
    if has_properties {
        body.push(0);
    }
    body.extend_from_slice(format!("{size} ").as_bytes());
    body.extend_from_slice(topic.get(..REPORTED_TOPIC).unwrap_or(topic));
    out.push(first);
    let mut length = body.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(&body);
}

/// Size and begin of the topic of a packet above the limit, from the payload of the one that stands for it.
pub fn describe(payload: &[u8]) -> (usize, String) {
    let text = String::from_utf8_lossy(payload);
    let (size, topic) = text.split_once(' ').unwrap_or_default();
    (size.parse().unwrap_or_default(), topic.to_owned())
}

/// The stream of a broker through a [`PacketFilter`].
///
/// On a link that breaks, it reports the error of a write only after everything that the broker sent before was read.
/// Acknowledgements among it would be lost otherwise.
pub struct FilteredStream<S> {
    inner: BufReader<S>,
    filter: PacketFilter,
    /// Bytes that passed the filter, and how many of them were read.
    passed: Vec<u8>,
    read: usize,
    write_error: Option<io::Error>,
    has_failed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FilteredStream<S> {
    /// Reads `stream` through `filter`.
    pub fn new(stream: S, filter: PacketFilter) -> Self {
        let inner = BufReader::with_capacity(BUFFER, stream);
        Self { inner, filter, passed: Vec::new(), read: 0, write_error: None, has_failed: false }
    }

    /// The result of a write, or success in place of its error, which reading reports later.
    fn defer<T>(&mut self, result: io::Result<T>, success: T) -> io::Result<T> {
        result.or_else(|error| {
            self.has_failed = true;
            self.write_error = Some(error);
            Ok(success)
        })
    }

    /// The end of the stream: the deferred error of a write, if there is one.
    fn end(&mut self) -> io::Result<()> {
        self.write_error.take().map_or(Ok(()), Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FilteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let passed = this.passed.get(this.read..).unwrap_or_default();
            if !passed.is_empty() {
                let taken = passed.len().min(buffer.remaining());
                buffer.put_slice(&passed[..taken]);
                this.read += taken;
                return Poll::Ready(Ok(()));
            }
            this.passed.clear();
            this.read = 0;
            let received = ready!(Pin::new(&mut this.inner).poll_fill_buf(context))?;
            if received.is_empty() {
                return Poll::Ready(this.end());
            }
            let length = received.len();
            this.filter.feed(received, &mut this.passed);
            Pin::new(&mut this.inner).consume(length);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FilteredStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.has_failed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes));
        Poll::Ready(self.defer(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_failed {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(context));
        Poll::Ready(self.defer(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: usize = 300;

    /// A PUBLISH packet with this quality of service and size of the payload.
    fn publish(topic: &str, qos: u8, payload: usize, has_properties: bool) -> Vec<u8> {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        if qos > 0 {
            body.extend_from_slice(&[0x12, 0x34]);
        }
        if has_properties {
            body.push(0);
        }
        body.resize(body.len() + payload, b'x');
        let mut packet = vec![0x31 | qos << 1];
        let mut length = body.len();
        loop {
            let digit = (length & 0x7f) as u8;
            length >>= 7;
            packet.push(if length > 0 { digit | 0x80 } else { digit });
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        packet
    }

    fn filtered(chunks: &[&[u8]], has_properties: bool) -> Vec<u8> {
        let mut filter = PacketFilter::new(LIMIT, has_properties);
        let mut out = Vec::new();
        chunks.iter().for_each(|chunk| filter.feed(chunk, &mut out));
        out
    }

    #[test]
    fn a_packet_above_the_limit_becomes_a_short_one_with_its_identifier() {
        let ping = [0xd0, 0x00];
        for has_properties in [false, true] {
            for qos in 0..3 {
                let small = publish("lookout/d/cmd/camera", qos, 100, has_properties);
                let large = publish("lookout/d/cmd/camera", qos, 11_000, has_properties);
                let stream = [&ping[..], &small, &large, &large, &ping, &small].concat();
                let out = filtered(&[&stream], has_properties);
                let short = &out[2 + small.len()..out.len() - 2 - small.len()];
                let short = &short[..short.len() / 2];
                assert_eq!(out, [&ping[..], &small, short, short, &ping, &small].concat());
                assert_eq!(short[0], large[0], "flags are kept: retained, quality of service");
                let text = String::from_utf8_lossy(short);
                assert!(text.contains(TOPIC) && text.ends_with(&format!("{} lookout/d/cmd/camera", large.len())));
                assert_eq!(short.windows(2).any(|pair| pair == [0x12, 0x34]), qos > 0);
                assert!(short.len() < LIMIT);
                // However the bytes arrive.
                let bytes: Vec<&[u8]> = stream.chunks(1).collect();
                assert_eq!(filtered(&bytes, has_properties), out);
            }
        }
        assert_eq!(describe(b"11033 a topic"), (11_033, "a topic".to_owned()));
    }

    #[test]
    fn other_packets_and_malformed_ones_pass_for_the_library_to_judge() {
        let other = [&[0x90, 0xac, 0x02][..], &[0; 300]].concat();
        assert_eq!(filtered(&[&other], false), other);
        let malformed = [&[0x30, 0xff, 0xff, 0xff, 0xff][..], &[7; 1000]].concat();
        assert_eq!(filtered(&[&malformed], false), malformed);
        // A topic longer than its packet.
        let wrong = [&[0x32, 0xac, 0x02, 0xff, 0xff][..], &[0; 298], &[0xd0, 0x00]].concat();
        assert_eq!(filtered(&[&wrong], false), [0xd0, 0x00]);
    }

    proptest! {
        #[test]
        fn any_stream_is_taken_and_what_passes_does_not_depend_on_the_chunks(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000), chunk in 1_usize..50, has_properties: bool,
        ) {
            let whole = filtered(&[&bytes], has_properties);
            let chunks: Vec<&[u8]> = bytes.chunks(chunk).collect();
            prop_assert_eq!(&whole, &filtered(&chunks, has_properties));
        }
    }

    #[tokio::test]
    async fn what_arrived_before_a_broken_write_is_read_before_its_error() {
        /// Has received two bytes before its end, and can send nothing.
        struct Broken(&'static [u8]);
        impl AsyncRead for Broken {
            fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                out.put_slice(self.0);
                self.0 = &[];
                Poll::Ready(Ok(()))
            }
        }
        impl AsyncWrite for Broken {
            fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut stream = FilteredStream::new(Broken(&[0xd0, 0x00]), PacketFilter::new(LIMIT, false));
        stream.write_all(b"a message").await.unwrap();
        stream.flush().await.unwrap();
        let mut received = [0; 2];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(received, [0xd0, 0x00]);
        assert_eq!(stream.read(&mut received).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
