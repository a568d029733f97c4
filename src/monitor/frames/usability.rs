//! Is this frame one to learn from?
//!
//! In: a sampled frame and the one that followed it. Out: how bright it is, or why it is unfit: a covered lens, noise,
//! a flash, half a picture, a colour or bits that are missing, a picture that was seen already. What is unfit is counted
//! and told; it is neither compared nor kept, so that it can be neither drift nor poison.

use std::collections::VecDeque;

use crate::calibrate::usability::{ImageStructure, Unusable, pixel_sha256};
use crate::frame::Picture;

/// Two frames in a row whose mean grey differs by more than this share of the brighter one (and [`FLICKER_LEVELS`]).
const FLICKER_SHARE: f64 = 0.35;
/// Least difference of mean grey levels that counts as a flash.
const FLICKER_LEVELS: f64 = 20.0;
/// A pixel at least this bright is burnt out.
const BURNT: u8 = 250;
/// A frame with a larger share of burnt-out pixels shows a flash or the sun.
const BURNT_SHARE: f64 = 0.5;
/// Rows alike at an edge make half a picture from this share of its height on.
const MISSING_SHARE: f64 = 0.125;
/// Where a channel is darker than the first everywhere, and another one as bright as the second somewhere, it never
/// arrived: lamps show in all channels, whatever their colour.
const CHANNEL_MISSING: (usize, usize) = (8, 128);
/// A channel that spans at least the first without more than one in the second of its levels lacks its lower bits. Contrast
/// raised threefold leaves one in three.
const BITS_MISSING: (usize, usize) = (128, 10);
/// Green at least this strong, without red and blue, is what a decoder leaves where nothing arrived: YUV of zeros.
const UNDECODED: u8 = 60;
/// Frames over which the usual number of like rows (bars of a letterbox) is known.
const REMEMBERED: usize = 16;

/// What a fit frame looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsableFrame {
    /// Mean grey level, 0 to 255.
    pub brightness: f64,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
}

/// Why a frame is of no use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnusableReason {
    /// One surface: a lens cap, a wall of fog.
    Covered,
    /// No scene in it.
    Noise,
    /// The light changes from one frame to the next.
    Strobe,
    /// Mostly burnt out.
    Overexposed,
    /// A part of it did not arrive: rows, blocks, a channel, bits.
    Incomplete,
    /// Pixel for pixel the one before.
    Frozen,
}

impl UnusableReason {
    /// One word for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::Noise => "noise",
            Self::Strobe => "strobe",
            Self::Overexposed => "overexposed",
            Self::Incomplete => "incomplete",
            Self::Frozen => "frozen",
        }
    }
}

/// Examines the frames of one camera.
#[derive(Debug, Default)]
pub struct UsabilityCheck {
    /// Rows alike at top and bottom of the last frames.
    bars: VecDeque<[usize; 2]>,
    last: Option<[u8; 32]>,
}

impl UsabilityCheck {
    /// Looks at `picture`; `next` is the camera's next frame, where there was one.
    ///
    /// # Errors
    /// The reason, if it is unfit.
    pub fn check(&mut self, picture: &Picture, next: Option<&Picture>) -> Result<UsableFrame, UnusableReason> {
        let fit = UsableFrame { brightness: brightness(picture), sha256: pixel_sha256(picture) };
        let rows = [like_rows(picture, false), like_rows(picture, true)];
        let usual = |end: usize| self.bars.iter().map(|bars| bars[end]).min().unwrap_or(0);
        let missing = [0, 1].into_iter().any(|end| {
            let beyond = rows[end].saturating_sub(usual(end));
            beyond as f64 >= MISSING_SHARE * picture.height as f64
        });
        let verdict = match ImageStructure::of(picture).unusable() {
            Some(Unusable::Flat { .. }) => Err(UnusableReason::Covered),
            Some(Unusable::Noise { .. }) => Err(UnusableReason::Noise),
            None if next.is_some_and(|next| flickers(fit.brightness, brightness(next))) => Err(UnusableReason::Strobe),
            None if burnt_share(picture) > BURNT_SHARE => Err(UnusableReason::Overexposed),
            None if missing || undecoded(picture) || lacks_values(picture) => Err(UnusableReason::Incomplete),
            None if self.last == Some(fit.sha256) => Err(UnusableReason::Frozen),
            None => Ok(fit),
        };
        self.bars.push_back(rows);
        if self.bars.len() > REMEMBERED {
            self.bars.pop_front();
        }
        self.last = Some(fit.sha256);
        verdict
    }
}

