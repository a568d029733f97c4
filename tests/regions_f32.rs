//! Poolings and RoIAlign in fp32 against plain formulas, on every instruction set this machine has; and how long
//! RoIAlign takes (`cargo test --release --test suite regions_f32::speed -- --ignored --nocapture`).

use lookout::detector::roi_align::LevelMapper;
use lookout::detector::settings::RoiSettings;
use lookout::kernel::ceiling::process_seconds;
use lookout::kernel::isa::Isa;
use lookout::kernel::pool_f32::{max_pool, subsample};
use lookout::kernel::roi_align_f32::{RoiAlignParams, RoiLevel, roi_align};

/// Reproducible values in [0, 1).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    fn values(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next() - 0.5).collect()
    }

    fn boxes(&mut self, count: usize, [height, width]: [f32; 2], [least, most]: [f32; 2]) -> Vec<[f32; 4]> {
        (0..count)
            .map(|_| {
                let side = least * (most / least).powf(self.next());
                let ratio = 0.5 + self.next();
                let (x, y) = (self.next() * width, self.next() * height);
                let (w, h) = (side * ratio * 0.5, side / ratio * 0.5);
                [(x - w).max(0.0), (y - h).max(0.0), (x + w).min(width), (y + h).min(height)]
            })
            .collect()
    }
}

fn pools() -> Vec<rayon::ThreadPool> {
    (1..=3).map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()).collect()
}

#[test]
fn the_maximum_is_the_windows() {
    for (height, width, channels) in [(1, 1, 1), (2, 3, 5), (7, 8, 64), (9, 9, 33)] {
        let input = Noise(9).values(height * width * channels);
        let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
        let mut halved = vec![f32::NAN; rows * columns * channels];
        subsample(&input, height, width, channels, &mut halved);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; rows * columns * channels];
            max_pool(isa, &input, height, width, channels, &mut out);
            for index in 0..out.len() {
                let (y, x, c) = (index / channels / columns, index / channels % columns, index % channels);
                let mut expected = f32::NEG_INFINITY;
                for (dy, dx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                    let (line, column) = (2 * y + dy, 2 * x + dx);
                    if (1..=height).contains(&line) && (1..=width).contains(&column) {
                        expected = expected.max(input[((line - 1) * width + column - 1) * channels + c]);
                    }
                }
                assert_eq!(out[index], expected, "{isa:?} {height}×{width}×{channels} at {index}");
                assert_eq!(halved[index], input[(2 * y * width + 2 * x) * channels + c]);
            }
        }
    }
}

/// One value of a level at a place between its cells, as the paper and torchvision define it.
fn bilinear(level: &RoiLevel<'_>, channels: usize, channel: usize, y: f32, x: f32) -> f64 {
    if y < -1.0 || y > level.height as f32 || x < -1.0 || x > level.width as f32 {
        return 0.0;
    }
    let split = |place: f32, size: usize| {
        let place = f64::from(place).max(0.0).min(size as f64 - 1.0);
        (place.floor() as usize, (place.floor() as usize + 1).min(size - 1), place.fract())
    };
    let (top, bottom, v) = split(y, level.height);
    let (left, right, u) = split(x, level.width);
    let at = |y: usize, x: usize| f64::from(level.data[(y * level.width + x) * channels + channel]);
    (at(top, left) * (1.0 - u) + at(top, right) * u) * (1.0 - v)
        + (at(bottom, left) * (1.0 - u) + at(bottom, right) * u) * v
}

fn naive(level: &RoiLevel<'_>, params: RoiAlignParams, [x0, y0, x1, y1]: [f32; 4]) -> Vec<f64> {
    let start = [y0 * level.scale, x0 * level.scale];
    let extent = [(y1 * level.scale - start[0]).max(1.0), (x1 * level.scale - start[1]).max(1.0)];
    let window = params.window as f32;
    let samples = extent.map(|size| match params.sampling_ratio {
        0 => (size / window).ceil() as usize,
        ratio => ratio,
    });
    let mut out = Vec::new();
    for (by, bx) in (0..params.window * params.window).map(|bin| (bin / params.window, bin % params.window)) {
        for channel in 0..params.channels {
            let mut sum = 0.0;
            for (sy, sx) in (0..samples[0] * samples[1]).map(|sample| (sample / samples[1], sample % samples[1])) {
                let place = |axis: usize, bin: usize, sample: usize| {
                    let size = extent[axis] / window;
                    start[axis] + bin as f32 * size + (sample as f32 + 0.5) * size / samples[axis] as f32
                };
                sum += bilinear(level, params.channels, channel, place(0, by, sy), place(1, bx, sx));
            }
            out.push(sum / (samples[0] * samples[1]) as f64);
        }
    }
    out
}

