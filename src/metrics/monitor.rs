//! Metrics of the monitor.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Float;

/// Label of a step of the network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabel {
    /// Its name in the plan.
    pub step: String,
}

/// Label of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// The result, one word.
    pub result: &'static str,
}

/// Metrics of comparison passes, drift and recalibration.
#[derive(Debug, Clone)]
pub struct MonitorMetrics {
    passes: Family<ResultLabel, Counter>,
    calibrations: Family<ResultLabel, Counter>,
    frames: Gauge,
    bytes: Gauge,
    /// Duration of a pass, including its pauses, in seconds.
    pub pass_duration: Histogram,
    /// SQNR of a step's output, in dB.
    pub sqnr: Family<StepLabel, Float>,
    /// Σ|int8 − fp32| / Σ|fp32| of a step's output.
    pub error: Family<StepLabel, Float>,
    /// Share of a step's values outside its quantization range.
    pub clipped: Family<StepLabel, Float>,
    /// Deviation of the worst step from its baseline, in standard deviations.
    pub score: Float,
    /// 1 while drift is raised.
    pub raised: Gauge,
    /// Share of the reference's detections matched by int8, averaged.
    pub agreement: Float,
    /// Generation of the serving model.
    pub generation: Gauge,
}

impl MonitorMetrics {
    /// All metrics at zero, registered in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            passes: Family::default(),
            calibrations: Family::default(),
            frames: Gauge::default(),
            bytes: Gauge::default(),
            pass_duration: super::durations(),
            sqnr: Family::default(),
            error: Family::default(),
            clipped: Family::default(),
            score: Float::default(),
            raised: Gauge::default(),
            agreement: Float::default(),
            generation: Gauge::default(),
        };
        registry.register(
            "monitor_passes",
            "Sampled frames: compared, or the reason why unusable",
            metrics.passes.clone(),
        );
        let duration = metrics.pass_duration.clone();
        registry.register_with_unit(
            "monitor_pass_duration",
            "Duration of a comparison pass, including its pauses",
            Unit::Seconds,
            duration,
        );
        registry.register("calibration_runs", "Recalibrations, by result", metrics.calibrations.clone());
        registry.register("reservoir_frames", "Frames kept for recalibration", metrics.frames.clone());
        registry.register_with_unit(
            "reservoir_size",
            "Memory of the frames kept for recalibration",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        let sqnr = "Signal-to-quantization-noise ratio of a step's output, in dB";
        registry.register("activation_sqnr_db", sqnr, metrics.sqnr.clone());
        let error = "Absolute error of a step's output relative to its magnitude";
        registry.register_with_unit("activation_error", error, Unit::Ratios, metrics.error.clone());
        let clipped = "Share of a step's values outside its quantization range";
        registry.register_with_unit("activation_clipped", clipped, Unit::Ratios, metrics.clipped.clone());
        registry.register(
            "drift_score",
            "Deviation of the worst step from its baseline, in standard deviations",
            metrics.score.clone(),
        );
        registry.register("drift_raised", "1 while drift is raised", metrics.raised.clone());
        let agreement = "Share of the reference's detections matched by int8";
        registry.register_with_unit("detection_agreement", agreement, Unit::Ratios, metrics.agreement.clone());
        registry.register("model_generation", "Generation of the serving model", metrics.generation.clone());
        metrics
    }

    /// Counts a sampled frame: `compared`, or the reason why it was unusable.
    pub fn passed(&self, result: &'static str) {
        self.passes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sampled frames with this result.
    pub fn passes(&self, result: &'static str) -> u64 {
        self.passes.get_or_create(&ResultLabel { result }).get()
    }

    /// Counts a recalibration: `accepted`, `rejected`, `failed` or `rolled_back`.
    pub fn calibrated(&self, result: &'static str) {
        self.calibrations.get_or_create(&ResultLabel { result }).inc();
    }

    /// Sets number and size of the frames kept.
    pub fn reservoir(&self, frames: usize, bytes: usize) {
        self.frames.set(i64::try_from(frames).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