/// Mean grey level (ITU-R 601).
pub fn brightness(picture: &Picture) -> f64 {
    let pixels = picture.data.as_chunks::<3>().0;
    let grey = |[r, g, b]: &[u8; 3]| (77 * u64::from(*r) + 150 * u64::from(*g) + 29 * u64::from(*b)) >> 8;
    pixels.iter().map(grey).sum::<u64>() as f64 / pixels.len().max(1) as f64
}

fn flickers(one: f64, next: f64) -> bool {
    let difference = (one - next).abs();
    difference > FLICKER_LEVELS && difference > FLICKER_SHARE * one.max(next)
}

fn burnt_share(picture: &Picture) -> f64 {
    let pixels = picture.data.as_chunks::<3>().0;
    let burnt = pixels.iter().filter(|pixel| pixel.iter().all(|&value| value >= BURNT)).count();
    burnt as f64 / pixels.len().max(1) as f64
}

/// Whether a large part is one and the same pure green, wherever it lies: blocks that were never decoded among others
/// that were. A picture that lost its colour is green too, but in many shades.
fn undecoded(picture: &Picture) -> bool {
    let mut shades = [0usize; 256];
    for [r, g, b] in picture.data.as_chunks::<3>().0 {
        shades[usize::from(*g)] += usize::from(*r <= 1 && *b <= 1 && *g >= UNDECODED);
    }
    shades.iter().any(|&pixels| pixels as f64 >= MISSING_SHARE * (picture.width * picture.height).max(1) as f64)
}

/// Whether one of the channels shows nothing, or all of them jump from level to level.
fn lacks_values(picture: &Picture) -> bool {
    let mut seen = [[false; 256]; 3];
    for pixel in picture.data.as_chunks::<3>().0 {
        (0..3).for_each(|channel| seen[channel][usize::from(pixel[channel])] = true);
    }
    let channels = seen.map(|seen| {
        let levels = || (0..256).filter(|&level| seen[level]);
        (levels().next().unwrap_or(0), levels().next_back().unwrap_or(0), levels().count())
    });
    let (dark, bright) = CHANNEL_MISSING;
    let is_missing =
        channels.iter().any(|&(_, most, _)| most < dark) && channels.iter().any(|&(_, most, _)| most >= bright);
    let (wide, one_in) = BITS_MISSING;
    is_missing || channels.iter().all(|&(least, most, count)| most - least >= wide && count * one_in <= most - least)
}

