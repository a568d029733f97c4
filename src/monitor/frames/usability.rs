//! Usability check: decides whether a sampled frame may be compared and stored.
//!
//! In: a sampled frame and the frame that followed it. Out: its brightness and digest, or the reason why it is
//! unusable. Reasons are a covered lens, noise, a flash, missing rows, blocks, channels or bits, and the same picture
//! again. Unusable frames are counted and reported. They are neither compared nor stored, so they can neither raise
//! drift nor enter a calibration.

use std::collections::VecDeque;

use crate::calibrate::usability::{ImageStructure, Unusable, pixel_sha256};
use crate::frame::Picture;

/// Thresholds of the check. Levels are grey or channel levels, 0 to 255.
struct UsabilityThresholds {
    /// Change of the mean grey level to the next frame, as a share of the brighter one, beyond which it is a flash.
    strobe_share: f64,
    /// The same change in levels. Both must be exceeded: in the dark a share is few levels.
    strobe_levels: f64,
    /// A pixel with every channel at or above this level is overexposed.
    overexposed_level: u8,
    /// Largest share of overexposed pixels.
    overexposed_share: f64,
    /// Share of the height in identical rows, or of the area in one shade of undecoded green, that is a missing part.
    missing_share: f64,
    /// A channel below this level everywhere is missing, if another one has `lit_channel_level`. A lamp of any colour
    /// shows in all channels.
    dark_channel_level: usize,
    /// Level that shows that the picture is not dark.
    lit_channel_level: usize,
    /// Fewest levels between darkest and brightest from which a channel is searched for missing low bits.
    coarse_span: usize,
    /// A channel that uses at most one level in this many lacks its low bits. Threefold contrast uses one in three.
    coarse_one_in: usize,
    /// Least green level, without red and blue, of pixels that were never decoded: YUV zeros.
    undecoded_green: u8,
}

const THRESHOLDS: UsabilityThresholds = UsabilityThresholds {
    strobe_share: 0.35,
    strobe_levels: 20.0,
    overexposed_level: 250,
    overexposed_share: 0.5,
    missing_share: 0.125,
    dark_channel_level: 8,
    lit_channel_level: 128,
    coarse_span: 128,
    coarse_one_in: 10,
    undecoded_green: 60,
};

/// Frames that determine how many identical rows (letterbox bars) are usual for a camera.
const BAR_FRAMES: usize = 16;

/// Figures of a usable frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UsableFrame {
    /// Mean grey level, 0 to 255.
    pub brightness: f64,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
}

/// Reason why a frame is unusable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnusableReason {
    /// One surface: a lens cap or dense fog.
    Covered,
    /// Noise without a scene.
    Noise,
    /// The brightness changes from one frame to the next.
    Strobe,
    /// Most pixels are saturated.
    Overexposed,
    /// Rows, blocks, a channel or bits are missing.
    Incomplete,
    /// Identical to the sample before, pixel for pixel.
    Frozen,
}

