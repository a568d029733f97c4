//! Reservoir: a bounded sample of usable frames, stratified by brightness and spread over time.
//!
//! In: usable frames, in order of time. Out: the frames kept for a recalibration. Memory is limited in bytes. A full
//! reservoir evicts a frame of its fullest stratum: the one whose neighbours in time are closest for its age. So a night
//! does not evict the day, the last hour does not evict the day before, and new frames are always there.
//!
//! A stratum is a brightness bin, with frames sampled during drift apart from the others: fog can be as bright as the day
//! before it. The frames kept are a function of the frames inserted.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use super::usability::UsableFrame;
use crate::error::{Error, Kind, Result};
use crate::frame::Picture;

/// Upper mean grey levels of the brightness bins but the last. In the dark a bin is about one photographic stop.
const BIN_UPPER_LEVELS: [f64; 7] = [12.0, 25.0, 45.0, 70.0, 100.0, 135.0, 175.0];
/// Number of brightness bins. Stratum n + BINS holds the frames of bin n that were sampled during drift.
const BINS: usize = BIN_UPPER_LEVELS.len() + 1;
/// Age from which a frame is evicted first, in microseconds: three days.
const MAX_AGE_US: i64 = 3 * 86_400 * 1_000_000;
/// Added to every age when gaps are weighed, in microseconds: one minute. Frames younger than this count as equally old.
const AGE_OFFSET_US: i64 = 60 * 1_000_000;

/// The brightness bin of a mean grey level.
pub fn brightness_bin(brightness: f64) -> usize {
    BIN_UPPER_LEVELS.iter().position(|&upper| brightness < upper).unwrap_or(BIN_UPPER_LEVELS.len())
}

/// True if a stratum holds frames sampled during drift.
pub fn is_drift_stratum(stratum: usize) -> bool {
    stratum >= BINS
}

/// Text for the frames of a stratum, to continue a sentence: "in drift, at mean grey levels of 0 to 12".
pub fn describe_stratum(stratum: usize) -> String {
    let (bin, in_drift) = (stratum % BINS, is_drift_stratum(stratum));
    let upper = |bin: usize| BIN_UPPER_LEVELS.get(bin).copied().unwrap_or(255.0);
    let lower = if bin == 0 { 0.0 } else { upper(bin - 1) };
    let prefix = if in_drift { "in drift, " } else { "" };
    format!("{prefix}at mean grey levels of {lower} to {}", upper(bin))
}

/// A usable frame, losslessly compressed.
#[derive(Clone, PartialEq)]
pub struct StoredFrame {
    /// Number of the camera.
    pub camera: usize,
    /// Time of capture, in microseconds since 1970.
    pub at_us: i64,
    /// Mean grey level, 0 to 255.
    pub brightness: f64,
    /// SHA-256 of size and pixels.
    pub sha256: [u8; 32],
    /// True if drift was raised when the frame was sampled.
    pub in_drift: bool,
    /// A PNG file, shared by all copies of the frame.
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
    /// Compresses `picture`, sampled without drift.
    ///
    /// # Errors
    /// As [`Picture::to_png`].
    pub fn encode(camera: usize, at_us: i64, frame: UsableFrame, picture: &Picture) -> Result<Self> {
        let UsableFrame { brightness, sha256 } = frame;
        Ok(Self { camera, at_us, brightness, sha256, in_drift: false, png: picture.to_png()?.into() })
    }

    /// The same frame, marked as sampled during drift or not.
    #[must_use]
    pub fn in_drift(self, in_drift: bool) -> Self {
        Self { in_drift, ..self }
    }

    /// The decoded frame, pixel for pixel.
    ///
    /// # Errors
    /// [`Kind::Data`] if the PNG is damaged, as one from a file may be.
    pub fn picture(&self) -> Result<Picture> {
        decode(&self.png)
    }

    /// The PNG file's bytes.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// A frame from an untrusted PNG file.
    ///
    /// # Errors
    /// [`Kind::Data`] if it is not a complete PNG file.
    pub fn from_png(camera: usize, at_us: i64, png: Vec<u8>) -> Result<Self> {
        let picture = decode(&png)?;
        let brightness = super::usability::brightness(&picture);
        let sha256 = crate::calibrate::usability::pixel_sha256(&picture);
        Ok(Self { camera, at_us, brightness, sha256, in_drift: false, png: png.into() })
    }

    /// Its stratum: brightness bin, in drift or not.
    pub fn stratum(&self) -> usize {
        brightness_bin(self.brightness) + if self.in_drift { BINS } else { 0 }
    }

    fn bytes(&self) -> usize {
        self.png.len() + size_of::<Self>()
    }
}

fn decode(png: &[u8]) -> Result<Picture> {
    let damaged = |source| Error::new(Kind::Data, "a stored frame is damaged").because(source);
    let reader = image::ImageReader::with_format(Cursor::new(png), image::ImageFormat::Png);
    let decoded = reader.decode().map_err(damaged)?.into_rgb8();
    Picture::new(decoded.width() as usize, decoded.height() as usize, decoded.into_raw())
}

