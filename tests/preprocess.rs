//! The transform against torchvision's own, on committed pictures and on the shared golden tensors.

use lookout::frame::{Image, Matrix, Picture, PixelFormat, Range, Raw, Turn};
use lookout::kernel::isa::Isa;
use lookout::preprocess::{Transform, TransformParams};
use lookout::tensor::Canvas;

use crate::golden::Golden;

/// For outputs of at most 128 rows and columns together, PyTorch takes another path with another rounding.
const THUMBNAIL: usize = 128;

/// The canvas of `picture`, compared with `expected`: `height × width × 3` values without padding.
fn compare(
    name: &str,
    rule: TransformParams,
    picture: &Picture,
    size: [usize; 2],
    expected: impl Fn(usize, usize, usize) -> f32,
) {
    let mut canvas = Canvas::default();
    Transform::new(rule).unwrap().to_f32(picture, &mut canvas).unwrap();
    let fit = canvas.fit;
    assert_eq!([fit.height, fit.width], size, "{name}: size");
    let mut worst = 0.0_f32;
    for y in 0..fit.canvas_height {
        for x in 0..fit.canvas_width {
            for channel in 0..3 {
                let value = canvas.data[(y * fit.canvas_width + x) * 3 + channel];
                let inside = y < fit.height && x < fit.width;
                let wanted = if inside { expected(y, x, channel) } else { 0.0 };
                worst = worst.max((value - wanted).abs());
            }
        }
    }
    let limit = if fit.height + fit.width <= THUMBNAIL { 1e-5 } else { 1e-6 };
    println!("{name}: largest difference {worst:e}");
    assert!(worst <= limit, "{name}: {worst:e} is more than {limit:e}");
}

fn picture(golden: &Golden, name: &str) -> Picture {
    let (shape, data) = golden.bytes(name);
    Picture::new(shape[1], shape[0], data).unwrap()
}

#[test]
fn canvases_are_torchvisions() {
    let golden = Golden::committed("transform.safetensors");
    let names = golden.names();
    let cases: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".image")).collect();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let (_, numbers) = golden.floats(&format!("{case}.rule"));
        let rule = TransformParams {
            min_size: numbers[0] as u32,
            max_size: numbers[1] as u32,
            size_divisor: numbers[2] as u32,
            mean: [numbers[3], numbers[4], numbers[5]],
            std: [numbers[6], numbers[7], numbers[8]],
        };
        let picture = picture(&golden, &format!("{case}.image"));
        let (shape, expected) = golden.floats(&format!("{case}.expected"));
        let canvas = golden.integers(&format!("{case}.canvas"));
        let fit = rule.fit(picture.width, picture.height).unwrap();
        assert_eq!([fit.canvas_height, fit.canvas_width], canvas[..], "{case}: canvas");
        compare(case, rule, &picture, [shape[0], shape[1]], |y, x, c| expected[(y * shape[1] + x) * 3 + c]);
    }
}

#[test]
fn canvases_of_the_shared_goldens_are_torchvisions() {
    for (name, min_size) in [("road-r50-fpn-wide", 128), ("road-r50-fpn-upright", 160)] {
        let Some(golden) = Golden::shared(&format!("models/golden/{name}.safetensors")) else { return };
        let picture = picture(&golden, "image_u8");
        let (shape, expected) = golden.floats("transformed");
        let size = golden.integers("transformed_size_hw");
        let rule = TransformParams { min_size, max_size: 1333, ..TransformParams::default() };
        let fit = rule.fit(picture.width, picture.height).unwrap();
        assert_eq!([fit.canvas_height, fit.canvas_width], shape[1..]);
        compare(name, rule, &picture, [size[0], size[1]], |y, x, c| expected[(c * shape[1] + y) * shape[2] + x]);
    }
}

/// CPU time of this thread from a camera's frame to the detector's canvas, the median of many.
#[test]
#[ignore = "timing; run with --ignored --nocapture"]
fn time_to_the_canvas() {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
    };
    println!("1920×1080 to the canvas of 800 / 1333, CPU time on one core:");
    let formats = [
        (PixelFormat::Yuyv, 0),
        (PixelFormat::Uyvy, 2),
        (PixelFormat::Nv12, 0),
        (PixelFormat::Grey, 0),
        (PixelFormat::Rgb24, 0),
        (PixelFormat::Yuyv, 1),
    ];
    for (format, quarters) in formats {
        let (width, height) = (1920, 1080);
        let data = (0..format.bytes(width, height)).map(|index| (index * 151 % 253) as u8).collect();
        let raw = Raw::new(format, (width, height), (Matrix::Bt709, Range::Limited), data).unwrap();
        let image = Image::Raw(raw).turned(Turn::new(quarters, false, false));
        for isa in Isa::available() {
            let mut transform = Transform::new(TransformParams::default()).unwrap().with_isa(isa);
            let mut canvas = Canvas::default();
            let mut times: Vec<f64> = (0..31)
                .map(|_| {
                    let begin = now();
                    transform.to_u8(&image, &mut canvas).unwrap();
                    now() - begin
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let (isa, turn) = (isa.name().name(), quarters * 90);
            println!("{format:?} turned by {turn}°, {isa}: {:.2} ms", times[15]);
        }
    }
}
