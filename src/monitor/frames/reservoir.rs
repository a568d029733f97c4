//! Frames to recalibrate with: few, spread over brightness and time.
//!
//! In: fit frames, now and then. Out: the frames kept. Memory is bounded in bytes: when it is full, the frame goes that
//! is missed least: one of the light that is there most often, where frames lie closest together for their age. So a
//! night cannot push out the day, the last hour not the day before, and what is new is there when it is asked for. Fog
//! may be as bright as the day before it: frames that came while drift was raised are another light of their own. Which
//! frames stay depends on the frames alone.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use super::usability::UsableFrame;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;

/// Upper mean grey levels of the strata but the last: about one photographic stop each in the dark.
const STRATA: [f64; 7] = [12.0, 25.0, 45.0, 70.0, 100.0, 135.0, 175.0];
/// Older frames say nothing about now, in microseconds: three days.
const HORIZON_US: i64 = 3 * 86_400 * 1_000_000;
/// Frames younger than this are all as young: one minute.
const RECENT_US: i64 = 60 * 1_000_000;

/// The stratum of a mean grey level.
pub fn brightness_bin(brightness: f64) -> usize {
    STRATA.iter().position(|&upper| brightness < upper).unwrap_or(STRATA.len())
}

/// Whether the frames of a stratum came while drift was raised.
pub fn is_drift_stratum(number: usize) -> bool {
    number > STRATA.len()
}

/// In words, of which frames a stratum is.
pub fn describe_stratum(number: usize) -> String {
    let (brightness, in_drift) = (number % (STRATA.len() + 1), is_drift_stratum(number));
    let level = |at: usize| STRATA.get(at).copied().unwrap_or(255.0);
    let from = if brightness == 0 { 0.0 } else { level(brightness - 1) };
    let when = if in_drift { "in drift, " } else { "" };
    format!("{when}at mean grey levels of {from} to {}", level(brightness))
}

/// A frame that is kept.
#[derive(Clone, PartialEq)]
pub struct StoredFrame {
    /// Number of the camera.
    pub camera: usize,
    /// When it was captured, microseconds since 1970.
    pub at_us: i64,
    /// Mean grey level.
    pub brightness: f64,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
    /// Whether drift was raised when it came.
    pub in_drift: bool,
    /// A PNG file: lossless. Shared, so that whoever works on the frames does not copy them.
    png: Arc<[u8]>,
}

impl std::fmt::Debug for StoredFrame {
    /// Without the pixels.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { camera, at_us, brightness, in_drift, .. } = self;
        let mut debug = f.debug_struct("StoredFrame");
        debug.field("camera", camera).field("at_us", at_us).field("brightness", brightness).field("in_drift", in_drift);
        debug.finish()
    }
}

impl StoredFrame {
    /// Packs `picture`.
    ///
    /// # Errors
    /// As [`Picture::to_png`].
    pub fn encode(camera: usize, at_us: i64, fit: UsableFrame, picture: &Picture) -> Result<Self> {
        let UsableFrame { brightness, sha256 } = fit;
        Ok(Self { camera, at_us, brightness, sha256, in_drift: false, png: picture.to_png()?.into() })
    }

    /// The same, seen while drift was raised or not.
    #[must_use]
    pub fn in_drift(self, in_drift: bool) -> Self {
        Self { in_drift, ..self }
    }

    /// The frame, pixel for pixel.
    ///
    /// # Errors
    /// [`Kind::Data`] if it is not whole, as a file may not be.
    pub fn picture(&self) -> Result<Picture> {
        decode(&self.png)
    }

    /// The PNG.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// A frame from a PNG nobody vouches for.
    ///
    /// # Errors
    /// [`Kind::Data`] if it is no whole PNG.
    pub fn from_png(camera: usize, at_us: i64, png: Vec<u8>) -> Result<Self> {
        let picture = decode(&png)?;
        let brightness = super::usability::brightness(&picture);
        let sha256 = crate::calibrate::usability::pixel_sha256(&picture);
        Ok(Self { camera, at_us, brightness, sha256, in_drift: false, png: png.into() })
    }

