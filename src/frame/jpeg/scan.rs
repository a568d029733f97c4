//! Entropy-coded data of a scan: MCUs with restart intervals.

use super::bits::Bits;
use super::huffman::Huffman;
use super::markers::{Component, Header, Scan};
use super::{ZIGZAG, damaged, idct, progressive};
use crate::error::Result;

/// Decodes the scan whose data starts at byte `at`. Returns the offset of the marker after it.
///
/// # Errors
/// The data ends early or contains an invalid code.
pub(super) fn decode(header: &mut Header, scan: &Scan, bytes: &[u8], at: usize) -> Result<usize> {
    let Header { frame: Some(frame), dc, ac, restart_interval, .. } = header else {
        return Err(damaged("data in front of the frame header"));
    };
    let table = |tables: &'_ [Option<Huffman>; 4], number: usize| tables[number].is_some();
    let needs_dc = !frame.is_progressive || scan.from == 0 && scan.before == 0;
    let needs_ac = !frame.is_progressive || scan.from > 0;
    for &(_, dc_table, ac_table) in &scan.parts {
        if needs_dc && !table(dc, dc_table) || needs_ac && !table(ac, ac_table) {
            return Err(damaged("a Huffman table is missing"));
        }
    }

    let mut bits = Bits::new(bytes, at);
    let mut predictions = [0; 4];
    let mut band = progressive::Band::new(scan);
    let (columns, rows) = match scan.parts[..] {
        [(index, ..)] => frame.components[index].blocks(),
        _ => (frame.columns, frame.rows),
    };
    let is_alone = scan.parts.len() == 1;
    let mut left = *restart_interval;
    let mut restarts = 0;
    for row in 0..rows {
        for column in 0..columns {
            if *restart_interval > 0 {
                if left == 0 {
                    bits.restart(restarts)?;
                    (restarts, left, predictions) = ((restarts + 1) % 8, *restart_interval, [0; 4]);
                    band.restart();
                }
                left -= 1;
            }
            for &(index, dc_table, ac_table) in &scan.parts {
                let component = &mut frame.components[index];
                let (dc, ac) = (dc[dc_table].as_ref(), ac[ac_table].as_ref());
                let (across, down) = if is_alone { (1, 1) } else { (component.horizontal, component.vertical) };
                for y in row * down..(row + 1) * down {
                    for x in column * across..(column + 1) * across {
                        if frame.is_progressive {
                            let block = &mut component.coefficients[y * (component.stride / 8) + x];
                            band.decode(&mut bits, dc, ac, &mut predictions[index], block)?;
                        } else if let (Some(dc), Some(ac)) = (dc, ac) {
                            block(&mut bits, dc, ac, &mut predictions[index], component, x, y)?;
                        }
                    }
                }
            }
            bits.check()?;
        }
    }
    bits.finish()?;
    Ok(bits.end())
}

/// Decodes and transforms one block of a sequential file.
#[inline]
fn block(
    bits: &mut Bits<'_>,
    dc: &Huffman,
    ac: &Huffman,
    prediction: &mut i32,
    component: &mut Component,
    x: usize,
    y: usize,
) -> Result<()> {
    let Component { quantizer: Some(quantizer), stride, plane, .. } = component else {
        return Err(damaged("a quantization table is missing"));
    };
    let length = u32::from(dc.decode(bits)?);
    *prediction = prediction.wrapping_add(bits.take_signed(length));
    let mean = prediction.wrapping_mul(i32::from(quantizer[0]));
    let at = y * 8 * *stride + x * 8;

    let mut values = [0; 64];
    let mut is_flat = true;
    let mut index = 1;
    while index < 64 {
        let symbol = ac.decode(bits)?;
        let (run, length) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if length == 0 {
            if run < 15 {
                break;
            }
            index += 16;
            continue;
        }
        index += run;
        let place = usize::from(*ZIGZAG.get(index).ok_or_else(|| damaged("a block of more than 64 coefficients"))?);
        values[place] = bits.take_signed(length) * i32::from(quantizer[place]);
        is_flat = false;
        index += 1;
    }
    if is_flat {
        idct::transform_flat(mean, plane, at, *stride);
    } else {
        values[0] = mean;
        idct::transform(&values, plane, at, *stride);
    }
    Ok(())
}
