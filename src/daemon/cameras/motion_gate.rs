//! Motion gate and rate cap: decide which captured frames of a camera go to the detector.
//!
//! In: a captured frame and the camera's rules. Out: pass, or the reason to drop it. The rate cap spaces the frames. The
//! motion gate compares the frame's coarse brightness with that of the last frame that passed, so that slow changes add
//! up. After `motion_interval` a frame passes even if nothing moved.

use std::time::Duration;

use super::drop_reason::DropReason;
use crate::config::CameraSettings;
use crate::frame::Image;

/// Cells of the brightness grid.
struct GridSize {
    rows: usize,
    columns: usize,
    /// Pixels sampled per cell in each direction: averages out sensor noise.
    samples: usize,
}

const GRID: GridSize = GridSize { rows: 36, columns: 64, samples: 3 };

/// Smallest change of a cell's brightness, in levels of 255, that counts as motion.
const MIN_CELL_CHANGE: i32 = 12;

/// Gate rules of one camera.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GateRules {
    /// Least time between two frames.
    period: Option<Duration>,
    /// Share of the cells that must have changed; 0 disables the motion gate.
    motion: f32,
    /// Longest time between two frames that pass the motion gate.
    interval: Duration,
}

impl GateRules {
    /// The rules that a camera's settings describe.
    pub fn new(camera: &CameraSettings) -> Self {
        let period = camera.max_fps.map(|fps| Duration::from_secs_f64(1.0 / fps.max(1e-6)));
        Self { period, motion: camera.motion_gate, interval: camera.motion_interval }
    }
}

/// State of the gate: the last frame that passed.
#[derive(Debug, Default)]
pub struct MotionGate {
    /// Time at which the rate cap admits the next frame, in nanoseconds of monotonic time.
    due_ns: u64,
    /// Time at which the last frame passed, in nanoseconds of boot time, which includes suspend.
    passed_ns: Option<u64>,
    /// Mean brightness of each cell of the last frame that passed.
    cells: Vec<u8>,
}

impl MotionGate {
    /// Time until the rate cap admits another frame.
    pub fn time_until_due(&self, rules: &GateRules, now_ns: u64) -> Duration {
        Duration::from_nanos(if rules.period.is_some() { self.due_ns.saturating_sub(now_ns) } else { 0 })
    }

    /// Checks a frame captured at `now_ns` (monotonic time) and `boot_ns` (boot time). `None` if it passes.
    pub fn check(&mut self, rules: &GateRules, image: &Image, now_ns: u64, boot_ns: u64) -> Option<DropReason> {
        let period_ns = rules.period.map_or(0, |period| period.as_nanos() as u64);
        // Cameras jitter: a frame up to 1/8 period early passes. The next one is due correspondingly later, so that the
        // mean rate stays below the cap.
        if now_ns + period_ns / 8 < self.due_ns && period_ns > 0 {
            return Some(DropReason::Rate);
        }
        if rules.motion > 0.0 {
            let cells = cells(image);
            let interval_ns = rules.interval.as_nanos() as u64;
            let is_due = self.passed_ns.is_none_or(|at| boot_ns.saturating_sub(at) >= interval_ns);
            if !is_due && changed_share(&self.cells, &cells) < rules.motion {
                return Some(DropReason::Still);
            }
            self.cells = cells;
        }
        self.passed_ns = Some(boot_ns);
        self.due_ns = self.due_ns.max(now_ns.saturating_sub(period_ns / 8)) + period_ns;
        None
    }
}

/// Mean brightness of each cell, row by row.
fn cells(image: &Image) -> Vec<u8> {
    let at = |cell: usize, cells: usize, sample: usize| {
        (cell as f32 + (sample as f32 + 0.5) / GRID.samples as f32) / cells as f32
    };
    let per_cell = GRID.samples * GRID.samples;
    let mean = |row: usize, column: usize| {
        let samples = (0..per_cell).map(|sample| {
            let (x, y) = (at(column, GRID.columns, sample % GRID.samples), at(row, GRID.rows, sample / GRID.samples));
            usize::from(image.brightness(x, y))
        });
        (samples.sum::<usize>() / per_cell) as u8
    };
    (0..GRID.rows)
        .flat_map(|row| (0..GRID.columns).map(move |column| (row, column)))
        .map(|(row, column)| mean(row, column))
        .collect()
}

/// Share of the cells whose brightness changed.
fn changed_share(before: &[u8], now: &[u8]) -> f32 {
    let differ = |(a, b): &(&u8, &u8)| (i32::from(**a) - i32::from(**b)).abs() >= MIN_CELL_CHANGE;
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

    /// The times, in milliseconds, at which a frame passes `gate`.
    fn passes(gate: &mut MotionGate, rules: &GateRules, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        times.into_iter().filter(|ms| gate.check(rules, &flat(9), ms * MS, ms * MS).is_none()).collect()
    }

    #[test]
    fn the_rate_cap_holds_on_average_and_tolerates_jitter() {
        let rules = GateRules { period: Some(Duration::from_millis(100)), ..GateRules::default() };
        let mut gate = MotionGate::default();
        // 30 frames per second with jitter.
        let times = (0..300).map(|n| 1000 + n * 100 / 3 + (n % 2) * 5);
        let passed = passes(&mut gate, &rules, times);
        assert!((98..=101).contains(&passed.len()), "10 a second for 10 s, were {}", passed.len());
        let mut slow = MotionGate::default();
        assert_eq!(passes(&mut slow, &rules, [0, 150, 300, 451]), [0, 150, 300, 451], "a slower camera loses nothing");
        assert_eq!(slow.time_until_due(&rules, 451 * MS), Duration::from_micros(87_500));
    }

    #[test]
    fn a_still_scene_passes_once_per_interval_and_slow_changes_add_up() {
        let rules = GateRules { motion: 0.1, interval: Duration::from_secs(10), ..GateRules::default() };
        let mut gate = MotionGate::default();
        assert_eq!(passes(&mut gate, &rules, (0..25).map(|s| s * 1000)), [0, 10_000, 20_000]);
        // One level per frame: a change is noticed once it reaches twelve levels.
        let dawn: Vec<u8> =
            (9..60).filter(|&level| gate.check(&rules, &flat(level), 0, 20_000 * MS).is_none()).collect();
        assert_eq!(dawn, [21, 33, 45, 57]);
    }

    #[test]
    fn a_part_of_the_picture_passes_a_low_threshold() {
        let mut picture = Picture::filled(320, 180, [9; 3]);
        // A tenth of the picture.
        for row in picture.data.chunks_mut(320 * 3) {
            row[..32 * 3].fill(200);
        }
        for (motion, expected) in [(0.05, None), (0.2, Some(DropReason::Still))] {
            let rules = GateRules { motion, interval: Duration::from_secs(10), ..GateRules::default() };
            let mut gate = MotionGate::default();
            gate.check(&rules, &flat(9), 0, 0);
            assert_eq!(gate.check(&rules, &picture.clone().into(), 1, 1), expected);
        }
        let rules = GateRules { motion: 0.01, interval: Duration::from_secs(10), ..GateRules::default() };
        let mut gate = MotionGate::default();
        gate.check(&rules, &Picture::filled(1, 1, [9; 3]).into(), 0, 0);
        assert_eq!(
            gate.check(&rules, &flat(9), 1, 1),
            Some(DropReason::Still),
            "another frame size alone is no motion"
        );
    }
}
