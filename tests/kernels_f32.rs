//! Every fp32 kernel this machine has, against sums in f64, over the shapes a detector meets and odd ones; and how fast
//! they are (`cargo test --release --test suite kernels_f32::speed -- --ignored --nocapture`).

use lookout::kernel::conv_f32::{ConvF32, SkipF32};
use lookout::kernel::geometry::{ConvGeometry, nearest_source};
use lookout::kernel::isa::Isa;
use lookout::kernel::table_f32::KERNELS_F32;
use lookout::kernel::tile_f32::KernelF32;
use lookout::kernel::{bench_f32, ceiling};

/// Kernels of the table that this CPU can run.
fn kernels() -> impl Iterator<Item = &'static KernelF32> {
    KERNELS_F32.iter().filter(|kernel| Isa::new(kernel.isa).is_some())
}

fn geometry(in_channels: usize, out_channels: usize, kernel: usize, stride: usize, padding: usize) -> ConvGeometry {
    ConvGeometry { in_channels, out_channels, kernel_height: kernel, kernel_width: kernel, stride, padding, groups: 1 }
}

/// Reproducible values in [-1, 1).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn values(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next()).collect()
    }
}

struct Case {
    geometry: ConvGeometry,
    height: usize,
    width: usize,
    /// Rows and columns of the skip.
    skip: Option<(usize, usize)>,
    relu: bool,
}

struct Data {
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    skip: Vec<f32>,
}

impl Case {
    fn data(&self) -> Data {
        let mut noise = Noise(self.geometry.weights() as u64 ^ (self.height * 1000 + self.width) as u64);
        let (skip_height, skip_width) = self.skip.unwrap_or((0, 0));
        Data {
            input: noise.values(self.height * self.width * self.geometry.in_channels),
            weights: noise.values(self.geometry.weights()),
            bias: noise.values(self.geometry.out_channels),
            skip: noise.values(skip_height * skip_width * self.geometry.out_channels),
        }
    }

    /// Each output in f64, and the sum of magnitudes, which scales the rounding to be expected.
    fn oracle(&self, data: &Data) -> Vec<(f64, f64)> {
        let g = &self.geometry;
        let (rows, columns) = g.output(self.height, self.width);
        let mut outputs = Vec::with_capacity(rows * columns * g.out_channels);
        for y in 0..rows {
            for x in 0..columns {
                for n in 0..g.out_channels {
                    let mut sum = f64::from(data.bias[n]);
                    let mut magnitude = sum.abs();
                    for ky in 0..g.kernel_height {
                        for kx in 0..g.kernel_width {
                            let iy = (y * g.stride + ky) as isize - g.padding as isize;
                            let ix = (x * g.stride + kx) as isize - g.padding as isize;
                            if iy < 0 || ix < 0 || iy >= self.height as isize || ix >= self.width as isize {
                                continue;
                            }
                            let pixel = (iy as usize * self.width + ix as usize) * g.in_channels;
                            let tap = (n * g.taps() + ky * g.kernel_width + kx) * g.in_channels;
                            for c in 0..g.in_channels {
                                let product = f64::from(data.input[pixel + c]) * f64::from(data.weights[tap + c]);
                                sum += product;
                                magnitude += product.abs();
                            }
                        }
                    }
                    if let Some((height, width)) = self.skip {
                        let from = nearest_source(y, height, rows) * width + nearest_source(x, width, columns);
                        sum += f64::from(data.skip[from * g.out_channels + n]);
                        magnitude += sum.abs();
                    }
                    outputs.push((if self.relu { sum.max(0.0) } else { sum }, magnitude));
                }
            }
        }
        outputs
    }

    fn run(&self, kernel: &'static KernelF32, data: &Data) -> Vec<f32> {
        let conv = ConvF32::with_kernel(kernel, self.geometry, &data.weights, &data.bias).unwrap();
        let (rows, columns) = self.geometry.output(self.height, self.width);
        // What the output held must not matter.
        let mut out = vec![f32::NAN; rows * columns * self.geometry.out_channels];
        let skip = self.skip.map(|(height, width)| SkipF32 { data: &data.skip, height, width });
        conv.run(&data.input, self.height, self.width, skip, self.relu, &mut out);
        out
    }

