//! Pictures and recordings.

use std::path::Path;
use std::sync::Arc;

use lookout::camera::{Capture, Replay, Source};
use lookout::clock::SystemClock;
use lookout::frame::Picture;
use lookout::stop;

use crate::written;

/// Largest pictures that are decoded here, in pixels: larger ones would only take time.
const MAX_PIXELS: u64 = 1 << 18;

/// True if a header in `bytes` names more pixels than [`MAX_PIXELS`].
fn is_large(bytes: &[u8]) -> bool {
    let jpeg = bytes.windows(9).any(|window| {
        let [0xff, kind, _, _, _, h1, h0, w1, w0] = *window else { return false };
        let pixels = u64::from(u16::from_be_bytes([h1, h0])) * u64::from(u16::from_be_bytes([w1, w0]));
        matches!(kind, 0xc0..=0xcf) && pixels > MAX_PIXELS
    });
    let png = bytes.windows(12).any(|window| {
        let [b'I', b'H', b'D', b'R', w3, w2, w1, w0, h3, h2, h1, h0] = *window else { return false };
        let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
        u64::from(width) * u64::from(height) > MAX_PIXELS
    });
    jpeg || png
}

/// A picture. What the strict decoder accepts the lenient one reads alike.
pub fn picture(input: &[u8]) {
    let lenient = Picture::decode_unterminated(input, MAX_PIXELS);
    if let Ok(strict) = Picture::decode_within(input, MAX_PIXELS) {
        assert!((strict.width * strict.height) as u64 <= MAX_PIXELS);
        assert_eq!(strict.data.len(), strict.width * strict.height * 3);
        let (lenient, is_unterminated) = lenient.unwrap();
        assert!(lenient == strict && !is_unterminated);
    }
    if !is_large(input) {
        let _ = Picture::decode_as_stored(input);
    }
}

/// Reads a recording to its end, at most some hundred pictures.
fn replay(path: &Path) {
    let (_trigger, stop) = stop::pair();
    let Ok(mut replay) = Replay::open(path, None, false, Arc::new(SystemClock)) else { return };
    for _ in 0..300 {
        match replay.next(&stop) {
            Ok(Capture::Image { image, .. }) => {
                let picture = image.to_picture();
                assert_eq!(picture.data.len(), picture.width * picture.height * 3);
            }
            Ok(Capture::Ended) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// An MJPEG recording.
pub fn mjpeg(input: &[u8]) {
    if !is_large(input) {
        replay(&written("recording.mjpeg", input));
    }
}

/// A Y4M recording.
pub fn y4m(input: &[u8]) {
    // Sizes of three digits are enough.
    let is_digits = |word: &[u8]| matches!(word, [b'W' | b'H', rest @ ..] if rest.len() > 3);
    if !input.split(u8::is_ascii_whitespace).any(is_digits) {
        replay(&written("recording.y4m", input));
    }
}
