//! Reading a pickle's bytes in order.
//!
//! In: bytes. Out: numbers, runs of bytes and lines. Promises: a length is compared with the bytes left before anything
//! is made of it; running out is an error and remembered in [`Reader::cut`].

/// A failed step: the sentence without its place.
pub(super) type Step<T> = std::result::Result<T, String>;

/// A place in a pickle's bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes taken.
    pub(super) position: usize,
    /// Whether more was wanted than there was.
    pub(super) cut: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0, cut: false }
    }

    pub(super) fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            self.cut = true;
            return Err(format!("{length} bytes wanted, {} left: the file is cut short or damaged", rest.len()));
        };
        self.position += length;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "a length that does not fit".to_owned())
    }

    pub(super) fn length32(&mut self) -> Step<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    /// Text up to the next line feed, which is taken too.
    pub(super) fn line(&mut self) -> Step<&'a str> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            self.cut = true;
            return Err("a line without end: the file is cut short or damaged".into());
        };
        self.position += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| "text that is not UTF-8".into())
    }
}
