//! One artifact and one canvas, both committed, give the bytes recorded here, on every CPU and with every instruction
//! set it has.

use std::sync::Arc;

use lookout::detector::int8::{Int8Executor, Int8Model, Quantized};
use lookout::detector::thread_pool;
use lookout::kernel::isa::Isa;
use lookout::quant::artifact::Artifact;
use lookout::tensor::{Canvas, Fit};
use sha2::{Digest, Sha256};

use crate::Hashes;

/// `tests/golden/r50.lookout`: the narrow `r50.safetensors`, quantized on four made pictures of 128×96.
const ARTIFACT: &[u8] = include_bytes!("../golden/r50.lookout");

/// Of every step's output in order.
const STEPS: &str = "b54cea06705ba2d3acc3f066";
/// Of every detection: box, score and class, bit for bit.
const DETECTIONS: &str = "78dd9ec4164407ca78de1638";

/// A picture of 150×110 with edges and noise on a canvas of 160×128, in whole numbers.
fn canvas() -> Canvas<u8> {
    let fit =
        Fit { frame_height: 110, frame_width: 150, height: 110, width: 150, canvas_height: 128, canvas_width: 160 };
    let mut data = Vec::new();
    let mut noise = 1u32;
    for y in 0..fit.canvas_height {
        for x in 0..fit.canvas_width {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let inside = y < fit.height && x < fit.width;
            let edge = if (x / 19 + y / 23) % 3 == 0 { 90 } else { 20 };
            let level = (edge + x / 2 + (noise >> 27) as usize) as u8;
            data.extend(if inside { [level, level / 2 + 40, 255 - level, 0] } else { [124, 116, 104, 0] });
        }
    }
    Canvas::new(fit, 4, data)
}

#[test]
fn one_artifact_gives_the_same_bytes_on_every_cpu() {
    let artifact = Artifact::parse(ARTIFACT).unwrap();
    let adjust = |mut settings: lookout::detector::settings::Settings| {
        settings.roi.score_threshold = 0.0;
        settings.rpn.post_nms_top_n = 100;
        Ok(settings)
    };
    let quantized = Quantized::from_artifact(&artifact, adjust).unwrap();
    assert!(quantized.is_exact());
    let canvas = canvas();
    for isa in Isa::available() {
        let mut executor = Int8Executor::new(Arc::new(Int8Model::new(&quantized, isa).unwrap()));
        let mut tap = Hashes(Vec::new());
        let detections = thread_pool(2).unwrap().install(|| executor.detect_with(&canvas, &mut tap).unwrap().to_vec());
        let mut steps = Sha256::new();
        tap.0.iter().for_each(|(step, hash)| steps.update(format!("{} {hash}\n", quantized.plan.steps[*step].name)));
        let mut found = Sha256::new();
        for detection in &detections {
            let numbers = detection.bbox.iter().chain([&detection.score]);
            numbers.for_each(|number| found.update(number.to_bits().to_le_bytes()));
            found.update(detection.class_id.to_le_bytes());
        }
        let digest = |hash: Sha256| hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(detections.len() > 20, "{} detections", detections.len());
        assert_eq!((digest(steps), digest(found)), (STEPS.into(), DETECTIONS.into()), "{}", isa.name().name());
    }
}
