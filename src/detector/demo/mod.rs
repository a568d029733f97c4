//! Built-in model, so that the program detects objects without a model file.
//!
//! In: nothing, or a name in place of a model's path. Out: the bytes of a `checkpoint/1` and of the `artifact/1`
//! quantized from it. The model is trained only on the synthetic street of
//! [`camera::pattern`](../../camera/pattern/index.html); its classes are Person, TwoWheeler and Vehicle. `tests/demo` has
//! the training script, its log and the accuracy. A build without the cargo feature `demo` has no model; using the names
//! is then an error.

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file;

/// Name of the quantized network in place of a model's path; a file of this name is `./demo-int8`.
pub const INT8: &str = "demo-int8";

/// Name of the full-precision network.
pub const FP32: &str = "demo-fp32";

/// The full-precision network; `None` in a build without the feature `demo`.
pub fn checkpoint() -> Option<&'static [u8]> {
    #[cfg(feature = "demo")]
    return Some(include_bytes!("street.checkpoint"));
    #[cfg(not(feature = "demo"))]
    None
}

/// The quantized network; `None` in a build without the feature `demo`.
pub fn artifact() -> Option<&'static [u8]> {
    #[cfg(feature = "demo")]
    return Some(include_bytes!("street.lookout"));
    #[cfg(not(feature = "demo"))]
    None
}

/// The built-in model that `path` names; `None` if it is the path of a file.
///
/// # Errors
/// [`Kind::Unavailable`] if it names a built-in model and this build has none.
pub fn named(path: &Path) -> Result<Option<&'static [u8]>> {
    let bytes = match path.to_str() {
        Some(INT8) => artifact(),
        Some(FP32) => checkpoint(),
        _ => return Ok(None),
    };
    match bytes {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(missing()),
    }
}

/// The bytes of the built-in model that `path` names, or of the file there.
///
/// # Errors
/// As [`named`] and [`regular_file::read`].
pub fn read(path: &Path) -> Result<Cow<'static, [u8]>> {
    Ok(match named(path)? {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Owned(regular_file::read(path)?),
    })
}

/// The error for a request of the built-in model in a build without it.
pub fn missing() -> Error {
    let text = "this build has no demo model: it was built without the cargo feature \"demo\"";
    Error::new(Kind::Unavailable, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_these() {
        for name in ["demo", "./demo-int8", "demo-int8/x", ""] {
            assert!(named(Path::new(name)).unwrap().is_none(), "{name}");
        }
        for name in [INT8, FP32] {
            assert_eq!(named(Path::new(name)).is_ok(), cfg!(feature = "demo"), "{name}");
        }
    }

    #[cfg(feature = "demo")]
    #[test]
    fn both_are_the_same_network() {
        use crate::detector::checkpoint::Checkpoint;
        use crate::quant::artifact::Artifact;
        let checkpoint = Checkpoint::from_bytes(checkpoint().unwrap()).unwrap();
        let artifact = Artifact::parse(artifact().unwrap()).unwrap();
        assert_eq!(checkpoint.header().labels, ["Person", "TwoWheeler", "Vehicle"]);
        assert_eq!(artifact.header().labels, checkpoint.header().labels);
        assert_eq!(artifact.header().provenance.source_sha256, checkpoint.sha256().unwrap());
    }
}