    /// Its stratum: of its brightness, in drift or not.
    pub fn stratum(&self) -> usize {
        brightness_bin(self.brightness) + if self.in_drift { STRATA.len() + 1 } else { 0 }
    }

    fn bytes(&self) -> usize {
        self.png.len() + size_of::<Self>()
    }
}

fn decode(png: &[u8]) -> Result<Picture> {
    let wrong = |source| Error::new(Kind::Data, "a kept frame is damaged").because(source);
    let reader = image::ImageReader::with_format(Cursor::new(png), image::ImageFormat::Png);
    let decoded = reader.decode().map_err(wrong)?.into_rgb8();
    Picture::new(decoded.width() as usize, decoded.height() as usize, decoded.into_raw())
}

/// The stratum that each of `frames` counts to. Drift is raised some passes after what raises it: where more frames of a
/// brightness came in drift than before it, those before it were of the same kind.
pub fn assign_strata(frames: &[StoredFrame]) -> Vec<usize> {
    let count = |number: usize| frames.iter().filter(|frame| frame.stratum() == number).count();
    let counts: Vec<usize> = (0..2 * (STRATA.len() + 1)).map(count).collect();
    let of = |frame: &StoredFrame| {
        let (before, in_drift) =
            (brightness_bin(frame.brightness), brightness_bin(frame.brightness) + STRATA.len() + 1);
        if counts[before] < counts[in_drift] { in_drift } else { frame.stratum() }
    };
    frames.iter().map(of).collect()
}

/// The frames.
#[derive(Debug)]
pub struct Reservoir {
    frames: Vec<StoredFrame>,
    bytes: usize,
    most: usize,
}

