//! Settings files of an import.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::text::import_settings(input));
