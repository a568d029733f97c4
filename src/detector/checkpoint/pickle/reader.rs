//! Reader of a pickle's bytes.
//!
//! In: bytes. Out: numbers, byte slices and lines. Promises: a length is compared with the bytes left before anything is
//! allocated; running out of bytes is an error.

/// Result of reading or executing an opcode; the error is a sentence without the byte offset.
pub(super) type Step<T> = std::result::Result<T, String>;

/// A position in a pickle's bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Bytes read.
    pub(super) position: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(taken) = rest.get(..length) else {
            return Err(format!("{length} bytes wanted, {} left: the file is cut short or damaged", rest.len()));
        };
        self.position += length;
        Ok(taken)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "a length that does not fit".to_owned())
    }

    /// Text up to the next line feed, which is read too.
    pub(super) fn line(&mut self) -> Step<&'a str> {
        std::str::from_utf8(self.line_bytes()?).map_err(|_| "text that is not UTF-8".into())
    }

    /// Bytes up to the next line feed, which is read too.
    pub(super) fn line_bytes(&mut self) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err("a line without end: the file is cut short or damaged".into());
        };
        self.position += length + 1;
        Ok(&rest[..length])
    }

    /// A length of `width` bytes, little-endian: 1, 4 or 8.
    pub(super) fn length(&mut self, width: usize) -> Step<usize> {
        match width {
            1 => Ok(self.byte()?.into()),
            4 => Ok(u32::from_le_bytes(self.array()?) as usize),
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| "a length of 64 bits".into()),
        }
    }
}
