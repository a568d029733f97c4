//! Scans of progressive files: a band of coefficients, coarse at first, then refined bit by bit (ITU-T T.81, annex G).

use super::bits::Bits;
use super::huffman::Huffman;
use super::markers::{Component, Scan};
use super::{ZIGZAG, damaged, idct};
use crate::error::Result;

/// Decoder of one scan's band of coefficients.
pub(super) struct Band {
    from: usize,
    to: usize,
    is_first: bool,
    bit: u32,
    /// Remaining blocks of an end-of-band run.
    ended: u32,
}

impl Band {
    pub fn new(scan: &Scan) -> Self {
        Self { from: scan.from, to: scan.to, is_first: scan.before == 0, bit: scan.now, ended: 0 }
    }

    /// Resets the state at a restart marker.
    pub fn restart(&mut self) {
        self.ended = 0;
    }

    /// Decodes the scan's data of one block.
    ///
    /// # Errors
    /// An invalid code.
    pub fn decode(
        &mut self,
        bits: &mut Bits<'_>,
        dc: Option<&Huffman>,
        ac: Option<&Huffman>,
        prediction: &mut i32,
        block: &mut [i16; 64],
    ) -> Result<()> {
        let missing = || damaged("a Huffman table is missing");
        match (self.from, self.is_first) {
            (0, true) => {
                let length = u32::from(dc.ok_or_else(missing)?.decode(bits)?);
                *prediction = prediction.wrapping_add(bits.take_signed(length));
                block[0] = prediction.wrapping_shl(self.bit) as i16;
                Ok(())
            }
            (0, false) => {
                block[0] |= i16::from(bits.bit()) << self.bit;
                Ok(())
            }
            (_, true) => self.first(bits, ac.ok_or_else(missing)?, block),
            (_, false) => self.refine(bits, ac.ok_or_else(missing)?, block),
        }
    }

    fn first(&mut self, bits: &mut Bits<'_>, ac: &Huffman, block: &mut [i16; 64]) -> Result<()> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(());
        }
        let mut index = self.from;
        while index <= self.to {
            let symbol = ac.decode(bits)?;
            let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if length > 0 {
                index += run;
                let place = ZIGZAG.get(index).ok_or_else(|| damaged("a block of more than 64 coefficients"))?;
                block[usize::from(*place)] = (bits.take_signed(length) << self.bit) as i16;
                index += 1;
            } else if run == 15 {
                index += 16;
            } else {
                // The run includes this block.
                self.ended = (1 << run) - 1 + bits.take(run as u32) as u32;
                break;
            }
        }
        Ok(())
    }

    fn refine(&mut self, bits: &mut Bits<'_>, ac: &Huffman, block: &mut [i16; 64]) -> Result<()> {
        let mut index = self.from;
        if self.ended == 0 {
            while index <= self.to {
                let symbol = ac.decode(bits)?;
                let (mut run, length) = (symbol >> 4, symbol & 15);
                let mut value = 0;
                match length {
                    0 if run < 15 => {
                        self.ended = (1 << run) + bits.take(u32::from(run)) as u32;
                        break;
                    }
                    0 => {}
                    1 => value = if bits.bit() { 1 << self.bit } else { -1 << self.bit },
                    _ => return Err(damaged("a refinement of more than one bit")),
                }
                // The run counts zero coefficients; non-zero ones in between receive their refinement bit.
                while index <= self.to {
                    let coefficient = &mut block[usize::from(ZIGZAG[index])];
                    index += 1;
                    if *coefficient != 0 {
                        self.refine_coefficient(bits, coefficient);
                    } else if run == 0 {
                        *coefficient = value;
                        break;
                    } else {
                        run -= 1;
                    }
                }
            }
        }
        if self.ended > 0 {
            for &place in &ZIGZAG[index..=self.to] {
                let coefficient = &mut block[usize::from(place)];
                if *coefficient != 0 {
                    self.refine_coefficient(bits, coefficient);
                }
            }
            self.ended -= 1;
        }
        Ok(())
    }

    /// Reads the refinement bit of a non-zero coefficient.
    fn refine_coefficient(&self, bits: &mut Bits<'_>, coefficient: &mut i16) {
        let step = 1_i16 << self.bit;
        if bits.bit() && *coefficient & step == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient > 0 { step } else { -step });
        }
    }
}

/// Computes a component's samples from its coefficients, after all scans.
pub(super) fn transform(component: &mut Component) {
    let Component { quantizer: Some(quantizer), stride, plane, coefficients, .. } = component else { return };
    let across = *stride / 8;
    for (index, block) in coefficients.iter().enumerate() {
        let at = index / across * 8 * *stride + index % across * 8;
        let mut values = [0; 64];
        for ((value, &coefficient), &step) in values.iter_mut().zip(block).zip(quantizer.iter()) {
            *value = i32::from(coefficient) * i32::from(step);
        }
        idct::transform(&values, plane, at, *stride);
    }
    *coefficients = Vec::new();
}