impl Reservoir {
    /// An empty one that holds `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { frames: Vec::new(), bytes: 0, most }
    }

    /// The frames, oldest first.
    pub fn frames(&self) -> &[StoredFrame] {
        &self.frames
    }

    /// The frames alone, oldest first.
    pub fn into_frames(self) -> Vec<StoredFrame> {
        self.frames
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// Keeps `frame`, unless it is there already, and gives up what is missed least while there is not enough room.
    /// Returns what was given up.
    pub fn insert(&mut self, frame: StoredFrame) -> Vec<StoredFrame> {
        let mut given_up = Vec::new();
        if self.frames.iter().any(|known| known.sha256 == frame.sha256) {
            return given_up;
        }
        self.bytes += frame.bytes();
        let at = self.frames.partition_point(|known| known.at_us <= frame.at_us);
        self.frames.insert(at, frame);
        while self.bytes > self.most && !self.frames.is_empty() {
            let gone = self.frames.remove(self.least_missed());
            self.bytes -= gone.bytes();
            given_up.push(gone);
        }
        given_up
    }

    /// Of the fullest stratum: its oldest frame, if that is too old to say anything about now; else the one whose
    /// neighbours in time lie closest together for its age. So the recent past is kept closely and the day before
    /// loosely. The newest frame of all stays if there is another choice: it has not been used yet.
    fn least_missed(&self) -> usize {
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, frame) in self.frames.iter().enumerate() {
            strata.entry(frame.stratum()).or_default().push(at);
        }
        let Some(fullest) = strata.into_values().max_by_key(Vec::len) else { return 0 };
        let (Some(&oldest), Some(newest)) = (fullest.first(), self.frames.last()) else { return 0 };
        let time = |at: usize| self.frames[at].at_us;
        if newest.at_us.saturating_sub(time(oldest)) > HORIZON_US {
            return oldest;
        }
        let missed = |trio: &[usize]| {
            let age = newest.at_us.saturating_sub(time(trio[1])).saturating_add(RECENT_US);
            time(trio[2]).saturating_sub(time(trio[0])) as f64 / age as f64
        };
        let least = fullest.windows(3).min_by(|a, b| missed(a).total_cmp(&missed(b)));
        least.map_or(oldest, |trio| trio[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(minute: i64, brightness: f64) -> StoredFrame {
        let mut sha256 = [0; 32];
        sha256[..8].copy_from_slice(&minute.to_le_bytes());
        StoredFrame {
            camera: 0,
            at_us: minute * 60_000_000,
            brightness,
            sha256,
            in_drift: false,
            png: vec![0; 1000].into(),
        }
    }

    /// Room for so many of [`frame`].
    fn room(frames: usize) -> usize {
        frames * (1000 + size_of::<StoredFrame>())
    }

    #[test]
    fn bytes_are_bounded_and_a_night_does_not_push_out_the_day() {
        let mut reservoir = Reservoir::new(room(24));
        for minute in 0..24 * 60 {
            let day = (6 * 60..12 * 60).contains(&minute);
            reservoir.insert(frame(minute, if day { 120.0 } else { 8.0 }));
            assert!(reservoir.bytes() <= room(24));
        }
        let frames = reservoir.frames();
        assert!(frames.is_sorted_by_key(|frame| frame.at_us));
        let day = frames.iter().filter(|frame| frame.brightness > 100.0).count();
        assert_eq!((frames.len(), day), (24, 12));
        // The night's frames come from the morning too, and the last hour is seen more closely than the others.
        let hours = |from: i64, to: i64| {
            frames.iter().filter(|frame| (from..to).contains(&(frame.at_us / 3_600_000_000))).count()
        };
        assert!(hours(0, 6) >= 1 && hours(23, 24) >= 4 && hours(12, 23) >= 2, "{frames:?}");
    }

    #[test]
    fn what_is_there_is_not_kept_twice_and_the_newest_stays() {
        let mut reservoir = Reservoir::new(room(3));
        for minute in [0, 0, 1, 2, 3] {
            reservoir.insert(frame(minute, 50.0));
        }
        let minutes: Vec<i64> = reservoir.frames().iter().map(|frame| frame.at_us / 60_000_000).collect();
        assert_eq!((minutes.len(), minutes.last()), (3, Some(&3)));
        assert!(Reservoir::new(10).insert(frame(0, 1.0)).len() == 1, "larger than all the room");
    }

    #[test]
    fn what_came_in_drift_counts_by_itself_and_its_first_frames_with_it() {
        let fog = |minute| frame(minute, 120.0).in_drift(true);
        let mut frames: Vec<StoredFrame> = (0..9).map(|minute| frame(minute, 120.0)).collect();
        frames.extend((9..15).map(fog));
        let day = brightness_bin(120.0);
        assert_eq!(assign_strata(&frames)[7..11], [day, day, day + 8, day + 8]);
        // A brightness that nobody saw before: it takes a while until drift is raised.
        let night = [frame(20, 5.0), frame(21, 5.0), frame(22, 5.0).in_drift(true), frame(23, 5.0).in_drift(true)];
        assert_eq!(assign_strata(&night), [0, 0, 8, 8]);
        assert_eq!(describe_stratum(day + 8), "in drift, at mean grey levels of 100 to 135");
        assert_eq!(
            [describe_stratum(0), describe_stratum(7)],
            ["at mean grey levels of 0 to 12", "at mean grey levels of 175 to 255"]
        );
        assert_eq!(assign_strata(&[&night[..], &[frame(24, 5.0).in_drift(true)]].concat()), [8; 5]);
    }

    #[test]
    fn packing_loses_no_pixel() {
        let picture = Picture::new(5, 3, (0..45).collect()).unwrap();
        let fit = UsableFrame { brightness: 9.0, sha256: [1; 32] };
        let kept = StoredFrame::encode(2, 7, fit, &picture).unwrap();
        assert_eq!(kept.picture().unwrap(), picture);
        let again = StoredFrame::from_png(2, 7, kept.png().to_vec()).unwrap();
        assert_eq!(again.picture().unwrap(), picture);
        assert_eq!(StoredFrame::from_png(0, 0, kept.png()[..40].to_vec()).unwrap_err().kind(), Kind::Data);
    }
}
