//! The calibration record's reader on bytes nobody vouches for. What it accepts must come out again byte for byte
//! equal in meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lookout::calibrate::Record;

fuzz_target!(|file: &[u8]| {
    read(file);
    if let Some(sealed) = lookout_fuzz::resealed(file) {
        read(&sealed);
    }
});

fn read(file: &[u8]) {
    let Ok(record) = Record::parse(file) else { return };
    assert_eq!(Record::parse(&record.encode().unwrap()).unwrap(), record);
    if record.edges().len() < 64 {
        record.statistics(|_| true).unwrap();
    }
}
