//! Text files of other programs: UTF-8 or UTF-16, with or without a byte order mark.
//!
//! Windows' shell writes UTF-16, its editors a mark before UTF-8. Both are read as the text that their owner sees.

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// The text of the file at `path`.
///
/// # Errors
/// As [`Error::reading`] and [`decode`].
pub fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::reading(path, source))?;
    decode(&bytes).map(Cow::into_owned).map_err(|error| error.at(path.display()))
}

/// The text of `bytes`, without byte order mark.
///
/// # Errors
/// [`Kind::Data`] if it is neither UTF-8 nor UTF-16.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    match encoding(bytes) {
        (Encoding::Utf8, text) => {
            let text = std::str::from_utf8(text).map_err(|e| Error::new(Kind::Data, "not UTF-8 text").because(e))?;
            Ok(Cow::Borrowed(text))
        }
        (encoding, text) => {
            let text = String::from_utf16(&encoding.units(text));
            text.map(Cow::Owned).map_err(|e| Error::new(Kind::Data, "not UTF-16 text").because(e))
        }
    }
}

/// As [`decode`], with U+FFFD in place of what is wrong.
pub fn decode_lossy(bytes: &[u8]) -> Cow<'_, str> {
    match encoding(bytes) {
        (Encoding::Utf8, text) => String::from_utf8_lossy(text),
        (encoding, text) => Cow::Owned(String::from_utf16_lossy(&encoding.units(text))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    fn units(self, text: &[u8]) -> Vec<u16> {
        let unit = if self == Self::Utf16Le { u16::from_le_bytes } else { u16::from_be_bytes };
        let (pairs, rest) = text.as_chunks::<2>();
        // Half a unit at the end is wrong, too.
        let half = (!rest.is_empty()).then_some(0xd800);
        pairs.iter().map(|&pair| unit(pair)).chain(half).collect()
    }
}

/// The encoding of `bytes`, and what follows the byte order mark. Without a mark, every second byte of the first two
/// ASCII characters in UTF-16 is 0.
fn encoding(bytes: &[u8]) -> (Encoding, &[u8]) {
    match bytes {
        [0xef, 0xbb, 0xbf, text @ ..] => (Encoding::Utf8, text),
        [0xff, 0xfe, text @ ..] => (Encoding::Utf16Le, text),
        [0xfe, 0xff, text @ ..] => (Encoding::Utf16Be, text),
        &[a, 0, b, 0, ..] if a != 0 && b != 0 => (Encoding::Utf16Le, bytes),
        &[0, a, 0, b, ..] if a != 0 && b != 0 => (Encoding::Utf16Be, bytes),
        _ => (Encoding::Utf8, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_read_in_every_encoding() {
        let text = "Vélo 行人\r\n🚗\n";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", &little[..]].concat(),
            [b"\xfe\xff", &big[..]].concat(),
            little,
            big,
        ] {
            assert_eq!(decode(&bytes).unwrap(), text);
            assert_eq!(decode_lossy(&bytes), text);
        }
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn other_bytes_are_refused_or_replaced() {
        for (bytes, lossy) in
            [(&b"V\xe9lo"[..], "V\u{fffd}lo"), (b"\xff\xfea\0b", "a\u{fffd}"), (b"\xff\xfe\0\xd8", "\u{fffd}")]
        {
            assert_eq!(decode(bytes).unwrap_err().kind(), Kind::Data);
            assert_eq!(decode_lossy(bytes), lossy);
        }
    }
}
