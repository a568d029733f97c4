//! Thermal throttle: reads the kernel's thermal zones and chooses how much less to detect.
//!
//! In: `/sys/class/thermal`, limits, the time. Out: a level from 0 (full rate) to 4 (paused). The level rises by one step
//! while it is too hot and falls by one step after a cool period. The service so throttles itself before the kernel
//! does. Hysteresis and step intervals keep the level from oscillating.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::SupervisionSettings;

/// Folder of the kernel's thermal zones.
pub const ZONES: &str = "/sys/class/thermal";

/// The level at which nothing is detected.
pub const PAUSED: u8 = 4;

/// Constants of the throttle.
struct ThrottleRules {
    /// By level below [`PAUSED`]: rest after each frame, as a multiple of the time that the frame took.
    rest_factors: [f64; PAUSED as usize],
    /// A level falls once the temperature is this much below its limit, in °C.
    hysteresis_celsius: f32,
    /// Distance of the default limit below the kernel's lowest passive trip point, in °C.
    margin_celsius: f32,
    /// Least time between two steps up. Temperature follows load slowly.
    step_up: Duration,
    /// Least time between two steps down.
    step_down: Duration,
    /// Trip points at or below this temperature are unused, in °C.
    unused_trip_celsius: f32,
}

const RULES: ThrottleRules = ThrottleRules {
    rest_factors: [0.0, 0.5, 1.0, 3.0],
    hysteresis_celsius: 5.0,
    margin_celsius: 5.0,
    step_up: Duration::from_secs(10),
    step_down: Duration::from_secs(30),
    unused_trip_celsius: 40.0,
};

/// Trip points read per zone.
const MAX_TRIP_POINTS: usize = 16;

/// Temperature of a thermal zone.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneTemperature {
    /// The zone's type, as the kernel names it.
    pub zone: String,
    /// Its temperature in °C.
    pub celsius: f32,
}

/// Temperatures and the throttle level.
#[derive(Debug, Clone, PartialEq)]
pub struct ThermalState {
    /// One entry per type of zone, with the hottest zone of that type.
    pub zones: Vec<ZoneTemperature>,
    /// Throttle level, 0 to 4.
    pub level: u8,
}

impl ThermalState {
    /// The hottest zone.
    pub fn hottest(&self) -> Option<&ZoneTemperature> {
        self.zones.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius))
    }
}

/// The throttle: its limits and its level.
#[derive(Debug)]
pub struct ThermalThrottle {
    root: PathBuf,
    throttle_celsius: Option<f32>,
    pause_celsius: Option<f32>,
    level: u8,
    changed_ns: u64,
}

impl ThermalThrottle {
    /// A throttle at level 0 that reads the zones below `root`.
    pub fn new(root: &Path, settings: &SupervisionSettings) -> Self {
        let root = root.to_owned();
        let mut throttle = Self { root, throttle_celsius: None, pause_celsius: None, level: 0, changed_ns: 0 };
        throttle.set_limits(settings);
        throttle
    }

    /// Changes the limits. Without a configured limit the kernel's lowest passive trip point less a margin is used.
    pub fn set_limits(&mut self, settings: &SupervisionSettings) {
        let default = || lowest_passive_trip(&self.root).map(|trip| trip - RULES.margin_celsius);
        self.throttle_celsius = settings.throttle_celsius.or_else(default);
        self.pause_celsius = settings.pause_celsius;
    }

    /// The temperature above which detection is throttled, in °C, if there is one.
    pub fn throttle_celsius(&self) -> Option<f32> {
        self.throttle_celsius
    }

    /// Reads every zone and adjusts the level. `now_ns` is monotonic time.
    pub fn update(&mut self, now_ns: u64) -> ThermalState {
        let zones = zones(&self.root);
        let hottest = zones.iter().map(|zone| zone.celsius).fold(f32::NEG_INFINITY, f32::max);
        let level = self.next_level(hottest, now_ns);
        if level != self.level {
            self.level = level;
            self.changed_ns = now_ns;
        }
        ThermalState { zones, level }
    }

    /// The level that follows the current one at `celsius`.
    fn next_level(&self, celsius: f32, now_ns: u64) -> u8 {
        let since_change = Duration::from_nanos(now_ns.saturating_sub(self.changed_ns));
        let is_above = |limit: Option<f32>, margin: f32| limit.is_some_and(|limit| celsius > limit - margin);
        let too_hot = is_above(self.throttle_celsius, 0.0);
        let is_cool = !is_above(self.throttle_celsius, RULES.hysteresis_celsius);
        match self.level {
            // Pausing protects the board: it happens at once, from any level.
            level if level < PAUSED && is_above(self.pause_celsius, 0.0) => PAUSED,
            PAUSED if !is_above(self.pause_celsius, RULES.hysteresis_celsius) => PAUSED - 1,
            level if level < PAUSED - 1 && too_hot && (level == 0 || since_change >= RULES.step_up) => level + 1,
            level if (1..PAUSED).contains(&level) && is_cool && since_change >= RULES.step_down => level - 1,
            level => level,
        }
    }
}

/// Rest at `level` after a frame that took `busy`.
pub fn rest(level: u8, busy: Duration) -> Duration {
    RULES.rest_factors.get(usize::from(level)).map_or(Duration::ZERO, |&factor| busy.mul_f64(factor))
}