/// Rows from the bottom (or the top) on that equal the outermost one byte for byte: what a decoder leaves of a picture
/// that broke off is one colour, or its last row again and again. Sensors never repeat a row. A burnt-out sky does, and
/// does not count.
fn like_rows(picture: &Picture, bottom: bool) -> usize {
    if picture.width == 0 || picture.height == 0 {
        return 0;
    }
    let at = |row: usize| picture.row(if bottom { picture.height - 1 - row } else { row });
    let outermost = at(0);
    if outermost.iter().all(|&value| value >= BURNT) {
        return 0;
    }
    // One row is always like itself.
    (1..picture.height).take_while(|&row| at(row) == outermost).count()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Sky, road and a dark box with a sensor's noise, at a brightness.
    pub fn scene(light: f64, seed: u32) -> Picture {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut picture = Picture::filled(160, 120, [0; 3]);
        for y in 0..120 {
            for x in 0..160 {
                let base = if (40..80).contains(&y) && (30..70).contains(&x) { 40.0 } else { 220.0 - 1.2 * y as f64 };
                for value in &mut picture.data[(y * 160 + x) * 3..][..3] {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *value = (light * base + f64::from(state >> 29)) as u8;
                }
            }
        }
        picture
    }

    fn noise() -> Picture {
        let mut state = 7u32;
        let mut picture = Picture::filled(160, 120, [0; 3]);
        for value in &mut picture.data {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 24) as u8;
        }
        picture
    }

    #[test]
    fn day_and_night_are_fit() {
        let mut examiner = UsabilityCheck::default();
        for (number, light) in [1.0, 0.7, 0.3, 0.12].into_iter().enumerate() {
            let fit = examiner.check(&scene(light, number as u32), Some(&scene(light * 0.95, 99)));
            assert!(fit.is_ok(), "{light}: {fit:?}");
        }
    }

    #[test]
    fn each_damage_has_its_name() {
        let day = scene(1.0, 1);
        let half = |fill: &dyn Fn(usize) -> [u8; 3]| {
            let mut picture = scene(1.0, 2);
            for y in 80..120 {
                for x in 0..160 {
                    picture.data[(y * 160 + x) * 3..][..3].copy_from_slice(&fill(x));
                }
            }
            picture
        };
        let mut upside_down = half(&|_| [0, 135, 0]);
        upside_down.data.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        upside_down.data.reverse();
        let cases = [
            (Picture::filled(160, 120, [12, 11, 13]), Some(scene(1.0, 3)), UnusableReason::Covered),
            (noise(), None, UnusableReason::Noise),
            (scene(1.0, 4), Some(scene(0.4, 5)), UnusableReason::Strobe),
            (scene(0.4, 4), Some(scene(1.0, 5)), UnusableReason::Strobe),
            (half(&|_| [128; 3]), None, UnusableReason::Incomplete),
            (half(&|x| [x as u8, 90, 3]), None, UnusableReason::Incomplete),
            (upside_down, None, UnusableReason::Incomplete),
        ];
        for (picture, next, reason) in cases {
            let mut examiner = UsabilityCheck::default();
            examiner.check(&day, None).unwrap();
            assert_eq!(examiner.check(&picture, next.as_ref()).unwrap_err(), reason);
        }
        let mut blocks = scene(1.0, 8);
        for (at, pixel) in blocks.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (at % 160, at / 160);
            if y > 60 && y < 118 && (x / 16 + y / 16) % 2 == 0 {
                *pixel = [0, 135, 0];
            }
        }
        assert_eq!(UsabilityCheck::default().check(&blocks, None).unwrap_err(), UnusableReason::Incomplete);
        for channel in 0..3 {
            let mut coloured = scene(1.0, 9);
            coloured.data.iter_mut().skip(channel).step_by(3).for_each(|value| *value /= 64);
            assert_eq!(UsabilityCheck::default().check(&coloured, None).unwrap_err(), UnusableReason::Incomplete);
        }
        let mut coarse = scene(1.0, 10);
        coarse.data.iter_mut().for_each(|value| *value &= 0xf0);
        assert_eq!(UsabilityCheck::default().check(&coarse, None).unwrap_err(), UnusableReason::Incomplete);
        let mut harsh = scene(1.0, 11);
        harsh.data.iter_mut().for_each(|value| *value = (3.0 * (f64::from(*value) - 100.0)).clamp(0.0, 255.0) as u8);
        assert!(UsabilityCheck::default().check(&harsh, None).is_ok());
        let mut burnt = scene(1.0, 6);
        burnt.data[..160 * 70 * 3].fill(255);
        assert_eq!(UsabilityCheck::default().check(&burnt, None).unwrap_err(), UnusableReason::Overexposed);
        let mut examiner = UsabilityCheck::default();
        examiner.check(&day, None).unwrap();
        assert_eq!(examiner.check(&day, None).unwrap_err(), UnusableReason::Frozen);
    }

    #[test]
    fn bars_that_are_always_there_belong_to_the_picture() {
        let barred = |seed| {
            let mut picture = scene(1.0, seed);
            picture.data[160 * 100 * 3..].fill(16);
            picture
        };
        let mut examiner = UsabilityCheck::default();
        assert!(examiner.check(&barred(0), None).is_err(), "the first one could be broken");
        for seed in 1..20 {
            assert!(examiner.check(&barred(seed), None).is_ok());
        }
    }
}
