//! Speed of the fp32 convolutions on one thread: `cargo test --release --test suite timing_f32:: -- --ignored
//! --nocapture`. `KERNEL` chooses the instruction set, `LAYER` layers by a part of their names, `ROUNDS` and `THREADS` how
//! often and on how many threads each runs.

use lookout::kernel::activation::Activation;
use lookout::kernel::bench_f32::LayerF32;
use lookout::kernel::ceiling;
use lookout::kernel::geometry::ConvGeometry;
use lookout::kernel::isa::Isa;
use lookout::kernel::tile_f32::KernelF32;

struct Layer {
    name: String,
    geometry: ConvGeometry,
    /// Maps, rows and columns.
    size: (usize, usize, usize),
    residual: bool,
    activation: Activation,
    /// Number of such layers in the network.
    times: u64,
}

fn layer(name: &str, geometry: ConvGeometry, size: (usize, usize, usize), residual: bool, times: u64) -> Layer {
    Layer { name: name.into(), geometry, size, residual, activation: Activation::Relu, times }
}

/// The distinct layers of ResNet-50-FPN on a KITTI picture.
fn resnet50() -> Vec<Layer> {
    let conv = ConvGeometry::square;
    let linear = ConvGeometry::linear;
    [
        ("stem 7×7/2", conv(3, 64, 7, 2), (416, 1344), false, 1),
        ("layer1 1×1 64→64", conv(64, 64, 1, 1), (104, 336), false, 1),
        ("layer1 3×3 64→64", conv(64, 64, 3, 1), (104, 336), false, 3),
        ("layer1 1×1 64→256 +", conv(64, 256, 1, 1), (104, 336), true, 4),
        ("layer1 1×1 256→64", conv(256, 64, 1, 1), (104, 336), false, 2),
        ("layer2 1×1 256→128", conv(256, 128, 1, 1), (104, 336), false, 1),
        ("layer2 3×3/2 128→128", conv(128, 128, 3, 2), (104, 336), false, 1),
        ("layer2 1×1/2 256→512", conv(256, 512, 1, 2), (104, 336), false, 1),
        ("layer2 3×3 128→128", conv(128, 128, 3, 1), (52, 168), false, 3),
        ("layer2 1×1 128→512 +", conv(128, 512, 1, 1), (52, 168), true, 4),
        ("layer2 1×1 512→128", conv(512, 128, 1, 1), (52, 168), false, 3),
        ("layer3 3×3 256→256", conv(256, 256, 3, 1), (26, 84), false, 5),
        ("layer3 1×1 256→1024 +", conv(256, 1024, 1, 1), (26, 84), true, 6),
        ("layer3 1×1 1024→256", conv(1024, 256, 1, 1), (26, 84), false, 5),
        ("layer3 1×1/2 512→1024", conv(512, 1024, 1, 2), (52, 168), false, 1),
        ("layer4 3×3 512→512", conv(512, 512, 3, 1), (13, 42), false, 2),
        ("layer4 1×1 512→2048 +", conv(512, 2048, 1, 1), (13, 42), true, 3),
        ("layer4 1×1 2048→512", conv(2048, 512, 1, 1), (13, 42), false, 2),
        ("P2 lateral 256→256 +", conv(256, 256, 1, 1), (104, 336), true, 1),
        ("P5 lateral 2048→256", conv(2048, 256, 1, 1), (13, 42), false, 1),
        ("P2 3×3 256→256", conv(256, 256, 3, 1), (104, 336), false, 2),
        ("P4 3×3 256→256", conv(256, 256, 3, 1), (26, 84), false, 2),
        ("P6 3×3 256→256", conv(256, 256, 3, 1), (7, 21), false, 1),
        ("RPN 1×1 256→15", conv(256, 15, 1, 1), (104, 336), false, 1),
        ("fc6 12544→1024", linear(12544, 1024), (1000, 1), false, 1),
        ("fc7 1024→1024", linear(1024, 1024), (1000, 1), false, 1),
        ("box 1024→40", linear(1024, 40), (1000, 1), false, 1),
    ]
    .into_iter()
    .map(|(name, geometry, (height, width), residual, times)| {
        layer(name, geometry, (1, height, width), residual, times)
    })
    .collect()
}

