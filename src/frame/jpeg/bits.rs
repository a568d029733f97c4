//! Bit reader for entropy-coded data.

use super::{cut_off, damaged};
use crate::error::Result;

/// Reads bits from the most significant one on. It removes stuffed zero bytes and stops before a marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the most significant one on. The bits below the `count` valid ones may hold part of the byte at
    /// `at`, which is written again by the next refill.
    buffer: u64,
    count: u32,
    /// Number of valid bits, at the low end, that are zero padding after the end of the data.
    padding: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, buffer: 0, count: 0, padding: 0 }
    }

    /// Makes at least 32 bits available. After the end of the data they are zeros; [`Bits::check`] detects their use.
    #[inline]
    pub fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let next = u64::from_be_bytes(next);
            // True if one of the eight bytes is 0xff, that is, zero in the complement.
            let zero = !next;
            if zero.wrapping_sub(0x0101_0101_0101_0101) & !zero & 0x8080_8080_8080_8080 == 0 && self.padding == 0 {
                self.buffer |= next >> self.count;
                let taken = (63 - self.count) >> 3;
                self.at += taken as usize;
                self.count += taken * 8;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at..).unwrap_or_default() {
                [0xff, 0, ..] => {
                    self.at += 2;
                    0xff
                }
                [0xff, ..] | [] => {
                    self.padding += 8;
                    0
                }
                [byte, ..] => {
                    self.at += 1;
                    *byte
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next `count` bits, 1 to 32, without consuming them.
    #[inline]
    pub fn peek(&self, count: u32) -> u32 {
        (self.buffer >> (64 - count)) as u32
    }

    /// Consumes `count` bits that [`Bits::refill`] made available.
    #[inline]
    pub fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count -= count;
    }

    /// Consumes the next `count` bits, up to 16, as an unsigned number.
    #[inline]
    pub fn take(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        let bits = self.peek(count) as i32;
        self.skip(count);
        bits
    }

    /// Consumes the next `count` bits as a signed difference or coefficient (ITU-T T.81, EXTEND): a leading 0 means
    /// negative.
    #[inline]
    pub fn take_signed(&mut self, count: u32) -> i32 {
        if count == 0 {
            return 0;
        }
        let bits = self.take(count);
        if bits >> (count - 1) == 0 { bits - (1 << count) + 1 } else { bits }
    }

    /// Refills and consumes one bit.
    #[inline]
    pub fn bit(&mut self) -> bool {
        self.refill();
        self.take(1) == 1
    }

    /// Checks that no padding was consumed.
    ///
    /// # Errors
    /// The file ends, or a marker interrupts the data.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.count >= self.padding {
            return Ok(());
        }
        if self.at >= self.bytes.len() {
            Err(cut_off())
        } else {
            Err(damaged("a part of the picture's data is missing"))
        }
    }

    /// Ends the entropy-coded segment: only fill bits may be left.
    ///
    /// # Errors
    /// Data are missing or left over. Both are signs of lost data.
    pub fn finish(&mut self) -> Result<()> {
        self.check()?;
        self.skip((self.count - self.padding) % 8);
        loop {
            self.refill();
            if self.count - self.padding < 8 {
                return Ok(());
            }
            if !matches!(self.take(8), 0 | 0xff) {
                return Err(damaged("data are left over behind a part of the picture"));
            }
        }
    }

    /// Consumes restart marker `number`, which must come next.
    ///
    /// # Errors
    /// As [`Bits::finish`]; another marker, or none.
    pub fn restart(&mut self, number: u8) -> Result<()> {
        self.finish()?;
        self.at = self.end();
        match self.bytes.get(self.at..).unwrap_or_default() {
            [0xff, marker, ..] if *marker == 0xd0 + number => self.at += 2,
            [] | [_] => return Err(cut_off()),
            _ => return Err(damaged("a part of the picture's data is missing")),
        }
        (self.buffer, self.count, self.padding) = (0, 0, 0);
        Ok(())
    }

    /// Offset of the next marker or of the end of the file, after fill bytes.
    pub fn end(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_marker = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff;
        rest.windows(2).position(is_marker).map_or(self.bytes.len(), |offset| self.at + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffed_zeros_are_taken_out_and_markers_stop() {
        let bytes = [0xa5, 0xff, 0x00, 0x3c, 0xff, 0xd9];
        let mut bits = Bits::new(&bytes, 0);
        for expected in [0xa5, 0xff, 0x3c] {
            bits.refill();
            assert_eq!(bits.take(8), expected);
            bits.check().unwrap();
        }
        bits.finish().unwrap();
        assert_eq!(bits.end(), 4);
        assert!(!bits.bit());
        assert!(bits.check().is_err());
    }

    #[test]
    fn only_filling_may_be_left_over() {
        for (rest, is_filling) in [([0x00, 0x00], true), ([0xff, 0x00], true), ([0x00, 0x40], false)] {
            let mut bytes = vec![0x9f];
            bytes.extend(rest);
            bytes.extend([0xff, 0xd9]);
            let mut bits = Bits::new(&bytes, 0);
            bits.refill();
            bits.skip(3);
            assert_eq!(bits.finish().is_ok(), is_filling, "{rest:?}");
        }
    }

    #[test]
    fn both_ways_of_refilling_agree() {
        let bytes: Vec<u8> = (0..400_u32).map(|i| (i * 37 % 251) as u8).collect();
        let mut bits = Bits::new(&bytes, 0);
        let mut at = 0_usize;
        for count in (1..=16).cycle().take(300) {
            bits.refill();
            let expected =
                (at..at + count).fold(0, |sum, bit| sum << 1 | i32::from(bytes[bit / 8] >> (7 - bit % 8) & 1));
            assert_eq!(bits.take(count as u32), expected, "{count} bits at {at}");
            at += count;
        }
    }

    #[test]
    fn differences_are_signed_by_their_first_bit() {
        let bytes = [0b0001_1101, 0, 0, 0];
        let mut bits = Bits::new(&bytes, 0);
        bits.refill();
        assert_eq!([bits.take_signed(3), bits.take_signed(3), bits.take_signed(0)], [-7, 7, 0]);
    }
}
