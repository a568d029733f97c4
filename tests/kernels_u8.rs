//! Every kernel this machine has against a naive oracle, bit for bit.
//!
//! The oracle sums in i64 and follows the epilogue as its module states it: scale, add the residual, activation
//! function, round half to even, saturate. Buffers are surrounded by guard bytes; maps start at odd addresses.

use lookout::kernel::activation::Activation;
use lookout::kernel::conv_u8::{
    Clipped, ConvInput, ConvOutput, Epilogue, EpilogueSpec, KERNELS_U8, KernelU8, OutputKind, PackedU8, RawObserver,
    SkipInput, SkipKind, convolve, convolve_observed, is_curved, pair_safe,
};
use lookout::kernel::geometry::ConvGeometry;
use lookout::kernel::isa::Isa;
use lookout::random::Random;

/// Distribution of inputs and weights.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Draw {
    /// Any byte; weights at random, made pair-safe.
    Any,
    /// Every byte 255, weights 127 and −127 in turn.
    Alternating,
    /// Every byte 255, every pair of weights summing to 128.
    HeavyPairs,
    /// Every byte 255, every pair of weights summing to −128.
    LightPairs,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Residual {
    None,
    U8,
    U16,
    F32,
    CoarserU8,
    CoarserU16,
    CoarserF32,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    geometry: ConvGeometry,
    /// Maps, each padded on its own.
    count: usize,
    height: usize,
    width: usize,
    draw: Draw,
    zero_in: u8,
    zero_out: u8,
    residual: Residual,
    activation: Activation,
    floats: bool,
    /// Two bytes a value of the input.
    wide_in: bool,
    /// Two digits a weight.
    wide_weights: bool,
    /// Two bytes a value of the output.
    wide_out: bool,
    first_layer: bool,
    seed: u64,
}

const fn conv(in_channels: usize, out_channels: usize, kernel: usize, stride: usize, padding: usize) -> ConvGeometry {
    ConvGeometry { in_channels, out_channels, kernel_height: kernel, kernel_width: kernel, stride, padding, groups: 1 }
}

impl Default for Case {
    fn default() -> Self {
        Self {
            geometry: conv(16, 16, 1, 1, 0),
            count: 1,
            height: 5,
            width: 7,
            draw: Draw::Any,
            zero_in: 0,
            zero_out: 0,
            residual: Residual::None,
            activation: Activation::Relu,
            floats: false,
            wide_in: false,
            wide_weights: false,
            wide_out: false,
            first_layer: false,
            seed: 1,
        }
    }
}

/// Operands of one case and what must come out.
struct Built {
    case: Case,
    weights: Vec<i8>,
    low_weights: Vec<i8>,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    /// High bytes, then low ones where there are any; so is `skip_u8`.
    input: Vec<u8>,
    skip_shape: (usize, usize),
    skip_u8: Vec<u8>,
    skip_f32: Vec<f32>,
    zero_skip: u8,
    skip_multiplier: f32,
    /// Before ReLU, rounding and clamping.
    expected: Vec<f32>,
}

/// High bytes, then low ones.
const MEAN: [u8; 8] = [124, 116, 104, 0, 40, 230, 0, 128];

/// 1 / s_out of the cases with bytes for output.
const STEPS_PER_UNIT: f32 = 17.3;