#[test]
fn bins_are_means_of_bilinear_samples() {
    let mut noise = Noise(5);
    for (channels, window, sampling_ratio) in [(3, 7, 2), (64, 2, 2), (70, 7, 0), (256, 3, 1)] {
        let sizes = [(33, 47, 0.25), (17, 24, 0.125), (1, 1, 0.0078125)];
        let maps: Vec<_> = sizes.iter().map(|&(height, width, _)| noise.values(height * width * channels)).collect();
        let levels: Vec<_> = (sizes.iter().zip(&maps))
            .map(|(&(height, width, scale), data)| RoiLevel { data, height, width, scale })
            .collect();
        let mut boxes = noise.boxes(20, [132.0, 188.0], [1.0, 200.0]);
        // Without area, over the border, far outside.
        boxes.extend([[5.0; 4], [-30.0, -30.0, 300.0, 300.0], [1000.0, 0.0, 1010.0, 10.0], [0.0, 0.0, 188.0, 132.0]]);
        let level_of: Vec<u8> = (0..boxes.len()).map(|index| (index % 3) as u8).collect();
        let params = RoiAlignParams { channels, window, sampling_ratio };
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            for pool in pools() {
                let mut out = vec![f32::NAN; boxes.len() * window * window * channels];
                pool.install(|| roi_align(isa, &levels, params, &boxes, &level_of, &mut out));
                let first = first.get_or_insert_with(|| out.clone());
                assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}");
            }
        }
        let length = window * window * channels;
        for (index, values) in first.unwrap_or_default().chunks_exact(length).enumerate() {
            let expected = naive(&levels[usize::from(level_of[index])], params, boxes[index]);
            for (value, expected) in values.iter().zip(expected) {
                assert!((f64::from(*value) - expected).abs() < 2e-6, "box {index}: {value} for {expected}");
            }
        }
    }
}

#[test]
fn no_boxes_leave_nothing() {
    let params = RoiAlignParams { channels: 4, window: 7, sampling_ratio: 2 };
    roi_align(Isa::best(), &[], params, &[], &[], &mut []);
}

/// 1000 boxes of all sizes on the pyramid of a KITTI frame.
#[test]
#[ignore = "a measurement: run alone, with --release"]
fn speed() {
    let mut noise = Noise(1);
    let sizes = [(104, 336, 0.25), (52, 168, 0.125), (26, 84, 0.0625), (13, 42, 0.03125)];
    let maps: Vec<_> = sizes.iter().map(|&(height, width, _)| noise.values(height * width * 256)).collect();
    let levels: Vec<_> = (sizes.iter().zip(&maps))
        .map(|(&(height, width, scale), data)| RoiLevel { data, height, width, scale })
        .collect();
    let mapper = LevelMapper::new(&RoiSettings::default(), &[0.25, 0.125, 0.0625, 0.03125]);
    let boxes = noise.boxes(1000, [402.0, 1333.0], [12.0, 500.0]);
    let level_of: Vec<u8> = boxes.iter().map(|&corners| mapper.level(corners) as u8).collect();
    let params = RoiAlignParams { channels: 256, window: 7, sampling_ratio: 2 };
    let mut out = vec![0.0; 1000 * 49 * 256];
    let threads = std::env::var("LOOKOUT_BENCH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for isa in Isa::available() {
        let times = (0..9).map(|_| {
            let start = process_seconds();
            pool.install(|| roi_align(isa, &levels, params, &boxes, &level_of, &mut out));
            (process_seconds() - start) * 1e3
        });
        let mut times: Vec<f64> = times.collect();
        times.sort_by(f64::total_cmp);
        println!("{}: best {:.1} ms, median {:.1} ms of CPU time", isa.name().name(), times[0], times[4]);
    }
    let map = noise.values(208 * 672 * 64);
    let mut out = vec![0.0; 104 * 336 * 64];
    for isa in Isa::available() {
        let times = (0..9).map(|_| {
            let start = process_seconds();
            pool.install(|| max_pool(isa, &map, 208, 672, 64, &mut out));
            (process_seconds() - start) * 1e3
        });
        println!("max pool {}: best {:.1} ms", isa.name().name(), times.fold(f64::INFINITY, f64::min));
    }
}
