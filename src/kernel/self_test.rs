//! Self-test: compares the kernels of an instruction set with the portable ones, byte for byte.
//!
//! The daemon runs it at start. A difference means a miscompiled binary or a faulty CPU, and every detection would be
//! wrong. It takes some milliseconds.

use super::activation::Activation;
use super::conv_u8::{
    ConvInput, ConvOutput, Epilogue, EpilogueSpec, KernelU8, OutputKind, PackedU8, SkipInput, SkipKind, convolve,
    is_curved,
};
use super::geometry::ConvGeometry;
use super::isa::{Isa, IsaName};
use super::pool_u8;
use super::roi_align_u8::{RoiAlignParamsU8, RoiLevelU8, roi_align};
use crate::error::{Error, Kind, Result};

const HEIGHT: usize = 9;
const WIDTH: usize = 14;

/// Runs every int8 kernel that `isa` may use beside the portable one, on inputs with extreme values, borders, residuals
/// and odd numbers of channels.
///
/// # Errors
///
/// [`Kind::Internal`] naming the kernel whose bytes differ.
pub fn self_test(isa: Isa) -> Result<()> {
    let Some(portable) = Isa::new(IsaName::Scalar) else {
        return Err(Error::new(Kind::Internal, "the portable kernels are missing"));
    };
    for (number, case) in CASES.iter().enumerate() {
        let expected = layer(KernelU8::of(portable, &case.geometry), portable, case)?;
        for kernel in KernelU8::table(&case.geometry).iter().filter(|kernel| isa.proves(kernel.isa)) {
            if layer(kernel, isa, case)? != expected {
                return Err(differs(kernel.name, number));
            }
        }
    }
    for channels in [64, 70] {
        if pooled(isa, channels) != pooled(portable, channels) {
            return Err(differs("max_pool_u8", channels));
        }
        if regions(isa, channels)? != regions(portable, channels)? {
            return Err(differs("roi_align_u8", channels));
        }
    }
    Ok(())
}

fn differs(kernel: &str, case: usize) -> Error {
    let text = format!("self-test case {case}: {kernel} does not give the bytes of the portable kernel on this CPU");
    Error::new(Kind::Internal, text)
}

struct Case {
    geometry: ConvGeometry,
    zero_point: u8,
    activation: Activation,
    residual: bool,
}

const fn case(in_channels: usize, out_channels: usize, kernel: usize, stride: usize, residual: bool) -> Case {
    let geometry = ConvGeometry::square(in_channels, out_channels, kernel, stride);
    let activation = if residual { Activation::Relu } else { Activation::Identity };
    Case { geometry, zero_point: if residual { 0 } else { 131 }, activation, residual }
}

/// Depthwise, or of other groups, with hardswish.
const fn grouped(channels: usize, kernel: usize, stride: usize, groups: usize) -> Case {
    let geometry = ConvGeometry { groups, ..ConvGeometry::square(channels, channels, kernel, stride) };
    Case { geometry, zero_point: 131, activation: Activation::Hardswish, residual: false }
}

const CASES: [Case; 9] = [
    case(64, 48, 3, 1, false),
    case(37, 21, 3, 2, false),
    case(256, 32, 1, 1, true),
    case(22, 9, 1, 1, true),
    case(3, 32, 7, 2, false),
    grouped(72, 3, 1, 72),
    grouped(37, 5, 2, 37),
    grouped(64, 3, 1, 16),
    grouped(40, 3, 2, 2),
];

/// Deterministic pseudo-random numbers.
fn bytes(length: usize, seed: u32) -> impl Iterator<Item = u8> {
    (0..length as u32).map(move |index| {
        let mixed = (index ^ seed).wrapping_mul(0x9E37_79B1);
        let byte = (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA77) >> 24;
        // A fifth of all at the ends of the range.
        if byte < 26 {
            255
        } else if byte > 230 {
            0
        } else {
            byte as u8
        }
    })
}

