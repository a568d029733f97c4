//! Rates of a camera: frames a second and latency, published every few seconds, and the rate limit of pictures.

use std::collections::BTreeMap;

use serde_json::json;

use crate::message::Report;

/// Interval between two statistics, in nanoseconds.
const STATISTICS_PERIOD_NS: u64 = 10_000_000_000;
/// Shortest interval between two pictures on a topic.
const MIN_PICTURE_INTERVAL_NS: u64 = 2_000_000_000;

/// Rates of all cameras.
#[derive(Debug)]
pub struct Rates {
    cameras: BTreeMap<String, CameraRates>,
    /// Time of the last picture, by topic.
    pictures: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct CameraRates {
    period_start_ns: Option<u64>,
    frames: u32,
    latency_ms: f64,
}

impl Rates {
    pub fn new<'a>(cameras: impl Iterator<Item = &'a str>) -> Self {
        let cameras = cameras.map(|camera| (camera.to_owned(), CameraRates::default())).collect();
        Self { cameras, pictures: BTreeMap::new() }
    }

    /// Adds a report. Returns statistics when they are due.
    pub fn add(&mut self, report: &Report, now_ns: u64) -> Option<Vec<u8>> {
        let rates = self.cameras.get_mut(&report.camera)?;
        let period_start_ns = *rates.period_start_ns.get_or_insert(now_ns);
        rates.frames += 1;
        rates.latency_ms += report.timing_ms.total;
        let elapsed_ns = now_ns.saturating_sub(period_start_ns);
        if elapsed_ns < STATISTICS_PERIOD_NS {
            return None;
        }
        let round = |value: f64| (value * 100.0).round() / 100.0;
        // The first frame starts the period.
        let fps = round(f64::from(rates.frames - 1) / (elapsed_ns as f64 * 1e-9));
        let latency_ms = round(rates.latency_ms / f64::from(rates.frames));
        *rates = CameraRates { period_start_ns: Some(now_ns), frames: 1, latency_ms: report.timing_ms.total };
        Some(json!({ "fps": fps, "latency_ms": latency_ms }).to_string().into_bytes())
    }

    /// True if a picture may be published on `topic` now. Then the next one must wait for the interval.
    pub fn may_publish_picture(&mut self, topic: &str, now_ns: u64) -> bool {
        let before = self.pictures.get(topic);
        let may = before.is_none_or(|before| now_ns.saturating_sub(*before) >= MIN_PICTURE_INTERVAL_NS);
        if may {
            self.pictures.insert(topic.to_owned(), now_ns);
        }
        may
    }
}