impl Built {
    fn new(case: Case) -> Self {
        let mut random = Random::new(case.seed);
        let g = case.geometry;
        let mut weights: Vec<i8> = (0..g.weights())
            .map(|i| match case.draw {
                Draw::Any => (random.below(255) as i64 - 127) as i8,
                Draw::Alternating => [127, -127][i % 2],
                Draw::HeavyPairs => [127, 1, 64, 64, 1, 127][i % 6],
                Draw::LightPairs => [-127, -1, -64, -64, -1, -127][i % 6],
            })
            .collect();
        for tap in weights.chunks_mut(g.group_channels()) {
            for pair in tap.chunks_exact_mut(2) {
                let sum = i32::from(pair[0]) + i32::from(pair[1]);
                if sum.abs() > 128 {
                    pair[1] = (sum.signum() * 128 - i32::from(pair[0])) as i8;
                }
            }
        }
        assert!(pair_safe(&weights, g.group_channels()));
        let pixel = if case.first_layer { 4 } else { g.in_channels };
        let low_weights = (0..g.weights())
            .map(|i| match case.draw {
                Draw::Any => (random.below(128) as i64 - 64) as i8,
                _ => [63, -64][i % 2],
            })
            .collect();
        let bytes = if case.wide_in { 2 } else { 1 };
        let input: Vec<u8> = (0..bytes * case.count * case.height * case.width * pixel)
            .map(|_| if case.draw == Draw::Any { random.below(256) as u8 } else { 255 })
            .collect();
        let depth = (g.taps() * g.group_channels()) as f32;
        // Curved functions take real values, of which some lie on either side of every corner.
        let unit = if is_curved(case.activation) { STEPS_PER_UNIT } else { 1.0 };
        // Most values of two bytes inside their range, too.
        let unit = if case.wide_out && !is_curved(case.activation) { unit / 256.0 } else { unit };
        let bias = (0..g.out_channels).map(|_| random.below(1 << 16) as i32 - (1 << 15)).collect();
        let multiplier = (0..g.out_channels).map(|_| (0.2 + random.unit()) / (60.0 * depth.sqrt()) / unit).collect();
        let (rows, columns) = g.output(case.height, case.width);
        let skip_shape = match case.residual {
            Residual::CoarserU8 | Residual::CoarserU16 | Residual::CoarserF32 => {
                (rows.div_ceil(2), columns.div_ceil(2))
            }
            _ => (rows, columns),
        };
        let skips = skip_shape.0 * skip_shape.1 * g.out_channels;
        let skip_u8 = (0..2 * skips).map(|_| random.below(256) as u8).collect();
        let skip_f32 = (0..skips).map(|_| random.unit() * 200.0 - 100.0).collect();
        let zero_skip = [0, 77, 255][random.below(3)];
        let mut built = Self {
            case,
            weights,
            low_weights,
            bias,
            multiplier,
            input,
            skip_shape,
            skip_u8,
            skip_f32,
            zero_skip,
            skip_multiplier: (0.3 + random.unit()) / unit,
            expected: Vec::new(),
        };
        built.expected = (0..case.count * rows * columns * g.out_channels)
            .map(|i| {
                let row = i / g.out_channels / columns;
                built.value(row / rows, row % rows, i / g.out_channels % columns, i % g.out_channels)
            })
            .collect();
        built
    }

    /// Σ (q − z) · w under the filter, of the low bytes or of the high ones.
    fn sum(&self, [map, y, x, n]: [usize; 4], low_bytes: bool, weights: &[i8]) -> f32 {
        let Case { geometry: g, count, height, width, .. } = self.case;
        let pixel = if self.case.first_layer { 4 } else { g.in_channels };
        let (zero, input, mean) = match low_bytes {
            true => (128, &self.input[count * height * width * pixel..], &MEAN[4..7]),
            false => (self.case.zero_in, &self.input[..], &MEAN[..3]),
        };
        let mut sum = if low_bytes || weights != self.weights { 0 } else { i64::from(self.bias[n]) };
        for ky in 0..g.kernel_height {
            for kx in 0..g.kernel_width {
                let iy = (y * g.stride + ky).wrapping_sub(g.padding);
                let ix = (x * g.stride + kx).wrapping_sub(g.padding);
                let inside = iy < height && ix < width;
                let channels = g.group_channels();
                let first = n / (g.out_channels / g.groups) * channels;
                for (c, &mean) in mean.iter().chain(std::iter::repeat(&0)).enumerate().take(channels) {
                    let w = weights[((n * g.kernel_height + ky) * g.kernel_width + kx) * channels + c];
                    let q = match (inside, self.case.first_layer) {
                        (true, _) => input[((map * height + iy) * width + ix) * pixel + first + c],
                        (false, true) => mean,
                        (false, false) => zero,
                    };
                    sum += (i64::from(q) - i64::from(zero)) * i64::from(w);
                }
            }
        }
        i32::try_from(sum).unwrap() as f32
    }

