//! A camera that hangs on its side: its rows are the picture's columns.
//!
//! In: raw bytes with a turn that exchanges rows and columns. Out: the upright picture, four bytes a pixel. Rows are
//! converted a band at a time and laid down as columns while the band is still in the cache.

use super::raw::Raw;
use crate::kernel::isa::Isa;

/// Rows of a band: as many pixels as fill a cache line on the other side.
const BAND: usize = 16;

/// The upright picture of `raw`, whose turn transposes; its rows are as long as the camera's picture is high.
pub(super) fn upright(raw: &Raw, isa: Isa) -> Vec<[u8; 4]> {
    let turn = raw.turn();
    let (columns, rows) = (raw.width, raw.height);
    let mut out = vec![[0; 4]; columns * rows];
    let mut band = vec![[0; 4]; BAND * columns];
    let mut held = 0;
    raw.rows(isa, |v, row| {
        // From the bottom up where the camera's rows are counted from there: the columns of a band follow each other.
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

/// Lays the rows of a band down as columns; `begin` says where the pixels of the band's column go.
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
