//! Heat: reads the kernel's thermal zones and says how much less to do, before the kernel throttles by itself.
//!
//! In: `/sys/class/thermal`, limits, the time. Out: a level from 0 (as fast as it goes) to 4 (paused). One step up at a
//! time while it is too hot, one down when it has been cool for a while: the level does not swing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::SupervisionSettings;

/// Where the kernel shows its zones.
pub const ZONES: &str = "/sys/class/thermal";

/// The level at which nothing is detected.
pub const PAUSED: u8 = 4;

/// By level below [`PAUSED`]: rest after each frame, in times of what the frame took.
const REST: [f64; PAUSED as usize] = [0.0, 0.5, 1.0, 3.0];

/// A level is left downwards when it is cooler than its limit by this.
const HYSTERESIS: f32 = 5.0;

/// Without a limit of the owner's: this much below the temperature at which the kernel itself would do less.
const MARGIN: f32 = 5.0;

/// Least time between two steps up, and down: heat follows load slowly.
const STEPS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// Each zone by its type, hottest of those with the same, in °C.
    pub zones: Vec<(String, f32)>,
    /// How much less is done: 0 to 4.
    pub level: u8,
}

impl Heat {
    /// The hottest zone.
    pub fn hottest(&self) -> Option<&(String, f32)> {
        self.zones.iter().max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// The thermometer and the level it has led to.
#[derive(Debug)]
pub struct Thermal {
    root: PathBuf,
    throttle: Option<f32>,
    pause: Option<f32>,
    level: u8,
    changed_ns: u64,
}

impl Thermal {
    /// Reads the zones below `root`.
    pub fn new(root: &Path, settings: &SupervisionSettings) -> Self {
        let mut thermal = Self { root: root.to_owned(), throttle: None, pause: None, level: 0, changed_ns: 0 };
        thermal.limit(settings);
        thermal
    }

    /// Goes by other limits from now on.
    pub fn limit(&mut self, settings: &SupervisionSettings) {
        self.throttle = settings.throttle_celsius.or_else(|| passive(&self.root).map(|trip| trip - MARGIN));
        self.pause = settings.pause_celsius;
    }

    /// The temperature above which less is done, in °C, if there is one.
    pub fn throttle_celsius(&self) -> Option<f32> {
        self.throttle
    }

    /// Reads every zone and moves the level. `now_ns` is monotonic time.
    pub fn look(&mut self, now_ns: u64) -> Heat {
        let zones = zones(&self.root);
        let hottest = zones.iter().map(|(_, celsius)| *celsius).fold(f32::NEG_INFINITY, f32::max);
        self.step(hottest, now_ns);
        Heat { zones, level: self.level }
    }

    fn step(&mut self, celsius: f32, now_ns: u64) {
        let since = Duration::from_nanos(now_ns.saturating_sub(self.changed_ns));
        let above = |limit: Option<f32>, margin: f32| limit.is_some_and(|limit| celsius > limit - margin);
        let next = match self.level {
            // At once: this is the owner's last line.
            level if level < PAUSED && above(self.pause, 0.0) => PAUSED,
            PAUSED if !above(self.pause, HYSTERESIS) => PAUSED - 1,
            level if level < PAUSED - 1 && above(self.throttle, 0.0) && (level == 0 || since >= STEPS.0) => level + 1,
            level if (1..PAUSED).contains(&level) && !above(self.throttle, HYSTERESIS) && since >= STEPS.1 => level - 1,
            level => level,
        };
        if next != self.level {
            self.level = next;
            self.changed_ns = now_ns;
        }
    }
}

/// How long to rest at `level` after a frame that took `busy`.
pub fn rest(level: u8, busy: Duration) -> Duration {
    REST.get(usize::from(level)).map_or(Duration::ZERO, |&times| busy.mul_f64(times))
}

/// The zones' folders; none where the kernel has none.
fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("thermal_zone"));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
    folders.sort();
    folders
}