    fn value(&self, map: usize, y: usize, x: usize, n: usize) -> f32 {
        let Case { geometry: g, height, width, .. } = self.case;
        let (at, multiplier) = ([map, y, x, n], self.multiplier[n]);
        // The smallest term first, each rounded on its own.
        let mut terms = Vec::new();
        if self.case.wide_weights {
            terms.push(self.sum(at, false, &self.low_weights) * (multiplier / 128.0));
        }
        if self.case.wide_in {
            terms.push(self.sum(at, true, &self.weights) * (multiplier / 256.0));
        }
        terms.push(self.sum(at, false, &self.weights) * multiplier);
        terms[0] = self.with_residual(terms[0], y, x, n, g.output(height, width));
        terms.into_iter().reduce(|sum, term| term + sum).unwrap()
    }

    fn with_residual(&self, t: f32, y: usize, x: usize, n: usize, (rows, columns): (usize, usize)) -> f32 {
        let g = self.case.geometry;
        let at =
            (y * self.skip_shape.0 / rows * self.skip_shape.1 + x * self.skip_shape.1 / columns) * g.out_channels + n;
        match self.case.residual {
            Residual::None => t,
            Residual::U8 | Residual::CoarserU8 => {
                t + (i32::from(self.skip_u8[at]) - i32::from(self.zero_skip)) as f32 * self.skip_multiplier
            }
            Residual::U16 | Residual::CoarserU16 => {
                let low = self.skip_u8[self.skip_u8.len() / 2 + at];
                let q = i32::from(self.skip_u8[at]) * 256 + i32::from(low);
                t + (q - i32::from(self.zero_skip) * 256 - 128) as f32 * self.skip_multiplier
            }
            Residual::F32 | Residual::CoarserF32 => t + self.skip_f32[at] * self.skip_multiplier,
        }
    }

    /// Output steps of a real unit.
    fn steps_per_unit(&self) -> f32 {
        match (self.case.floats, self.case.wide_out) {
            (true, _) => 1.0,
            (false, true) => STEPS_PER_UNIT * 256.0,
            (false, false) => STEPS_PER_UNIT,
        }
    }

    /// The activation function as the epilogue's module states it.
    fn rectified(&self, t: f32) -> f32 {
        let h = if t + 3.0 > 0.0 { (t + 3.0).min(6.0) } else { 0.0 };
        match self.case.activation {
            Activation::Identity => t,
            Activation::Relu if t <= 0.0 => 0.0,
            Activation::Relu => t,
            Activation::Relu6 if t <= 0.0 => 0.0,
            Activation::Relu6 => t.min(6.0 * self.steps_per_unit()),
            Activation::Hardswish => t * h * (self.steps_per_unit() / 6.0),
            Activation::Hardsigmoid => h * (self.steps_per_unit() / 6.0),
        }
    }

    /// The stored value before it saturates, and the largest one.
    fn stored(&self, t: f32) -> (f64, f64) {
        let zero = f64::from(self.case.zero_out);
        let (zero, most) = if self.case.wide_out { (256.0 * zero + 128.0, 65535.0) } else { (zero, 255.0) };
        (f64::from(self.rectified(t)).round_ties_even() + zero, most)
    }

    fn level(&self, t: f32) -> u16 {
        let (stored, most) = self.stored(t);
        stored.clamp(0.0, most) as u16
    }

    /// The value at `i` of an output map.
    fn found(&self, map: &[u8], i: usize) -> u16 {
        match self.case.wide_out {
            true => u16::from_be_bytes([map[i], map[map.len() / 2 + i]]),
            false => u16::from(map[i]),
        }
    }

