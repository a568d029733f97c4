//! Class maps.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::text::class_map(input));
