//! RoIAlign over bytes: against torchvision's formula in f64, and bit for bit over instruction sets and threads.

use lookout::kernel::ceiling::process_seconds;
use lookout::kernel::isa::Isa;
use lookout::kernel::roi_align_u8::{RoiAlignParamsU8, RoiLevelU8, roi_align};

fn random(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1u64 << 24) as f32
}

struct Pyramid {
    maps: Vec<(Vec<u8>, usize, usize)>,
}

impl Pyramid {
    fn new(sizes: &[(usize, usize)], channels: usize) -> Self {
        let mut state = 7;
        let map = |&(height, width): &(usize, usize)| {
            ((0..height * width * channels).map(|_| (random(&mut state) * 256.0) as u8).collect(), height, width)
        };
        Self { maps: sizes.iter().map(map).collect() }
    }

    fn levels(&self) -> Vec<RoiLevelU8<'_>> {
        let mut levels = Vec::new();
        for (number, (data, height, width)) in self.maps.iter().enumerate() {
            levels.push(RoiLevelU8 {
                data,
                height: *height,
                width: *width,
                spatial_scale: 0.25 / (1 << number) as f32,
                scale: 0.02 + number as f32 * 0.01,
                zero_point: [0, 100, 255, 128][number],
            });
        }
        levels
    }
}

/// torchvision's roi_align of one value, in f64 and real units.
fn oracle(
    level: &RoiLevelU8<'_>,
    params: &RoiAlignParamsU8,
    corners: [f32; 4],
    bin: (usize, usize),
    channel: usize,
) -> f64 {
    let [x0, y0, x1, y1] = corners.map(|corner| f64::from(corner * level.spatial_scale));
    let (height, width) = ((y1 - y0).max(1.0) / params.window as f64, (x1 - x0).max(1.0) / params.window as f64);
    let count = |bin: f64| if params.sampling_ratio == 0 { bin.ceil() as usize } else { params.sampling_ratio };
    let (down, across) = (count(height), count(width));
    let value = |y: usize, x: usize| {
        let q = level.data[(y * level.width + x) * params.channels + channel];
        (f64::from(q) - f64::from(level.zero_point)) * f64::from(level.scale)
    };
    let mut sum = 0.0;
    for i in 0..down {
        for j in 0..across {
            let y = y0 + bin.0 as f64 * height + (i as f64 + 0.5) * height / down as f64;
            let x = x0 + bin.1 as f64 * width + (j as f64 + 0.5) * width / across as f64;
            if y < -1.0 || y > level.height as f64 || x < -1.0 || x > level.width as f64 {
                continue;
            }
            let place = |position: f64, size: usize| {
                let position = position.clamp(0.0, (size - 1) as f64);
                let low = (position as usize).min(size - 1);
                (low, (low + 1).min(size - 1), position - low as f64)
            };
            let ((top, bottom, v), (left, right, u)) = (place(y, level.height), place(x, level.width));
            sum += (1.0 - v) * ((1.0 - u) * value(top, left) + u * value(top, right))
                + v * ((1.0 - u) * value(bottom, left) + u * value(bottom, right));
        }
    }
    sum / (down * across) as f64
}

fn boxes(count: usize, width: f32, height: f32) -> Vec<[f32; 4]> {
    let mut state = 3;
    (0..count)
        .map(|_| {
            let (x, y) = (random(&mut state) * width * 1.1 - 20.0, random(&mut state) * height * 1.1 - 20.0);
            let (w, h) = (random(&mut state).powi(3) * width, random(&mut state).powi(3) * height);
            [x, y, x + w, y + h]
        })
        .collect()
}

#[test]
fn torchvisions_values_and_the_same_bytes_everywhere() {
    for (channels, window, sampling_ratio) in [(64, 7, 2), (5, 3, 0), (100, 2, 1), (128, 7, 3)] {
        let pyramid = Pyramid::new(&[(24, 40), (12, 20), (6, 10), (3, 5)], channels);
        let levels = pyramid.levels();
        let mut boxes = boxes(60, 160.0, 96.0);
        boxes.extend([[0.0; 4], [-50.0, -50.0, 300.0, 300.0], [159.0, 95.0, 160.0, 96.0], [500.0, 1.0, 501.0, 2.0]]);
        let level_of: Vec<u8> = (0..boxes.len()).map(|index| (index % 4) as u8).collect();
        let params = RoiAlignParamsU8 { channels, window, sampling_ratio, scale: 0.031, zero_point: 90 };
        let mut first: Option<Vec<u8>> = None;
        for isa in Isa::available() {
            for threads in 1..=5 {
                let mut out = vec![0; boxes.len() * window * window * channels];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| roi_align(isa, &levels, params, &boxes, &level_of, &mut out)).unwrap();
                assert!(first.get_or_insert_with(|| out.clone()) == &out, "{isa:?}, {threads} threads");
            }
        }
        for (index, &q) in first.unwrap().iter().enumerate() {
            let (channel, bin) = (index % channels, index / channels);
            let (number, bin) = (bin / (window * window), (bin / window % window, bin % window));
            let level = &levels[usize::from(level_of[number])];
            let t = oracle(level, &params, boxes[number], bin, channel) / f64::from(params.scale) + 90.0;
            assert!((f64::from(q) - t.clamp(0.0, 255.0)).abs() < 0.502, "{index}: {q} {t} {:?}", boxes[number]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let pyramid = Pyramid::new(&[(4, 4)], 8);
    let levels = pyramid.levels();
    let params = RoiAlignParamsU8 { channels: 8, window: 7, sampling_ratio: 2, scale: 1.0, zero_point: 0 };
    let isa = Isa::best();
    let run = |params, level_of: &[u8], length| {
        roi_align(isa, &levels, params, &[[0.0, 0.0, 9.0, 9.0]], level_of, &mut vec![0; length]).is_ok()
    };
    assert!(run(params, &[0], 392));
    assert!(!run(params, &[1], 392));
    assert!(!run(params, &[0], 391));
    assert!(!run(params, &[0, 0], 392));
    assert!(!run(RoiAlignParamsU8 { sampling_ratio: 100, ..params }, &[0], 392));
    assert!(!run(RoiAlignParamsU8 { channels: 9, ..params }, &[0], 441));
}

#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn a_thousand_proposals_of_a_kitti_frame() {
    let pyramid = Pyramid::new(&[(104, 336), (52, 168), (26, 84), (13, 42)], 256);
    let levels = pyramid.levels();
    let boxes = boxes(1000, 1333.0, 402.0);
    let level_of: Vec<u8> = boxes
        .iter()
        .map(|[x0, y0, x1, y1]| (((x1 - x0) * (y1 - y0)).sqrt().max(1.0) / 224.0).log2() + 2.0)
        .map(|level| level.floor().clamp(0.0, 3.0) as u8)
        .collect();
    let params = RoiAlignParamsU8 { channels: 256, window: 7, sampling_ratio: 2, scale: 0.03, zero_point: 90 };
    let mut out = vec![0; 1000 * 49 * 256];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for isa in Isa::available() {
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            let start = process_seconds();
            pool.install(|| roi_align(isa, &levels, params, &boxes, &level_of, &mut out)).unwrap();
            best = best.min(process_seconds() - start);
        }
        println!("{}: {:.1} ms", isa.name().name(), best * 1e3);
    }
}
