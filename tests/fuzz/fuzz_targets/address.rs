//! Addresses with secrets, and texts that hold them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::text::address(input));