    fn epilogue(&self, packed: &PackedU8) -> Epilogue {
        let skip = match self.case.residual {
            Residual::None => SkipKind::None,
            Residual::U8 | Residual::CoarserU8 => {
                SkipKind::U8 { zero_point: self.zero_skip, multiplier: self.skip_multiplier }
            }
            Residual::U16 | Residual::CoarserU16 => {
                SkipKind::U16 { zero_point: self.zero_skip, multiplier: self.skip_multiplier }
            }
            Residual::F32 | Residual::CoarserF32 => SkipKind::F32 { multiplier: self.skip_multiplier },
        };
        let zero_point = self.case.zero_out;
        let output = match (self.case.floats, self.case.wide_out) {
            (true, _) => OutputKind::F32,
            (false, true) => OutputKind::U16 { zero_point },
            (false, false) => OutputKind::U8 { zero_point },
        };
        let outside = if self.case.wide_in { &MEAN[..] } else { &MEAN[..4] };
        let spec = EpilogueSpec {
            input_zero_point: self.case.zero_in,
            input_has_low: self.case.wide_in,
            bias: &self.bias,
            multiplier: &self.multiplier,
            outside: self.case.first_layer.then_some(outside),
            skip,
            activation: self.case.activation,
            steps_per_unit: self.steps_per_unit(),
            output,
        };
        Epilogue::new(packed, &spec).unwrap()
    }