impl UnusableReason {
    /// The reason in metrics and logs.
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

/// Checks the frames of one camera.
#[derive(Debug, Default)]
pub struct UsabilityCheck {
    /// Identical rows at top and bottom of the latest frames.
    bars: VecDeque<[usize; 2]>,
    /// Digest of the latest frame.
    latest: Option<[u8; 32]>,
}

impl UsabilityCheck {
    /// Checks `picture`; `next` is the camera's next frame, if there is one.
    ///
    /// # Errors
    /// The reason, if the frame is unusable.
    pub fn check(&mut self, picture: &Picture, next: Option<&Picture>) -> Result<UsableFrame, UnusableReason> {
        let frame = UsableFrame { brightness: brightness(picture), sha256: pixel_sha256(picture) };
        // Bars that every recent frame has belong to the picture. Only rows beyond them can be missing.
        let rows = [identical_rows(picture, Side::Top), identical_rows(picture, Side::Bottom)];
        let usual = |side: usize| self.bars.iter().map(|bars| bars[side]).min().unwrap_or(0);
        let rows_are_missing = [0, 1].into_iter().any(|side| {
            let beyond = rows[side].saturating_sub(usual(side));
            beyond as f64 >= THRESHOLDS.missing_share * picture.height as f64
        });
        // The first reason that applies is reported, from a useless picture to a damaged part.
        let result = match ImageStructure::of(picture).unusable() {
            Some(Unusable::Flat { .. }) => Err(UnusableReason::Covered),
            Some(Unusable::Noise { .. }) => Err(UnusableReason::Noise),
            None if next.is_some_and(|next| is_flash(frame.brightness, brightness(next))) => {
                Err(UnusableReason::Strobe)
            }
            None if overexposed_share(picture) > THRESHOLDS.overexposed_share => Err(UnusableReason::Overexposed),
            None if rows_are_missing || has_undecoded_part(picture) || lacks_channel_or_bits(picture) => {
                Err(UnusableReason::Incomplete)
            }
            None if self.latest == Some(frame.sha256) => Err(UnusableReason::Frozen),
            None => Ok(frame),
        };
        self.bars.push_back(rows);
        if self.bars.len() > BAR_FRAMES {
            self.bars.pop_front();
        }
        self.latest = Some(frame.sha256);
        result
    }
}

/// Mean grey level (ITU-R BT.601 luma in 256ths).
pub fn brightness(picture: &Picture) -> f64 {
    let pixels = picture.data.as_chunks::<3>().0;
    let grey = |[r, g, b]: &[u8; 3]| (77 * u64::from(*r) + 150 * u64::from(*g) + 29 * u64::from(*b)) >> 8;
    pixels.iter().map(grey).sum::<u64>() as f64 / pixels.len().max(1) as f64
}

fn is_flash(brightness: f64, next: f64) -> bool {
    let change = (brightness - next).abs();
    change > THRESHOLDS.strobe_levels && change > THRESHOLDS.strobe_share * brightness.max(next)
}

fn overexposed_share(picture: &Picture) -> f64 {
    let pixels = picture.data.as_chunks::<3>().0;
    let is_overexposed = |pixel: &[u8; 3]| pixel.iter().all(|&value| value >= THRESHOLDS.overexposed_level);
    pixels.iter().filter(|pixel| is_overexposed(pixel)).count() as f64 / pixels.len().max(1) as f64
}

/// True if a large part has one shade of pure green, in any place: blocks that were never decoded. A picture that lost
/// its colour is green in many shades.
fn has_undecoded_part(picture: &Picture) -> bool {
    let mut shades = [0usize; 256];
    for [r, g, b] in picture.data.as_chunks::<3>().0 {
        shades[usize::from(*g)] += usize::from(*r <= 1 && *b <= 1 && *g >= THRESHOLDS.undecoded_green);
    }
    let missing = THRESHOLDS.missing_share * (picture.width * picture.height).max(1) as f64;
    shades.iter().any(|&pixels| pixels as f64 >= missing)
}

/// Levels that one channel uses.
struct ChannelLevels {
    darkest: usize,
    brightest: usize,
    count: usize,
}

/// True if one channel is dark everywhere, or if every channel lacks its low bits.
fn lacks_channel_or_bits(picture: &Picture) -> bool {
    let mut used = [[false; 256]; 3];
    for pixel in picture.data.as_chunks::<3>().0 {
        (0..3).for_each(|channel| used[channel][usize::from(pixel[channel])] = true);
    }
    let channels = used.map(|used| {
        let levels = || (0..256).filter(|&level| used[level]);
        ChannelLevels {
            darkest: levels().next().unwrap_or(0),
            brightest: levels().next_back().unwrap_or(0),
            count: levels().count(),
        }
    });
    let lacks_channel = channels.iter().any(|channel| channel.brightest < THRESHOLDS.dark_channel_level)
        && channels.iter().any(|channel| channel.brightest >= THRESHOLDS.lit_channel_level);
    let is_coarse = |channel: &ChannelLevels| {
        let span = channel.brightest - channel.darkest;
        span >= THRESHOLDS.coarse_span && channel.count * THRESHOLDS.coarse_one_in <= span
    };
    lacks_channel || channels.iter().all(is_coarse)
}

/// Side of a picture.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Top,
    Bottom,
}

/// Rows from `side` inwards that equal the outermost row byte for byte. A decoder fills a truncated picture with one
/// colour or with copies of its last row. A sensor never repeats a row, except in an overexposed sky, which is ignored.
fn identical_rows(picture: &Picture, side: Side) -> usize {
    if picture.width == 0 || picture.height == 0 {
        return 0;
    }
    let at = |row: usize| picture.row(if side == Side::Bottom { picture.height - 1 - row } else { row });
    let outermost = at(0);
    if outermost.iter().all(|&value| value >= THRESHOLDS.overexposed_level) {
        return 0;
    }
    // The outermost row itself does not count.
    (1..picture.height).take_while(|&row| at(row) == outermost).count()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Sky, road and a dark box with sensor noise; `light` scales the brightness.
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
    fn day_and_night_are_usable() {
        let mut check = UsabilityCheck::default();
        for (number, light) in [1.0, 0.7, 0.3, 0.12].into_iter().enumerate() {
            let result = check.check(&scene(light, number as u32), Some(&scene(light * 0.95, 99)));
            assert!(result.is_ok(), "{light}: {result:?}");
        }
    }

    #[test]
    fn each_damage_has_its_reason() {
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
            let mut check = UsabilityCheck::default();
            check.check(&day, None).unwrap();
            assert_eq!(check.check(&picture, next.as_ref()).unwrap_err(), reason);
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
        let mut check = UsabilityCheck::default();
        check.check(&day, None).unwrap();
        assert_eq!(check.check(&day, None).unwrap_err(), UnusableReason::Frozen);
    }

    #[test]
    fn bars_of_every_frame_belong_to_the_picture() {
        let barred = |seed| {
            let mut picture = scene(1.0, seed);
            picture.data[160 * 100 * 3..].fill(16);
            picture
        };
        let mut check = UsabilityCheck::default();
        assert!(check.check(&barred(0), None).is_err(), "the first frame may be truncated");
        for seed in 1..20 {
            assert!(check.check(&barred(seed), None).is_ok());
        }
    }
}
