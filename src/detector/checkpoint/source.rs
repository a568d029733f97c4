//! Parser of state dict files: recognizes the format by its first bytes.
//!
//! In: bytes of a `.pth` (zip or legacy pickle) or a `.safetensors`. Out: the detector's [`StateDict`], whose tensors are
//! views of those bytes. Promise: every element of every tensor is inside the file.

use super::state_dict::{StateDict, check_total};
use super::{archive, legacy, safetensors_file};
use crate::error::{Error, Kind, Result};

/// Finds the detector's state dict in a file's bytes; `key` chooses between several.
///
/// # Errors
/// [`Kind::Data`] if the bytes are of no known format, are damaged, or hold no state dict or several; [`Kind::Usage`] if
/// `key` names none.
pub(super) fn parse(file: &[u8], key: Option<&str>) -> Result<StateDict> {
    let state_dict = if file.starts_with(b"PK") {
        archive::parse(file, key)?
    } else if legacy::is_legacy(file) {
        legacy::parse(file, key)?
    } else if safetensors_file::is_safetensors(file) {
        safetensors_file::parse(file, key)?
    } else {
        let start: Vec<String> = file.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return Err(Error::new(
            Kind::Data,
            format!(
                "neither a PyTorch state dict (.pth) nor a .safetensors file: it is {} bytes long and starts with [{}]",
                file.len(),
                start.join(" ")
            ),
        ));
    };
    check_total(&state_dict.tensors, file.len())?;
    Ok(state_dict)
}
