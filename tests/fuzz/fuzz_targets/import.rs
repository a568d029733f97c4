//! The import of state dicts in any form. What it accepts opens as a checkpoint and runs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::models::import(input));
