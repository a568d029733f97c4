//! Databases of history and spool with changed bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::stores::database(input));
