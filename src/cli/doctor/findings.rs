//! The checks, one function each.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Finding, Grade};
use crate::cli::machine::{self, memory, processor, read, size};
use crate::cli::unit::{self, Unit};
use crate::cli::{ConfigArgs, check_config, client};
use crate::clock::{self, Clock, SystemClock};
use crate::config::{self, CameraKind, CameraSettings, Inputs, ModelSource, MqttSettings, Settings, SinkKind};
use crate::daemon::{self, Engine, LocalEngine};
use crate::error::Kind;
use crate::frame::Picture;
use crate::monitor::memory_limit;
use crate::publish;

/// Runs every check, in the order in which problems should be solved.
pub fn all(args: &ConfigArgs) -> Vec<Finding> {
    let inputs = Inputs::of_process(args.config.clone(), args.set.clone());
    let mut findings = vec![cpu()];
    match config::load(&inputs) {
        Err(refusal) => findings.push(Finding::new("configuration", Grade::Bad, refusal.to_string())),
        Ok(settings) => {
            findings.push(match daemon::check_settings(&settings) {
                Ok(()) => Finding::new("configuration", Grade::Good, "valid"),
                Err(error) => Finding::new("configuration", Grade::Doubtful, error.chain()),
            });
            findings.extend(model(&settings));
            findings.extend(settings.cameras.iter().map(camera));
            findings.push(state(&settings));
            findings.extend(outputs(&settings, args));
        }
    }
    findings.extend([unit(), daemon_status(args), clock(), page_size(), temperature()]);
    findings
}

fn cpu() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = crate::kernel::isa::Isa::best().name().name();
    let text = format!("{}, {cores} cores, {kernel} kernels", processor(&read("/proc/cpuinfo")));
    if kernel == "scalar" {
        return Finding::new("CPU", Grade::Doubtful, format!("{text}: portable code, much slower than vector kernels"));
    }
    match crate::kernel::self_test(crate::kernel::isa::Isa::best()) {
        Ok(()) => Finding::new("CPU", Grade::Good, format!("{text}, self-test passed")),
        Err(error) => Finding::new("CPU", Grade::Bad, format!("{text}: {}", error.chain())),
    }
}

/// Loads the model and detects on one picture, to measure its time and memory.
fn model(settings: &Settings) -> Vec<Finding> {
    let path = match &settings.model.source {
        ModelSource::None => return Vec::new(),
        ModelSource::Artifact(path) | ModelSource::Checkpoint(path) => path,
        ModelSource::Quantize { checkpoint, .. } | ModelSource::Live { checkpoint, .. } => checkpoint,
    };
    let loaded = daemon::detector_options(&settings.detector).and_then(|options| LocalEngine::load(path, &options));
    let mut engine = match loaded {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::new("model", Grade::Bad, error.chain())],
    };
    let wanted = settings.cameras.iter().find_map(|camera| match camera.kind {
        CameraKind::V4l2 { width, height, .. } => Some((width? as usize, height? as usize)),
        _ => None,
    });
    let (width, height) = wanted.unwrap_or((1280, 720));
    let picture = Picture::filled(width, height, [96; 3]).into();
    let mut detect = || {
        let begin = Instant::now();
        engine.detect(&picture).map(|_| begin.elapsed())
    };
    // The first detection allocates the buffers, so the second one is timed.
    let duration: Duration = match detect().and_then(|_| detect()) {
        Ok(duration) => duration,
        Err(error) => return vec![Finding::new("model", Grade::Bad, error.chain())],
    };
    let (info, detector) = (engine.info(), engine.detector());
    let text = format!(
        "{} in {}, {} kernels, {} threads: {:.0} ms for a frame of {width}×{height}",
        info.name,
        info.precision.name(),
        detector.kernel(),
        detector.threads(),
        duration.as_secs_f64() * 1e3,
    );
    let slow = duration > Duration::from_secs(3);
    let text = if slow { format!("{text}; set the unit's WatchdogSec= to at least ten times this") } else { text };
    vec![Finding::new("model", if slow { Grade::Doubtful } else { Grade::Good }, text), memory_use(settings)]
}

