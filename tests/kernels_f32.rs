//! Every fp32 kernel this machine has, against sums in f64, over the shapes a detector meets and odd ones.

use lookout::kernel::activation::Activation;
use lookout::kernel::conv_f32::{ConvF32, MapsF32, SkipF32};
use lookout::kernel::geometry::{ConvGeometry, nearest_source};
use lookout::kernel::isa::Isa;
use lookout::kernel::pointwise_f32;
use lookout::kernel::table_f32::KERNELS_F32;
use lookout::kernel::tile_f32::KernelF32;

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

#[derive(Debug, Clone, Copy)]
struct Case {
    geometry: ConvGeometry,
    /// Maps, each padded on its own.
    count: usize,
    height: usize,
    width: usize,
    /// Rows and columns of the skip.
    skip: Option<(usize, usize)>,
    activation: Activation,
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
            input: noise.values(self.count * self.height * self.width * self.geometry.in_channels),
            weights: noise.values(self.geometry.weights()),
            bias: noise.values(self.geometry.out_channels),
            skip: noise.values(skip_height * skip_width * self.geometry.out_channels),
        }
    }

    /// Each output in f64, and the sum of magnitudes, which scales the rounding to be expected.
    fn oracle(&self, data: &Data) -> Vec<(f64, f64)> {
        let g = &self.geometry;
        let (rows, columns) = g.output(self.height, self.width);
        let (group_inputs, group_outputs) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let mut outputs = Vec::with_capacity(self.count * rows * columns * g.out_channels);
        for pixel in 0..self.count * rows * columns {
            let (map, y, x) = (pixel / columns / rows, pixel / columns % rows, pixel % columns);
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
                        let pixel = (map * self.height + iy as usize) * self.width + ix as usize;
                        let input = pixel * g.in_channels + n / group_outputs * group_inputs;
                        let tap = (n * g.taps() + ky * g.kernel_width + kx) * group_inputs;
                        for c in 0..group_inputs {
                            let product = f64::from(data.input[input + c]) * f64::from(data.weights[tap + c]);
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
                outputs.push((exact(self.activation, sum), magnitude));
            }
        }
        outputs
    }

    fn maps<'a>(&self, data: &'a Data) -> MapsF32<'a> {
        MapsF32 { data: &data.input, count: self.count, height: self.height, width: self.width }
    }

    fn run(&self, kernel: &'static KernelF32, data: &Data) -> Vec<f32> {
        let conv = ConvF32::with_kernel(kernel, self.geometry, &data.weights, &data.bias).unwrap();
        let (rows, columns) = self.geometry.output(self.height, self.width);
        // What the output held must not matter.
        let mut out = vec![f32::NAN; self.count * rows * columns * self.geometry.out_channels];
        let skip = self.skip.map(|(height, width)| SkipF32 { data: &data.skip, height, width });
        conv.run(self.maps(data), skip, self.activation, &mut out);
        out
    }

    fn check(&self, pools: &[rayon::ThreadPool]) {
        let data = self.data();
        let expected = self.oracle(&data);
        for kernel in kernels() {
            let mut first: Option<Vec<f32>> = None;
            for pool in pools {
                let out = pool.install(|| self.run(kernel, &data));
                let what = format!("{} {self:?}", kernel.name);
                assert_eq!(out.len(), expected.len(), "{what}");
                for (index, (value, (sum, magnitude))) in out.iter().zip(&expected).enumerate() {
                    let error = (f64::from(*value) - sum).abs();
                    // A product with the function's other factor scales the error.
                    let slope = if self.activation == Activation::Hardswish { 1.5 } else { 1.0 };
                    assert!(error <= slope * (2e-6 * magnitude + 1e-6), "{what} at {index}: {value} for {sum}");
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

/// An activation in f64.
fn exact(activation: Activation, x: f64) -> f64 {
    let sixth = |x: f64| (x + 3.0).clamp(0.0, 6.0) / 6.0;
    match activation {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Hardswish => x * sixth(x),
        Activation::Hardsigmoid => sixth(x),
    }
}

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Relu6, Activation::Hardswish, Activation::Hardsigmoid];

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
        // Winograd's algorithm, with odd and even sizes and paddings.
        (geometry(64, 80, 3, 1, 1), 9, 14),
        (geometry(80, 64, 3, 1, 0), 8, 9),
        (geometry(64, 64, 3, 1, 2), 5, 7),
        (geometry(256, 256, 3, 1, 1), 13, 12),
    ];
    let pools = pools();
    for (geometry, height, width) in shapes {
        let (rows, columns) = geometry.output(height, width);
        let coarse = (rows.div_ceil(2), columns.div_ceil(2));
        let (relu, none) = (Activation::Relu, Activation::Identity);
        for (skip, activation) in [(None, relu), (None, none), (Some((rows, columns)), relu), (Some(coarse), none)] {
            Case { geometry, count: 1, height, width, skip, activation }.check(&pools);
        }
    }
}

#[test]
fn linear_layers_match_the_naive_sum() {
    let pools = pools();
    for (inputs, outputs, rows) in [(12, 7, 1), (1000, 91, 13), (513, 1024, 3), (256, 16, 100)] {
        let geometry = ConvGeometry::linear(inputs, outputs);
        Case { geometry, count: 1, height: rows, width: 1, skip: None, activation: Activation::Identity }.check(&pools);
    }
}

#[test]
fn an_empty_map_leaves_nothing() {
    let geometry = ConvGeometry::linear(8, 4);
    let case = Case { geometry, count: 1, height: 0, width: 1, skip: None, activation: Activation::Identity };
    assert!(case.run(KernelF32::of(Isa::best()), &case.data()).is_empty());
    let case = Case { count: 0, height: 7, ..case };
    assert!(case.run(KernelF32::of(Isa::best()), &case.data()).is_empty());
}

#[test]
fn groups_match_the_naive_sum() {
    // Channels in and out, groups, kernel, stride, padding; rows and columns of the map.
    let shapes = [
        // Depthwise, in vectors, parts of vectors and fewer channels than a vector.
        ((64, 64, 64, 3, 1, 1), (9, 14)),
        ((72, 72, 72, 3, 2, 1), (10, 13)),
        ((72, 72, 72, 5, 2, 2), (11, 12)),
        ((40, 40, 40, 5, 1, 2), (7, 9)),
        ((2, 2, 2, 3, 1, 1), (5, 6)),
        ((13, 13, 13, 3, 2, 0), (8, 9)),
        ((17, 17, 17, 2, 2, 1), (6, 7)),
        ((100, 100, 100, 7, 1, 3), (4, 3)),
        ((33, 33, 33, 3, 3, 4), (5, 3)),
        ((672, 672, 672, 5, 1, 2), (3, 4)),
        ((960, 960, 960, 3, 1, 1), (1, 1)),
        ((24, 24, 24, 1, 1, 0), (3, 5)),
        // ResNeXt's.
        ((128, 128, 32, 3, 1, 1), (6, 11)),
        ((256, 256, 32, 3, 2, 1), (9, 7)),
        ((512, 512, 32, 3, 1, 1), (3, 4)),
        ((1024, 1024, 32, 3, 2, 1), (3, 4)),
        ((128, 128, 2, 3, 1, 1), (4, 5)),
        // Groups that do not fill a panel or a vector, and depth multipliers.
        ((8, 8, 2, 3, 1, 1), (4, 9)),
        ((16, 16, 2, 3, 1, 1), (4, 9)),
        ((20, 20, 5, 3, 1, 1), (5, 5)),
        ((40, 40, 5, 5, 2, 2), (7, 8)),
        ((12, 30, 6, 3, 1, 1), (5, 6)),
        ((30, 12, 6, 3, 2, 1), (5, 6)),
        ((6, 12, 6, 3, 1, 1), (5, 6)),
        ((48, 72, 3, 1, 1, 0), (4, 4)),
        ((600, 40, 2, 3, 1, 1), (3, 3)),
    ];
    let pools = pools();
    for (number, ((inputs, outputs, groups, kernel, stride, padding), (height, width))) in
        shapes.into_iter().enumerate()
    {
        let geometry = ConvGeometry { groups, ..geometry(inputs, outputs, kernel, stride, padding) };
        let (rows, columns) = geometry.output(height, width);
        let coarse = (rows.div_ceil(2), columns.div_ceil(2));
        let activation = |step: usize| ACTIVATIONS[(number + step) % ACTIVATIONS.len()];
        Case { geometry, count: 1, height, width, skip: None, activation: activation(0) }.check(&pools);
        Case { geometry, count: 3, height, width, skip: None, activation: activation(1) }.check(&pools);
        Case { geometry, count: 1, height, width, skip: Some((rows, columns)), activation: activation(2) }
            .check(&pools);
        Case { geometry, count: 1, height, width, skip: Some(coarse), activation: activation(3) }.check(&pools);
    }
}

#[test]
fn every_activation_follows_the_sum() {
    let pools = pools();
    let shapes = [
        geometry(40, 37, 1, 1, 0),
        geometry(300, 24, 3, 1, 1),
        ConvGeometry { groups: 40, ..geometry(40, 40, 3, 1, 1) },
        ConvGeometry { groups: 10, ..geometry(40, 40, 3, 1, 1) },
    ];
    for geometry in shapes {
        for activation in ACTIVATIONS {
            for skip in [None, Some((6, 7))] {
                Case { geometry, count: 1, height: 6, width: 7, skip, activation }.check(&pools);
            }
        }
    }
}

#[test]
fn windows_are_padded_on_their_own() {
    let pools = pools();
    // The box head's windows, windows with fewer pixels than a tile, a strip's few channels, a stride.
    let shapes = [
        (geometry(64, 32, 3, 1, 1), 5, 7, 7),
        (geometry(64, 64, 3, 1, 1), 5, 7, 7),
        (geometry(64, 96, 3, 1, 1), 9, 2, 3),
        (geometry(300, 17, 3, 1, 1), 9, 2, 3),
        (geometry(3, 16, 3, 1, 1), 6, 7, 7),
        (geometry(3, 16, 7, 2, 3), 4, 9, 3),
        (geometry(24, 16, 3, 2, 1), 7, 5, 4),
        (ConvGeometry::linear(20, 30), 4, 3, 2),
    ];
    for (geometry, count, height, width) in shapes {
        for activation in [Activation::Relu, Activation::Hardswish] {
            Case { geometry, count, height, width, skip: None, activation }.check(&pools);
        }
    }
}

/// A layer gives the same bits whichever maps it is run with.
#[test]
fn a_window_does_not_depend_on_its_neighbours() {
    // By tiles, and by Winograd's algorithm.
    for (inputs, outputs) in [(40, 24), (64, 80)] {
        let geometry = geometry(inputs, outputs, 3, 1, 1);
        let case = Case { geometry, count: 5, height: 7, width: 7, skip: None, activation: Activation::Relu };
        let data = case.data();
        for kernel in kernels() {
            let all = case.run(kernel, &data);
            for window in 0..case.count {
                let input = data.input[window * 49 * inputs..][..49 * inputs].to_vec();
                let one = Data { input, weights: data.weights.clone(), bias: data.bias.clone(), skip: Vec::new() };
                let out = Case { count: 1, ..case }.run(kernel, &one);
                assert_eq!(out, all[window * 49 * outputs..][..49 * outputs], "{}: window {window}", kernel.name);
            }
        }
    }
}

#[test]
fn pointwise_operations_match_their_formulas() {
    let mut noise = Noise(5);
    for (pixels, channels) in [(0, 3), (1, 1), (1, 40), (9, 8), (180, 960), (2881, 120), (4097, 33), (70_001, 2)] {
        // Off zero, as maps after an activation are: then the sum is as long as it can be.
        let data: Vec<f32> = noise.values(pixels * channels).iter().map(|x| 4.0 * x + 1.0).collect();
        let gates = noise.values(channels);
        let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
        for (isa, pool) in Isa::available().into_iter().flat_map(|isa| pools().into_iter().map(move |pool| (isa, pool)))
        {
            let (mut mean, mut scaled) = (vec![f32::NAN; channels], vec![f32::NAN; data.len()]);
            pool.install(|| {
                pointwise_f32::global_mean(isa, &data, pixels, channels, &mut mean);
                pointwise_f32::scale_channels(isa, &data, &gates, &mut scaled);
                for activation in ACTIVATIONS {
                    let mut values = data.clone();
                    pointwise_f32::activate(isa, activation, &mut values);
                    assert!(
                        values.iter().zip(&data).all(|(value, &x)| *value == activation.apply(x)),
                        "{activation:?}"
                    );
                }
            });
            for (channel, mean) in mean.iter().enumerate() {
                let values = || data.iter().skip(channel).step_by(channels).map(|&value| f64::from(value));
                let (sum, magnitude) = values().fold((0.0, 0.0), |(sum, all), value| (sum + value, all + value.abs()));
                let error = (f64::from(*mean) * pixels as f64 - sum).abs();
                assert!(error <= 1e-6 * magnitude, "{pixels} × {channels} at {channel}: {mean}");
            }
            assert!(scaled.iter().enumerate().all(|(at, value)| *value == data[at] * gates[at % channels]));
            match &first {
                None => first = Some((mean, scaled)),
                Some(first) => assert!(*first == (mean, scaled), "{isa:?}, {pixels} × {channels}"),
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let error = ConvF32::new(Isa::best(), geometry(4, 4, 3, 1, 1), &[0.0; 10], &[]).unwrap_err();
    assert!(error.message().contains("10 weights given, 144 expected"), "{error}");
    assert!(ConvF32::new(Isa::best(), geometry(4, 0, 3, 1, 1), &[], &[]).is_err());
    assert!(ConvF32::new(Isa::best(), ConvGeometry::linear(2, 2), &[0.0; 4], &[0.0; 3]).is_err());
    let odd = ConvGeometry { groups: 3, ..geometry(6, 4, 1, 1, 0) };
    let error = ConvF32::new(Isa::best(), odd, &[0.0; 8], &[]).unwrap_err();
    assert!(error.message().contains("the groups must divide the channels"), "{error}");
}