    fn check(&self, pools: &[rayon::ThreadPool]) {
        let data = self.data();
        let expected = self.oracle(&data);
        for kernel in kernels() {
            let mut first: Option<Vec<f32>> = None;
            for pool in pools {
                let out = pool.install(|| self.run(kernel, &data));
                let what = format!("{} {:?} {}×{}", kernel.name, self.geometry, self.height, self.width);
                assert_eq!(out.len(), expected.len(), "{what}");
                for (index, (value, (sum, magnitude))) in out.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*value) - sum).abs();
                    assert!(error <= 2e-6 * magnitude + 1e-6, "{what} at {index}: {value} for {sum}");
                }
                match &first {
                    None => first = Some(out),
                    Some(first) => {
                        assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{what}: threads");
                    }
                }
            }
        }
    }
}

/// Pools of one, two and three threads.
fn pools() -> Vec<rayon::ThreadPool> {
    (1..=3).map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()).collect()
}

#[test]
fn convolutions_match_the_naive_sum() {
    let shapes = [
        (geometry(1, 1, 1, 1, 0), 1, 1),
        (geometry(5, 3, 1, 1, 0), 7, 9),
        (geometry(64, 16, 1, 1, 0), 6, 5),
        (geometry(300, 33, 1, 1, 0), 5, 5),
        (geometry(16, 40, 1, 2, 0), 9, 8),
        (geometry(3, 64, 7, 2, 3), 23, 31),
        (geometry(3, 17, 7, 2, 3), 1, 2),
        (geometry(1, 20, 3, 1, 0), 5, 6),
        (geometry(3, 8, 3, 1, 1), 60, 4),
        (geometry(4, 16, 5, 3, 2), 11, 17),
        (geometry(16, 16, 3, 1, 1), 8, 9),
        (geometry(19, 31, 3, 1, 1), 7, 5),
        (geometry(64, 48, 3, 2, 1), 13, 11),
        (geometry(257, 20, 3, 1, 1), 4, 5),
        (geometry(32, 32, 3, 1, 1), 1, 1),
        (geometry(32, 32, 3, 1, 1), 2, 100),
        (geometry(24, 70, 3, 1, 0), 21, 20),
        (geometry(24, 5, 7, 2, 3), 9, 9),
    ];
    let pools = pools();
    for (geometry, height, width) in shapes {
        let (rows, columns) = geometry.output(height, width);
        let coarse = (rows.div_ceil(2), columns.div_ceil(2));
        for (skip, relu) in [(None, true), (None, false), (Some((rows, columns)), true), (Some(coarse), false)] {
            Case { geometry, height, width, skip, relu }.check(&pools);
        }
    }
}

#[test]
fn linear_layers_match_the_naive_sum() {
    let pools = pools();
    for (inputs, outputs, rows) in [(12, 7, 1), (1000, 91, 13), (513, 1024, 3), (256, 16, 100)] {
        let geometry = ConvGeometry::linear(inputs, outputs);
        Case { geometry, height: rows, width: 1, skip: None, relu: false }.check(&pools);
    }
}

#[test]
fn an_empty_map_leaves_nothing() {
    let case = Case { geometry: ConvGeometry::linear(8, 4), height: 0, width: 1, skip: None, relu: false };
    assert!(case.run(KernelF32::of(Isa::best()), &case.data()).is_empty());
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let error = ConvF32::new(Isa::best(), geometry(4, 4, 3, 1, 1), &[0.0; 10], &[]).unwrap_err();
    assert!(error.message().contains("10 weights given, 144 expected"), "{error}");
    assert!(ConvF32::new(Isa::best(), geometry(4, 0, 3, 1, 1), &[], &[]).is_err());
    assert!(ConvF32::new(Isa::best(), ConvGeometry::linear(2, 2), &[0.0; 4], &[0.0; 3]).is_err());
}

