//! V4L2 node and its ioctl requests, with the declarations of the crate `v4l`.
//!
//! In: a path. Out: the kernel's structures, filled in. The crate's own `Device` is not used, since it panics on text that is
//! not UTF-8, on unknown control types, and if closing fails. Here every result is checked and nothing panics.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use v4l::v4l_sys as sys;
use v4l::v4l2;
use v4l::v4l2::vidioc;

/// A structure of `linux/videodev2.h`: plain numbers, for which zero bytes are a value.
///
/// # Safety
/// Zero bytes must be a valid value, and any bytes the kernel writes.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ident),*) => {
        // SAFETY: C structures of integers, arrays, unions and pointers that nobody follows.
        $(unsafe impl Plain for sys::$name {})*
    };
}

plain!(
    v4l2_capability,
    v4l2_fmtdesc,
    v4l2_format,
    v4l2_frmsizeenum,
    v4l2_frmivalenum,
    v4l2_streamparm,
    v4l2_requestbuffers,
    v4l2_buffer,
    v4l2_plane,
    v4l2_query_ext_ctrl,
    v4l2_querymenu,
    v4l2_control
);

// SAFETY: any bytes are an integer.
unsafe impl Plain for std::ffi::c_int {}

/// A zeroed structure, as the kernel requires for unused fields.
pub fn zeroed<T: Plain>() -> T {
    // SAFETY: promised by `Plain`.
    unsafe { std::mem::zeroed() }
}

/// A request together with the structure it takes.
#[derive(Clone, Copy)]
pub struct Request<T>(vidioc::_IOC_TYPE, PhantomData<T>);

macro_rules! requests {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $request:ident;)*) => {
        $($(#[$meta])* pub const $name: Request<$type> = Request(vidioc::$request, PhantomData);)*
    };
}

requests! {
    /// Driver, card, bus and capabilities.
    CAPABILITIES: sys::v4l2_capability = VIDIOC_QUERYCAP;
    /// Enumerates pixel formats.
    FORMATS: sys::v4l2_fmtdesc = VIDIOC_ENUM_FMT;
    /// Enumerates sizes of a pixel format.
    SIZES: sys::v4l2_frmsizeenum = VIDIOC_ENUM_FRAMESIZES;
    /// Enumerates frame intervals of a pixel format and size.
    INTERVALS: sys::v4l2_frmivalenum = VIDIOC_ENUM_FRAMEINTERVALS;
    /// Sets the format.
    SET_FORMAT: sys::v4l2_format = VIDIOC_S_FMT;
    /// Reads the streaming parameters.
    PARAMETERS: sys::v4l2_streamparm = VIDIOC_G_PARM;
    /// Sets the streaming parameters.
    SET_PARAMETERS: sys::v4l2_streamparm = VIDIOC_S_PARM;
    /// Requests buffers.
    REQUEST_BUFFERS: sys::v4l2_requestbuffers = VIDIOC_REQBUFS;
    /// Queries a buffer.
    QUERY_BUFFER: sys::v4l2_buffer = VIDIOC_QUERYBUF;
    /// Queues a buffer.
    QUEUE: sys::v4l2_buffer = VIDIOC_QBUF;
    /// Dequeues a buffer.
    DEQUEUE: sys::v4l2_buffer = VIDIOC_DQBUF;
    /// Starts streaming.
    STREAM_ON: std::ffi::c_int = VIDIOC_STREAMON;
    /// Stops streaming.
    STREAM_OFF: std::ffi::c_int = VIDIOC_STREAMOFF;
    /// Enumerates controls.
    CONTROLS: sys::v4l2_query_ext_ctrl = VIDIOC_QUERY_EXT_CTRL;
    /// A menu item of a control.
    MENU: sys::v4l2_querymenu = VIDIOC_QUERYMENU;
    /// Reads a control.
    CONTROL: sys::v4l2_control = VIDIOC_G_CTRL;
    /// Sets a control.
    SET_CONTROL: sys::v4l2_control = VIDIOC_S_CTRL;
}

/// An open node.
#[derive(Debug)]
pub struct Node(OwnedFd);

impl Node {
    /// Opens the node at `path` for streaming, without blocking.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Issues a request, and repeats it after a signal.
    ///
    /// # Errors
    /// As `ioctl(2)`.
    pub fn ioctl<T: Plain>(&self, request: Request<T>, argument: &mut T) -> io::Result<()> {
        loop {
            // SAFETY: the descriptor is open; the request's number holds the size of `T`, so that the kernel reads and
            // writes only `argument`. The caller is responsible for pointers inside of it.
            match unsafe { v4l2::ioctl(self.0.as_raw_fd(), request.0, std::ptr::from_mut(argument).cast()) } {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => return answer,
            }
        }
    }

    /// Enumerates items 0, 1, 2 … until the driver has no more: `next` sets the index, `take` receives the result. At most
    /// `limit` items, since a driver may never end.
    pub fn each<T: Plain>(&self, request: Request<T>, limit: u32, next: impl Fn(u32) -> T, mut take: impl FnMut(&T)) {
        for index in 0..limit {
            let mut argument = next(index);
            match self.ioctl(request, &mut argument) {
                Ok(()) => take(&argument),
                Err(_) => break,
            }
        }
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Text of a kernel field, up to the first zero byte.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_first_zero_and_may_be_anything() {
        assert_eq!(text(b"vivid\0\0x"), "vivid");
        assert_eq!(text(b"\xffcam "), "\u{fffd}cam");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn what_is_no_video_node_answers_with_an_error() {
        let node = Node::open(Path::new("/dev/null")).unwrap();
        let error = node.ioctl(CAPABILITIES, &mut zeroed()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTTY.raw_os_error()));
        assert!(Node::open(Path::new("/nonexistent/video0")).is_err());
        let mut seen = 0;
        node.each(FORMATS, 10, |_| zeroed(), |_| seen += 1);
        assert_eq!(seen, 0);
    }
}
