//! The byte stream of an MQTT broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::requests::packets(input));
