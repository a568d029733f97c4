//! Huffman table in the form used for decoding.

use super::bits::Bits;
use super::damaged;
use crate::error::Result;

/// Longest code, in bits, that one table lookup decodes.
const SHORT: u32 = 10;

/// A Huffman table.
pub(super) struct Huffman {
    /// Indexed by the next [`SHORT`] bits: code length << 8 | value, or 0 if the code is longer.
    short: Box<[u16; 1 << SHORT]>,
    /// By code length: the smallest 16-bit prefix that starts no code of this length or shorter.
    limit: [u32; 17],
    /// By code length: offset from a code to its index in `values`.
    offset: [i32; 17],
    values: Vec<u8>,
}

impl Huffman {
    /// A table with `lengths[n]` codes of n + 1 bits, for `values` in code order.
    ///
    /// # Errors
    /// More codes than bit patterns, or a number of values that differs from the number of codes.
    pub fn new(lengths: &[u8; 16], values: &[u8]) -> Result<Self> {
        let count: usize = lengths.iter().map(|&count| usize::from(count)).sum();
        if count != values.len() || count > 256 {
            return Err(damaged("a Huffman table with another number of values than codes"));
        }
        let mut table =
            Self { short: Box::new([0; 1 << SHORT]), limit: [0; 17], offset: [0; 17], values: values.to_vec() };
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let slot = length as usize;
            table.offset[slot] = index as i32 - code as i32;
            for _ in 0..lengths[slot - 1] {
                if code >= 1 << length {
                    return Err(damaged("a Huffman table with more codes than there are"));
                }
                if length <= SHORT {
                    let entry = (length as u16) << 8 | u16::from(values[index]);
                    let spread = SHORT - length;
                    table.short[(code << spread) as usize..][..1 << spread].fill(entry);
                }
                code += 1;
                index += 1;
            }
            table.limit[slot] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// Decodes the next value. It refills `bits` first, so that the extra bits of the value are available afterwards.
    ///
    /// # Errors
    /// The next bits start no code.
    #[inline]
    pub fn decode(&self, bits: &mut Bits<'_>) -> Result<u8> {
        bits.refill();
        let entry = self.short[bits.peek(SHORT) as usize];
        if entry != 0 {
            bits.skip(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        self.decode_long(bits)
    }

    #[cold]
    fn decode_long(&self, bits: &mut Bits<'_>) -> Result<u8> {
        let next = bits.peek(16);
        for length in SHORT + 1..=16 {
            let slot = length as usize;
            if next < self.limit[slot] {
                bits.skip(length);
                let index = (next >> (16 - length)) as i32 + self.offset[slot];
                return self.values.get(index as usize).copied().ok_or_else(|| damaged("an impossible code"));
            }
        }
        bits.check()?;
        Err(damaged("a code that is in no table"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::standard;
    use super::*;

    /// The code of every value, by the rule of T.81, annex C.
    fn codes(lengths: &[u8; 16]) -> Vec<(u32, u32)> {
        let mut codes = Vec::new();
        let mut code = 0;
        for (index, &count) in lengths.iter().enumerate() {
            for _ in 0..count {
                codes.push((code, index as u32 + 1));
                code += 1;
            }
            code <<= 1;
        }
        codes
    }

    #[test]
    fn every_code_of_the_standard_tables_is_found() {
        for table in &standard::TABLES {
            let huffman = Huffman::new(&table.lengths, table.values).unwrap();
            for (&value, (code, length)) in table.values.iter().zip(codes(&table.lengths)) {
                let bytes = (code << (32 - length)).to_be_bytes();
                // A zero behind every 0xff, as in a file.
                let stuffed: Vec<u8> =
                    bytes.iter().flat_map(|&b| if b == 0xff { vec![b, 0] } else { vec![b] }).collect();
                let mut bits = Bits::new(&stuffed, 0);
                assert_eq!(huffman.decode(&mut bits).unwrap(), value);
            }
        }
    }

    #[test]
    fn impossible_tables_are_refused() {
        let mut lengths = [0; 16];
        lengths[0] = 3;
        assert!(Huffman::new(&lengths, &[1, 2, 3]).is_err());
        assert!(Huffman::new(&[0; 16], &[1]).is_err());
    }
}
