//! Latest pass and its predecessors: error maps, figures and a series of 24 hours, for the web page and the control
//! socket.
//!
//! In: every pass, from the monitor's thread. Out: copies, for any thread.

use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};

use crate::message::Moment;
use crate::monitor::drift::error_map::ErrorMap;
use crate::monitor::numbers::rounded_value;
use crate::sync::IgnorePoison;

/// Points of the series. One more, and every two neighbours become one.
const POINTS: usize = 240;
/// Age of the oldest point.
const AGE: SignedDuration = SignedDuration::from_hours(24);
/// Steps whose averages are given by time: those with the largest.
const STEPS: usize = 8;

/// Error maps and figures of the latest pass, and the series.
#[derive(Debug, Default)]
pub struct LatestPass {
    shown: Mutex<ShownPasses>,
}

#[derive(Debug, Default)]
struct ShownPasses {
    maps: Vec<ErrorMap>,
    table: Value,
    /// Names of the plan's steps.
    names: Vec<String>,
    series: PassSeries,
}

/// Figures of a pass by time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesPoint {
    /// Time of capture.
    pub at: Moment,
    /// The camera.
    pub camera: String,
    /// Largest average deviation of a step, in spreads of the calibration.
    pub deviations: f64,
    /// Moving average of the share of fp32's detections that int8 has too, from 0 to 1.
    pub agreement: Option<f64>,
    /// Mean grey level of the picture, from 0 to 255.
    pub brightness: Option<f64>,
    /// The serving generation.
    pub generation: u32,
    /// True if the verdict is drift.
    pub drifting: bool,
    /// Average deviation of every step.
    #[serde(skip)]
    pub steps: Vec<Option<f32>>,
}

/// Up to 24 hours of passes. Whenever it is full, of every two neighbours the one with the larger deviation stays, so that
/// peaks are kept and the memory is bounded.
#[derive(Debug, Default)]
struct PassSeries {
    points: VecDeque<SeriesPoint>,
    /// Passes since the last point, of which the worst is the next point.
    pending: Option<SeriesPoint>,
    passes: u32,
    /// Passes of a point, less one.
    merged: u32,
}

impl PassSeries {
    fn add(&mut self, point: SeriesPoint) {
        let now = point.at.0;
        let worse = match self.pending.take() {
            Some(pending) if pending.deviations > point.deviations => pending,
            _ => point,
        };
        if self.passes < self.merged {
            self.passes += 1;
            self.pending = Some(worse);
            return;
        }
        self.passes = 0;
        self.points.push_back(worse);
        let too_old = |point: &SeriesPoint| now.duration_since(point.at.0) > AGE;
        while self.points.front().is_some_and(too_old) {
            self.points.pop_front();
        }
        if self.points.len() > POINTS {
            let mut points = std::mem::take(&mut self.points).into_iter();
            while let Some(first) = points.next() {
                let worse = match points.next() {
                    Some(second) if second.deviations >= first.deviations => second,
                    _ => first,
                };
                self.points.push_back(worse);
            }
            self.merged = 2 * self.merged + 1;
        }
    }

    /// The points, and the averages of the steps with the largest ones by time.
    fn to_json(&self, names: &[String]) -> Value {
        let points: Vec<&SeriesPoint> = self.points.iter().chain(&self.pending).collect();
        let most = |step: usize| points.iter().filter_map(|point| *point.steps.get(step)?).fold(0f32, f32::max);
        let mut order: Vec<(usize, f32)> = (0..names.len()).map(|step| (step, most(step))).collect();
        order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let of_step = |&(step, _): &(usize, f32)| {
            let values: Vec<Option<f32>> =
                points.iter().map(|point| point.steps.get(step).copied().flatten()).collect();
            json!({ "step": names.get(step), "deviations": rounded_value(&values) })
        };
        let steps: Vec<Value> = order.iter().take(STEPS).filter(|(_, most)| *most > 0.0).map(of_step).collect();
        json!({ "points": rounded_value(&points), "steps": steps })
    }
}

impl LatestPass {
    /// Replaces the latest pass and adds `point` to the series. `names` are those of the plan's steps, which are the same in
    /// every pass.
    pub fn publish<'a>(
        &self,
        maps: Vec<ErrorMap>,
        table: Value,
        point: SeriesPoint,
        names: impl Iterator<Item = &'a str>,
    ) {
        let mut shown = self.shown.lock().ignore_poison();
        (shown.maps, shown.table) = (maps, table);
        if shown.names.is_empty() {
            shown.names = names.map(str::to_owned).collect();
        }
        shown.series.add(point);
    }

    /// The error maps, finest level first; empty without a reference.
    pub fn maps(&self) -> Vec<ErrorMap> {
        self.shown.lock().ignore_poison().maps.clone()
    }

    /// The figures, one object per step; null before the first pass.
    pub fn table(&self) -> Value {
        self.shown.lock().ignore_poison().table.clone()
    }

    /// Figures of the passes of the last 24 hours: `points`, oldest first, and in `steps` the average deviations of the
    /// steps with the largest ones.
    pub fn series(&self) -> Value {
        let shown = self.shown.lock().ignore_poison();
        shown.series.to_json(&shown.names)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn point(second: i64, deviations: f64) -> SeriesPoint {
        SeriesPoint {
            at: Moment(Timestamp::from_second(second).unwrap()),
            camera: "front".into(),
            deviations,
            agreement: Some(0.9),
            brightness: None,
            generation: 0,
            drifting: false,
            steps: vec![None, Some(deviations as f32), Some(0.1)],
        }
    }

    #[test]
    fn peaks_stay_whatever_the_number_of_passes_and_nothing_is_older_than_a_day() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let mut series = PassSeries::default();
        for pass in 0..5000 {
            series.add(point(pass * 10, if pass == 1234 { 7.5 } else { (pass % 3) as f64 * 0.1 }));
            assert!(series.points.len() <= POINTS);
        }
        let value = series.to_json(&names);
        let points = value["points"].as_array().unwrap();
        assert!(points.len() > POINTS / 3, "{}", points.len());
        assert!(points.iter().any(|point| point["deviations"] == 7.5));
        assert_eq!(value["steps"][0]["step"], "b");
        assert_eq!(value["steps"][0]["deviations"].as_array().unwrap().len(), points.len());
        assert_eq!(value["steps"].as_array().unwrap().len(), 2, "a step without figures is left out");
        let times: Vec<&str> = points.iter().map(|point| point["at"].as_str().unwrap()).collect();
        assert!(times.is_sorted());
        series.add(point(5000 * 10 + 2 * 86_400, 1.0));
        for pass in 0..64 {
            series.add(point(5000 * 10 + 2 * 86_400 + pass, 1.0));
        }
        let first = series.points.front().unwrap().at.0;
        assert!(first >= Timestamp::from_second(5000 * 10 + 86_400).unwrap());
    }
}
