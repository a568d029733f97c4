//! Safetensors container: its header, and the state dict in a file that is not a `checkpoint/1`.
//!
//! In: the file's bytes. Out: the header, or a [`StateDict`]. The `safetensors` crate checks that the header fits the
//! file and that the tensors cover the rest of it without gaps.

use std::collections::BTreeMap;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::candidates::{self, Chosen, Entry, EntryKind, Key, Place, Tree};
use super::state_dict::{ElementType, FileForm, RawTensor, StateDict};
use crate::error::{Error, Kind, Result};

/// True if the bytes start like a safetensors file: the header's length (8 bytes), then JSON.
pub(super) fn is_safetensors(file: &[u8]) -> bool {
    file.get(8) == Some(&b'{')
}

/// The header of a safetensors file, checked against the file, and the offset of the tensors' bytes.
///
/// # Errors
/// [`Kind::Data`] if the header does not fit the file.
pub(super) fn header(file: &[u8]) -> Result<(Metadata, usize)> {
    let (length, metadata) = SafeTensors::read_metadata(file)
        .map_err(|e| Error::new(Kind::Data, "the safetensors file is cut short or damaged").because(e))?;
    Ok((metadata, 8 + length))
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
