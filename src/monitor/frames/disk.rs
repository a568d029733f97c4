//! Frame folder: stored frames on disk, if the configuration allows it.
//!
//! In: frames of the reservoir. Out: one PNG file each in a private folder (files 0600, folder 0700), limited in bytes
//! and in age; loaded again at the next start. A damaged file is skipped and removed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::reservoir::StoredFrame;
use crate::error::{Error, Result};
use crate::monitor::options::FrameStorage;
use crate::tensor::digest::hexadecimal;

/// End of the file stem of a frame that was sampled during drift.
const DRIFT_SUFFIX: &str = "-drift";

/// Longest time, in microseconds, by which a frame may be ahead of the clock that was read after it: it was set meanwhile.
const TOLERANCE_US: i64 = 3600 * 1_000_000;

/// A folder of frames.
#[derive(Debug)]
pub struct FrameFolder {
    storage: FrameStorage,
}

/// A frame's file, with the fields of its name.
struct FrameFile {
    path: PathBuf,
    camera: usize,
    at_us: i64,
    in_drift: bool,
    bytes: u64,
}

impl FrameFolder {
    /// Opens the folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn open(storage: FrameStorage) -> Result<Self> {
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&storage.folder);
        created.map_err(|source| Error::writing(&storage.folder, source))?;
        Ok(Self { storage })
    }

    /// Loads the frames, oldest first, after it has removed those beyond the limits. `now_us` is wall time in microseconds
    /// since 1970, `None` while it is not synchronized.
    ///
    /// # Errors
    /// As [`Error::reading`].
    pub fn load(&self, now_us: Option<i64>) -> Result<Vec<StoredFrame>> {
        self.enforce_limits(now_us)?;
        let mut frames = Vec::new();
        for file in self.files()? {
            match fs::read(&file.path).ok().and_then(|png| StoredFrame::from_png(file.camera, file.at_us, png).ok()) {
                Some(frame) => frames.push(frame.in_drift(file.in_drift)),
                None => remove(&file.path),
            }
        }
        Ok(frames)
    }

    /// Writes `frame`, then removes files beyond the limits. `now_us` is as for [`FrameFolder::load`].
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn write(&self, frame: &StoredFrame, now_us: Option<i64>) -> Result<()> {
        let path = self.path(frame);
        // Renamed when complete. A part file of an earlier run is overwritten.
        let part = path.with_extension("part");
        let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let written = options.and_then(|mut file| file.write_all(frame.png()));
        let renamed = written.and_then(|()| fs::rename(&part, &path));
        if let Err(source) = renamed {
            remove(&part);
            return Err(Error::writing(&path, source));
        }
        self.enforce_limits(now_us)
    }

    /// Removes the file of a frame that the reservoir evicted.
    pub fn remove(&self, frame: &StoredFrame) {
        remove(&self.path(frame));
    }

    fn path(&self, frame: &StoredFrame) -> PathBuf {
        let suffix = if frame.in_drift { DRIFT_SUFFIX } else { "" };
        let name = format!("{}-{:020}-{}{suffix}.png", frame.camera, frame.at_us, hexadecimal(&frame.sha256[..8]));
        self.storage.folder.join(name)
    }

    /// Removes files beyond the limits of age and bytes, oldest first. While the clock is not synchronized no age is known.
    /// Once it is, a file of the future is of a time when it was not, and may be of any age.
    fn enforce_limits(&self, now_us: Option<i64>) -> Result<()> {
        let files = self.files()?;
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let max_age_us = i64::try_from(self.storage.max_age.as_micros()).unwrap_or(i64::MAX);
        let kept = now_us.map(|now_us| now_us.saturating_sub(max_age_us)..=now_us.saturating_add(TOLERANCE_US));
        for file in files {
            let is_old = kept.as_ref().is_some_and(|kept| !kept.contains(&file.at_us));
            if is_old || bytes > self.storage.max_bytes {
                bytes -= file.bytes;
                remove(&file.path);
            }
        }
        Ok(())
    }

    /// The frames' files, oldest first. Other files in the folder are ignored.
    fn files(&self) -> Result<Vec<FrameFile>> {
        let folder = &self.storage.folder;
        let unreadable = |source| Error::reading(folder, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".png") else { continue };
            let mut parts = stem.splitn(3, '-');
            let camera = parts.next().and_then(|part| part.parse().ok());
            let at_us = parts.next().and_then(|part| part.parse().ok());
            if let (Some(camera), Some(at_us), Ok(metadata)) = (camera, at_us, entry.metadata()) {
                let in_drift = stem.ends_with(DRIFT_SUFFIX);
                files.push(FrameFile { path: entry.path(), camera, at_us, in_drift, bytes: metadata.len() });
            }
        }
        files.sort_by_key(|file| (file.at_us, file.camera));
        Ok(files)
    }
}

/// Removes a file. One that cannot be removed now is tried again when the limits are next enforced.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::super::usability::UsableFrame;
    use super::*;
    use crate::frame::Picture;

    fn frame(at_us: i64) -> StoredFrame {
        let picture = Picture::filled(8, 8, [at_us as u8; 3]);
        let usable = UsableFrame { brightness: 1.0, sha256: [at_us as u8; 32] };
        StoredFrame::encode(0, at_us, usable, &picture).unwrap()
    }

    #[test]
    fn frames_are_private_limited_and_loaded_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("reservoir");
        let bytes = frame(1).png().len() as u64 * 3;
        let storage = FrameStorage { folder: folder.clone(), max_bytes: bytes, max_age: Duration::from_micros(50) };
        let frames = FrameFolder::open(storage).unwrap();
        for at in [10, 20, 30, 40] {
            frames.write(&frame(at), Some(40)).unwrap();
        }
        fs::write(folder.join("0-00000000000000000041-ff.png"), "damaged").unwrap();
        fs::write(folder.join("notes.txt"), "another file").unwrap();
        let modes = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(modes(&folder), 0o700);
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_frame = entry.to_string_lossy().contains("-1e1e");
            assert!(!is_frame || modes(&entry) == 0o600);
        }
        let times = |now| frames.load(Some(now)).unwrap().iter().map(|frame| frame.at_us).collect::<Vec<_>>();
        assert_eq!(times(45), [30, 40], "one too many for the bytes, and one damaged");
        assert_eq!(times(85), [40], "the older one is too old");
        frames.remove(&frame(40));
        frames.write(&frame(86).in_drift(true), Some(86)).unwrap();
        assert!(frames.load(Some(87)).unwrap()[0].in_drift);
        frames.remove(&frame(86).in_drift(true));
        assert!(times(87).is_empty() && folder.join("notes.txt").exists());
    }

    #[test]
    fn a_wrong_clock_removes_nothing_and_the_right_one_removes_what_it_left() {
        let parent = tempfile::tempdir().unwrap();
        let day = 86_400 * 1_000_000;
        let storage = FrameStorage {
            folder: parent.path().join("reservoir"),
            max_bytes: u64::MAX,
            max_age: Duration::from_secs(7 * 86_400),
        };
        let frames = FrameFolder::open(storage).unwrap();
        let count = |now_us| frames.load(now_us).unwrap().len();
        // Of 1970, of the day, and of a clock two years ahead.
        for at in [day, 20_000 * day, 20_730 * day] {
            frames.write(&frame(at), None).unwrap();
        }
        assert_eq!(count(None), 3);
        let kept = frames.load(Some(20_000 * day + 1)).unwrap();
        assert_eq!(kept.iter().map(|frame| frame.at_us).collect::<Vec<_>>(), [20_000 * day]);
    }
}