    fn skip(&self) -> SkipInput<'_> {
        let (height, width) = self.skip_shape;
        match self.case.residual {
            Residual::None => SkipInput::None,
            Residual::U8 | Residual::CoarserU8 => {
                SkipInput::U8 { data: &self.skip_u8[..self.skip_u8.len() / 2], height, width }
            }
            Residual::U16 | Residual::CoarserU16 => SkipInput::U16 { data: &self.skip_u8, height, width },
            Residual::F32 | Residual::CoarserF32 => SkipInput::F32 { data: &self.skip_f32, height, width },
        }
    }

    fn pack(&self, kernel: &'static KernelU8, isa: Isa) -> PackedU8 {
        let pack = |weights: &[i8]| {
            if self.case.first_layer {
                PackedU8::pixels_with_kernel(kernel, isa, self.case.geometry, weights).unwrap()
            } else {
                PackedU8::with_kernel(kernel, isa, self.case.geometry, weights).unwrap()
            }
        };
        let packed = pack(&self.weights);
        if self.case.wide_weights { packed.with_low_digits(pack(&self.low_weights)).unwrap() } else { packed }
    }

    /// Bytes of the output.
    fn bytes(&self) -> usize {
        self.expected.len() * if self.case.wide_out { 2 } else { 1 }
    }

    fn output<'a>(&self, bytes: &'a mut [u8]) -> ConvOutput<'a> {
        if self.case.wide_out { ConvOutput::U16(bytes) } else { ConvOutput::U8(bytes) }
    }

    fn maps(&self) -> ConvInput<'_> {
        let Case { count, height, width, .. } = self.case;
        ConvInput { data: &self.input, count, height, width }
    }

    /// Runs every kernel of this machine, plain and watched.
    fn check(&self) {
        for kernel in KernelU8::table(&self.case.geometry) {
            let Some(isa) = Isa::new(kernel.isa) else { continue };
            let packed = self.pack(kernel, isa);
            let epilogue = self.epilogue(&packed);
            self.check_plain(&packed, &epilogue);
            self.check_observed(&packed, &epilogue);
        }
    }

    fn check_plain(&self, packed: &PackedU8, epilogue: &Epilogue) {
        // One byte in, so that no map starts on a boundary; guards on both sides.
        let mut shifted = vec![0xAA; self.input.len() + 2];
        shifted[1..=self.input.len()].copy_from_slice(&self.input);
        let data = &shifted[1..=self.input.len()];
        let input = ConvInput { data, ..self.maps() };
        let name = packed.kernel().name;
        let count = self.expected.len();
        if self.case.floats {
            let mut out = vec![12345.0f32; count + 2];
            convolve(packed, epilogue, input, self.skip(), ConvOutput::F32(&mut out[1..=count])).unwrap();
            assert_eq!((out[0], out[count + 1]), (12345.0, 12345.0), "{name}: {:?}", self.case);
            for (i, (&got, &t)) in out[1..=count].iter().zip(&self.expected).enumerate() {
                assert_eq!(got.to_bits(), self.rectified(t).to_bits(), "{name} at {i}: {:?}", self.case);
            }
        } else {
            let bytes = self.bytes();
            let mut out = vec![0xAA; bytes + 2];
            convolve(packed, epilogue, input, self.skip(), self.output(&mut out[1..=bytes])).unwrap();
            assert_eq!((out[0], out[bytes + 1]), (0xAA, 0xAA), "{name}: {:?}", self.case);
            for (i, &t) in self.expected.iter().enumerate() {
                let got = self.found(&out[1..=bytes], i);
                assert_eq!(got, self.level(t), "{name} at {i}, {t}: {:?}", self.case);
            }
        }
    }

    fn check_observed(&self, packed: &PackedU8, epilogue: &Epilogue) {
        let channels = self.case.geometry.out_channels;
        let seen = Seen { channels, values: std::sync::Mutex::new(vec![f32::NAN; self.expected.len()]) };
        let input = self.maps();
        let mut bytes = vec![0; self.bytes()];
        let mut floats = vec![0.0; self.expected.len()];
        let output = if self.case.floats { ConvOutput::F32(&mut floats) } else { self.output(&mut bytes) };
        let clipped = convolve_observed(packed, epilogue, input, self.skip(), output, &seen).unwrap();
        let seen = seen.values.into_inner().unwrap();
        assert!(seen.iter().zip(&self.expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{:?}", self.case);
        let mut expected = Clipped::default();
        for (i, &t) in self.expected.iter().enumerate() {
            if self.case.floats {
                assert_eq!(floats[i].to_bits(), self.rectified(t).to_bits());
            } else {
                assert_eq!(self.found(&bytes, i), self.level(t));
                let (stored, most) = self.stored(t);
                expected.below += u64::from(stored < 0.0);
                expected.above += u64::from(stored > most);
            }
        }
        assert_eq!(clipped, expected, "{:?}", self.case);
    }
}

struct Seen {
    channels: usize,
    values: std::sync::Mutex<Vec<f32>>,
}

impl RawObserver for Seen {
    fn observe(&self, pixel: usize, channel: usize, values: &[f32]) {
        let at = pixel * self.channels + channel;
        self.values.lock().unwrap()[at..at + values.len()].copy_from_slice(values);
    }
}

const ZERO_POINTS: [u8; 5] = [0, 1, 127, 128, 255];
const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Relu6, Activation::Hardswish, Activation::Hardsigmoid];
const RESIDUALS: [Residual; 5] =
    [Residual::None, Residual::U8, Residual::F32, Residual::CoarserU8, Residual::CoarserF32];

#[test]
fn shapes_strides_paddings_and_zero_points() {
    let shapes = [
        (16, 16, 1),
        (64, 64, 3),
        (32, 48, 1),
        (16, 16, 7),
        (12, 33, 3),
        (5, 7, 3),
        (3, 1, 1),
        (1, 17, 2),
        (127, 15, 1),
    ];
    let mut seed = 0;
    for (inputs, outputs, kernel) in shapes {
        for stride in [1, 2, 3] {
            for padding in [0, 1, 3] {
                for zero_in in ZERO_POINTS {
                    seed += 1;
                    let zero_out = ZERO_POINTS[seed as usize % 5];
                    let (height, width) = [(7, 8), (3, 17), (11, 5)][seed as usize % 3];
                    let geometry = conv(inputs, outputs, kernel, stride, padding);
                    let activation = ACTIVATIONS[seed as usize % 5];
                    Built::new(Case {
                        geometry,
                        height,
                        width,
                        zero_in,
                        zero_out,
                        activation,
                        seed,
                        ..Case::default()
                    })
                    .check();
                }
            }
        }
    }
}

