//! V4L2 streaming with memory-mapped buffers.
//!
//! In: a node with a negotiated format. Out: the newest filled buffer with its metadata. Every wait has a timeout, an error
//! ends the stream (the caller opens a new one), and nothing panics, including the teardown.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use v4l::buffer::Flags;
use v4l::v4l_sys as sys;
use v4l::v4l2;

use super::ioctl::{DEQUEUE, Node, QUERY_BUFFER, QUEUE, REQUEST_BUFFERS, STREAM_OFF, STREAM_ON, zeroed};

/// Requested buffers: one being filled, one waiting, one being read, one spare.
const BUFFERS: u32 = 4;

/// Delay after a driver signals a frame without delivering one.
const EMPTY_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Limit of planes in a buffer.
const MAX_PLANES: usize = sys::VIDEO_MAX_PLANES as usize;

/// A memory mapping shared with the driver.
#[derive(Debug)]
struct Mapping {
    address: *mut std::ffi::c_void,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(node: &Node, length: usize, offset: u32) -> io::Result<Self> {
        use std::os::fd::{AsFd, AsRawFd};
        const READ: i32 = 1;
        const SHARED: i32 = 1;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the driver gives a buffer without memory"));
        }
        let descriptor = node.as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice; it is unmapped once, by `drop`.
        let address = unsafe { v4l2::mmap(std::ptr::null_mut(), length, READ, SHARED, descriptor, offset as _)? };
        Ok(Self { address, length })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading for as long as `self` lives. The driver writes only to buffers that are queued, and
        // these are read only between taking one back and queueing it again.
        unsafe { std::slice::from_raw_parts(self.address.cast(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` and unmapped here alone. That it fails cannot be helped.
        let _ = unsafe { v4l2::munmap(self.address, self.length) };
    }
}

/// Metadata of a filled buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilledBuffer {
    /// Index.
    index: u32,
    /// Sequence number of the driver.
    pub sequence: u32,
    /// True if the driver flags an error.
    pub is_damaged: bool,
    /// Timestamp, nanoseconds of `CLOCK_MONOTONIC`, if the driver uses that clock.
    pub monotonic_ns: Option<u64>,
    /// Start and end of the data of each plane.
    used: [(usize, usize); MAX_PLANES],
}

/// Result of waiting for a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// A frame, and the number of older ones that were skipped.
    Filled(FilledBuffer, u64),
    /// Timeout.
    Nothing,
}

/// A running stream.
#[derive(Debug)]
pub struct Buffers {
    node: Node,
    kind: u32,
    /// Mappings by buffer and plane.
    memory: Vec<Vec<Mapping>>,
}

/// A `v4l2_buffer` with its planes.
struct BufferInfo {
    buffer: sys::v4l2_buffer,
    planes: Box<[sys::v4l2_plane; MAX_PLANES]>,
}

impl Buffers {
    /// Requests buffers of `kind` (single- or multi-planar capture), maps them and starts streaming.
    ///
    /// # Errors
    /// Errors of the driver; EBUSY if another program streams.
    pub fn start(node: Node, kind: u32) -> io::Result<Self> {
        let mut stream = Self { node, kind, memory: Vec::new() };
        let mut request = sys::v4l2_requestbuffers {
            count: BUFFERS,
            type_: kind,
            memory: sys::v4l2_memory_V4L2_MEMORY_MMAP,
            ..zeroed()
        };
        stream.node.ioctl(REQUEST_BUFFERS, &mut request)?;
        if request.count == 0 {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the driver provides no buffers"));
        }
        for index in 0..request.count {
            let planes = stream.buffer_ioctl(index, QUERY_BUFFER, |info, is_multi_planar| {
                if is_multi_planar {
                    let count = (info.buffer.length as usize).min(MAX_PLANES);
                    // SAFETY: the kernel has filled in a mapped buffer's planes, whose union holds the offset.
                    info.planes[..count]
                        .iter()
                        .map(|plane| (plane.length as usize, unsafe { plane.m.mem_offset }))
                        .collect()
                } else {
                    // SAFETY: the kernel has filled in a mapped buffer, whose union holds the offset.
                    vec![(info.buffer.length as usize, unsafe { info.buffer.m.offset })]
                }
            })?;
            let map = |&(length, offset): &(usize, u32)| Mapping::new(&stream.node, length, offset);
            let planes = planes.iter().map(map).collect::<io::Result<_>>()?;
            stream.memory.push(planes);
        }
        for index in 0..request.count {
            stream.buffer_ioctl(index, QUEUE, |_, _| ())?;
        }
        stream.node.ioctl(STREAM_ON, &mut (kind as i32))?;
        Ok(stream)
    }

    /// Issues a request for buffer `index` and passes the filled structure to `read`.
    fn buffer_ioctl<R>(
        &self,
        index: u32,
        request: super::ioctl::Request<sys::v4l2_buffer>,
        read: impl FnOnce(&BufferInfo, bool) -> R,
    ) -> io::Result<R> {
        let is_multi_planar = self.kind == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let mut planes = Box::new([zeroed::<sys::v4l2_plane>(); MAX_PLANES]);
        let mut buffer = sys::v4l2_buffer {
            index,
            type_: self.kind,
            memory: sys::v4l2_memory_V4L2_MEMORY_MMAP,
            ..zeroed::<sys::v4l2_buffer>()
        };
        if is_multi_planar {
            buffer.length = self.memory.get(index as usize).map_or(MAX_PLANES, Vec::len) as u32;
            // The kernel accesses `length` planes behind this pointer, which exist.
            buffer.m.planes = planes.as_mut_ptr();
        }
        self.node.ioctl(request, &mut buffer)?;
        Ok(read(&BufferInfo { buffer, planes }, is_multi_planar))
    }

    /// Waits at most `timeout` for a filled buffer. Of several the newest is returned; the others are queued again.
    ///
    /// # Errors
    /// Errors that end the stream: the device is gone (ENODEV), was reset (EINVAL), or failed.
    pub fn wait(&self, timeout: Duration) -> io::Result<WaitResult> {
        let mut descriptors = [PollFd::new(&self.node, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout).ok();
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => return Ok(WaitResult::Nothing),
            Err(rustix::io::Errno::INTR) => return Ok(WaitResult::Nothing),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let events = descriptors[0].revents();
        if !events.contains(PollFlags::IN) {
            // An event without data is an error; dequeueing returns its code.
            let driver_error = self.dequeue().err().filter(|error| error.kind() != io::ErrorKind::WouldBlock);
            let other_error =
                || io::Error::other(format!("the device reports an error ({events:?}) and gives no frame"));
            return Err(driver_error.unwrap_or_else(other_error));
        }
        let Some(mut newest) = self.dequeue()? else {
            // Ready without a buffer: an immediate retry could loop for ever.
            std::thread::sleep(EMPTY_RETRY_DELAY);
            return Ok(WaitResult::Nothing);
        };
        let mut skipped = 0;
        while skipped < self.memory.len() as u64 {
            let Some(newer) = self.dequeue()? else { break };
            self.requeue(newest)?;
            newest = newer;
            skipped += 1;
        }
        Ok(WaitResult::Filled(newest, skipped))
    }

    /// Dequeues a filled buffer, if there is one.
    fn dequeue(&self) -> io::Result<Option<FilledBuffer>> {
        let read = |info: &BufferInfo, is_multi_planar: bool| {
            let buffer = &info.buffer;
            let mut used = [(0, 0); MAX_PLANES];
            if is_multi_planar {
                for (used, plane) in used.iter_mut().zip(&info.planes[..]).take(buffer.length as usize) {
                    *used = (plane.data_offset as usize, plane.bytesused as usize);
                }
            } else {
                used[0] = (0, buffer.bytesused as usize);
            }
            let flags = Flags::from_bits_truncate(buffer.flags);
            let is_monotonic = flags & Flags::TIMESTAMP_MASK == Flags::TIMESTAMP_MONOTONIC;
            #[allow(clippy::unnecessary_cast)] // 32 bits wide on 32-bit boards
            let (seconds, micros) = (buffer.timestamp.tv_sec as i64, buffer.timestamp.tv_usec as i64);
            let nanoseconds = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(micros * 1000));
            FilledBuffer {
                index: buffer.index,
                sequence: buffer.sequence,
                is_damaged: flags.contains(Flags::ERROR),
                monotonic_ns: nanoseconds.filter(|&ns| is_monotonic && ns > 0).map(|ns| ns as u64),
                used,
            }
        };
        match self.buffer_ioctl(u32::MAX, DEQUEUE, read) {
            Ok(buffer) if (buffer.index as usize) < self.memory.len() => Ok(Some(buffer)),
            Ok(buffer) => {
                Err(io::Error::other(format!("the driver gives a buffer {} that was never requested", buffer.index)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Data of each plane of a dequeued buffer.
    pub fn planes(&self, buffer: &FilledBuffer) -> Vec<&[u8]> {
        let planes = self.memory.get(buffer.index as usize).map_or(&[][..], Vec::as_slice);
        let planes = planes.iter().zip(&buffer.used);
        planes
            .map(|(plane, &(begin, end))| {
                let bytes = plane.bytes();
                let end = end.min(bytes.len());
                &bytes[begin.min(end)..end]
            })
            .collect()
    }

    /// Queues a buffer again.
    ///
    /// # Errors
    /// As [`Buffers::wait`].
    pub fn requeue(&self, buffer: FilledBuffer) -> io::Result<()> {
        self.buffer_ioctl(buffer.index, QUEUE, |_, _| ())
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // If the device is gone this fails, which needs no handling.
        let _ = self.node.ioctl(STREAM_OFF, &mut (self.kind as i32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_node_that_cannot_stream_is_an_error() {
        let node = Node::open(Path::new("/dev/null")).unwrap();
        assert!(Buffers::start(node, sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE).is_err());
    }
}
