//! Detections in COCO's result format.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::text::results(input));
