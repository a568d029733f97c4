//! A `.safetensors` file that is not ours: torchvision's state dict, perhaps with metadata.
//!
//! In: the file's bytes. Out: a [`Source`]. The container's own reader checks that the header fits the file and that
//! the tensors cover the rest of it without gaps.

use std::collections::BTreeMap;

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use super::reduce::Element;
use super::source::{FileForm, RawTensor, Source};
use crate::error::{Error, Kind, Result};

/// Whether the bytes begin as a safetensors file does: a header's length, then JSON.
pub(super) fn is_safetensors(file: &[u8]) -> bool {
    file.get(8) == Some(&b'{')
}

/// The header of a safetensors file, checked against the file, and where the tensors' bytes begin.
pub(super) fn header(file: &[u8]) -> Result<(Metadata, usize)> {
    let (length, metadata) = SafeTensors::read_metadata(file)
        .map_err(|e| Error::new(Kind::Data, "the safetensors file is cut short or damaged").because(e))?;
    Ok((metadata, 8 + length))
}

/// Finds the tensors of a safetensors file.
pub(super) fn safetensors(file: &[u8]) -> Result<Source> {
    let (header, start) = header(file)?;
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        (name, RawTensor::contiguous(element(info.dtype), info.shape.clone(), start + from..start + to))
    });
    Ok(Source {
        form: FileForm::Safetensors,
        tensors: tensors.collect(),
        metadata: header.metadata().clone().unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        notes: Vec::new(),
    })
}

fn element(dtype: Dtype) -> Element {
    let other = |name| Element::Other { name, bytes: dtype.bitsize().div_ceil(8) };
    match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I64 => Element::I64,
        Dtype::I32 => other("int32"),
        Dtype::I16 => other("int16"),
        Dtype::I8 => other("int8"),
        Dtype::U8 => other("uint8"),
        Dtype::BOOL => other("bool"),
        _ => other("a type of another kind"),
    }
}
