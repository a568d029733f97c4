//! Artifacts of a whole network with changed bytes. One that loads is run.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::models::network(input));