/// Compares the memory that the service will need with what it may use: the peak of this process after a detection, without
/// pages of files, and what the service and its monitor take besides.
fn memory_use(settings: &Settings) -> Finding {
    let status = read("/proc/self/status");
    let field = |name| memory(&status, name).unwrap_or_default();
    let monitor = if settings.monitor.enabled { daemon::MONITOR_MEMORY } else { 0 };
    let needed = field("VmHWM").saturating_sub(field("RssFile")) + daemon::SERVICE_MEMORY + monitor;
    let available = [memory(&read("/proc/meminfo"), "MemAvailable"), memory_limit()].into_iter().flatten().min();
    let Some(available) = available else {
        return Finding::new("memory", Grade::Doubtful, "the kernel does not report the available memory");
    };
    let text = format!("{} needed, {} available", size(needed), size(available));
    match () {
        () if available < needed => {
            Finding::new("memory", Grade::Bad, format!("{text}: use a smaller model or an int8 model"))
        }
        () if available < needed + needed / 4 => {
            Finding::new("memory", Grade::Doubtful, format!("{text}: little reserve"))
        }
        () => Finding::new("memory", Grade::Good, text),
    }
}

fn camera(camera: &CameraSettings) -> Finding {
    let finding = |grade, text: String| Finding::new("camera", grade, format!("{}: {text}", camera.name));
    match &camera.kind {
        CameraKind::Pattern { .. } => finding(Grade::Good, "built in".to_owned()),
        CameraKind::Replay { path, .. } => match std::fs::read_dir(path) {
            Ok(_) => finding(Grade::Good, format!("{} is readable", path.display())),
            Err(_) if path.is_file() => finding(Grade::Good, format!("{} exists", path.display())),
            Err(error) => finding(Grade::Bad, format!("{} cannot be read: {error}", path.display())),
        },
        CameraKind::Ffmpeg { .. } => match machine::ffmpeg_folder() {
            Some(folder) => finding(Grade::Good, format!("read by {}/ffmpeg", folder.display())),
            None => finding(Grade::Bad, "ffmpeg is not installed".to_owned()),
        },
        CameraKind::V4l2 { device, .. } => device_finding(device, finding),
    }
}

fn device_finding(device: &Path, finding: impl Fn(Grade, String) -> Finding) -> Finding {
    let name = device.display();
    if !device.is_absolute() {
        return finding(Grade::Good, format!("{name} is a card or bus name; `lookout cameras` lists the devices"));
    }
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) if name.to_string().starts_with("/dev/video") => finding(
            Grade::Doubtful,
            format!("{name} opens, but its number may change at boot: use a name below /dev/v4l/by-id or by-path"),
        ),
        Ok(_) => finding(Grade::Good, format!("{name} opens")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            finding(Grade::Bad, format!("no permission to open {name}: add the user to the group video"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            finding(Grade::Doubtful, format!("{name} does not exist; the daemon waits until the camera is plugged in"))
        }
        Err(error) => finding(Grade::Bad, format!("{name} cannot be opened: {error}")),
    }
}

fn state(settings: &Settings) -> Finding {
    let folder = match daemon::state_folder(&settings.device) {
        Ok(folder) => folder,
        Err(error) => return Finding::new("state", Grade::Doubtful, error.chain()),
    };
    // The nearest existing ancestor: the daemon creates the rest in it.
    let Ok(existing) = machine::nearest_folder(&folder) else {
        return Finding::new("state", Grade::Bad, format!("{} cannot be created", folder.display()));
    };
    match machine::check_writable(existing) {
        Ok(()) => Finding::new("state", Grade::Good, format!("{} is writable", folder.display())),
        Err(error) => Finding::new("state", Grade::Bad, format!("{} is not writable: {error}", folder.display())),
    }
}

/// The paths of the outputs as the unit's user would find them, and the brokers with the configured login.
fn outputs(settings: &Settings, args: &ConfigArgs) -> Vec<Finding> {
    let wrong = check_config::findings::outputs(settings, args).into_iter();
    let mut findings: Vec<Finding> = wrong
        .map(|found| Finding::new("output", Grade::Bad, format!("{}: {}", found.value.key, found.value.text)))
        .collect();
    let brokers = settings.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Mqtt(mqtt) => Some(mqtt),
        _ => None,
    });
    findings.extend(brokers.map(|mqtt| broker(mqtt)));
    findings
}

/// Connects to a broker once, with the configured login.
pub(in crate::cli) fn broker(mqtt: &MqttSettings) -> Finding {
    let address = format!("{}:{}", mqtt.host, mqtt.port);
    let mut broker = daemon::broker(mqtt);
    // A credential exists only in the unit; its file is named there.
    let credential = broker.password_file.as_ref().and_then(|path| path.to_str()?.strip_prefix("credential:"));
    if let Some(file) = credential.and_then(|name| Unit::installed()?.credential(name))
        && std::env::var_os("CREDENTIALS_DIRECTORY").is_none()
    {
        broker.password_file = Some(file);
    }
    match publish::mqtt::probe(&broker) {
        Ok(()) => Finding::new("broker", Grade::Good, format!("{address} accepts the connection")),
        // It may be off for a while; events wait.
        Err(error) if error.kind() == Kind::Unavailable => {
            Finding::new("broker", Grade::Doubtful, format!("{address}: {}", error.chain()))
        }
        Err(error) => Finding::new("broker", Grade::Bad, format!("{address}: {}", error.chain())),
    }
}