#[test]
fn residuals_activations_and_float_outputs() {
    let mut seed = 1000;
    for residual in RESIDUALS {
        for activation in ACTIVATIONS {
            for floats in [false, true] {
                for outputs in [16, 32, 3, 21] {
                    for (height, width) in [(6, 6), (5, 9), (1, 1), (2, 31)] {
                        seed += 1;
                        let geometry = conv(20, outputs, 1, 1, 0);
                        let (zero_in, zero_out) = (ZERO_POINTS[seed as usize % 5], ZERO_POINTS[seed as usize / 5 % 5]);
                        let case = Case {
                            geometry,
                            height,
                            width,
                            residual,
                            activation,
                            floats,
                            zero_in,
                            zero_out,
                            seed,
                            ..Case::default()
                        };
                        Built::new(case).check();
                    }
                }
            }
        }
    }
}

#[test]
fn two_bytes_and_two_digits() {
    let dense = |inputs, outputs, kernel, stride| (conv(inputs, outputs, kernel, stride, kernel / 2), false);
    let shapes = [
        dense(16, 16, 1, 1),
        dense(64, 70, 3, 1),
        dense(12, 33, 3, 2),
        dense(5, 7, 1, 1),
        (conv(3, 20, 7, 2, 3), true),
        (ConvGeometry { groups: 4, ..conv(16, 24, 3, 1, 1) }, false),
        (ConvGeometry { groups: 40, ..conv(40, 40, 3, 2, 1) }, false),
    ];
    let residuals = [
        Residual::None,
        Residual::U8,
        Residual::U16,
        Residual::F32,
        Residual::CoarserU8,
        Residual::CoarserU16,
        Residual::CoarserF32,
    ];
    let mut seed = 0;
    for (geometry, first_layer) in shapes {
        for combination in 1..16 {
            for draw in [Draw::Any, Draw::HeavyPairs, Draw::LightPairs] {
                seed += 1;
                let zero_in = if first_layer { 0 } else { ZERO_POINTS[seed as usize % 5] };
                let floats = combination & 8 > 0 && seed % 4 == 0;
                Built::new(Case {
                    geometry,
                    height: 7,
                    width: [8, 17, 5][seed as usize % 3],
                    draw,
                    zero_in,
                    zero_out: ZERO_POINTS[seed as usize / 3 % 5],
                    residual: if combination & 8 > 0 { residuals[seed as usize % 7] } else { Residual::None },
                    activation: ACTIVATIONS[seed as usize / 2 % 5],
                    floats,
                    wide_in: combination & 1 > 0,
                    wide_weights: combination & 2 > 0,
                    wide_out: combination & 4 > 0 && !floats,
                    first_layer,
                    seed,
                    ..Case::default()
                })
                .check();
            }
        }
    }
}

#[test]
fn depthwise_and_grouped() {
    let grouped = |geometry: ConvGeometry, groups| ConvGeometry { groups, ..geometry };
    let mut seed = 3000;
    for (inputs, outputs, groups) in [
        (16, 16, 16),
        (72, 72, 72),
        (3, 3, 3),
        (8, 8, 8),
        (40, 40, 40),
        (67, 67, 67),
        (33, 33, 33),
        (128, 128, 32),
        (24, 48, 3),
        (18, 6, 6),
        (12, 36, 2),
        (9, 6, 3),
        (12, 24, 12),
        (64, 32, 2),
    ] {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1), (2, 3)] {
            for zero_in in ZERO_POINTS {
                seed += 1;
                let geometry = grouped(conv(inputs, outputs, kernel, stride, kernel / 2), groups);
                let (height, width) = [(7, 8), (3, 17), (11, 5), (2, 2)][seed as usize % 4];
                let case = Case {
                    geometry,
                    height,
                    width,
                    zero_in,
                    zero_out: ZERO_POINTS[seed as usize % 5],
                    activation: ACTIVATIONS[seed as usize / 5 % 5],
                    residual: if seed % 3 == 0 { RESIDUALS[seed as usize / 3 % 5] } else { Residual::None },
                    floats: seed % 7 == 0,
                    seed,
                    ..Case::default()
                };
                Built::new(case).check();
            }
        }
    }
}