/// A temperature in thousandths of a degree, as the kernel writes it. A sensor that is asleep or broken gives an error
/// or nonsense: it is passed over.
fn celsius(path: &Path) -> Option<f32> {
    let thousandths: i32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(thousandths as f32 / 1000.0).filter(|celsius| (-60.0..200.0).contains(celsius))
}

fn zones(root: &Path) -> Vec<(String, f32)> {
    let mut zones: std::collections::BTreeMap<String, f32> = Default::default();
    for folder in folders(root) {
        let Some(found) = celsius(&folder.join("temp")) else { continue };
        let name = std::fs::read_to_string(folder.join("type")).unwrap_or_default().trim().to_owned();
        let hottest = zones.entry(name).or_insert(found);
        *hottest = hottest.max(found);
    }
    zones.into_iter().collect()
}

/// The lowest temperature at which the kernel would slow the board down: the trip points of type `passive`.
fn passive(root: &Path) -> Option<f32> {
    let trips = folders(root).into_iter().flat_map(|folder| {
        (0..16).filter_map(move |number| {
            let kind = std::fs::read_to_string(folder.join(format!("trip_point_{number}_type"))).ok()?;
            (kind.trim() == "passive").then(|| celsius(&folder.join(format!("trip_point_{number}_temp"))))?
        })
    });
    // A trip point at or below room temperature is a way to say "unused".
    trips.filter(|&celsius| celsius > 40.0).min_by(f32::total_cmp)
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
    fn the_level_climbs_while_it_is_hot_and_falls_when_it_has_been_cool() {
        let root = board("82500");
        let mut thermal = Thermal::new(root.path(), &settings(None, None));
        assert_eq!(thermal.throttle_celsius(), Some(80.0), "below the kernel's own");
        let heat = thermal.look(S);
        assert_eq!((heat.level, heat.hottest().unwrap().clone()), (1, ("cpu-thermal".to_owned(), 82.5)));
        let levels: Vec<u8> = (2..40).map(|s| thermal.look(s * S).level).collect();
        assert_eq!(levels.iter().position(|&level| level == 2), Some(9));
        assert_eq!(levels.last(), Some(&3), "never paused without a limit for that");

        let temp = root.path().join("thermal_zone0/temp");
        std::fs::write(&temp, "77000").unwrap();
        assert_eq!(thermal.look(100 * S).level, 3, "not cool enough to do more");
        std::fs::write(&temp, "70000").unwrap();
        let levels: Vec<u8> = (101..200).map(|s| thermal.look(s * S).level).collect();
        assert_eq!((levels[0], levels[29], levels[30], levels[98]), (2, 2, 1, 0));
    }

    #[test]
    fn the_owners_limits_go_before_and_pausing_is_at_once() {
        let root = board("91000");
        let mut thermal = Thermal::new(root.path(), &settings(Some(70.0), Some(90.0)));
        assert_eq!(thermal.look(S).level, PAUSED);
        let temp = root.path().join("thermal_zone0/temp");
        std::fs::write(&temp, "87000").unwrap();
        assert_eq!(thermal.look(2 * S).level, PAUSED);
        std::fs::write(&temp, "84000").unwrap();
        assert_eq!(thermal.look(3 * S).level, PAUSED - 1);
    }

    #[test]
    fn a_board_without_zones_or_with_broken_ones_is_never_hot() {
        let empty = tempfile::tempdir().unwrap();
        for root in [empty.path(), Path::new("/nonexistent"), board("nonsense").path(), board("-274000").path()] {
            let mut thermal = Thermal::new(root, &settings(Some(50.0), Some(60.0)));
            assert_eq!(thermal.look(S), Heat { zones: Vec::new(), level: 0 });
        }
    }

    #[test]
    fn rest_grows_with_the_level() {
        let busy = Duration::from_millis(100);
        let rests: Vec<u128> = (0..=PAUSED).map(|level| rest(level, busy).as_millis()).collect();
        assert_eq!(rests, [0, 50, 100, 300, 0], "a pause is not a rest");
    }
}