fn unit() -> Finding {
    let finding = |grade, text: String| Finding::new("unit", grade, text);
    if !Path::new("/run/systemd/system").is_dir() {
        return finding(Grade::Doubtful, "systemd is not running: nothing restarts a stuck daemon".to_owned());
    }
    let Some(unit) = unit::path() else {
        return finding(Grade::Doubtful, "lookout.service is not installed; see systemd/README.md".to_owned());
    };
    let enabled = Path::new("/etc/systemd/system/multi-user.target.wants/lookout.service").is_symlink();
    match enabled {
        true => finding(Grade::Good, format!("{unit}, started at boot")),
        false => finding(Grade::Doubtful, format!("{unit} is not started at boot: systemctl enable lookout")),
    }
}

fn daemon_status(args: &ConfigArgs) -> Finding {
    let finding = |grade, text: String| Finding::new("daemon", grade, text);
    match client::request(args, "status", serde_json::Value::Null) {
        Ok(status) => {
            let state = status["state"].as_str().unwrap_or("?");
            let reasons: Vec<&str> =
                status["reasons"].as_array().into_iter().flatten().filter_map(|r| r.as_str()).collect();
            match reasons.is_empty() {
                true => finding(Grade::Good, format!("running, {state}")),
                false => finding(Grade::Doubtful, format!("running, {state}: {}", reasons.join(", "))),
            }
        }
        Err(error) if error.kind() == Kind::Unavailable => finding(Grade::Good, "not running".to_owned()),
        Err(error) => finding(Grade::Doubtful, error.chain()),
    }
}

fn clock() -> Finding {
    let now = SystemClock.wall();
    let text = format!("{}", now.strftime("%Y-%m-%d %H:%M:%S UTC"));
    match () {
        () if now.as_second() < 1_735_689_600 => {
            let text = format!("{text} is wrong; timestamps depend on it, ages do not");
            Finding::new("clock", Grade::Doubtful, text)
        }
        () if !clock::ask_synchronized() => {
            let text =
                format!("{text}, not synchronized; the history and the spool then age by the time since boot alone");
            Finding::new("clock", Grade::Doubtful, text)
        }
        () => Finding::new("clock", Grade::Good, format!("{text}, synchronized")),
    }
}

fn page_size() -> Finding {
    let kib = rustix::param::page_size() >> 10;
    Finding::new("page size", Grade::Good, format!("{kib} KiB; every size is supported"))
}

fn temperature() -> Finding {
    let supervision = config::SupervisionSettings {
        stall_timeout: Duration::ZERO,
        grace_period: Duration::ZERO,
        throttle_celsius: None,
        pause_celsius: None,
    };
    let mut thermal = daemon::ThermalThrottle::new(daemon::THERMAL_ZONES.as_ref(), &supervision);
    let state = thermal.update(0);
    let Some(daemon::ZoneTemperature { zone, celsius }) = state.hottest() else {
        return Finding::new("heat", Grade::Good, "no temperature sensors");
    };
    match thermal.throttle_celsius() {
        Some(limit) if *celsius > limit => {
            let text = format!("{zone} has {celsius:.0} °C; throttled above {limit:.0}");
            Finding::new("heat", Grade::Doubtful, text)
        }
        Some(limit) => {
            Finding::new("heat", Grade::Good, format!("{zone} has {celsius:.0} °C; throttling starts above {limit:.0}"))
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
    fn a_missing_device_is_doubtful_and_a_folder_is_bad() {
        let finding = |grade, text: String| Finding::new("camera", grade, text);
        assert_eq!(device_finding(Path::new("/dev/v4l/by-id/none"), finding).grade, Grade::Doubtful);
        assert_eq!(device_finding(Path::new("/"), finding).grade, Grade::Bad);
        assert_eq!(device_finding(Path::new("card:usb-1"), finding).grade, Grade::Good);
    }

    #[test]
    fn memory_is_measured() {
        let inputs =
            Inputs { set: vec![r#"camera=[{ name = "c", kind = "pattern" }]"#.to_owned()], ..Inputs::default() };
        let finding = memory_use(&config::load(&inputs).unwrap());
        assert!(finding.text.contains("needed"), "{finding:?}");
    }
}
