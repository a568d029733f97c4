//! Summary lines for a person at a terminal: time, objects by label, frames a second, scene and monitor.
//!
//! In: reports. Out: one line a second for each camera.

use std::collections::BTreeMap;
use std::fmt;

use jiff::tz::TimeZone;
use tokio::io::AsyncWrite;

use super::{Sink, SinkFuture, Stdout};
use crate::message::{Message, Report};

/// Columns of the counts, so that lines are aligned.
const COUNTS_WIDTH: usize = 36;
/// Space between the columns.
const GAP: &str = "   ";

/// Conditions of a camera in a few words each, such as `night` and `drift 0.8`. Called once a line.
pub type ConditionOf = Box<dyn Fn(&str) -> Vec<String> + Send>;

/// Summary lines on stdout, or on another stream in its place.
pub struct Summary<W = tokio::io::Stdout> {
    stream: Stdout<W>,
    time_zone: TimeZone,
    condition: ConditionOf,
    cameras: BTreeMap<String, Interval>,
}

impl<W> fmt::Debug for Summary<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summary").field("cameras", &self.cameras).finish_non_exhaustive()
    }
}

/// Frames of one camera since its last line.
#[derive(Debug, Clone, Copy)]
struct Interval {
    /// Second of the wall clock in which it began.
    second: i64,
    start_ns: u64,
    frames: u32,
}

impl Summary {
    /// Lines on the process's stdout, in local time.
    pub fn new(condition: ConditionOf) -> Self {
        Self::on(Stdout::new(), TimeZone::system(), condition)
    }
}

impl<W: AsyncWrite + Unpin + Send> Summary<W> {
    /// Lines on `stream`, with times of `time_zone`.
    fn on(stream: Stdout<W>, time_zone: TimeZone, condition: ConditionOf) -> Self {
        Self { stream, time_zone, condition, cameras: BTreeMap::new() }
    }

    /// Counts a report. Gives the camera's line if a second of the wall clock has ended since the last one.
    fn line(&mut self, report: &Report) -> Option<String> {
        let started =
            Interval { second: report.captured_at.0.as_second(), start_ns: report.captured_monotonic_ns, frames: 0 };
        let Some(interval) = self.cameras.get_mut(&report.camera) else {
            self.cameras.insert(report.camera.clone(), started);
            return None;
        };
        interval.frames += 1;
        if interval.second == started.second {
            return None;
        }
        let interval = std::mem::replace(interval, started);
        let elapsed_s = started.start_ns.saturating_sub(interval.start_ns) as f64 * 1e-9;
        let fps = f64::from(interval.frames) / elapsed_s.max(1e-3);
        let time = self.time_zone.to_datetime(report.captured_at.0).strftime("%H:%M:%S").to_string();
        let camera = if self.cameras.len() > 1 { format!("{}: ", report.camera) } else { String::new() };
        let counts = format!("{camera}{}", counts(&report.objects));
        let mut columns = vec![format!("{time}  {counts:COUNTS_WIDTH$}"), format!("{fps:4.1} fps")];
        columns.extend((self.condition)(&report.camera));
        Some(columns.join(GAP))
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for Summary<W> {
    fn send<'a>(&'a mut self, message: &'a Message) -> SinkFuture<'a> {
        Box::pin(async move {
            let Message::Report(report) = message else { return Ok(()) };
            match self.line(report) {
                Some(line) => self.stream.write(format!("{line}\n").as_bytes()).await,
                None => Ok(()),
            }
        })
    }

    fn flush(&mut self) -> SinkFuture<'_> {
        self.stream.flush()
    }

    fn is_closed(&self) -> bool {
        self.stream.is_closed()
    }
}

/// Objects by label, in the order of the labels: `3 persons, 1 two-wheeler`.
fn counts(objects: &BTreeMap<String, u32>) -> String {
    let mut labels: BTreeMap<String, u32> = BTreeMap::new();
    for (label, count) in objects {
        *labels.entry(words(label)).or_default() += count;
    }
    if labels.is_empty() {
        return "nothing".to_owned();
    }
    let counted = |(label, count): (&String, &u32)| match count {
        1 => format!("1 {label}"),
        _ if ["s", "x", "ch", "sh"].iter().any(|end| label.ends_with(end)) => format!("{count} {label}es"),
        _ => format!("{count} {label}s"),
    };
    labels.iter().map(counted).collect::<Vec<_>>().join(", ")
}

/// A label in lower case, with a hyphen before each capital inside it.
fn words(label: &str) -> String {
    let mut words = String::new();
    let mut previous_lower = false;
    for letter in label.chars() {
        if previous_lower && letter.is_uppercase() {
            words.push('-');
        }
        previous_lower = letter.is_lowercase();
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Model, ModelPrecision, Moment, Schema, Timing};

    fn report(camera: &str, milliseconds: i64, objects: &[(&str, u32)]) -> Report {
        Report {
            schema: Schema::V1,
            device: "d".into(),
            camera: camera.into(),
            sequence: 1,
            captured_at: Moment(jiff::Timestamp::from_millisecond(milliseconds).unwrap()),
            captured_monotonic_ns: milliseconds as u64 * 1_000_000,
            boot_id: "b".into(),
            clock_synchronized: true,
            width: 640,
            height: 360,
            model: Model { name: "m".into(), precision: ModelPrecision::Int8, generation: 0, sha256: String::new() },
            timing_ms: Timing::default(),
            detections: Vec::new(),
            objects: objects.iter().map(|&(label, count)| (label.to_owned(), count)).collect(),
            occupied: Vec::new(),
            zones: BTreeMap::new(),
            removed: Vec::new(),
        }
    }

    fn summary(condition: fn(&str) -> Vec<String>) -> Summary<Vec<u8>> {
        Summary::on(Stdout::on(Vec::new()), TimeZone::fixed(jiff::tz::offset(1)), Box::new(condition))
    }

    #[test]
    fn a_second_is_a_line_with_counts_rate_and_conditions() {
        let mut summary = summary(|_| vec!["night".to_owned(), "drift 0.8".to_owned()]);
        let seen = [("Person", 2), ("TwoWheeler", 1)];
        let lines: Vec<String> = (0..=20).filter_map(|frame| summary.line(&report("a", frame * 100, &seen))).collect();
        let expected = "01:00:01  2 persons, 1 two-wheeler               10.0 fps   night   drift 0.8";
        assert_eq!(lines, [expected.to_owned(), expected.replace("01:00:01", "01:00:02")]);
    }

    #[test]
    fn cameras_have_lines_of_their_own_and_slow_ones_a_line_a_frame() {
        let mut summary = summary(|_| Vec::new());
        for frame in 0..3 {
            summary.line(&report("a", frame * 2000, &[]));
            let line = summary.line(&report("b", frame * 2000, &[("Bus", 2)]));
            assert_eq!(line.is_some(), frame > 0);
            assert!(line.is_none_or(|line| line.contains("  b: 2 buses") && line.ends_with(" 0.5 fps")));
        }
        assert!(summary.line(&report("a", 7000, &[])).unwrap().contains("a: nothing"));
    }

    #[tokio::test]
    async fn only_reports_are_summarized_and_lines_are_whole() {
        let mut summary = summary(|_| Vec::new());
        for milliseconds in [900, 1000] {
            summary.send(&Message::Report(report("a", milliseconds, &[]))).await.unwrap();
        }
        assert!(!summary.is_closed());
        summary.flush().await.unwrap();
        let text = String::from_utf8(summary.stream.into_stream()).unwrap();
        assert_eq!(text, format!("01:00:01  {:36}   10.0 fps\n", "nothing"));
    }
}
