//! Speed of the int8 convolutions relative to this core's ceiling: `cargo test --release --test suite timing_u8:: --
//! --ignored
//! --nocapture`.

use lookout::kernel::bench_u8::LayerU8;
use lookout::kernel::ceiling;
use lookout::kernel::conv_u8::KERNELS_U8;
use lookout::kernel::geometry::ConvGeometry;
use lookout::kernel::isa::Isa;

type Layer = (&'static str, ConvGeometry, (usize, usize), bool, u64);

/// The convolutions and linear layers of ResNet-50-FPN on a KITTI picture with 1000 proposals: name, shape, input,
/// residual, how often.
fn layers() -> Vec<Layer> {
    let conv = ConvGeometry::square;
    let mut layers = vec![("stem", conv(3, 64, 7, 2), (416, 1344), false, 1)];
    let names = [
        ["layer1 reduce first", "layer1 3x3", "layer1 expand", "layer1 downsample", "layer1 reduce", "layer1 3x3"],
        ["layer2 reduce first", "layer2 3x3 s2", "layer2 expand", "layer2 downsample", "layer2 reduce", "layer2 3x3"],
        ["layer3 reduce first", "layer3 3x3 s2", "layer3 expand", "layer3 downsample", "layer3 reduce", "layer3 3x3"],
        ["layer4 reduce first", "layer4 3x3 s2", "layer4 expand", "layer4 downsample", "layer4 reduce", "layer4 3x3"],
    ];
    let mut size = (104, 336);
    let mut inputs = 64;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, stride) = (64 << stage, if stage == 0 { 1 } else { 2 });
        let out = (size.0 / stride, size.1 / stride);
        layers.push((names[stage][0], conv(inputs, width, 1, 1), size, false, 1));
        layers.push((names[stage][1], conv(width, width, 3, stride), size, false, 1));
        layers.push((names[stage][2], conv(width, 4 * width, 1, 1), out, true, blocks));
        layers.push((names[stage][3], conv(inputs, 4 * width, 1, stride), size, false, 1));
        layers.push((names[stage][4], conv(4 * width, width, 1, 1), out, false, blocks - 1));
        layers.push((names[stage][5], conv(width, width, 3, 1), out, false, blocks - 1));
        (size, inputs) = (out, 4 * width);
    }
    let laterals = ["lateral C2", "lateral C3", "lateral C4", "lateral C5"];
    let levels = ["3x3 P2 (FPN, RPN)", "3x3 P3", "3x3 P4", "3x3 P5"];
    for level in 0..4 {
        let size = (104 >> level, 336 >> level);
        layers.push((laterals[level], conv(256 << level, 256, 1, 1), size, level < 3, 1));
        layers.push((levels[level], conv(256, 256, 3, 1), size, false, 2));
        layers.push(("RPN logits", conv(256, 3, 1, 1), size, false, 1));
        layers.push(("RPN deltas", conv(256, 12, 1, 1), size, false, 1));
    }
    layers.push(("3x3 P6", conv(256, 256, 3, 1), (7, 21), false, 1));
    layers.push(("fc6", ConvGeometry::linear(12544, 1024), (1, 1000), false, 1));
    layers.push(("fc7", ConvGeometry::linear(1024, 1024), (1, 1000), false, 1));
    layers.push(("boxes", ConvGeometry::linear(1024, 40), (1, 1000), false, 1));
    layers
}

#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn every_layer_of_a_kitti_frame() {
    let isa = Isa::select(std::env::var("KERNEL").as_deref().unwrap_or("auto")).unwrap();
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let only = std::env::var("LAYER").unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for kernel in KERNELS_U8.iter().filter(|kernel| kernel.isa == isa.name()) {
        println!("{}", kernel.name);
        println!("{:24} {:>6} {:>8} {:>8} {:>7}", "layer", "times", "MMAC", "GMAC/s", "ceiling");
        let (mut macs, mut seconds, mut ideal) = (0u64, 0.0, 0.0);
        for (name, geometry, size, residual, times) in layers() {
            if !name.contains(&only) {
                continue;
            }
            let mut layer = LayerU8::new(kernel, isa, geometry, size, residual).unwrap();
            let runs = rounds.max((2e8 / layer.macs() as f64) as usize);
            let (mut best, mut ceiling) = (f64::INFINITY, 0f64);
            pool.install(|| {
                layer.run().unwrap();
                ceiling = ceiling::measure(isa).i8_gmacs;
                for _ in 0..runs {
                    best = best.min(layer.run().unwrap());
                }
                ceiling = ceiling.max(ceiling::measure(isa).i8_gmacs);
            });
            let rate = layer.macs() as f64 / best * 1e-9;
            println!(
                "{name:24} {times:6} {:8.1} {rate:8.1} {:6.1}%",
                layer.macs() as f64 * 1e-6,
                rate / ceiling * 100.0
            );
            macs += layer.macs() * times;
            seconds += best * times as f64;
            ideal += (layer.macs() * times) as f64 / ceiling * 1e-9;
        }
        let rate = macs as f64 / seconds * 1e-9;
        println!(
            "{:24} {:6} {:8.1} {rate:8.1} {:6.1}%  {:.1} ms",
            "all",
            "",
            macs as f64 * 1e-6,
            ideal / seconds * 100.0,
            seconds * 1e3
        );
    }
}
