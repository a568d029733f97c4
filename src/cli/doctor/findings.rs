//! What is looked at, one function each.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::machine::{memory, memory_limit, processor, read, size};
use super::{Finding, Grade};
use crate::cli::{ConfigArgs, client};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, CameraKind, CameraSettings, Inputs, ModelSource, Settings};
use crate::daemon::{self, Engine, LocalEngine};
use crate::error::Kind;
use crate::frame::Picture;

/// Where a unit may be.
const UNITS: &[&str] = &[
    "/etc/systemd/system/lookout.service",
    "/usr/lib/systemd/system/lookout.service",
    "/lib/systemd/system/lookout.service",
];

/// Memory beside the model that capture, queues and the page cache of small things want.
const ELSE: u64 = 64 << 20;

/// Everything, in the order in which it should be mended.
pub fn all(args: &ConfigArgs) -> Vec<Finding> {
    let inputs = Inputs::of_process(args.config.clone(), args.set.clone());
    let mut findings = vec![cpu()];
    match config::load(&inputs) {
        Err(refusal) => findings.push(Finding::new("configuration", Grade::Bad, refusal.to_string())),
        Ok(settings) => {
            findings.push(match daemon::check_settings(&settings) {
                Ok(()) => Finding::new("configuration", Grade::Good, "nothing is wrong with it"),
                Err(error) => Finding::new("configuration", Grade::Doubtful, error.chain()),
            });
            findings.extend(model(&settings));
            findings.extend(settings.cameras.iter().map(camera));
            findings.push(state(&settings));
        }
    }
    findings.extend([unit(), running(args), clock(), pages(), heat()]);
    findings
}

fn cpu() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = crate::kernel::isa::Isa::best().name().name();
    let text = format!("{}, {cores} cores, {kernel} kernels", processor(&read("/proc/cpuinfo")));
    if kernel == "scalar" {
        return Finding::new(
            "CPU",
            Grade::Doubtful,
            format!("{text}: portable code, many times slower than vector kernels"),
        );
    }
    match crate::kernel::self_test(crate::kernel::isa::Isa::best()) {
        Ok(()) => Finding::new("CPU", Grade::Good, format!("{text}, which give the right numbers")),
        Err(error) => Finding::new("CPU", Grade::Bad, format!("{text}: {}", error.chain())),
    }
}

/// Loads the model and looks at one picture: what that takes is known afterwards.
fn model(settings: &Settings) -> Vec<Finding> {
    let path = match &settings.model.source {
        ModelSource::None => return Vec::new(),
        ModelSource::Artifact(path) | ModelSource::Checkpoint(path) => path,
        ModelSource::Quantize { checkpoint, .. } | ModelSource::Live { checkpoint, .. } => checkpoint,
    };
    let tried = daemon::detector_options(&settings.detector).and_then(|options| LocalEngine::load(path, &options));
    let mut engine = match tried {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::new("model", Grade::Bad, error.chain())],
    };
    let wanted = settings.cameras.iter().find_map(|camera| match camera.kind {
        CameraKind::V4l2 { width, height, .. } => Some((width? as usize, height? as usize)),
        _ => None,
    });
    let (width, height) = wanted.unwrap_or((1280, 720));
    let picture = Picture::filled(width, height, [96; 3]).into();
    let mut look = || {
        let begin = Instant::now();
        engine.detect(&picture).map(|_| begin.elapsed())
    };
    // The first one pays for the buffers.
    let took: Duration = match look().and_then(|_| look()) {
        Ok(took) => took,
        Err(error) => return vec![Finding::new("model", Grade::Bad, error.chain())],
    };
    let (info, detector) = (engine.info(), engine.detector());
    let text = format!(
        "{} in {}, {} kernels, {} threads: {:.0} ms for a frame of {width}×{height}",
        info.name,
        info.precision.name(),
        detector.kernel(),
        detector.threads(),
        took.as_secs_f64() * 1e3,
    );
    let slow = took > Duration::from_secs(3);
    let text = if slow { format!("{text}; the unit's WatchdogSec= should be ten times as long") } else { text };
    vec![Finding::new("model", if slow { Grade::Doubtful } else { Grade::Good }, text), room()]
}

