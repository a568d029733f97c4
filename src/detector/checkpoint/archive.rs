//! Zip format of `torch.save`, PyTorch 1.6 and later.
//!
//! In: the archive's bytes. Out: a [`StateDict`] whose tensors are ranges of those bytes. `torch.save` stores its
//! entries uncompressed under one folder: `data.pkl`, `data/0`, `data/1` … and, since 1.13, `byteorder`. Promises: a
//! compressed or encrypted entry is refused, so nothing unpacks to more than its stored size. Each entry's checksum is
//! verified before its bytes are used.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use super::pickle::{self, Pickle, StorageBytes};
use super::state_dict::{FileForm, StateDict};
use crate::error::{Error, Kind, Result};

/// Finds the detector's state dict in a zip archive; `key` chooses between several.
///
/// # Errors
/// [`Kind::Data`] naming the entry that is missing, compressed, encrypted or damaged; as [`pickle::state_dict`].
pub(super) fn parse(file: &[u8], key: Option<&str>) -> Result<StateDict> {
    let broken =
        |e: zip::result::ZipError| Error::new(Kind::Data, "the zip archive is cut short or damaged").because(e);
    // The archive starts with the file. A search for its start fails if the first entry of the directory is as long as
    // the two records after the directory. In PyTorch's archives that is 76 bytes, for a folder's name of 21.
    let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let mut archive = zip::ZipArchive::with_config(config, Cursor::new(file)).map_err(broken)?;
    let names: Vec<String> =
        archive.file_names().map(|name| name.map(String::from)).collect::<Result<_, _>>().map_err(broken)?;
    let Some(folder) =
        names.iter().find_map(|name| name.strip_suffix("data.pkl").filter(|f| f.matches('/').count() == 1))
    else {
        let text = "the zip archive has no FOLDER/data.pkl; expected a file that torch.save wrote";
        return Err(Error::new(Kind::Data, text));
    };
    if names.iter().any(|name| name.starts_with(&format!("{folder}code/"))) {
        let text = "a TorchScript archive; expected a state dict: torch.save(model.state_dict(), path)";
        return Err(Error::new(Kind::Data, text));
    }
    let order = format!("{folder}byteorder");
    let is_big_endian = match names.contains(&order) {
        false => false,
        true => match &file[entry(&mut archive, file, &order)?] {
            b"little" => false,
            b"big" => true,
            other => {
                let other = String::from_utf8_lossy(&other[..other.len().min(16)]).into_owned();
                return Err(Error::new(Kind::Data, format!("entry {order} is {other:?}; expected little or big")));
            }
        },
    };
    let name = format!("{folder}data.pkl");
    let range = entry(&mut archive, file, &name)?;
    let pickle = Pickle::load(&file[range]).map_err(|e| e.at(&name))?;
    let mut ranges: HashMap<String, Range<usize>> = HashMap::new();
    // Tensors may share a storage; its checksum is verified once.
    pickle::state_dict(&pickle, FileForm::ZipPickle, file, key, |storage| {
        let range = match ranges.get(&*storage.key) {
            Some(range) => range.clone(),
            None => {
                let range = entry(&mut archive, file, &format!("{folder}data/{}", storage.key))?;
                ranges.insert(storage.key.clone().into_owned(), range.clone());
                range
            }
        };
        Ok(StorageBytes { range, is_big_endian })
    })
}

/// Range of an uncompressed entry's bytes in the archive, its checksum verified.
fn entry(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, file: &[u8], name: &str) -> Result<Range<usize>> {
    let bad = |text: &str| Error::new(Kind::Data, format!("zip entry {} {text}", name.escape_debug()));
    let mut entry = archive.by_name(name).map_err(|e| bad("cannot be read").because(e))?;
    if entry.compression() != zip::CompressionMethod::Stored || entry.encrypted() {
        return Err(bad("is compressed or encrypted; torch.save stores entries as they are"));
    }
    let size = entry.size();
    if entry.compressed_size() != size {
        return Err(bad("has two sizes"));
    }
    let read = std::io::copy(&mut entry, &mut std::io::sink())
        .map_err(|e| bad("fails its checksum or is cut short: the file is damaged").because(e))?;
    let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
    let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(size).ok()?)?));
    range.filter(|range| read == size && file.get(range.clone()).is_some()).ok_or_else(|| bad("is cut short"))
}
