//! Small pictures to calibrate narrow networks on.

use lookout::frame::Picture;

/// A scene of 128×96: a sky, a road, and a dark box that moves with `index`.
pub fn scene(index: usize) -> Picture {
    let mut picture = Picture::filled(128, 96, [0; 3]);
    for (at, pixel) in picture.data.chunks_exact_mut(3).enumerate() {
        let (x, y) = (at % 128, at / 128);
        let dark = (20 * index..20 * index + 24).contains(&x) && (40..70).contains(&y);
        let base = if dark { 30 } else { 220 - 2 * (y / 2) };
        pixel.copy_from_slice(&[base as u8, (base / 2 + x) as u8, (base - (x * 7 + y * 3) % 11) as u8]);
    }
    picture
}
