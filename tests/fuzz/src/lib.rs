//! The fuzz targets: one function each, of bytes that nobody vouches for. Whatever they are, the result is an error or a
//! value that can be used; a panic, a hang or a violated assertion is a finding.
//!
//! `run` beside this folder runs all for a given time.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub mod media;
pub mod models;
pub mod requests;
pub mod stores;
pub mod text;

/// A folder of this process: that of `LOOKOUT_FUZZ_FOLDER`, else one below the temporary folder.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let base = std::env::var_os("LOOKOUT_FUZZ_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = base.join(format!("lookout-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// Writes `bytes` to the file `name` below [`scratch`].
pub fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// `whole` with the changes of `input`, one after the other: a position (4 bytes), a number of bytes (1), the bytes. A
/// mutation of a large file changes its first bytes only after a long time; these changes are small.
pub fn changed(whole: &[u8], mut input: &[u8]) -> Vec<u8> {
    let mut changed = whole.to_vec();
    while let Some((head, rest)) = input.split_first_chunk::<5>() {
        let [a, b, c, d, count] = *head;
        // Half of the changes are in the first part, which holds the header.
        let bound = if count & 0x80 == 0 { whole.len() } else { whole.len().min(8192) };
        let at = u32::from_le_bytes([a, b, c, d]) as usize % bound.max(1);
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(count & 0x0f)));
        if let Some(place) = changed.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        input = rest;
    }
    changed
}

/// The file with the checksums set right, so that mutations reach what lies behind them; `None` where it is no
/// container at all.
pub fn resealed(file: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let entries: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let mut tensors = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |at: usize| usize::try_from(entry["data_offsets"][at].as_u64()?).ok();
        tensors.push((offset(0)?, offset(1)?, name.as_str()));
    }
    tensors.sort_unstable();
    let mut sums = crc32fast::hash(header).to_le_bytes().to_vec();
    for (start, end, _) in tensors.iter().filter(|(_, _, name)| *name != "checksums") {
        sums.extend(crc32fast::hash(data.get(*start..*end)?).to_le_bytes());
    }
    let (start, end, _) = tensors.iter().find(|(_, _, name)| *name == "checksums")?;
    let mut sealed = file.to_vec();
    let place = sealed.get_mut(8 + header.len()..)?.get_mut(*start..*end)?;
    (place.len() == sums.len()).then(|| place.copy_from_slice(&sums))?;
    Some(sealed)
}
