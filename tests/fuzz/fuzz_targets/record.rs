//! The calibration record's reader on bytes nobody vouches for. What it accepts must come out again byte for byte
//! equal in meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lookout::calibrate::CalibrationRecord;

fuzz_target!(|file: &[u8]| {
    read(file);
    if let Some(sealed) = lookout_fuzz::resealed(file) {
        read(&sealed);
    }
});

fn read(file: &[u8]) {
    let Ok(record) = CalibrationRecord::parse(file) else { return };
    assert_eq!(CalibrationRecord::parse(&record.encode().unwrap()).unwrap(), record);
    if record.edges().len() < 64 {
        record.statistics(|_| true).unwrap();
    }
}
