//! Code that the fuzz targets share.

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
