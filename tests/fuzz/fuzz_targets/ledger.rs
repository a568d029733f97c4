//! The ledger of generations.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::stores::ledger(input));
