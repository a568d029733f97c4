//! Safetensors container: its header, and the state dict in a file that is not a checkpoint.
//!
//! In: the file, or its bytes. Out: the header, or a [`StateDict`]. Header and tensors cover the file without gaps.

use std::collections::BTreeMap;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::candidates::{self, Chosen, Entry, EntryKind, Key, Place, Tree};
use super::state_dict::{ElementType, FileForm, RawTensor, StateDict};
use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file::RegularFile;

/// True if the bytes start like a safetensors file: the header's length (8 bytes), then JSON.
pub(super) fn is_safetensors(file: &[u8]) -> bool {
    file.get(8) == Some(&b'{')
}

/// Longest header of a container, in bytes. The `safetensors` crate has the same bound.
const MAX_HEADER: u64 = 100_000_000;

/// The header of a safetensors file, checked against the file, and the offset of the tensors' bytes.
///
/// # Errors
/// [`Kind::Data`] if the header does not fit the file.
pub(super) fn header(file: &[u8]) -> Result<(Metadata, usize)> {
    let (length, metadata) = SafeTensors::read_metadata(file).map_err(|e| damaged().because(e))?;
    Ok((metadata, 8 + length))
}

/// [`header`] of a file that is not in memory; `None` if it does not start like a safetensors file.
///
/// # Errors
/// As [`header`]; errors of reading.
pub(super) fn header_of_file(file: &RegularFile) -> Result<Option<(Metadata, usize)>> {
    let Some(json) = json_header(file)? else { return Ok(None) };
    let start = 8 + json.len();
    let metadata: Metadata = serde_json::from_slice(&json).map_err(|e| damaged().because(e))?;
    // The crate has checked that the tensors follow each other without gaps.
    let end = metadata.tensors().values().map(|info| info.data_offsets.1).max().unwrap_or_default();
    if start as u64 + end as u64 != file.size() {
        let text = format!("header and tensors have {} bytes, the file has {}", start + end, file.size());
        return Err(damaged().because(text));
    }
    Ok(Some((metadata, start)))
}

/// The JSON of the container's header; `None` if the file does not start like a safetensors file.
fn json_header(file: &RegularFile) -> Result<Option<Vec<u8>>> {
    if file.size() < 9 {
        return Ok(None);
    }
    let mut start = [0; 9];
    file.read_exact_at(&mut start, 0)?;
    let [length @ .., first] = start;
    let length = u64::from_le_bytes(length);
    if first != b'{' {
        return Ok(None);
    }
    if length > MAX_HEADER || length > file.size() - 8 {
        return Err(damaged().because(format!("the header has {length} bytes, the file {}", file.size())));
    }
    let mut json = vec![0; length as usize];
    file.read_exact_at(&mut json, 8)?;
    Ok(Some(json))
}

/// The format that the header of a file names, such as `artifact/2`; `None` if it is no file of lookout's.
pub fn stored_format(file: &RegularFile) -> Option<String> {
    format_of(&json_header(file).ok()??)
}

/// [`stored_format`] of the file that starts with `bytes`.
pub fn stored_format_of(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    format_of(rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?)
}

fn format_of(json: &[u8]) -> Option<String> {
    let header: serde_json::Value = serde_json::from_slice(json).ok()?;
    let ours: serde_json::Value = serde_json::from_str(header["__metadata__"]["lookout"].as_str()?).ok()?;
    Some(ours["format"].as_str()?.to_owned())
}

fn damaged() -> Error {
    Error::new(Kind::Data, "the safetensors file is cut short or damaged")
}

/// Finds the detector's state dict in a safetensors file; `key` chooses between several prefixes.
///
/// # Errors
/// As [`header`] and [`candidates::choose`].
pub(super) fn parse(file: &[u8], key: Option<&str>) -> Result<StateDict> {
    let (header, start) = header(file)?;
    let tensors: BTreeMap<String, _> = header.tensors().into_iter().collect();
    let infos: Vec<_> = tensors.values().collect();
    let entry = |(value, name)| Entry { place: 0, name, kind: EntryKind::Tensor, value };
    let tree = Tree {
        places: vec![Place { parent: None, key: Key::Other, is_module: false }],
        entries: tensors.keys().map(String::as_str).enumerate().map(entry).collect(),
        unnamed: 0,
        program: None,
    };
    let Chosen { tensors, notes, warnings } = candidates::choose(&tree, file, key, |index: usize| {
        let info = infos[index];
        let (from, to) = info.data_offsets;
        Ok(RawTensor::contiguous(element(info.dtype), info.shape.clone(), start + from..start + to))
    })?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(StateDict { form: FileForm::Safetensors, tensors, metadata, notes, warnings })
}

/// Element type of the container's `dtype`.
fn element(dtype: Dtype) -> ElementType {
    let other = |name| ElementType::Other { name, bytes: dtype.bitsize().div_ceil(8) };
    match dtype {
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::BF16,
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::I64 => ElementType::I64,
        Dtype::I32 => other("int32"),
        Dtype::I16 => other("int16"),
        Dtype::I8 => other("int8"),
        Dtype::U8 => other("uint8"),
        Dtype::BOOL => other("bool"),
        _ => other("a type of another kind"),
    }
}
