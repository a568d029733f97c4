//! Limit of the pixels of a camera's pictures, which holds before memory is allocated for one.
//!
//! In: `max_pixels` of the configuration, and the size that was negotiated with the camera or seen first. Out: the number of
//! pixels that the next picture may have. A hostile or broken camera may send a small file of a huge picture: a JPEG of 150
//! kB can have 67 million pixels.

use crate::frame::MAX_PIXELS;

/// Limit without `max_pixels`, in multiples of the pixels that were negotiated or seen first.
const FACTOR: u64 = 4;

/// Pixels that the first picture of a camera without a negotiated size is taken to have, until it is there.
const EXPECTED: u64 = 3840 * 2160;

/// Least pixels of a first picture that count: streams may begin small.
const LEAST: u64 = 1920 * 1080;

/// The limit of one camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelLimit {
    max: u64,
    /// True if the first picture sets the limit.
    follows_first: bool,
}

impl PixelLimit {
    /// The limit of a camera whose size was not negotiated: `max_pixels`, or four times its first picture.
    pub fn of_first(max_pixels: Option<u64>) -> Self {
        let max = max_pixels.unwrap_or(FACTOR * EXPECTED).min(MAX_PIXELS);
        Self { max, follows_first: max_pixels.is_none() }
    }

    /// The limit of a camera with pictures of `width` × `height` pixels: `max_pixels`, or four times that.
    pub fn of_size(max_pixels: Option<u64>, width: u32, height: u32) -> Self {
        let negotiated = u64::from(width).saturating_mul(height.into());
        let max = max_pixels.unwrap_or(negotiated.saturating_mul(FACTOR)).clamp(1, MAX_PIXELS);
        Self { max, follows_first: false }
    }

    /// Most pixels of the next picture.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Records a picture that was accepted.
    pub fn accepted(&mut self, width: usize, height: usize) {
        if std::mem::take(&mut self.follows_first) {
            let pixels = (width as u64).saturating_mul(height as u64);
            self.max = pixels.max(LEAST).saturating_mul(FACTOR).min(MAX_PIXELS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_configured_one_or_four_times_the_size() {
        assert_eq!(PixelLimit::of_size(None, 1280, 720).max(), 4 * 1280 * 720);
        assert_eq!(PixelLimit::of_size(Some(1000), 1280, 720).max(), 1000);
        assert_eq!(PixelLimit::of_size(None, 65_535, 65_535).max(), MAX_PIXELS);
        let mut first = PixelLimit::of_first(None);
        assert_eq!(first.max(), 4 * 3840 * 2160);
        first.accepted(640, 480);
        assert_eq!(first.max(), 4 * 1920 * 1080);
        first.accepted(3840, 2160);
        assert_eq!(first.max(), 4 * 1920 * 1080, "only the first one counts");
        let mut large = PixelLimit::of_first(None);
        large.accepted(4000, 3000);
        assert_eq!(large.max(), 4 * 4000 * 3000);
        let mut configured = PixelLimit::of_first(Some(MAX_PIXELS));
        configured.accepted(640, 480);
        assert_eq!(configured.max(), MAX_PIXELS);
    }
}
