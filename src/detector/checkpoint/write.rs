//! Writing `checkpoint/1`.
//!
//! In: a header and the values of each tensor, asked for one at a time, so that one tensor is all that is held. Out: a
//! safetensors file with one metadata key, `lookout`; tensors f32 first, then f16, each by name, so that every one is
//! aligned. The same inputs give the same bytes.

use std::collections::HashMap;
use std::io::Write;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::header::Header;
use super::stored::{Precision, Values};
use crate::error::{Error, Kind, Result};

/// The metadata key that holds the header.
pub(super) const KEY: &str = "lookout";

/// Writes a checkpoint; `precision` says what a tensor is kept in, `values` gives its numbers.
///
/// # Errors
/// What `precision` and `values` return; [`Kind::Internal`] if `values` gives another count or precision than
/// announced; [`Kind::Io`] if `out` refuses.
pub(super) fn write(
    out: &mut impl Write,
    header: &Header,
    precision: impl Fn(&str) -> Result<Precision>,
    values: impl Fn(&str) -> Result<Values>,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, shape) in header.architecture.expected() {
        tensors.push((precision(&name)?, name, shape));
    }
    tensors.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));

    let internal = |what: &str| Error::new(Kind::Internal, format!("a checkpoint's {what} cannot be written"));
    let mut offset = 0;
    let infos = tensors.iter().map(|(precision, name, shape)| {
        let from = offset;
        offset += shape.iter().product::<usize>() * precision.bytes();
        let dtype = match precision {
            Precision::F16 => Dtype::F16,
            Precision::F32 => Dtype::F32,
        };
        (name.clone(), TensorInfo { dtype, shape: shape.clone(), data_offsets: (from, offset) })
    });
    let infos: Vec<_> = infos.collect();
    let metadata = HashMap::from([(KEY.to_owned(), header.to_json()?)]);
    let metadata = Metadata::new(Some(metadata), infos).map_err(|e| internal("header").because(e))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| internal("header").because(e))?;
    json.resize(json.len().next_multiple_of(8), b' ');

    let failed = |e| Error::new(Kind::Io, "cannot write the checkpoint").because(e);
    out.write_all(&(json.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(&json).map_err(failed)?;
    for (precision, name, shape) in tensors {
        let values = values(&name)?;
        if values.precision() != precision || values.len() != shape.iter().product::<usize>() {
            return Err(internal(&format!("tensor {name}")));
        }
        values.write(out).map_err(failed)?;
    }
    Ok(())
}
