//! The import of state dicts on bytes nobody vouches for. What it accepts must open as a checkpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lookout::detector::checkpoint::{Checkpoint, ImportOptions, import};

fuzz_target!(|file: &[u8]| {
    let source = std::env::temp_dir().join(format!("lookout-fuzz-{}", std::process::id()));
    let out = source.with_extension("out");
    std::fs::write(&source, file).unwrap();
    for key in [None, Some("model".to_owned())] {
        let options = ImportOptions { key, ..ImportOptions::new(&source, &out) };
        if import(&options).is_ok() {
            Checkpoint::open(&out).unwrap();
        }
    }
});
