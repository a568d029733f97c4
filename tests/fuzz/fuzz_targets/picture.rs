//! Pictures: JPEG and PNG in memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::media::picture(input));