/// The convolutions of MobileNetV3-large-320-FPN on a picture of 640×360, whose canvas is 576×320.
fn mobilenet_v3() -> Vec<Layer> {
    let conv = ConvGeometry::square;
    use Activation::{Hardsigmoid, Hardswish, Identity, Relu};
    let mut layers = Vec::new();
    let mut add =
        |name: String, geometry: ConvGeometry, size: (usize, usize), residual: bool, activation: Activation| {
            let size = (1, size.0, size.1);
            layers.push(Layer { name, geometry, size, residual, activation, times: 1 });
        };
    add("stem".into(), conv(3, 16, 3, 2), (320, 576), false, Hardswish);
    // Channels in, kernel, expanded, out, squeezed (0 for none), stride, as torchvision's `_mobilenet_v3_conf`.
    let blocks = [
        (16, 3, 16, 16, 0, 1),
        (16, 3, 64, 24, 0, 2),
        (24, 3, 72, 24, 0, 1),
        (24, 5, 72, 40, 24, 2),
        (40, 5, 120, 40, 32, 1),
        (40, 5, 120, 40, 32, 1),
        (40, 3, 240, 80, 0, 2),
        (80, 3, 200, 80, 0, 1),
        (80, 3, 184, 80, 0, 1),
        (80, 3, 184, 80, 0, 1),
        (80, 3, 480, 112, 120, 1),
        (112, 3, 672, 112, 168, 1),
        (112, 5, 672, 160, 168, 2),
        (160, 5, 960, 160, 240, 1),
        (160, 5, 960, 160, 240, 1),
    ];
    let mut size = (160, 288);
    for (number, (inputs, kernel, expanded, outputs, squeezed, stride)) in (1..).zip(blocks) {
        let activation = if number < 7 { Relu } else { Hardswish };
        if expanded != inputs {
            add(format!("{number} expand {inputs}→{expanded}"), conv(inputs, expanded, 1, 1), size, false, activation);
        }
        let depthwise = ConvGeometry { groups: expanded, ..conv(expanded, expanded, kernel, stride) };
        add(format!("{number} depthwise {kernel}×{kernel}/{stride} {expanded}"), depthwise, size, false, activation);
        size = depthwise.output(size.0, size.1);
        if squeezed > 0 {
            add(format!("{number} squeeze {expanded}→{squeezed}"), conv(expanded, squeezed, 1, 1), (1, 1), false, Relu);
            add(
                format!("{number} excite {squeezed}→{expanded}"),
                conv(squeezed, expanded, 1, 1),
                (1, 1),
                false,
                Hardsigmoid,
            );
        }
        let residual = stride == 1 && inputs == outputs;
        add(format!("{number} project {expanded}→{outputs}"), conv(expanded, outputs, 1, 1), size, residual, Identity);
    }
    add("last 160→960".into(), conv(160, 960, 1, 1), size, false, Hardswish);
    add("lateral 960→256".into(), conv(960, 256, 1, 1), size, false, Identity);
    add("lateral 160→256 +".into(), conv(160, 256, 1, 1), size, true, Identity);
    add("FPN 3×3".into(), conv(256, 256, 3, 1), size, false, Identity);
    add("RPN 3×3".into(), conv(256, 256, 3, 1), size, false, Relu);
    add("fc6".into(), ConvGeometry::linear(12544, 1024), (150, 1), false, Relu);
    add("fc7".into(), ConvGeometry::linear(1024, 1024), (150, 1), false, Relu);
    layers
}

