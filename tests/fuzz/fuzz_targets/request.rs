//! Requests on the control socket, and queries of the history.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::requests::request(input));
