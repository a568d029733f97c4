//! Is there room for the reference?
//!
//! In: what the reference's weights and activations will take, and what the system says is free, of the machine and of
//! the control groups we are in. Out: go on, or the reason not to. A monitor that is killed for memory takes the detector
//! with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::detector::plan::{Op, Plan};

/// What stays free for everybody else.
const SPARE: u64 = 32 << 20;

/// Bytes that the reference takes on frames whose canvas is `height` × `width`: f32 weights, the most activations alive
/// at once, and a layer's weights once more while it is packed.
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

/// Why `need` bytes are not there, if so.
pub fn memory_shortage(need: u64) -> Option<String> {
    let free = available()?;
    let mebibytes = |bytes: u64| bytes >> 20;
    (need + SPARE > free).then(|| {
        let (need, free) = (mebibytes(need + SPARE), mebibytes(free));
        format!("the full-precision reference needs {need} MiB and {free} MiB are free: watched without it")
    })
}

/// Bytes that can be had: the least of what the machine and each control group above us have left.
fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").ok().map(|text| groups(&text)).unwrap_or_default();
    let left = |folder: &PathBuf| {
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = [number("memory.max"), number("memory.high")].into_iter().flatten().min()?;
        // Cached files can go.
        let cached = fs::read_to_string(folder.join("memory.stat")).ok().and_then(|text| stat(&text)).unwrap_or(0);
        Some(limit.saturating_sub(number("memory.current")?.saturating_sub(cached)))
    };
    machine.into_iter().chain(groups.iter().filter_map(left)).min()
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn stat(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
}

/// Our group of the unified hierarchy and all above it.
fn groups(text: &str) -> Vec<PathBuf> {
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let root = Path::new("/sys/fs/cgroup");
    root.join(path).ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_path_buf).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::architecture::Architecture;
    use crate::detector::settings::Settings;

    #[test]
    fn a_resnet50_on_a_street_needs_what_it_was_measured_to() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let mebibytes = reference_bytes(&plan, 416, 1344) >> 20;
        assert!((250..340).contains(&mebibytes), "{mebibytes}");
        assert!(memory_shortage(1 << 60).unwrap().contains("MiB are free"));
    }

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(meminfo("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(stat("anon 5\ninactive_file 77\n"), Some(77));
        let found = groups("1:name=systemd:/x\n0::/system.slice/lookout.service\n");
        let names: Vec<_> = found.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(
            names,
            ["/sys/fs/cgroup/system.slice/lookout.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup"]
        );
    }
}