/// Layers of ResNeXt-50 32×4d and ResNeXt-101 64×4d on a KITTI picture, and the v2 box head over 1000 windows.
fn groups_and_windows() -> Vec<Layer> {
    let conv = ConvGeometry::square;
    let grouped = |channels, groups, stride| ConvGeometry { groups, ..conv(channels, channels, 3, stride) };
    vec![
        layer("32×4d layer1 128", grouped(128, 32, 1), (1, 104, 336), false, 3),
        layer("32×4d layer2 256/2", grouped(256, 32, 2), (1, 104, 336), false, 1),
        layer("32×4d layer2 256", grouped(256, 32, 1), (1, 52, 168), false, 3),
        layer("32×4d layer3 512", grouped(512, 32, 1), (1, 26, 84), false, 5),
        layer("32×4d layer4 1024", grouped(1024, 32, 1), (1, 13, 42), false, 2),
        layer("64×4d layer1 256", grouped(256, 64, 1), (1, 104, 336), false, 3),
        layer("64×4d layer4 2048", grouped(2048, 64, 1), (1, 13, 42), false, 2),
        layer("v2 box head 3×3 256→256", conv(256, 256, 3, 1), (1000, 7, 7), false, 4),
    ]
}

fn time(layers: Vec<Layer>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let isa = Isa::select(std::env::var("KERNEL").as_deref().unwrap_or("auto")).unwrap();
    let rounds = number("ROUNDS").unwrap_or(5);
    let only = std::env::var("LAYER").unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number("THREADS").unwrap_or(1)).build().unwrap();
    let kernel = KernelF32::of(isa);
    println!("{}", kernel.name);
    println!("{:32} {:>6} {:>8} {:>8} {:>8} {:>8}", "layer", "times", "MMAC", "ms", "GMAC/s", "ceiling");
    let (mut macs, mut seconds) = (0, 0.0);
    for Layer { name, geometry, size, residual, activation, times } in layers {
        if !name.contains(&only) {
            continue;
        }
        let mut layer = LayerF32::new(kernel, geometry, size, residual, activation).unwrap();
        let runs = rounds.max((2e8 / layer.macs() as f64) as usize).min(500);
        let (mut rate, mut peak) = (0f64, 0f64);
        for _ in 0..3 {
            peak = peak.max(pool.install(|| ceiling::measure(isa)).f32_gmacs);
            rate = rate.max(pool.install(|| layer.rate(runs)));
        }
        let (count, time) = (layer.macs() as f64 * 1e-6, layer.macs() as f64 / rate * 1e-6);
        println!("{name:32} {times:6} {count:8.1} {time:8.3} {rate:8.1} {:7.1}%", rate / peak * 100.0);
        macs += layer.macs() * times;
        seconds += time * 1e-3 * times as f64;
    }
    let rate = macs as f64 / seconds * 1e-9;
    println!("{:32} {:6} {:8.1} {:8.2} {rate:8.1}", "all", "", macs as f64 * 1e-6, seconds * 1e3);
}

#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn resnet50_on_a_kitti_frame() {
    time(resnet50());
}

#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn mobilenet_v3_on_a_small_frame() {
    time(mobilenet_v3());
}

#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn groups_and_windows_on_a_kitti_frame() {
    time(groups_and_windows());
}

/// Prints how much sooner two threads are done than one. Means something on an idle machine only.
#[test]
#[ignore = "a measurement: run alone, with --release, on at least two idle cores"]
fn two_threads() {
    let conv = ConvGeometry::square;
    let layers = [
        ("P2 3×3 256→256", conv(256, 256, 3, 1), 104, 336),
        ("layer4 3×3 512→512", conv(512, 512, 3, 1), 13, 42),
        ("layer1 1×1 64→256", conv(64, 256, 1, 1), 104, 336),
        ("fc6 12544→1024", ConvGeometry::linear(12544, 1024), 1000, 1),
    ];
    for (name, geometry, height, width) in layers {
        let kernel = KernelF32::of(Isa::best());
        let mut layer = LayerF32::new(kernel, geometry, (1, height, width), false, Activation::Relu).unwrap();
        let mut best = [f64::INFINITY; 2];
        let pools = [1, 2].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
        for _ in 0..5 {
            for (best, pool) in best.iter_mut().zip(&pools) {
                let start = std::time::Instant::now();
                pool.install(|| layer.run());
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
        println!("{name:24} {:.1} ms, {:.1} ms: {:.2}", best[0] * 1e3, best[1] * 1e3, best[0] / best[1]);
    }
}
