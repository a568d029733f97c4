//! State dicts in safetensors.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::models::safetensors(input));