/// Prints each distinct layer shape of ResNet-50 with FPN on a KITTI frame against the core's ceiling.
#[test]
#[ignore = "a measurement: run alone, with --release"]
fn speed() {
    let layers = [
        ("stem 7×7/2", geometry(3, 64, 7, 2, 3), 416, 1344, false),
        ("layer1 1×1 64→64", geometry(64, 64, 1, 1, 0), 104, 336, false),
        ("layer1 3×3 64→64", geometry(64, 64, 3, 1, 1), 104, 336, false),
        ("layer1 1×1 64→256 +", geometry(64, 256, 1, 1, 0), 104, 336, true),
        ("layer1 1×1 256→64", geometry(256, 64, 1, 1, 0), 104, 336, false),
        ("layer2 1×1 256→128", geometry(256, 128, 1, 1, 0), 104, 336, false),
        ("layer2 3×3/2 128→128", geometry(128, 128, 3, 2, 1), 104, 336, false),
        ("layer2 1×1/2 256→512", geometry(256, 512, 1, 2, 0), 104, 336, false),
        ("layer2 3×3 128→128", geometry(128, 128, 3, 1, 1), 52, 168, false),
        ("layer2 1×1 128→512 +", geometry(128, 512, 1, 1, 0), 52, 168, true),
        ("layer2 1×1 512→128", geometry(512, 128, 1, 1, 0), 52, 168, false),
        ("layer3 3×3 256→256", geometry(256, 256, 3, 1, 1), 26, 84, false),
        ("layer3 1×1 256→1024 +", geometry(256, 1024, 1, 1, 0), 26, 84, true),
        ("layer3 1×1 1024→256", geometry(1024, 256, 1, 1, 0), 26, 84, false),
        ("layer3 1×1/2 512→1024", geometry(512, 1024, 1, 2, 0), 52, 168, false),
        ("layer4 3×3 512→512", geometry(512, 512, 3, 1, 1), 13, 42, false),
        ("layer4 1×1 512→2048 +", geometry(512, 2048, 1, 1, 0), 13, 42, true),
        ("layer4 1×1 2048→512", geometry(2048, 512, 1, 1, 0), 13, 42, false),
        ("P2 lateral 256→256 +", geometry(256, 256, 1, 1, 0), 104, 336, true),
        ("P5 lateral 2048→256", geometry(2048, 256, 1, 1, 0), 13, 42, false),
        ("P2 3×3 256→256", geometry(256, 256, 3, 1, 1), 104, 336, false),
        ("P4 3×3 256→256", geometry(256, 256, 3, 1, 1), 26, 84, false),
        ("P6 3×3 256→256", geometry(256, 256, 3, 1, 1), 7, 21, false),
        ("RPN 1×1 256→15", geometry(256, 15, 1, 1, 0), 104, 336, false),
        ("fc6 12544→1024", ConvGeometry::linear(12544, 1024), 1000, 1, false),
        ("fc7 1024→1024", ConvGeometry::linear(1024, 1024), 1000, 1, false),
        ("box 1024→40", ConvGeometry::linear(1024, 40), 1000, 1, false),
    ];
    let threads = std::env::var("LOOKOUT_BENCH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let only = std::env::var("LOOKOUT_BENCH_ONLY").unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let isa = Isa::best();
    for (name, geometry, height, width, residual) in layers {
        if !name.contains(&only) {
            continue;
        }
        let (mut rate, mut peak) = (0f64, 0f64);
        for _ in 0..3 {
            peak = peak.max(pool.install(|| ceiling::measure(isa)).f32_gmacs);
            let one = pool.install(|| bench_f32::conv_f32(isa, geometry, (height, width), residual, 3)).unwrap();
            rate = rate.max(one);
        }
        println!("{name:24} {rate:6.1} GMAC/s of {peak:6.1}: {:.2}", rate / peak);
    }
}

/// Prints how much sooner two threads are done than one. Means something on an idle machine only.
#[test]
#[ignore = "a measurement: run alone, with --release, on at least two idle cores"]
fn two_threads() {
    let layers = [
        ("P2 3×3 256→256", geometry(256, 256, 3, 1, 1), 104, 336),
        ("layer4 3×3 512→512", geometry(512, 512, 3, 1, 1), 13, 42),
        ("layer1 1×1 64→256", geometry(64, 256, 1, 1, 0), 104, 336),
        ("fc6 12544→1024", ConvGeometry::linear(12544, 1024), 1000, 1),
    ];
    for (name, geometry, height, width) in layers {
        let mut noise = Noise(3);
        let weights = noise.values(geometry.weights());
        let input = noise.values(height * width * geometry.in_channels);
        let conv = ConvF32::new(Isa::best(), geometry, &weights, &[]).unwrap();
        let (rows, columns) = geometry.output(height, width);
        let mut out = vec![0.0; rows * columns * geometry.out_channels];
        let mut best = [f64::INFINITY; 2];
        let pools = pools();
        for _ in 0..5 {
            for (best, pool) in best.iter_mut().zip(&pools) {
                let start = std::time::Instant::now();
                pool.install(|| conv.run(&input, height, width, None, true, &mut out));
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        println!("{name:24} {:.1} ms, {:.1} ms: {:.2}", best[0] * 1e3, best[1] * 1e3, best[0] / best[1]);
    }
}
