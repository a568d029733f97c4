//! Facts about the machine from `/proc` and `/sys`, read without privileges.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// A file's text without surrounding whitespace; empty if it cannot be read.
pub fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The folder of `PATH` that ffmpeg is in.
pub fn ffmpeg_folder() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).find(|folder| folder.join("ffmpeg").is_file())
}

/// `folder`, or the nearest one above it that exists: the one in which a file or folder would be created. `Err` with what
/// exists there if it is no folder.
pub fn nearest_folder(folder: &Path) -> Result<&Path, &Path> {
    let here = Path::new(".");
    let folder = if folder.as_os_str().is_empty() { here } else { folder };
    let nearest = folder.ancestors().find(|folder| folder.exists()).unwrap_or(here);
    if nearest.is_dir() { Ok(nearest) } else { Err(nearest) }
}

/// Checks that this user may create files in `folder`.
pub fn check_writable(folder: &Path) -> rustix::io::Result<()> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
}

/// A field of `/proc/meminfo` or `/proc/self/status` that is given in kB, in bytes.
pub fn memory(table: &str, field: &str) -> Option<u64> {
    crate::monitor::kilobytes(table, &format!("{field}:"))
}

/// The processor's or board's name in the text of `/proc/cpuinfo`.
pub fn processor(cpuinfo: &str) -> String {
    let names = ["model name", "Model", "Hardware"];
    names.into_iter().find_map(|name| cpu_field(cpuinfo, name)).unwrap_or_else(|| "unknown".to_owned())
}

/// The processor's name as the kernel reports it, else the architecture, for reports with times.
pub fn cpu_name() -> String {
    let cpuinfo = read("/proc/cpuinfo");
    let name = cpu_field(&cpuinfo, "model name").or_else(|| cpu_field(&cpuinfo, "CPU part"));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn cpu_field(cpuinfo: &str, name: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `bytes` with a unit.
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
}