/// The stratum of each of `frames`. Drift is raised some passes after the scene changes. If a brightness bin has more
/// frames from drift than from before, those before show the changed scene too and count as drift.
pub fn assign_strata(frames: &[StoredFrame]) -> Vec<usize> {
    let mut counts = [0usize; 2 * BINS];
    frames.iter().for_each(|frame| counts[frame.stratum()] += 1);
    let assign = |frame: &StoredFrame| {
        let bin = brightness_bin(frame.brightness);
        if counts[bin] < counts[bin + BINS] { bin + BINS } else { frame.stratum() }
    };
    frames.iter().map(assign).collect()
}

/// Stored frames within a limit of memory.
#[derive(Debug)]
pub struct Reservoir {
    /// Sorted by time, oldest first.
    frames: Vec<StoredFrame>,
    bytes: usize,
    max_bytes: usize,
}

impl Reservoir {
    /// An empty reservoir of at most `max_bytes` bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { frames: Vec::new(), bytes: 0, max_bytes }
    }

    /// The frames, oldest first.
    pub fn frames(&self) -> &[StoredFrame] {
        &self.frames
    }

    /// The frames, oldest first, without the reservoir.
    pub fn into_frames(self) -> Vec<StoredFrame> {
        self.frames
    }

    /// Memory of the frames, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// Inserts `frame`, unless a frame with the same pixels is there. Returns the frames that were evicted for it.
    pub fn insert(&mut self, frame: StoredFrame) -> Vec<StoredFrame> {
        let mut evicted = Vec::new();
        if self.frames.iter().any(|known| known.sha256 == frame.sha256) {
            return evicted;
        }
        self.bytes += frame.bytes();
        let at = self.frames.partition_point(|known| known.at_us <= frame.at_us);
        self.frames.insert(at, frame);
        while self.bytes > self.max_bytes && !self.frames.is_empty() {
            let removed = self.frames.remove(self.most_redundant());
            self.bytes -= removed.bytes();
            evicted.push(removed);
        }
        evicted
    }

    /// Index of the frame to evict.
    fn most_redundant(&self) -> usize {
        // The fullest stratum gives a frame, so that rare conditions keep theirs.
        let mut strata: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, frame) in self.frames.iter().enumerate() {
            strata.entry(frame.stratum()).or_default().push(at);
        }
        let Some(fullest) = strata.into_values().max_by_key(Vec::len) else { return 0 };
        let (Some(&oldest), Some(newest)) = (fullest.first(), self.frames.last()) else { return 0 };
        let time = |at: usize| self.frames[at].at_us;
        // An old frame no longer describes the camera's view.
        if newest.at_us.saturating_sub(time(oldest)) > MAX_AGE_US {
            return oldest;
        }
        // Otherwise the frame whose removal leaves the smallest gap relative to its age: recent frames stay dense, older
        // ones sparse. Windows of three exclude the newest frame, which no pass has used yet.
        let relative_gap = |trio: &[usize]| {
            let age = newest.at_us.saturating_sub(time(trio[1])).saturating_add(AGE_OFFSET_US);
            time(trio[2]).saturating_sub(time(trio[0])) as f64 / age as f64
        };
        let redundant = fullest.windows(3).min_by(|a, b| relative_gap(a).total_cmp(&relative_gap(b)));
        redundant.map_or(oldest, |trio| trio[1])
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

    /// Memory of this number of [`frame`].
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
        // The night has frames from the morning too, and the last hour more than the others.
        let hours = |from: i64, to: i64| {
            frames.iter().filter(|frame| (from..to).contains(&(frame.at_us / 3_600_000_000))).count()
        };
        assert!(hours(0, 6) >= 1 && hours(23, 24) >= 4 && hours(12, 23) >= 2, "{frames:?}");
    }

    #[test]
    fn a_frame_is_stored_once_and_the_newest_stays() {
        let mut reservoir = Reservoir::new(room(3));
        for minute in [0, 0, 1, 2, 3] {
            reservoir.insert(frame(minute, 50.0));
        }
        let minutes: Vec<i64> = reservoir.frames().iter().map(|frame| frame.at_us / 60_000_000).collect();
        assert_eq!((minutes.len(), minutes.last()), (3, Some(&3)));
        assert!(Reservoir::new(10).insert(frame(0, 1.0)).len() == 1, "larger than the reservoir");
    }

    #[test]
    fn frames_in_drift_are_a_stratum_with_the_frames_that_led_to_it() {
        let fog = |minute| frame(minute, 120.0).in_drift(true);
        let mut frames: Vec<StoredFrame> = (0..9).map(|minute| frame(minute, 120.0)).collect();
        frames.extend((9..15).map(fog));
        let day = brightness_bin(120.0);
        assert_eq!(assign_strata(&frames)[7..11], [day, day, day + 8, day + 8]);
        // A new brightness: drift is raised some passes later.
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
    fn encoding_is_lossless() {
        let picture = Picture::new(5, 3, (0..45).collect()).unwrap();
        let usable = UsableFrame { brightness: 9.0, sha256: [1; 32] };
        let stored = StoredFrame::encode(2, 7, usable, &picture).unwrap();
        assert_eq!(stored.picture().unwrap(), picture);
        let again = StoredFrame::from_png(2, 7, stored.png().to_vec()).unwrap();
        assert_eq!(again.picture().unwrap(), picture);
        assert_eq!(StoredFrame::from_png(0, 0, stored.png()[..40].to_vec()).unwrap_err().kind(), Kind::Data);
    }
}
