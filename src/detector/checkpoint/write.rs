//! Writer of `checkpoint/2`.
//!
//! In: a header and the values of each tensor, read one at a time and twice, so that memory holds one tensor. Out: a safetensors
//! file with one metadata key, `lookout`. Tensors are ordered by type, f32 before f16, then by name, so that each is
//! aligned. Equal inputs give equal bytes.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::header::CheckpointHeader;
use super::tensor_data::{TensorData, TensorDtype};
use crate::error::{Error, Kind, Result};

/// The metadata key of the header.
pub(super) const KEY: &str = "lookout";

/// Writes a checkpoint. `dtype` and `values` give the type and the values of a tensor by its name.
///
/// # Errors
/// Errors of `dtype` and `values`; [`Kind::Internal`] if `values` gives another count or type than expected;
/// [`Kind::Io`] if `out` fails.
pub(super) fn write(
    out: &mut impl Write,
    header: &CheckpointHeader,
    dtype: impl Fn(&str) -> Result<TensorDtype>,
    values: impl Fn(&str) -> Result<TensorData>,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, shape) in header.architecture.expected() {
        tensors.push((dtype(&name)?, name, shape));
    }
    tensors.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));

    let failed = |e| Error::new(Kind::Io, "cannot write the checkpoint").because(e);
    let checksum = |name: &String| Ok((name.clone(), values(name)?.crc32().map_err(failed)?));
    let checksums: BTreeMap<String, u32> = tensors.iter().map(|(_, name, _)| checksum(name)).collect::<Result<_>>()?;

    let internal = |what: &str| Error::new(Kind::Internal, format!("a checkpoint's {what} cannot be written"));
    // The container's header, padded so that the tensors start at a multiple of 8 bytes.
    let mut offset = 0;
    let infos = tensors.iter().map(|(dtype, name, shape)| {
        let from = offset;
        offset += shape.iter().product::<usize>() * dtype.bytes();
        let dtype = match dtype {
            TensorDtype::F16 => Dtype::F16,
            TensorDtype::F32 => Dtype::F32,
        };
        (name.clone(), TensorInfo { dtype, shape: shape.clone(), data_offsets: (from, offset) })
    });
    let infos: Vec<_> = infos.collect();
    let metadata = HashMap::from([(KEY.to_owned(), header.to_json(&checksums)?)]);
    let metadata = Metadata::new(Some(metadata), infos).map_err(|e| internal("header").because(e))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| internal("header").because(e))?;
    json.resize(json.len().next_multiple_of(8), b' ');

    out.write_all(&(json.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(&json).map_err(failed)?;
    for (dtype, name, shape) in tensors {
        let values = values(&name)?;
        if values.dtype() != dtype || values.len() != shape.iter().product::<usize>() {
            return Err(internal(&format!("tensor {name}")));
        }
        values.write(out).map_err(failed)?;
    }
    Ok(())
}