fn layer(kernel: &'static KernelU8, isa: Isa, case: &Case) -> Result<Vec<u8>> {
    let geometry = case.geometry;
    // Pairs (w, 128 − w) and (w, −w): at the edge of what a 16-bit sum holds.
    let mut weights = vec![0i8; geometry.weights()];
    for (tap, drawn) in weights.chunks_mut(geometry.group_channels()).zip(0..) {
        for (pair, byte) in tap.chunks_mut(2).zip(bytes(geometry.group_channels(), drawn)) {
            let w = (byte >> 1).max(1) as i8;
            let other = if byte % 2 == 0 { (128 - i16::from(w)) as i8 } else { -w };
            pair.iter_mut().zip([w, other]).for_each(|(slot, w)| *slot = w);
        }
    }
    let packed = match geometry.in_channels {
        3 => PackedU8::pixels_with_kernel(kernel, isa, geometry, &weights)?,
        _ => PackedU8::with_kernel(kernel, isa, geometry, &weights)?,
    };
    let channels = geometry.out_channels;
    let multiplier = 0.7 / (geometry.taps() * geometry.group_channels()) as f32 / 64.0;
    // Of curved functions t is a real value.
    let multiplier = if is_curved(case.activation) { multiplier / 20.0 } else { multiplier };
    let epilogue = EpilogueSpec {
        input_zero_point: case.zero_point,
        input_has_low: false,
        bias: &(0..channels as i32).map(|n| n * 500 - 4000).collect::<Vec<_>>(),
        multiplier: &vec![multiplier; channels],
        outside: None,
        skip: if case.residual { SkipKind::U8 { zero_point: 3, multiplier: 0.3 } } else { SkipKind::None },
        activation: case.activation,
        steps_per_unit: 20.0,
        output: OutputKind::U8 { zero_point: case.zero_point },
    };
    let epilogue = Epilogue::new(&packed, &epilogue)?;
    let input: Vec<u8> = bytes(HEIGHT * WIDTH * packed.geometry().in_channels, 1).collect();
    let (rows, columns) = geometry.output(HEIGHT, WIDTH);
    let skip: Vec<u8> = bytes(rows * columns * channels, 2).collect();
    let skip = match case.residual {
        true => SkipInput::U8 { data: &skip, height: rows, width: columns },
        false => SkipInput::None,
    };
    let mut out = vec![0; rows * columns * channels];
    let input = ConvInput { data: &input, count: 1, height: HEIGHT, width: WIDTH };
    convolve(&packed, &epilogue, input, skip, ConvOutput::U8(&mut out))?;
    Ok(out)
}

fn pooled(isa: Isa, channels: usize) -> Vec<u8> {
    let input: Vec<u8> = bytes(HEIGHT * WIDTH * channels, 3).collect();
    let mut out = vec![0; HEIGHT.div_ceil(2) * WIDTH.div_ceil(2) * channels];
    pool_u8::max_pool(isa, &input, HEIGHT, WIDTH, channels, &mut out);
    out
}

fn regions(isa: Isa, channels: usize) -> Result<Vec<u8>> {
    let data: Vec<u8> = bytes(HEIGHT * WIDTH * channels, 4).collect();
    let level =
        RoiLevelU8 { data: &data, height: HEIGHT, width: WIDTH, spatial_scale: 0.25, scale: 0.02, zero_point: 99 };
    let params = RoiAlignParamsU8 { channels, window: 7, sampling_ratio: 2, scale: 0.017, zero_point: 120 };
    let boxes = [[3.0, 2.0, 41.0, 30.0], [-9.0, -9.0, 90.0, 70.0], [50.0, 30.0, 50.0, 30.0]];
    let mut out = vec![0; boxes.len() * 49 * channels];
    roi_align(isa, &[level], params, &boxes, &[0; 3], &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes() {
        for isa in Isa::available() {
            self_test(isa).unwrap();
        }
    }
}
