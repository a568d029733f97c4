//! The gate before a camera's slot: which of its frames are worth the detector's time.
//!
//! In: a frame as it was captured, and the camera's rules. Out: pass, or the reason why not, for counting. The rate cap
//! spaces frames; the motion gate compares a coarse grid of brightness with that of the last frame that passed, so slow
//! change adds up until it is seen, and lets one frame through after a while though nothing moved.

use std::time::Duration;

use crate::config::CameraSettings;
use crate::frame::Image;

/// Rows and columns of the grid, and pixels sampled in each cell in either direction: a cell's mean is little moved by
/// sensor noise.
const GRID: (usize, usize) = (36, 64);
const SAMPLES: usize = 3;

/// Levels of brightness, of 255, by which a cell must differ to have changed.
const STEP: i32 = 12;

/// The rules of one camera.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GateRules {
    /// Least time between two frames.
    period: Option<Duration>,
    /// Share of the picture that must have changed; 0: none need.
    motion: f32,
    /// One frame in this time passes though nothing moved.
    interval: Duration,
}

impl GateRules {
    /// The rules that a camera's settings give.
    pub fn new(camera: &CameraSettings) -> Self {
        let period = camera.max_fps.map(|fps| Duration::from_secs_f64(1.0 / fps.max(1e-6)));
        Self { period, motion: camera.motion_gate, interval: camera.motion_interval }
    }
}

/// What the gate remembers of the frames that passed.
#[derive(Debug, Default)]
pub struct Gate {
    /// When the next frame is due by the rate cap, nanoseconds of monotonic time.
    due_ns: u64,
    /// When one passed last, nanoseconds of boot time: a night asleep counts.
    passed_ns: Option<u64>,
    grid: Vec<u8>,
}

impl Gate {
    /// How long a source that waits for the detector has to wait for the rate cap.
    pub fn early(&self, rules: &GateRules, now_ns: u64) -> Duration {
        Duration::from_nanos(if rules.period.is_some() { self.due_ns.saturating_sub(now_ns) } else { 0 })
    }

    /// Judges a frame captured now, by monotonic and boot time: `None` if it passes, else the reason.
    pub fn judge(&mut self, rules: &GateRules, image: &Image, now_ns: u64, boot_ns: u64) -> Option<&'static str> {
        let period_ns = rules.period.map_or(0, |period| period.as_nanos() as u64);
        // A frame a little early passes, at the next one's cost: cameras jitter, and the mean stays under the cap.
        if now_ns + period_ns / 8 < self.due_ns && period_ns > 0 {
            return Some("rate");
        }
        if rules.motion > 0.0 {
            let grid = grid(image);
            let long_ago =
                self.passed_ns.is_none_or(|at| boot_ns.saturating_sub(at) >= rules.interval.as_nanos() as u64);
            if !long_ago && changed(&self.grid, &grid) < rules.motion {
                return Some("still");
            }
            self.grid = grid;
        }
        self.passed_ns = Some(boot_ns);
        self.due_ns = self.due_ns.max(now_ns.saturating_sub(period_ns / 8)) + period_ns;
        None
    }
}

/// Mean brightness of each cell.
fn grid(image: &Image) -> Vec<u8> {
    let at = |cell: usize, cells: usize, sample: usize| {
        (cell as f32 + (sample as f32 + 0.5) / SAMPLES as f32) / cells as f32
    };
    let mean = |row: usize, column: usize| {
        let samples = (0..SAMPLES * SAMPLES).map(|sample| {
            let (x, y) = (at(column, GRID.1, sample % SAMPLES), at(row, GRID.0, sample / SAMPLES));
            usize::from(image.brightness(x, y))
        });
        (samples.sum::<usize>() / (SAMPLES * SAMPLES)) as u8
    };
    (0..GRID.0)
        .flat_map(|row| (0..GRID.1).map(move |column| (row, column)))
        .map(|(row, column)| mean(row, column))
        .collect()
}

/// Share of the cells that differ.
fn changed(before: &[u8], now: &[u8]) -> f32 {
    let differ = |(a, b): &(&u8, &u8)| (i32::from(**a) - i32::from(**b)).abs() >= STEP;
    before.iter().zip(now).filter(differ).count() as f32 / now.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Picture;

    const MS: u64 = 1_000_000;

    fn flat(level: u8) -> Image {
        Picture::filled(320, 180, [level; 3]).into()
    }

    /// Passes of `gate` at these milliseconds.
    fn passes(gate: &mut Gate, rules: &GateRules, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        times.into_iter().filter(|ms| gate.judge(rules, &flat(9), ms * MS, ms * MS).is_none()).collect()
    }

    #[test]
    fn the_rate_cap_holds_on_average_and_forgives_jitter() {
        let rules = GateRules { period: Some(Duration::from_millis(100)), ..GateRules::default() };
        let mut gate = Gate::default();
        // 30 frames a second, the tenth of a second now early, now late.
        let times = (0..300).map(|n| 1000 + n * 100 / 3 + (n % 2) * 5);
        let passed = passes(&mut gate, &rules, times);
        assert!((98..=101).contains(&passed.len()), "10 a second for 10 s, were {}", passed.len());
        let mut slow = Gate::default();
        assert_eq!(passes(&mut slow, &rules, [0, 150, 300, 451]), [0, 150, 300, 451], "a slower camera loses nothing");
        assert_eq!(slow.early(&rules, 451 * MS), Duration::from_micros(87_500));
    }

    #[test]
    fn a_still_scene_passes_once_in_the_interval_and_slow_change_adds_up() {
        let rules = GateRules { motion: 0.1, interval: Duration::from_secs(10), ..GateRules::default() };
        let mut gate = Gate::default();
        assert_eq!(passes(&mut gate, &rules, (0..25).map(|s| s * 1000)), [0, 10_000, 20_000]);
        // A level a frame: seen when it has become twelve.
        let dawn: Vec<u8> =
            (9..60).filter(|&level| gate.judge(&rules, &flat(level), 0, 20_000 * MS).is_none()).collect();
        assert_eq!(dawn, [21, 33, 45, 57]);
    }

    #[test]
    fn a_part_of_the_picture_is_enough_where_so_little_is_asked_for() {
        let mut picture = Picture::filled(320, 180, [9; 3]);
        // A tenth of the picture.
        for row in picture.data.chunks_mut(320 * 3) {
            row[..32 * 3].fill(200);
        }
        for (motion, expected) in [(0.05, None), (0.2, Some("still"))] {
            let rules = GateRules { motion, interval: Duration::from_secs(10), ..GateRules::default() };
            let mut gate = Gate::default();
            gate.judge(&rules, &flat(9), 0, 0);
            assert_eq!(gate.judge(&rules, &picture.clone().into(), 1, 1), expected);
        }
        let rules = GateRules { motion: 0.01, interval: Duration::from_secs(10), ..GateRules::default() };
        let mut gate = Gate::default();
        gate.judge(&rules, &Picture::filled(1, 1, [9; 3]).into(), 0, 0);
        assert_eq!(gate.judge(&rules, &flat(9), 1, 1), Some("still"), "another size alone is no motion");
    }
}