/// The folders of the zones, sorted; none if the kernel has none.
fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let is_zone =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("thermal_zone"));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_zone).collect();
    folders.sort();
    folders
}

/// A temperature; the kernel writes thousandths of a degree. `None` for a sensor that is suspended or broken: it gives
/// an error or an impossible value.
fn celsius(path: &Path) -> Option<f32> {
    let thousandths: i32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(thousandths as f32 / 1000.0).filter(|celsius| (-60.0..200.0).contains(celsius))
}

fn zones(root: &Path) -> Vec<ZoneTemperature> {
    let mut zones: BTreeMap<String, f32> = BTreeMap::new();
    for folder in folders(root) {
        let Some(celsius) = celsius(&folder.join("temp")) else { continue };
        let name = std::fs::read_to_string(folder.join("type")).unwrap_or_default().trim().to_owned();
        let hottest = zones.entry(name).or_insert(celsius);
        *hottest = hottest.max(celsius);
    }
    zones.into_iter().map(|(zone, celsius)| ZoneTemperature { zone, celsius }).collect()
}

/// The lowest temperature at which the kernel throttles the board: trip points of type `passive`, in °C.
fn lowest_passive_trip(root: &Path) -> Option<f32> {
    let trips = folders(root).into_iter().flat_map(|folder| {
        (0..MAX_TRIP_POINTS).filter_map(move |number| {
            let kind = std::fs::read_to_string(folder.join(format!("trip_point_{number}_type"))).ok()?;
            (kind.trim() == "passive").then(|| celsius(&folder.join(format!("trip_point_{number}_temp"))))?
        })
    });
    trips.filter(|&celsius| celsius > RULES.unused_trip_celsius).min_by(f32::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn settings(throttle: Option<f32>, pause: Option<f32>) -> SupervisionSettings {
        SupervisionSettings {
            stall_timeout: Duration::from_secs(10),
            grace_period: Duration::from_secs(10),
            throttle_celsius: throttle,
            pause_celsius: pause,
        }
    }

    /// A board with one zone of the given temperature, and a passive trip point at 85 °C.
    fn board(celsius: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let zone = root.path().join("thermal_zone0");
        std::fs::create_dir(&zone).unwrap();
        for (name, text) in [
            ("type", "cpu-thermal"),
            ("temp", celsius),
            ("trip_point_0_type", "passive"),
            ("trip_point_0_temp", "85000"),
        ] {
            std::fs::write(zone.join(name), format!("{text}\n")).unwrap();
        }
        std::fs::create_dir(root.path().join("cooling_device0")).unwrap();
        root
    }

    #[test]
    fn the_level_rises_while_it_is_hot_and_falls_after_a_cool_period() {
        let root = board("82500");
        let mut throttle = ThermalThrottle::new(root.path(), &settings(None, None));
        assert_eq!(throttle.throttle_celsius(), Some(80.0), "5 °C below the kernel's trip point");
        let state = throttle.update(S);
        let hottest = ZoneTemperature { zone: "cpu-thermal".to_owned(), celsius: 82.5 };
        assert_eq!((state.level, state.hottest()), (1, Some(&hottest)));
        let levels: Vec<u8> = (2..40).map(|s| throttle.update(s * S).level).collect();
        assert_eq!(levels.iter().position(|&level| level == 2), Some(9));
        assert_eq!(levels.last(), Some(&3), "never paused without a pause limit");

        let temp = root.path().join("thermal_zone0/temp");
        std::fs::write(&temp, "77000").unwrap();
        assert_eq!(throttle.update(100 * S).level, 3, "within the hysteresis");
        std::fs::write(&temp, "70000").unwrap();
        let levels: Vec<u8> = (101..200).map(|s| throttle.update(s * S).level).collect();
        assert_eq!((levels[0], levels[29], levels[30], levels[98]), (2, 2, 1, 0));
    }

    #[test]
    fn configured_limits_replace_the_default_and_pausing_is_immediate() {
        let root = board("91000");
        let mut throttle = ThermalThrottle::new(root.path(), &settings(Some(70.0), Some(90.0)));
        assert_eq!(throttle.update(S).level, PAUSED);
        let temp = root.path().join("thermal_zone0/temp");
        std::fs::write(&temp, "87000").unwrap();
        assert_eq!(throttle.update(2 * S).level, PAUSED);
        std::fs::write(&temp, "84000").unwrap();
        assert_eq!(throttle.update(3 * S).level, PAUSED - 1);
    }

    #[test]
    fn a_board_without_zones_or_with_broken_ones_is_never_hot() {
        let empty = tempfile::tempdir().unwrap();
        for root in [empty.path(), Path::new("/nonexistent"), board("nonsense").path(), board("-274000").path()] {
            let mut throttle = ThermalThrottle::new(root, &settings(Some(50.0), Some(60.0)));
            assert_eq!(throttle.update(S), ThermalState { zones: Vec::new(), level: 0 });
        }
    }

    #[test]
    fn rest_grows_with_the_level() {
        let busy = Duration::from_millis(100);
        let rests: Vec<u128> = (0..=PAUSED).map(|level| rest(level, busy).as_millis()).collect();
        assert_eq!(rests, [0, 50, 100, 300, 0], "a pause is not a rest");
    }
}
