//! Text of a profile.

use std::fmt::Write;

use super::profile::Profile;
use crate::cli::console;
use crate::error::Result;

/// Prints the profile as tables.
pub(super) fn print(profile: &Profile) -> Result<()> {
    console::print(render(profile).trim_end()).map(drop)
}

fn render(p: &Profile) -> String {
    let mut text = String::new();
    let ([width, height], [canvas_width, canvas_height]) = (p.picture, p.canvas);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} ({}) on {}: {} kernels, {} threads", p.model, p.precision, p.cpu, p.kernel, p.threads);
    let _ = writeln!(
        text,
        "picture {width}×{height}, canvas {canvas_width}×{canvas_height}, {} proposals, {} detections; {} frames",
        p.proposals, p.detections, p.frames
    );
    let _ =
        writeln!(text, "one core's ceiling: fp32 {:.1}, int8 {:.1} GMAC/s\n", p.ceiling_f32_gmacs, p.ceiling_i8_gmacs);
    let head = ["step", "output", "", "GMAC", "CPU ms", "GMAC/s", "ceiling"];
    let _ = writeln!(
        text,
        "{:<40} {:>14} {:>5} {:>8} {:>9} {:>8} {:>8}",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6]
    );
    let rate = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    let percent = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.0} %", value * 100.0));
    for step in &p.steps {
        let [h, w, c] = step.shape;
        let _ = writeln!(
            text,
            "{:<40} {:>14} {:>5} {:>8.3} {:>9.2} {:>8} {:>8}",
            step.name,
            format!("{h}×{w}×{c}"),
            step.precision,
            step.gmac,
            step.cpu_ms,
            rate(step.gmacs),
            percent(step.share)
        );
    }
    let _ = writeln!(text, "\n{:<40} {:>29} {:>9} {:>8} {:>8}", "stage", "GMAC", "CPU ms", "GMAC/s", "ceiling");
    for stage in &p.stages {
        let _ = writeln!(
            text,
            "{:<40} {:>29.3} {:>9.2} {:>8} {:>8}",
            stage.name,
            stage.gmac,
            stage.cpu_ms,
            rate(stage.gmacs),
            percent(stage.share)
        );
    }
    let _ = writeln!(
        text,
        "\npicture to boxes: {:.1} ms CPU; wall {:.1} ms median, {:.1} ms p99; {:.1} GMAC",
        p.cpu_ms, p.wall_ms_p50, p.wall_ms_p99, p.gmac
    );
    if let Some(bytes) = p.bytes {
        let _ = writeln!(text, "maps and weights: {:.0} MB read and written", bytes as f64 / 1e6);
    }
    if let Some(peak) = p.peak_rss_mib {
        let _ = writeln!(text, "peak memory: {peak:.0} MiB");
    }
    text
}
