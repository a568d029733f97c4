//! Parsing of durations and sizes: `1m30s`, `64MiB`.

use std::time::Duration;

/// Units of time in nanoseconds. A name that is the prefix of another comes after it.
const TIMES: &[(&str, u64)] = &[
    ("ms", 1_000_000),
    ("us", 1_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of size in bytes.
const SIZES: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Parses `1h30m`, `10s`, `250ms`: a sum of whole numbers with units.
pub fn duration(text: &str) -> Option<Duration> {
    sum(text, TIMES).map(Duration::from_nanos)
}

/// Parses `64MiB`, `2GB` as a size in bytes.
pub fn size(text: &str) -> Option<u64> {
    sum(text, SIZES)
}

fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = rest[unit.len()..].trim_start();
        total = total.checked_add(number.checked_mul(*factor)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 parsecs", "99999999999999d", "1s2"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("2 GB"), Some(2_000_000_000));
        assert_eq!(size("64"), None);
        assert_eq!(size("64M"), None);
    }
}