/// What the process has taken for the model, against what there is.
fn room() -> Finding {
    let need = memory(&read("/proc/self/status"), "VmHWM").unwrap_or_default() + ELSE;
    let meminfo = read("/proc/meminfo");
    let limit = memory_limit(&read("/proc/self/cgroup"), |path| read(path));
    let there = [memory(&meminfo, "MemAvailable"), limit].into_iter().flatten().min();
    let Some(there) = there else {
        return Finding::new("memory", Grade::Doubtful, "the kernel does not say how much there is");
    };
    let text = format!("{} needed, {} there", size(need), size(there));
    match () {
        () if there < need => {
            Finding::new("memory", Grade::Bad, format!("{text}: take a smaller model, or one in int8"))
        }
        () if there < need + need / 4 => Finding::new("memory", Grade::Doubtful, format!("{text}: that is tight")),
        () => Finding::new("memory", Grade::Good, text),
    }
}

fn camera(camera: &CameraSettings) -> Finding {
    let finding = |grade, text: String| Finding::new("camera", grade, format!("{}: {text}", camera.name));
    match &camera.kind {
        CameraKind::Pattern { .. } => finding(Grade::Good, "built in".to_owned()),
        CameraKind::Replay { path, .. } => match std::fs::read_dir(path) {
            Ok(_) => finding(Grade::Good, format!("{} can be read", path.display())),
            Err(_) if path.is_file() => finding(Grade::Good, format!("{} is there", path.display())),
            Err(error) => finding(Grade::Bad, format!("{} cannot be read: {error}", path.display())),
        },
        CameraKind::Ffmpeg { .. } => {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&folders).find(|folder| folder.join("ffmpeg").is_file());
            match found {
                Some(folder) => finding(Grade::Good, format!("{}/ffmpeg will read it", folder.display())),
                None => finding(Grade::Bad, "there is no ffmpeg to read it with: install it".to_owned()),
            }
        }
        CameraKind::V4l2 { device, .. } => device_finding(device, finding),
    }
}

fn device_finding(device: &Path, finding: impl Fn(Grade, String) -> Finding) -> Finding {
    let name = device.display();
    if !device.is_absolute() {
        return finding(
            Grade::Good,
            format!("{name} is looked for by card and bus; `lookout cameras` lists what there is"),
        );
    }
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) if name.to_string().starts_with("/dev/video") => finding(
            Grade::Doubtful,
            format!("{name} opens, but may be another camera after a restart: name it by /dev/v4l/by-id or by-path"),
        ),
        Ok(_) => finding(Grade::Good, format!("{name} opens")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            finding(Grade::Bad, format!("{name} may not be opened by this user: add it to the group video"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            finding(Grade::Doubtful, format!("{name} is not there now; the daemon waits until it is plugged in"))
        }
        Err(error) => finding(Grade::Bad, format!("{name} does not open: {error}")),
    }
}

fn state(settings: &Settings) -> Finding {
    let folder = match daemon::state_folder(&settings.device) {
        Ok(folder) => folder,
        Err(error) => return Finding::new("state", Grade::Doubtful, error.chain()),
    };
    // The nearest folder that is there: the rest would be made in it.
    let Some(there) = folder.ancestors().find(|folder| folder.exists()).filter(|folder| folder.is_dir()) else {
        return Finding::new("state", Grade::Bad, format!("{} cannot be made", folder.display()));
    };
    let writable = rustix::fs::access(there, rustix::fs::Access::WRITE_OK);
    match writable {
        Ok(()) => Finding::new("state", Grade::Good, format!("{} can be written", folder.display())),
        Err(error) => Finding::new("state", Grade::Bad, format!("{} cannot be written: {error}", folder.display())),
    }
}

