//! Frames on disk, where the owner allows them.
//!
//! In: frames of the reservoir. Out: one PNG each in a folder, readable by us alone (0600 in 0700), bounded in bytes and
//! in age; read again at the next start. A damaged file is passed over and removed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::reservoir::StoredFrame;
use crate::error::{Error, Result};
use crate::monitor::options::FrameStorage;
use crate::tensor::digest::hexadecimal;

/// What the names of frames end with that came while drift was raised.
const IN_DRIFT: &str = "-drift";

/// The folder.
#[derive(Debug)]
pub struct FrameFolder {
    options: FrameStorage,
}

/// A file of the folder.
struct Entry {
    path: PathBuf,
    camera: usize,
    at_us: i64,
    in_drift: bool,
    bytes: u64,
}

impl FrameFolder {
    /// The folder, made if it is not there.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn open(options: FrameStorage) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.folder);
        made.map_err(|source| Error::writing(&options.folder, source))?;
        Ok(Self { options })
    }

    /// The frames that are there, oldest first, after those too old were removed.
    ///
    /// # Errors
    /// As [`Error::reading`].
    pub fn load(&self, now_us: i64) -> Result<Vec<StoredFrame>> {
        self.tidy(now_us)?;
        let mut frames = Vec::new();
        for entry in self.entries()? {
            match fs::read(&entry.path).ok().and_then(|png| StoredFrame::from_png(entry.camera, entry.at_us, png).ok())
            {
                Some(frame) => frames.push(frame.in_drift(entry.in_drift)),
                None => remove(&entry.path),
            }
        }
        Ok(frames)
    }

    /// Writes `frame` and removes what is too old or too much.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn write(&self, frame: &StoredFrame, now_us: i64) -> Result<()> {
        let path = self.path(frame);
        // Hidden until it is whole. A leftover of an earlier life is written over.
        let part = path.with_extension("part");
        let options = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let written = options.and_then(|mut file| file.write_all(frame.png()));
        let done = written.and_then(|()| fs::rename(&part, &path));
        if let Err(source) = done {
            remove(&part);
            return Err(Error::writing(&path, source));
        }
        self.tidy(now_us)
    }

    /// Removes the file of a frame that the reservoir gave up.
    pub fn remove(&self, frame: &StoredFrame) {
        remove(&self.path(frame));
    }

    fn path(&self, frame: &StoredFrame) -> PathBuf {
        let mark = if frame.in_drift { IN_DRIFT } else { "" };
        let name = format!("{}-{:020}-{}{mark}.png", frame.camera, frame.at_us, hexadecimal(&frame.sha256[..8]));
        self.options.folder.join(name)
    }

    fn tidy(&self, now_us: i64) -> Result<()> {
        let entries = self.entries()?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let oldest = now_us.saturating_sub(i64::try_from(self.options.max_age.as_micros()).unwrap_or(i64::MAX));
        for entry in entries {
            if entry.at_us < oldest || bytes > self.options.max_bytes {
                bytes -= entry.bytes;
                remove(&entry.path);
            }
        }
        Ok(())
    }

    /// The frames' files, oldest first; nothing else in the folder is touched.
    fn entries(&self) -> Result<Vec<Entry>> {
        let folder = &self.options.folder;
        let unreadable = |source| Error::reading(folder, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".png") else { continue };
            let mut parts = stem.splitn(3, '-');
            let camera = parts.next().and_then(|part| part.parse().ok());
            let at_us = parts.next().and_then(|part| part.parse().ok());
            if let (Some(camera), Some(at_us), Ok(metadata)) = (camera, at_us, entry.metadata()) {
                let in_drift = stem.ends_with(IN_DRIFT);
                entries.push(Entry { path: entry.path(), camera, at_us, in_drift, bytes: metadata.len() });
            }
        }
        entries.sort_by_key(|entry| (entry.at_us, entry.camera));
        Ok(entries)
    }
}

/// A file that cannot be removed is met again at the next look.
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
        let fit = UsableFrame { brightness: 1.0, sha256: [at_us as u8; 32] };
        StoredFrame::encode(0, at_us, fit, &picture).unwrap()
    }

    #[test]
    fn frames_are_ours_alone_bounded_and_read_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("reservoir");
        let bytes = frame(1).png().len() as u64 * 3;
        let options = FrameStorage { folder: folder.clone(), max_bytes: bytes, max_age: Duration::from_micros(50) };
        let kept = FrameFolder::open(options).unwrap();
        for at in [10, 20, 30, 40] {
            kept.write(&frame(at), 40).unwrap();
        }
        fs::write(folder.join("0-00000000000000000041-ff.png"), "damaged").unwrap();
        fs::write(folder.join("notes.txt"), "not ours").unwrap();
        let modes = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(modes(&folder), 0o700);
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let ours = entry.to_string_lossy().contains("-1e1e");
            assert!(!ours || modes(&entry) == 0o600);
        }
        let times = |now| kept.load(now).unwrap().iter().map(|frame| frame.at_us).collect::<Vec<_>>();
        assert_eq!(times(45), [30, 40], "one too many for the bytes, and one damaged");
        assert_eq!(times(85), [40], "the older one is too old");
        kept.remove(&frame(40));
        kept.write(&frame(86).in_drift(true), 86).unwrap();
        assert!(kept.load(87).unwrap()[0].in_drift);
        kept.remove(&frame(86).in_drift(true));
        assert!(times(87).is_empty() && folder.join("notes.txt").exists());
    }
}
