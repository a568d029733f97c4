//! What the kernel tells of the machine, read without privileges.

use std::path::Path;

/// A file's text without the newline at its end; empty if it cannot be read.
pub fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Bytes of a field of `/proc/meminfo`.
pub fn memory(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// The processor's name.
pub fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    field("model name").or_else(|| field("Model")).or_else(|| field("Hardware")).unwrap_or_else(|| "unknown".to_owned())
}

/// What a running unit may use: the limit of this process's control group, if it has one.
pub fn memory_limit(cgroup: &str, read: impl Fn(&str) -> String) -> Option<u64> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut folder = Some(Path::new(path));
    let mut least = None;
    while let Some(here) = folder {
        let text = read(&format!("/sys/fs/cgroup{}/memory.max", here.display()).replace("//", "/"));
        least = [least, text.parse::<u64>().ok()].into_iter().flatten().min();
        folder = here.parent();
    }
    least
}

/// `bytes` in words.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let meminfo = "MemTotal:       16384 kB\nMemAvailable:    8192 kB\nHugePages_Total: 0\n";
        assert_eq!(memory(meminfo, "MemAvailable"), Some(8 << 20));
        assert_eq!(memory(meminfo, "Mem"), None);
        assert_eq!(memory("", "MemTotal"), None);
        assert_eq!(processor("processor : 0\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(processor("processor : 0\nModel\t\t: A Board\n"), "A Board");
        assert_eq!(processor(""), "unknown");
        assert_eq!(size(300 << 20), "300 MiB");
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let read = |path: &str| match path {
            "/sys/fs/cgroup/a/b/memory.max" => "max".to_owned(),
            "/sys/fs/cgroup/a/memory.max" => "1000".to_owned(),
            _ => String::new(),
        };
        assert_eq!(memory_limit("0::/a/b\n", read), Some(1000));
        assert_eq!(memory_limit("1:name=systemd:/x\n", read), None);
    }
}
