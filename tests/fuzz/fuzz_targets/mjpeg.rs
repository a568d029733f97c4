//! MJPEG recordings.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::media::mjpeg(input));
