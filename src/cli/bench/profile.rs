//! Profile: times and work of frames by step and stage.

use serde::Serialize;

use crate::cli::machine;
use crate::detector::Detector;
use crate::detector::plan::{Op, Part, Plan, StepId};
use crate::detector::tap::NoTap;
use crate::error::Result;
use crate::frame::Picture;
use crate::kernel::ceiling::{self, process_seconds};
use crate::kernel::isa::Isa;
use crate::preprocess::{Transform, TransformParams};
use crate::quant::Precision;
use crate::quantile::nearest_rank;

/// Result of the benchmark.
#[derive(Debug, Serialize)]
pub(super) struct Profile {
    pub model: String,
    pub precision: &'static str,
    pub cpu: String,
    pub kernel: &'static str,
    pub threads: usize,
    /// width, height
    pub picture: [usize; 2],
    /// width, height, padding included
    pub canvas: [usize; 2],
    pub proposals: usize,
    pub detections: usize,
    pub frames: usize,
    /// Peak rate of one core in fp32, 10⁹ multiply-adds a second.
    pub ceiling_f32_gmacs: f64,
    /// Peak rate of one core in int8.
    pub ceiling_i8_gmacs: f64,
    pub gmac: f64,
    /// Median CPU time from picture to boxes.
    pub cpu_ms: f64,
    /// Median wall time from picture to boxes.
    pub wall_ms_p50: f64,
    pub wall_ms_p99: f64,
    pub peak_rss_mib: Option<f64>,
    /// Bytes that all steps of a quantized network read and write, from shapes.
    pub bytes: Option<usize>,
    pub stages: Vec<StageTime>,
    pub steps: Vec<StepTime>,
}

