//! What must be known about a JPEG before it is decoded: is it whole, and does it carry its Huffman tables?
//!
//! In: the bytes. Out: [`Survey`]. Decoders fill what is missing of a truncated picture with grey and say nothing, so
//! the end marker is looked for here; and they refuse frames of the many cameras that leave the Huffman tables out,
//! so those get the standard ones.

use std::borrow::Cow;

use super::huffman;

/// The segments of a JPEG, as far as decoding depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Survey {
    /// Where the first scan's marker stands.
    first_scan: Option<usize>,
    /// Whether Huffman tables come before the first scan.
    has_huffman_tables: bool,
    /// Whether the frame is of a kind that reads Huffman codes with fixed default tables: baseline or extended.
    is_sequential: bool,
    /// Whether the end marker was reached.
    is_complete: bool,
}

/// The JPEG in `bytes`, with the standard Huffman tables put in where it has none; `None` if it ends before its end
/// marker, or is no JPEG at all. Bytes behind the end marker (padding of capture buffers, further pictures of a
/// multi-picture file) do not matter.
pub(super) fn complete(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let survey = Survey::of(bytes)?;
    let scan = survey.first_scan.filter(|_| survey.is_complete)?;
    if survey.has_huffman_tables || !survey.is_sequential {
        return Some(Cow::Borrowed(bytes));
    }
    let tables = huffman::segment();
    let mut whole = Vec::with_capacity(bytes.len() + tables.len());
    whole.extend_from_slice(&bytes[..scan]);
    whole.extend_from_slice(&tables);
    whole.extend_from_slice(&bytes[scan..]);
    Some(Cow::Owned(whole))
}

impl Survey {
    /// Walks over the segments from the start marker on; `None` without one.
    fn of(bytes: &[u8]) -> Option<Self> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return None;
        }
        let mut survey = Self { first_scan: None, has_huffman_tables: false, is_sequential: false, is_complete: false };
        let mut at = 2;
        while let Some((marker, start)) = next_marker(bytes, at) {
            at = start + 2;
            match marker {
                0xd9 => {
                    survey.is_complete = true;
                    break;
                }
                // Markers that stand alone: TEM and the restarts.
                0x01 | 0xd0..=0xd7 => continue,
                0xc4 if survey.first_scan.is_none() => survey.has_huffman_tables = true,
                0xc0 | 0xc1 => survey.is_sequential = true,
                0xda if survey.first_scan.is_none() => survey.first_scan = Some(start),
                _ => {}
            }
            let Some(length) = bytes.get(at..at + 2) else { break };
            at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
        }
        Some(survey)
    }
}

/// The next marker at or behind `at`, and where it stands. Skips entropy-coded data (where 0xff is followed by 0) and
/// fill bytes (0xff followed by 0xff).
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(at..)?;
    let offset = rest.windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff)?;
    Some((rest[offset + 1], at + offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, frame header, (tables,) scan header, two bytes of data with a stuffed 0xff, end.
    fn file(tables: bool, end: bool) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 4, 1, 2];
        if tables {
            bytes.extend(huffman::segment());
        }
        bytes.extend([0xff, 0xda, 0, 3, 9, 0x12, 0xff, 0, 0xff, 0xd0, 0x34]);
        if end {
            bytes.extend([0xff, 0xff, 0xd9, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn the_standard_tables_are_put_before_the_scan() {
        assert_eq!(huffman::segment().len(), 420);
        assert_eq!(complete(&file(false, true)).unwrap(), file(true, true));
        assert!(matches!(complete(&file(true, true)).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn a_file_without_its_end_is_not_complete() {
        assert!(complete(&file(true, false)).is_none());
        let whole = file(true, true);
        for length in 0..whole.len() - 4 {
            assert!(complete(&whole[..length]).is_none(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn an_end_marker_inside_a_thumbnail_does_not_count() {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd8, 0xff, 0xd9];
        bytes.extend(&file(true, false)[2..]);
        assert!(complete(&bytes).is_none());
    }
}
