//! The driver's buffers, mapped into our memory: the streaming itself.
//!
//! In: a node whose format is set. Out: full buffers, the newest first, each with what the driver says of it. Every wait
//! has an end, an error ends the stream (it is opened anew, never mended), and nothing panics: not even taking it down.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use v4l::buffer::Flags;
use v4l::v4l_sys as sys;
use v4l::v4l2;

use super::ioctl::{DEQUEUE, Node, QUERY_BUFFER, QUEUE, REQUEST_BUFFERS, STREAM_OFF, STREAM_ON, blank};

/// Buffers asked for: one is filled, one waits, one is looked at, and one to spare.
const COUNT: u32 = 4;

/// How long a driver is left alone that says it has a frame and has none.
const PAUSE: Duration = Duration::from_millis(10);

/// Most planes a buffer may have.
const PLANES: usize = sys::VIDEO_MAX_PLANES as usize;

/// Memory shared with the driver.
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

/// What the driver says of a full buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Which it is.
    index: u32,
    /// Frames since the stream began, as the driver counts.
    pub sequence: u32,
    /// The driver marks it as damaged.
    pub is_damaged: bool,
    /// When it was taken, nanoseconds of `CLOCK_MONOTONIC`, if the driver uses that clock.
    pub monotonic_ns: Option<u64>,
    /// Where the data of each plane begins, and where it ends.
    used: [(usize, usize); PLANES],
}

/// How waiting for a frame ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// With one, and so many older ones that were passed over.
    Full(Full, u64),
    /// The time was over.
    Nothing,
}

/// A running stream.
#[derive(Debug)]
pub struct Buffers {
    node: Node,
    kind: u32,
    /// By buffer, by plane.
    memory: Vec<Vec<Mapping>>,
}

/// A buffer description, and room for its planes.
struct Description {
    buffer: sys::v4l2_buffer,
    planes: Box<[sys::v4l2_plane; PLANES]>,
}

impl Buffers {
    /// Has buffers of `kind` (single- or multi-planar capture) made, and starts the stream.
    ///
    /// # Errors
    /// As the driver says; it is busy if another program streams.
    pub fn start(node: Node, kind: u32) -> io::Result<Self> {
        let mut stream = Self { node, kind, memory: Vec::new() };
        let mut request = sys::v4l2_requestbuffers {
            count: COUNT,
            type_: kind,
            memory: sys::v4l2_memory_V4L2_MEMORY_MMAP,
            ..blank()
        };
        stream.node.ask(REQUEST_BUFFERS, &mut request)?;
        if request.count == 0 {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the driver makes no buffers"));
        }
        for index in 0..request.count {
            let planes = stream.describe(index, QUERY_BUFFER, |description, is_multi| {
                if is_multi {
                    let count = (description.buffer.length as usize).min(PLANES);
                    // SAFETY: the kernel has filled in a mapped buffer's planes, whose union holds the offset.
                    description.planes[..count]
                        .iter()
                        .map(|plane| (plane.length as usize, unsafe { plane.m.mem_offset }))
                        .collect()
                } else {
                    // SAFETY: the kernel has filled in a mapped buffer, whose union holds the offset.
                    vec![(description.buffer.length as usize, unsafe { description.buffer.m.offset })]
                }
            })?;
            let map = |&(length, offset): &(usize, u32)| Mapping::new(&stream.node, length, offset);
            let planes = planes.iter().map(map).collect::<io::Result<_>>()?;
            stream.memory.push(planes);
        }
        for index in 0..request.count {
            stream.describe(index, QUEUE, |_, _| ())?;
        }
        stream.node.ask(STREAM_ON, &mut (kind as i32))?;
        Ok(stream)
    }

    /// Asks for something about buffer `index`, and lets `look` see the answer.
    fn describe<R>(
        &self,
        index: u32,
        request: super::ioctl::Request<sys::v4l2_buffer>,
        look: impl FnOnce(&Description, bool) -> R,
    ) -> io::Result<R> {
        let is_multi = self.kind == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
        let mut planes = Box::new([blank::<sys::v4l2_plane>(); PLANES]);
        let mut buffer = sys::v4l2_buffer {
            index,
            type_: self.kind,
            memory: sys::v4l2_memory_V4L2_MEMORY_MMAP,
            ..blank::<sys::v4l2_buffer>()
        };
        if is_multi {
            buffer.length = self.memory.get(index as usize).map_or(PLANES, Vec::len) as u32;
            // The kernel reads and writes `length` planes behind this pointer, and there are as many.
            buffer.m.planes = planes.as_mut_ptr();
        }
        self.node.ask(request, &mut buffer)?;
        Ok(look(&Description { buffer, planes }, is_multi))
    }

