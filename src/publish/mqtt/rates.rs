//! Rates of a camera: frames a second and latency, published every few seconds, and the rate limit of pictures.

use std::collections::BTreeMap;

use serde_json::json;

use crate::message::Report;

/// Interval between two statistics, in nanoseconds.
const PERIOD_NS: u64 = 10_000_000_000;
/// Shortest interval between two pictures of a camera.
const PICTURE_NS: u64 = 2_000_000_000;

/// Running sums of all cameras.
#[derive(Debug)]
pub struct Rates {
    cameras: BTreeMap<String, Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    since_ns: Option<u64>,
    frames: u32,
    latency_ms: f64,
    shown_ns: Option<u64>,
}

impl Rates {
    pub fn new(cameras: &[String]) -> Self {
        Self { cameras: cameras.iter().map(|camera| (camera.clone(), Sums::default())).collect() }
    }

    /// Adds a report. Returns statistics when they are due.
    pub fn seen(&mut self, report: &Report, now_ns: u64) -> Option<Vec<u8>> {
        let sums = self.cameras.get_mut(&report.camera)?;
        let since_ns = *sums.since_ns.get_or_insert(now_ns);
        sums.frames += 1;
        sums.latency_ms += report.timing_ms.total;
        let elapsed_ns = now_ns.saturating_sub(since_ns);
        if elapsed_ns < PERIOD_NS {
            return None;
        }
        let round = |value: f64| (value * 100.0).round() / 100.0;
        // The first frame starts the period.
        let fps = round(f64::from(sums.frames - 1) / (elapsed_ns as f64 * 1e-9));
        let latency_ms = round(sums.latency_ms / f64::from(sums.frames));
        *sums = Sums { since_ns: Some(now_ns), frames: 1, latency_ms: report.timing_ms.total, shown_ns: sums.shown_ns };
        Some(json!({ "fps": fps, "latency_ms": latency_ms }).to_string().into_bytes())
    }

    /// True if a picture of `camera` may be published now. Then the next one must wait for the interval.
    pub fn may_show(&mut self, camera: &str, now_ns: u64) -> bool {
        let Some(sums) = self.cameras.get_mut(camera) else { return false };
        let may = sums.shown_ns.is_none_or(|shown_ns| now_ns.saturating_sub(shown_ns) >= PICTURE_NS);
        if may {
            sums.shown_ns = Some(now_ns);
        }
        may
    }
}
