//! Size of the second-level cache, which decides what runs depth-first.
//!
//! Linux describes caches below `/sys/devices/system/cpu/cpu0/cache`, but not on every board.

use std::path::Path;

/// Assumed where the system does not tell: a small core's share.
const UNKNOWN: usize = 256 << 10;

/// Bytes of the second-level cache that one core has for itself: its size, divided by the CPUs that share it.
pub fn second_level() -> usize {
    second_level_below(Path::new("/sys/devices/system/cpu/cpu0/cache")).unwrap_or(UNKNOWN)
}

fn second_level_below(folder: &Path) -> Option<usize> {
    let caches = std::fs::read_dir(folder).ok()?.flatten();
    caches.map(|entry| entry.path()).find_map(|cache| {
        let read = |name: &str| std::fs::read_to_string(cache.join(name)).ok();
        if read("level")?.trim() != "2" || read("type")?.trim() == "Instruction" {
            return None;
        }
        let cpus = read("shared_cpu_list").map_or(1, |list| cpus(list.trim()).max(1));
        Some(bytes(read("size")?.trim())? / cpus)
    })
}

/// A size such as 512K.
fn bytes(text: &str) -> Option<usize> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// Number of CPUs in a list such as 0-3,8.
fn cpus(list: &str) -> usize {
    list.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.saturating_sub(first) + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_level_is_found_and_shared() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(second_level_below(folder.path()), None);
        let caches = [("1", "Data", "32K", "0"), ("2", "Unified", "1M", "0-3"), ("3", "Unified", "8M", "0-7")];
        for (index, (level, kind, size, list)) in caches.into_iter().enumerate() {
            let cache = folder.path().join(format!("index{index}"));
            std::fs::create_dir(&cache).unwrap();
            for (name, text) in [("level", level), ("type", kind), ("size", size), ("shared_cpu_list", list)] {
                std::fs::write(cache.join(name), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(second_level_below(folder.path()), Some(256 << 10));
        assert_eq!(
            ["512K", "2M", "77", "1G", "K", ""].map(bytes),
            [Some(512 << 10), Some(2 << 20), Some(77), None, None, None]
        );
        assert_eq!(["0", "0-3,8", "0,4", "x"].map(cpus), [1, 5, 2, 0]);
    }
}
