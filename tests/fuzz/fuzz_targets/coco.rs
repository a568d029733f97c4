//! Annotations in COCO's layout.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lookout_fuzz::text::coco(input));
