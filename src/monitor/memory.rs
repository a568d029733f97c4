//! Memory check: decides whether the full-precision reference and a recalibration fit into memory, and how much of it frames
//! may take.
//!
//! In: the memory of the reference's weights and activations, or of a recalibration; the memory of the machine and of the
//! process's control groups. Out: a reason to do without, if it does not fit; the limit of the reservoir. The kernel would
//! otherwise kill the whole process, with the detector.

use std::fs;
use std::path::{Path, PathBuf};

use crate::calibrate::BINS;
use crate::detector::plan::{Op, Plan};

/// Memory left to other processes, in bytes.
const RESERVE: u64 = 32 << 20;

/// Memory left to the detector during a recalibration, in bytes.
const ATTEMPT_RESERVE: u64 = 4 << 20;

/// Share of the memory limit that the reservoir may take: one in this number.
const RESERVOIR_SHARE: u64 = 8;

/// Limit of the control groups of version 1 that means none: they round it down to whole pages.
const UNLIMITED: u64 = 1 << 62;

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

/// Memory of a recalibration with `frames` frames in bytes: histograms of every step, and three times the artifact of
/// `artifact_bytes`, for the two parents and the candidate. A calibration frame has one histogram of each step, a
/// validation frame one for each of three models; two for each frame are an upper bound.
pub fn attempt_bytes(plan: &Plan, frames: usize, artifact_bytes: usize) -> u64 {
    let histograms = 2 * frames * plan.steps.len() * BINS * size_of::<u64>();
    (histograms + 3 * artifact_bytes) as u64
}

/// The reason if the `required` bytes of a recalibration with `frames` frames are not available.
pub fn attempt_shortage(required: u64, frames: usize) -> Option<String> {
    let available = available_bytes()?;
    let required = required + ATTEMPT_RESERVE;
    (required > available).then(|| {
        let (required, available) = (required.div_ceil(1 << 20), available >> 20);
        format!("a recalibration with {frames} frames needs {required} MiB and {available} MiB are free")
    })
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
    let machine = meminfo("MemAvailable:");
    machine.into_iter().chain(control_groups().iter().filter_map(ControlGroup::available)).min()
}

/// Memory limit of this process in bytes: the least of the machine's memory and of each of its control groups. `None` if
/// the system reports neither.
pub fn memory_limit() -> Option<u64> {
    let machine = meminfo("MemTotal:");
    machine.into_iter().chain(control_groups().iter().filter_map(ControlGroup::limit)).min()
}

/// The limit of the reservoir, of which the owner configured at most `configured` bytes: an eighth of the memory limit at
/// most, since the rest is needed by the models.
pub fn reservoir_limit(configured: u64) -> u64 {
    let limit = memory_limit().map_or(configured, |limit| configured.min(limit / RESERVOIR_SHARE));
    if limit < configured {
        let (configured_bytes, limit_bytes) = (configured, limit);
        tracing::info!(configured_bytes, limit_bytes, "monitor.reservoir is limited to an eighth of the memory");
    }
    limit
}

/// A memory control group, by its folder and the version of its files.
#[derive(Debug, PartialEq)]
struct ControlGroup {
    folder: PathBuf,
    is_unified: bool,
}

impl ControlGroup {
    fn number(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.folder.join(name)).ok()?.trim().parse().ok()
    }

    /// Its limit in bytes, if it has one.
    fn limit(&self) -> Option<u64> {
        if self.is_unified {
            return [self.number("memory.max"), self.number("memory.high")].into_iter().flatten().min();
        }
        self.number("memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED)
    }

    /// Bytes left below its limit. Cached files can be evicted.
    fn available(&self) -> Option<u64> {
        let (used, cached) = match self.is_unified {
            true => ("memory.current", "inactive_file "),
            false => ("memory.usage_in_bytes", "total_inactive_file "),
        };
        let statistics = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let cached = statistic(&statistics, cached).unwrap_or(0);
        Some(self.limit()?.saturating_sub(self.number(used)?.saturating_sub(cached)))
    }
}