#[test]
fn depthwise_extremes_do_not_saturate() {
    for zero_in in ZERO_POINTS {
        for (channels, kernel) in [(40, 3), (67, 5), (16, 11)] {
            for draw in [Draw::Alternating, Draw::HeavyPairs, Draw::LightPairs] {
                let geometry = ConvGeometry { groups: channels, ..conv(channels, channels, kernel, 1, kernel / 2) };
                let activation = Activation::Identity;
                let case =
                    Case { geometry, height: 6, width: 7, draw, zero_in, activation, floats: true, ..Case::default() };
                Built::new(case).check();
            }
        }
    }
}

#[test]
fn windows_are_padded_each_on_its_own() {
    for (count, groups, kernel) in [(2, 1, 3), (9, 1, 3), (3, 20, 3), (5, 4, 1)] {
        let geometry = ConvGeometry { groups, ..conv(20, 20, kernel, 1, kernel / 2) };
        let case = Case { geometry, count, height: 7, width: 7, zero_in: 31, seed: count as u64, ..Case::default() };
        Built::new(case).check();
    }
}

#[test]
fn extreme_values_do_not_saturate() {
    for draw in [Draw::Alternating, Draw::HeavyPairs, Draw::LightPairs] {
        for zero_in in ZERO_POINTS {
            for (inputs, kernel) in [(64, 3), (63, 3), (2304, 1), (12544, 1)] {
                let geometry = conv(inputs, 18, kernel, 1, kernel / 2);
                let case = Case {
                    geometry,
                    height: 3,
                    width: 4,
                    draw,
                    zero_in,
                    activation: Activation::Identity,
                    floats: true,
                    ..Case::default()
                };
                Built::new(case).check();
            }
        }
    }
}

#[test]
fn the_first_layer_reads_pixels() {
    for (height, width) in [(32, 64), (7, 7), (1, 1), (3, 2), (2, 9), (33, 31)] {
        for geometry in [conv(3, 64, 7, 2, 3), conv(3, 10, 3, 1, 1), conv(3, 16, 8, 2, 4), conv(3, 16, 1, 1, 0)] {
            if geometry.output(height, width).0 == 0 || geometry.output(height, width).1 == 0 {
                continue;
            }
            Built::new(Case { geometry, height, width, first_layer: true, seed: height as u64, ..Case::default() })
                .check();
        }
    }
}

#[test]
fn every_layer_of_the_network_at_small_size() {
    let layers = [
        conv(64, 64, 1, 1, 0),
        conv(64, 256, 1, 1, 0),
        conv(256, 64, 1, 1, 0),
        conv(128, 128, 3, 2, 1),
        conv(256, 512, 1, 2, 0),
        conv(512, 512, 3, 1, 1),
        conv(1024, 2048, 1, 2, 0),
        conv(2048, 256, 1, 1, 0),
        conv(256, 256, 3, 1, 1),
        conv(256, 12, 1, 1, 0),
        conv(1024, 364, 1, 1, 0),
    ];
    for (seed, geometry) in layers.into_iter().enumerate() {
        let seed = seed as u64 + 50;
        Built::new(Case {
            geometry,
            height: 7,
            width: 9,
            zero_in: 3,
            zero_out: 100,
            activation: Activation::Identity,
            seed,
            ..Case::default()
        })
        .check();
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let cases = [
        Case {
            geometry: conv(64, 70, 3, 1, 1),
            height: 33,
            width: 29,
            residual: Residual::CoarserU8,
            ..Case::default()
        },
        Case { geometry: conv(256, 128, 1, 1, 0), height: 3, width: 5, floats: true, ..Case::default() },
        Case {
            geometry: ConvGeometry { groups: 72, ..conv(72, 72, 5, 1, 2) },
            height: 33,
            width: 29,
            activation: Activation::Hardswish,
            ..Case::default()
        },
        Case {
            geometry: ConvGeometry { groups: 4, ..conv(64, 96, 3, 2, 1) },
            height: 33,
            width: 29,
            ..Case::default()
        },
        Case { geometry: conv(3, 64, 7, 2, 3), height: 64, width: 90, first_layer: true, ..Case::default() },
        Case {
            geometry: conv(64, 70, 3, 1, 1),
            height: 33,
            width: 29,
            residual: Residual::U16,
            wide_in: true,
            wide_weights: true,
            wide_out: true,
            ..Case::default()
        },
    ];
    for case in cases {
        let built = Built::new(case);
        for threads in 1..=5 {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| built.check());
        }
    }
}

