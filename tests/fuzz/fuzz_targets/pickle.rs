//! The pickle of a zip archive of PyTorch.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::models::pickle(input));
