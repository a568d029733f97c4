//! Golden tensors for the tests: committed ones beside this file, and larger ones in the shared folder.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// A safetensors file in memory.
pub struct Golden(Vec<u8>);

impl Golden {
    /// A file in `tests/golden`.
    pub fn committed(name: &str) -> Self {
        let path = folder().join(name);
        Self(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// A file in the shared folder (`LOOKOUT_SHARED`, else `../shared`); `None`, said on standard error, where it is
    /// absent.
    pub fn shared(name: &str) -> Option<Self> {
        let path = shared(name)?;
        Some(Self(std::fs::read(path).unwrap()))
    }

    /// The tensors' names.
    pub fn names(&self) -> Vec<String> {
        self.open().names().into_iter().map(str::to_owned).collect()
    }

    /// One value of the metadata.
    pub fn metadata(&self, key: &str) -> String {
        let (_, header) = SafeTensors::read_metadata(&self.0).unwrap();
        header.metadata().as_ref().unwrap()[key].clone()
    }

    /// Shape and values of a u8 tensor.
    pub fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let file = self.open();
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::U8, "{name}");
        (view.shape().to_vec(), view.data().to_vec())
    }

    /// Shape and values of an f32 tensor.
    pub fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = self.open();
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let values = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        (view.shape().to_vec(), values.collect())
    }

    /// Values of a tensor of integers, of whatever width.
    pub fn integers(&self, name: &str) -> Vec<usize> {
        let file = self.open();
        let view = file.tensor(name).unwrap();
        let width = view.data().len() / view.shape().iter().product::<usize>().max(1);
        let value = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte)) as usize;
        view.data().chunks_exact(width.max(1)).map(value).collect()
    }

    /// A text of the header's metadata.
    pub fn note(&self, name: &str) -> Option<String> {
        let (_, header) = SafeTensors::read_metadata(&self.0).unwrap();
        header.metadata().as_ref()?.get(name).cloned()
    }

    fn open(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }
}

/// Names of the networks in `tests/golden/networks`: the files that have settings and whose weights are their own.
pub fn networks() -> Vec<String> {
    let files = std::fs::read_dir(folder().join("networks")).unwrap();
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.unwrap().file_name().to_str()?.strip_suffix(".safetensors")?.to_owned()))
        .filter(|name| Golden::committed(&format!("networks/{name}.safetensors")).note("weights").is_none())
        .collect();
    names.sort();
    names
}

/// `tests/golden`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A path in the shared folder, or `None` and a line on standard error.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("LOOKOUT_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent; set LOOKOUT_SHARED to the folder that holds it", path.display());
        return None;
    }
    Some(path)
}