#[test]
fn wrong_operands_are_refused() {
    let isa = Isa::best();
    let geometry = conv(4, 2, 1, 1, 0);
    let packed = PackedU8::new(isa, geometry, &[1; 8]).unwrap();
    let spec = EpilogueSpec {
        input_zero_point: 0,
        input_has_low: false,
        bias: &[0, 0],
        multiplier: &[1.0, 1.0],
        outside: None,
        skip: SkipKind::None,
        activation: Activation::Relu6,
        steps_per_unit: 2.0,
        output: OutputKind::U8 { zero_point: 0 },
    };
    let epilogue = Epilogue::new(&packed, &spec).unwrap();
    let input = ConvInput { data: &[0; 24], count: 1, height: 2, width: 3 };
    let run = |input, skip, values| convolve(&packed, &epilogue, input, skip, ConvOutput::U8(&mut vec![0; values]));
    assert!(run(input, SkipInput::None, 12).is_ok());
    assert!(run(input, SkipInput::None, 11).is_err());
    let floats = ConvOutput::F32(&mut [0.0; 12]);
    assert!(convolve(&packed, &epilogue, input, SkipInput::None, floats).is_err());
    assert!(run(ConvInput { data: &[0; 23], ..input }, SkipInput::None, 12).is_err());
    assert!(run(ConvInput { count: 2, ..input }, SkipInput::None, 12).is_err());
    let skip = SkipInput::U8 { data: &[0; 12], height: 2, width: 3 };
    assert!(run(input, skip, 12).is_err());
    assert!(Epilogue::new(&packed, &EpilogueSpec { bias: &[i32::MAX, 0], ..spec }).is_err());
    assert!(Epilogue::new(&packed, &EpilogueSpec { multiplier: &[f32::INFINITY, 0.0], ..spec }).is_err());
    assert!(Epilogue::new(&packed, &EpilogueSpec { bias: &[0], ..spec }).is_err());
    assert!(Epilogue::new(&packed, &EpilogueSpec { steps_per_unit: f32::INFINITY, ..spec }).is_err());
    // 100 352 products of 255 and 127 do not fit, whatever the bias; as many of 255 and 80 do.
    let deep = conv(100_352, 1, 1, 1, 0);
    let spec = EpilogueSpec { bias: &[0], multiplier: &[1.0], ..spec };
    for (weight, fits) in [(127, false), (80, true)] {
        let weights: Vec<i8> = (0..100_352).map(|at| if at % 2 == 0 { weight } else { -weight }).collect();
        let packed = PackedU8::new(isa, deep, &weights).unwrap();
        assert_eq!(Epilogue::new(&packed, &spec).is_ok(), fits, "{weight}");
    }
    let other = PackedU8::new(isa, conv(8, 2, 1, 1, 0), &[1; 16]).unwrap();
    assert!(
        convolve(
            &other,
            &epilogue,
            ConvInput { data: &[0; 48], ..input },
            SkipInput::None,
            ConvOutput::U8(&mut [0; 12])
        )
        .is_err()
    );
    assert!(PackedU8::new(isa, geometry, &[i8::MIN; 8]).is_err());
    for kernel in KERNELS_U8.iter().filter(|kernel| kernel.needs_pair_safe && Isa::new(kernel.isa).is_some()) {
        assert!(PackedU8::with_kernel(kernel, Isa::new(kernel.isa).unwrap(), geometry, &[127; 8]).is_err());
    }
}