/// One stage of the frame.
#[derive(Debug, Serialize)]
pub(super) struct StageTime {
    pub name: &'static str,
    pub cpu_ms: f64,
    pub gmac: f64,
    /// 10⁹ multiply-adds a second of CPU time.
    pub gmacs: Option<f64>,
    /// Share of one core's peak rate.
    pub share: Option<f64>,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct StepTime {
    pub name: String,
    /// height, width, channels
    pub shape: [usize; 3],
    pub precision: &'static str,
    pub gmac: f64,
    pub cpu_ms: f64,
    pub gmacs: Option<f64>,
    pub share: Option<f64>,
    /// Bytes of maps and weights that a step of a quantized network reads, and bytes that it writes, from shapes.
    pub bytes: Option<[usize; 2]>,
}

/// Runs `frames` frames after one warm-up frame.
pub(super) fn run(detector: &mut Detector, picture: &Picture, frames: usize, isa: Isa) -> Result<Profile> {
    let mut transform = Transform::new(TransformParams::from(detector.transform()))?;
    let mut input = detector.new_input();
    let plan = detector.plan().clone();
    let (mut walls, mut cpus, mut prepares) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_step: Vec<Vec<f64>> = vec![Vec::with_capacity(frames); plan.steps.len()];
    let mut detections = 0;
    let mut ceilings = ceiling::measure(isa);
    for frame in 0..=frames {
        let wall = std::time::Instant::now();
        let start = process_seconds();
        detector.pool().install(|| transform.fill(picture, &mut input))?;
        let prepared = process_seconds();
        let mut last = prepared;
        let mut after = |step: StepId| {
            let now = process_seconds();
            if frame > 0 {
                by_step[step].push((now - last) * 1e3);
            }
            last = now;
        };
        detections = detector.detect_with(&input, &mut NoTap, &mut after)?.len();
        if frame > 0 {
            walls.push(wall.elapsed().as_secs_f64() * 1e3);
            cpus.push((process_seconds() - start) * 1e3);
            prepares.push((prepared - start) * 1e3);
        }
    }
    // The CPU's clock rate varies, so the ceiling is the larger of a measurement before and one after.
    let again = ceiling::measure(isa);
    ceilings.f32_gmacs = ceilings.f32_gmacs.max(again.f32_gmacs);
    ceilings.i8_gmacs = ceilings.i8_gmacs.max(again.i8_gmacs);

    let fit = *input.fit();
    let proposals = detector.proposals();
    let shapes = plan.shapes(fit.canvas_height, fit.canvas_width, proposals);
    let macs = plan.macs(&shapes);
    let times: Vec<f64> = by_step.iter_mut().map(|times| nearest_rank(times, 0.5).unwrap_or(0.0)).collect();
    let ceiling_of = |id: StepId| match detector.step_precision(id) {
        Precision::Fp32 => ceilings.f32_gmacs,
        _ => ceilings.i8_gmacs,
    };
    let traffic = detector.int8_model().map(|model| model.traffic(&shapes));
    let steps = (0..plan.steps.len())
        .filter(|&id| plan.steps[id].op != Op::Image)
        .map(|id| {
            let gmac = macs[id] as f64 / 1e9;
            let gmacs = (macs[id] > 0 && times[id] > 0.0).then(|| gmac / times[id] * 1e3);
            StepTime {
                name: plan.steps[id].name.clone(),
                shape: [shapes[id].height, shapes[id].width, shapes[id].channels],
                precision: if macs[id] > 0 { detector.step_precision(id).name() } else { "" },
                gmac,
                cpu_ms: times[id],
                gmacs,
                share: gmacs.map(|gmacs| gmacs / ceiling_of(id)),
                bytes: traffic.as_ref().map(|traffic| traffic[id]),
            }
        })
        .collect();
    let ceiling = ceiling_of(plan.key_steps.body[0]);
    Ok(Profile {
        model: detector.summary().name.clone(),
        precision: detector.summary().precision.name(),
        cpu: machine::cpu_name(),
        kernel: detector.kernel(),
        threads: detector.threads(),
        picture: [picture.width, picture.height],
        canvas: [fit.canvas_width, fit.canvas_height],
        proposals,
        detections,
        frames,
        ceiling_f32_gmacs: ceilings.f32_gmacs,
        ceiling_i8_gmacs: ceilings.i8_gmacs,
        gmac: macs.iter().sum::<u64>() as f64 / 1e9,
        cpu_ms: nearest_rank(&mut cpus, 0.5).unwrap_or(0.0),
        wall_ms_p50: nearest_rank(&mut walls, 0.5).unwrap_or(0.0),
        wall_ms_p99: nearest_rank(&mut walls, 0.99).unwrap_or(0.0),
        peak_rss_mib: peak_rss_mib(),
        bytes: traffic.as_ref().map(|traffic| traffic.iter().flatten().sum()),
        stages: stages(&plan, &times, &macs, nearest_rank(&mut prepares, 0.5).unwrap_or(0.0), ceiling),
        steps,
    })
}

/// Sums steps into stages: preprocessing, the layers by module, and the other operations.
fn stages(plan: &Plan, times: &[f64], macs: &[u64], prepare_ms: f64, ceiling: f64) -> Vec<StageTime> {
    let sum = |name: &'static str, wanted: &dyn Fn(StepId) -> bool| {
        let ids = || (0..plan.steps.len()).filter(|&id| wanted(id));
        // A sum of no f64 is −0.
        let cpu_ms = ids().map(|id| times[id]).fold(0.0, |sum, time| sum + time);
        let gmac = ids().map(|id| macs[id]).sum::<u64>() as f64 / 1e9;
        let gmacs = (gmac > 0.0 && cpu_ms > 0.0).then(|| gmac / cpu_ms * 1e3);
        StageTime { name, cpu_ms, gmac, gmacs, share: gmacs.map(|gmacs| gmacs / ceiling) }
    };
    let layers = |part: Part| move |id: StepId| macs[id] > 0 && plan.steps[id].part == part;
    let prepare = StageTime { name: "preprocess", cpu_ms: prepare_ms, gmac: 0.0, gmacs: None, share: None };
    vec![
        prepare,
        sum("body", &layers(Part::Body)),
        sum("fpn", &layers(Part::Fpn)),
        sum("rpn head", &layers(Part::Rpn)),
        sum("box head", &layers(Part::Roi)),
        sum("pooling", &|id| matches!(plan.steps[id].op, Op::MaxPool | Op::Subsample)),
        sum("elementwise", &|id| matches!(plan.steps[id].op, Op::Activate(_) | Op::GlobalMean | Op::Scale)),
        sum("proposals", &|id| plan.steps[id].op == Op::Proposals),
        sum("roi align", &|id| plan.steps[id].op == Op::RoiAlign),
        sum("detections", &|id| plan.steps[id].op == Op::Detections),
        sum("all layers", &|id| macs[id] > 0),
    ]
}

/// Peak resident memory of the process.
fn peak_rss_mib() -> Option<f64> {
    let bytes = machine::memory(&machine::read("/proc/self/status"), "VmHWM")?;
    Some(bytes as f64 / f64::from(1 << 20))
}