    /// Waits at most `timeout` for a full buffer. Of several the newest counts; the others go back.
    ///
    /// # Errors
    /// Whatever ends the stream: the device is gone (ENODEV), was reset (EINVAL), or failed.
    pub fn wait(&self, timeout: Duration) -> io::Result<Waited> {
        let mut descriptors = [PollFd::new(&self.node, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout).ok();
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => return Ok(Waited::Nothing),
            Err(rustix::io::Errno::INTR) => return Ok(Waited::Nothing),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        let events = descriptors[0].revents();
        if !events.contains(PollFlags::IN) {
            // Nothing to be read and yet an answer: an error, whose name a try to read may tell.
            let named = self.take().err().filter(|error| error.kind() != io::ErrorKind::WouldBlock);
            let unnamed = || io::Error::other(format!("the device reports an error ({events:?}) and gives no frame"));
            return Err(named.unwrap_or_else(unnamed));
        }
        let Some(mut newest) = self.take()? else {
            // Ready, and yet nothing there: asking again at once could go on for ever.
            std::thread::sleep(PAUSE);
            return Ok(Waited::Nothing);
        };
        let mut passed_over = 0;
        while passed_over < self.memory.len() as u64 {
            let Some(newer) = self.take()? else { break };
            self.give_back(newest)?;
            newest = newer;
            passed_over += 1;
        }
        Ok(Waited::Full(newest, passed_over))
    }

    /// Takes a full buffer back from the driver, if there is one.
    fn take(&self) -> io::Result<Option<Full>> {
        let look = |description: &Description, is_multi: bool| {
            let buffer = &description.buffer;
            let mut used = [(0, 0); PLANES];
            if is_multi {
                for (used, plane) in used.iter_mut().zip(&description.planes[..]).take(buffer.length as usize) {
                    *used = (plane.data_offset as usize, plane.bytesused as usize);
                }
            } else {
                used[0] = (0, buffer.bytesused as usize);
            }
            let flags = Flags::from_bits_truncate(buffer.flags);
            let is_monotonic = flags & Flags::TIMESTAMP_MASK == Flags::TIMESTAMP_MONOTONIC;
            let (seconds, micros) = (buffer.timestamp.tv_sec as i64, buffer.timestamp.tv_usec as i64);
            let nanoseconds = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(micros * 1000));
            Full {
                index: buffer.index,
                sequence: buffer.sequence,
                is_damaged: flags.contains(Flags::ERROR),
                monotonic_ns: nanoseconds.filter(|&ns| is_monotonic && ns > 0).map(|ns| ns as u64),
                used,
            }
        };
        match self.describe(u32::MAX, DEQUEUE, look) {
            Ok(full) if (full.index as usize) < self.memory.len() => Ok(Some(full)),
            Ok(full) => Err(io::Error::other(format!("the driver gives a buffer {} that was never made", full.index))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of each plane of a buffer that was taken.
    pub fn planes(&self, full: &Full) -> Vec<&[u8]> {
        let planes = self.memory.get(full.index as usize).map_or(&[][..], Vec::as_slice);
        let parts = planes.iter().zip(&full.used);
        parts
            .map(|(plane, &(begin, end))| {
                let bytes = plane.bytes();
                let end = end.min(bytes.len());
                &bytes[begin.min(end)..end]
            })
            .collect()
    }

    /// Gives a buffer back to the driver.
    ///
    /// # Errors
    /// As [`Buffers::wait`].
    pub fn give_back(&self, full: Full) -> io::Result<()> {
        self.describe(full.index, QUEUE, |_, _| ())
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // A device that is gone says so here; there is nobody to tell, and nothing to be done.
        let _ = self.node.ask(STREAM_OFF, &mut (self.kind as i32));
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
