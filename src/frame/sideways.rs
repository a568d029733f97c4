//! Conversion of raw images that are rotated by 90° or 270°.
//!
//! In: a raw image whose rotation transposes. Out: the upright picture, four bytes a pixel. A band of rows is converted
//! and written as columns while it is in the cache.

use super::raw::Raw;
use crate::kernel::isa::Isa;

/// Rows of a band: their pixels fill a cache line of the output.
const BAND: usize = 16;

/// The upright picture of `raw`, whose rotation transposes. Its width is the height of the raw image.
pub(super) fn upright(raw: &Raw, isa: Isa) -> Vec<[u8; 4]> {
    let turn = raw.turn();
    let (columns, rows) = (raw.width, raw.height);
    let mut out = vec![[0; 4]; columns * rows];
    let mut band = vec![[0; 4]; BAND * columns];
    let mut held = 0;
    raw.rows(isa, |v, row| {
        // With a vertical mirror the band fills from the bottom, so that its output columns stay in order.
        let place = if turn.mirror_y { BAND - 1 - held } else { held };
        band[place * columns..][..columns].copy_from_slice(row.as_chunks::<4>().0);
        held += 1;
        if held < BAND && v + 1 < rows {
            return;
        }
        let (first, left) = if turn.mirror_y { (BAND - held, rows - 1 - v) } else { (0, v + 1 - held) };
        lay(
            &band[first * columns..][..held * columns],
            columns,
            |u| {
                let y = if turn.mirror_x { columns - 1 - u } else { u };
                y * rows + left
            },
            &mut out,
        );
        held = 0;
    });
    out
}

/// Writes the rows of a band as columns. `begin` gives the output index for each column of the band.
fn lay(band: &[[u8; 4]], columns: usize, begin: impl Fn(usize) -> usize, out: &mut [[u8; 4]]) {
    let height = band.len() / columns;
    if height == BAND {
        for u in 0..columns {
            let Some(to) = out[begin(u)..].first_chunk_mut::<BAND>() else { continue };
            for (row, to) in to.iter_mut().enumerate() {
                *to = band[row * columns + u];
            }
        }
        return;
    }
    for u in 0..columns {
        for (row, to) in out[begin(u)..][..height].iter_mut().enumerate() {
            *to = band[row * columns + u];
        }
    }
}
