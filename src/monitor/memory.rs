//! Memory check: decides whether the full-precision reference fits into memory.
//!
//! In: the memory of the reference's weights and activations, and the memory that is available in the machine and in the
//! process's control groups. Out: a reason to run without the reference, if it does not fit. The kernel would otherwise
//! kill the whole process, with the detector.

use std::fs;
use std::path::{Path, PathBuf};

use crate::detector::plan::{Op, Plan};

/// Memory left to other processes, in bytes.
const RESERVE: u64 = 32 << 20;

/// Memory of the reference in bytes, for a canvas of `height` × `width`: f32 weights, plus the larger of two amounts.
/// One is the activations alive at one time, the other the largest layer's weights, which are copied while they are
/// packed.
pub fn reference_bytes(plan: &Plan, height: usize, width: usize) -> u64 {
    let weights: usize = plan.layers.iter().map(|layer| layer.geometry.weights()).sum();
    let largest = plan.layers.iter().map(|layer| layer.geometry.weights()).max().unwrap_or(0);
    let shapes = plan.shapes(height, width, plan.settings.rpn.post_nms_top_n);
    let mut last_reader: Vec<usize> = (0..plan.steps.len()).collect();
    for (id, step) in plan.steps.iter().enumerate() {
        step.inputs.iter().for_each(|&input| last_reader[input] = id);
    }
    let values =
        |id: usize| if matches!(plan.steps[id].op, Op::Proposals | Op::Detections) { 0 } else { shapes[id].len() };
    let alive = |now: usize| (0..=now).filter(|&id| last_reader[id] >= now).map(values).sum::<usize>();
    let activations = (0..plan.steps.len()).map(alive).max().unwrap_or(0);
    (weights + activations.max(largest)) as u64 * 4
}

/// The reason if `required` bytes are not available; `None` if they are, or if the system does not report it.
pub fn memory_shortage(required: u64) -> Option<String> {
    let available = available_bytes()?;
    let mebibytes = |bytes: u64| bytes >> 20;
    (required + RESERVE > available).then(|| {
        let (required, available) = (mebibytes(required + RESERVE), mebibytes(available));
        format!("the full-precision reference needs {required} MiB and {available} MiB are free: the monitor runs without it")
    })
}

/// Available memory in bytes: the least of the machine and of each control group of the process.
fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_in_meminfo(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").ok().map(|text| control_groups(&text)).unwrap_or_default();
    let left = |folder: &PathBuf| {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = [number("memory.max"), number("memory.high")].into_iter().flatten().min()?;
        // Cached files can be evicted.
        let cached = fs::read_to_string(folder.join("memory.stat"))
            .ok()
            .and_then(|text| inactive_file_bytes(&text))
            .unwrap_or(0);
        Some(limit.saturating_sub(number("memory.current")?.saturating_sub(cached)))
    };
    machine.into_iter().chain(groups.iter().filter_map(left)).min()
}

fn available_in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn inactive_file_bytes(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
}

/// Folders of the process's control group in the unified hierarchy and of all groups above it.
fn control_groups(text: &str) -> Vec<PathBuf> {
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    root.join(path).ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::network::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn a_resnet50_needs_the_measured_memory() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let mebibytes = reference_bytes(&plan, 416, 1344) >> 20;
        assert!((250..340).contains(&mebibytes), "{mebibytes}");
        assert!(memory_shortage(1 << 60).unwrap().contains("MiB are free"));
    }

    #[test]
    fn system_files_are_parsed() {
        assert_eq!(available_in_meminfo("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(inactive_file_bytes("anon 5\ninactive_file 77\n"), Some(77));
        let found = control_groups("1:name=systemd:/x\n0::/system.slice/lookout.service\n");
        let names: Vec<_> = found.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(
            names,
            ["/sys/fs/cgroup/system.slice/lookout.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"]
        );
    }
}