fn unit() -> Finding {
    let finding = |grade, text: String| Finding::new("unit", grade, text);
    if !Path::new("/run/systemd/system").is_dir() {
        return finding(
            Grade::Doubtful,
            "systemd does not run here: nothing restarts the daemon if it is stuck".to_owned(),
        );
    }
    let Some(unit) = UNITS.iter().find(|unit| Path::new(unit).exists()) else {
        return finding(Grade::Doubtful, "lookout.service is not installed; see systemd/README.md".to_owned());
    };
    let enabled = Path::new("/etc/systemd/system/multi-user.target.wants/lookout.service").is_symlink();
    match enabled {
        true => finding(Grade::Good, format!("{unit}, started at boot")),
        false => finding(Grade::Doubtful, format!("{unit} is not started at boot: systemctl enable lookout")),
    }
}

fn running(args: &ConfigArgs) -> Finding {
    let finding = |grade, text: String| Finding::new("daemon", grade, text);
    match client::ask(args, "status", serde_json::Value::Null) {
        Ok(status) => {
            let state = status["state"].as_str().unwrap_or("?");
            let reasons: Vec<&str> =
                status["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
            match reasons.is_empty() {
                true => finding(Grade::Good, format!("runs, {state}")),
                false => finding(Grade::Doubtful, format!("runs, {state}: {}", reasons.join(", "))),
            }
        }
        Err(error) if error.kind() == Kind::Unavailable => finding(Grade::Good, "does not run".to_owned()),
        Err(error) => finding(Grade::Doubtful, error.chain()),
    }
}

fn clock() -> Finding {
    let now = SystemClock.wall();
    let text = format!("{}", now.strftime("%Y-%m-%d %H:%M:%S UTC"));
    match () {
        () if now.as_second() < 1_735_689_600 => {
            let text = format!("{text} cannot be right; nothing but the printed time suffers");
            Finding::new("clock", Grade::Doubtful, text)
        }
        () if !daemon::clock_synchronized() => {
            let text = format!("{text}, not known to be synchronized by systemd-timesyncd");
            Finding::new("clock", Grade::Doubtful, text)
        }
        () => Finding::new("clock", Grade::Good, format!("{text}, synchronized")),
    }
}

fn pages() -> Finding {
    let kib = rustix::param::page_size() >> 10;
    Finding::new("page size", Grade::Good, format!("{kib} KiB; any will do"))
}

fn heat() -> Finding {
    let supervision = config::SupervisionSettings {
        stall_timeout: Duration::ZERO,
        grace_period: Duration::ZERO,
        throttle_celsius: None,
        pause_celsius: None,
    };
    let mut thermal = daemon::ThermalThrottle::new(daemon::THERMAL_ZONES.as_ref(), &supervision);
    let state = thermal.update(0);
    let Some(daemon::ZoneTemperature { zone, celsius }) = state.hottest() else {
        return Finding::new("heat", Grade::Good, "this machine tells no temperatures");
    };
    match thermal.throttle_celsius() {
        Some(limit) if *celsius > limit => {
            Finding::new("heat", Grade::Doubtful, format!("{zone} has {celsius:.0} °C; less is done above {limit:.0}"))
        }
        Some(limit) => {
            Finding::new("heat", Grade::Good, format!("{zone} has {celsius:.0} °C; less is done above {limit:.0}"))
        }
        None => Finding::new(
            "heat",
            Grade::Good,
            format!("{zone} has {celsius:.0} °C; supervision.throttle_celsius sets a limit"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_may_come_and_one_that_is_no_device_may_not() {
        let finding = |grade, text: String| Finding::new("camera", grade, text);
        assert_eq!(device_finding(Path::new("/dev/v4l/by-id/none"), finding).grade, Grade::Doubtful);
        assert_eq!(device_finding(Path::new("/"), finding).grade, Grade::Bad);
        assert_eq!(device_finding(Path::new("card:usb-1"), finding).grade, Grade::Good);
    }

    #[test]
    fn memory_is_measured() {
        let finding = room();
        assert!(finding.text.contains("needed"), "{finding:?}");
    }
}
