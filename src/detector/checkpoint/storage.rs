//! Storage of an open checkpoint: its bytes in memory, or its file, of which a tensor is read when it is needed.

use std::borrow::Cow;
use std::ops::Range;

use safetensors::tensor::Metadata;

use super::safetensors_file;
use super::tensor_data::{TensorDtype, decode};
use crate::error::{Error, Kind, Result};
use crate::tensor::digest::sha256;
use crate::tensor::mapped::bytes_of;
use crate::tensor::regular_file::RegularFile;

/// Bytes of a checkpoint.
pub(super) enum Storage {
    Memory(Box<dyn AsRef<[u8]> + Send + Sync>),
    File(RegularFile),
}

impl Storage {
    /// The container's header and the offset of the tensors' bytes.
    ///
    /// # Errors
    /// [`Kind::Data`] if this is no checkpoint or the header does not fit the file; errors of reading.
    pub(super) fn header(&self) -> Result<(Metadata, usize)> {
        let no_checkpoint = || {
            let text = "not a checkpoint; to make one of a PyTorch state dict, run `lookout import`";
            Error::new(Kind::Data, text)
        };
        match self {
            Self::Memory(bytes) => {
                let bytes = (**bytes).as_ref();
                if !safetensors_file::is_safetensors(bytes) {
                    return Err(no_checkpoint());
                }
                safetensors_file::header(bytes)
            }
            Self::File(file) => safetensors_file::header_of_file(file)?.ok_or_else(no_checkpoint),
        }
    }

    /// The values stored as `dtype` in `range` of the bytes, and the CRC-32 of these bytes.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the range is outside the file; errors of reading.
    pub(super) fn values(&self, range: Range<usize>, dtype: TensorDtype) -> Result<(Cow<'_, [f32]>, u32)> {
        match (self, dtype) {
            (Self::Memory(bytes), _) => {
                let outside = || Error::new(Kind::Internal, "a tensor's bytes are outside the file");
                let bytes = (**bytes).as_ref().get(range).ok_or_else(outside)?;
                Ok((decode(bytes, dtype), crc32fast::hash(bytes)))
            }
            // Into the values themselves: the largest tensors are a good part of the file.
            (Self::File(file), TensorDtype::F32) => {
                let mut values = vec![0.0; range.len() / dtype.bytes()];
                let bytes = bytes_of(&mut values);
                file.read_exact_at(bytes, range.start as u64)?;
                let crc = crc32fast::hash(bytes);
                values.iter_mut().for_each(|value| *value = f32::from_bits(u32::from_le(value.to_bits())));
                Ok((Cow::Owned(values), crc))
            }
            (Self::File(file), TensorDtype::F16) => {
                let mut bytes = vec![0; range.len()];
                file.read_exact_at(&mut bytes, range.start as u64)?;
                Ok((Cow::Owned(decode(&bytes, dtype).into_owned()), crc32fast::hash(&bytes)))
            }
        }
    }

    /// CRC-32 of `range` of the bytes.
    ///
    /// # Errors
    /// As [`Storage::values`].
    pub(super) fn crc32(&self, range: Range<usize>) -> Result<u32> {
        match self {
            Self::Memory(_) => Ok(self.values(range, TensorDtype::F32)?.1),
            Self::File(file) => {
                let mut hasher = crc32fast::Hasher::new();
                file.visit(range.start as u64, range.len() as u64, |piece| hasher.update(piece))?;
                Ok(hasher.finalize())
            }
        }
    }

    /// SHA-256 of all bytes, in hexadecimal.
    ///
    /// # Errors
    /// Errors of reading.
    pub(super) fn sha256(&self) -> Result<String> {
        match self {
            Self::Memory(bytes) => Ok(sha256((**bytes).as_ref())),
            Self::File(file) => file.sha256(),
        }
    }

    /// Checks that nobody has written to the file since it was opened.
    ///
    /// # Errors
    /// As [`RegularFile::check_unchanged`].
    pub(super) fn check_unchanged(&self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(file) => file.check_unchanged(),
        }
    }
}