fn meminfo(field: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// The bytes of `field`, as `MemTotal:`, in a table of the kernel such as `/proc/meminfo`.
pub fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn statistic(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// The memory control groups of this process.
fn control_groups() -> Vec<ControlGroup> {
    fs::read_to_string("/proc/self/cgroup").map(|text| groups_in(&text)).unwrap_or_default()
}

/// The memory control groups in the text of `/proc/self/cgroup`, and all groups above them: those of the unified hierarchy
/// and those of version 1.
fn groups_in(text: &str) -> Vec<ControlGroup> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let is_unified = number == "0" && controllers.is_empty();
        let root = match () {
            () if is_unified => Path::new("/sys/fs/cgroup"),
            () if controllers.split(',').any(|name| name == "memory") => Path::new("/sys/fs/cgroup/memory"),
            () => continue,
        };
        let folder = root.join(path.trim_start_matches('/'));
        let folders = folder.ancestors().take_while(|folder| folder.starts_with(root));
        groups.extend(folders.map(|folder| ControlGroup { folder: folder.to_owned(), is_unified }));
    }
    groups
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
    fn a_recalibration_that_does_not_fit_is_refused_with_its_need() {
        let plan = Plan::new(Architecture::resnet50_fpn(4), Settings::default());
        let need = attempt_bytes(&plan, 20, 1000);
        assert_eq!(need, (2 * 20 * plan.steps.len() * 2048 * 8 + 3000) as u64);
        assert_eq!(attempt_shortage(1, 20), None);
        let reason = attempt_shortage(1 << 60, 20).unwrap();
        assert!(reason.starts_with("a recalibration with 20 frames needs 1099511627780 MiB and"), "{reason}");
    }

    #[test]
    fn system_files_are_parsed() {
        let text = "MemTotal: 9 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(
            (kilobytes(text, "MemAvailable:"), kilobytes(text, "MemTotal:")),
            (Some(2048 * 1024), Some(9 * 1024))
        );
        assert_eq!(statistic("anon 5\ninactive_file 77\n", "inactive_file "), Some(77));
        let text = "9:name=systemd:/x\n4:cpu,memory:/outer/inner\n0::/system.slice/lookout.service\n";
        let found = groups_in(text);
        let names: Vec<_> = found.iter().map(|group| (group.folder.to_str().unwrap(), group.is_unified)).collect();
        assert_eq!(
            names,
            [
                ("/sys/fs/cgroup/memory/outer/inner", false),
                ("/sys/fs/cgroup/memory/outer", false),
                ("/sys/fs/cgroup/memory", false),
                ("/sys/fs/cgroup/system.slice/lookout.service", true),
                ("/sys/fs/cgroup/system.slice", true),
                ("/sys/fs/cgroup", true),
            ]
        );
    }

    /// A group whose files hold `files`.
    fn group(is_unified: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, ControlGroup) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let group = ControlGroup { folder: folder.path().to_owned(), is_unified };
        (folder, group)
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        let unified = [("memory.max", "1000\n"), ("memory.high", "900"), ("memory.current", "300")];
        let unified = [&unified[..], &[("memory.stat", "anon 1\ninactive_file 100\n")]].concat();
        let (_folder, unified) = group(true, &unified);
        assert_eq!((unified.limit(), unified.available()), (Some(900), Some(700)));
        let first = [("memory.limit_in_bytes", "1000\n"), ("memory.usage_in_bytes", "300")];
        let first = [&first[..], &[("memory.stat", "inactive_file 7\ntotal_inactive_file 100\n")]].concat();
        let (_folder, first) = group(false, &first);
        assert_eq!((first.limit(), first.available()), (Some(1000), Some(800)));
        let (_folder, unlimited) = group(true, &[("memory.max", "max"), ("memory.current", "1")]);
        assert_eq!((unlimited.limit(), unlimited.available()), (None, None));
        let (_folder, unlimited) = group(false, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(unlimited.limit(), None);
    }

    #[test]
    fn the_reservoir_takes_an_eighth_of_the_memory_at_most() {
        let limit = memory_limit().unwrap();
        assert_eq!((reservoir_limit(1), reservoir_limit(u64::MAX)), (1, limit / 8));
    }
}
