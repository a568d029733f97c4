//! Format negotiation: offered formats, selection of the nearest to the request, and the format that the driver sets.

use std::fmt;

use v4l::format::FourCC;
use v4l::framesize::FrameSizeEnum;
use v4l::v4l_sys as sys;

use super::device::Device;
use super::ioctl::{FORMATS, INTERVALS, PARAMETERS, SET_FORMAT, SET_PARAMETERS, SIZES, text, zeroed};
use crate::error::{Error, Kind, Result};
use crate::frame::{Matrix, PixelFormat, Range};

/// Default size, close to that of detectors' inputs.
const SIZE: (u32, u32) = (1280, 720);

/// Default frames a second.
const RATE: f64 = 10.0;

/// Limit of enumerated formats, sizes and rates.
const LIMIT: u32 = 256;

/// Encoding of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Raw pixels.
    Pixels(PixelFormat),
    /// JPEG.
    Jpeg,
}

/// Supported formats by FourCC, preferred ones first: cheap conversions first, colour before grey.
const SUPPORTED: [(&[u8; 4], Encoding); 14] = [
    (b"YUYV", Encoding::Pixels(PixelFormat::Yuyv)),
    (b"UYVY", Encoding::Pixels(PixelFormat::Uyvy)),
    (b"NV12", Encoding::Pixels(PixelFormat::Nv12)),
    (b"NV21", Encoding::Pixels(PixelFormat::Nv21)),
    (b"NM12", Encoding::Pixels(PixelFormat::Nv12)),
    (b"NM21", Encoding::Pixels(PixelFormat::Nv21)),
    (b"YU12", Encoding::Pixels(PixelFormat::I420)),
    (b"YM12", Encoding::Pixels(PixelFormat::I420)),
    (b"422P", Encoding::Pixels(PixelFormat::I422)),
    (b"RGB3", Encoding::Pixels(PixelFormat::Rgb24)),
    (b"BGR3", Encoding::Pixels(PixelFormat::Bgr24)),
    (b"MJPG", Encoding::Jpeg),
    (b"JPEG", Encoding::Jpeg),
    (b"GREY", Encoding::Pixels(PixelFormat::Grey)),
];

/// Requested format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FormatRequest {
    /// Columns.
    pub width: Option<u32>,
    /// Rows.
    pub height: Option<u32>,
    /// FourCC.
    pub format: Option<String>,
    /// Frames a second.
    pub fps: Option<f64>,
}

/// An offered format at a size, or a range of sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedFormat {
    /// FourCC.
    pub fourcc: [u8; 4],
    /// Description by the driver.
    pub name: String,
    /// Columns and rows; `None`: unknown.
    pub size: Option<Size>,
    /// Largest frames a second; `None`: unknown.
    pub fps: Option<f64>,
}

/// A size or a range of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Smallest columns and rows.
    pub min: (u32, u32),
    /// Largest columns and rows.
    pub max: (u32, u32),
    /// Step.
    pub step: (u32, u32),
}

impl Size {
    /// The size nearest to `request`.
    fn nearest(&self, request: (u32, u32)) -> (u32, u32) {
        let side = |request: u32, min: u32, max: u32, step: u32| {
            let request = request.clamp(min, max.max(min));
            request - (request - min) % step.max(1)
        };
        (side(request.0, self.min.0, self.max.0, self.step.0), side(request.1, self.min.1, self.max.1, self.step.1))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.min.0, self.min.1)?;
        if self.max != self.min { write!(f, " to {}×{}", self.max.0, self.max.1) } else { Ok(()) }
    }
}

/// The format in use.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamFormat {
    /// FourCC.
    pub fourcc: [u8; 4],
    /// Encoding of buffers.
    pub encoding: Encoding,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from row to row, of each plane; 0: unknown.
    pub strides: Vec<u32>,
    /// Colour encoding.
    pub colours: (Matrix, Range),
    /// Frames a second; `None`: unknown.
    pub fps: Option<f64>,
}

/// Encoding of a format's buffers, if supported.
pub fn encoding(fourcc: [u8; 4]) -> Option<Encoding> {
    SUPPORTED.iter().find(|(known, _)| **known == fourcc).map(|(_, encoding)| *encoding)
}

/// FourCC as text.
pub fn fourcc_text(fourcc: [u8; 4]) -> String {
    String::from_utf8_lossy(&fourcc).trim_end().to_owned()
}

/// All formats of `device`.
pub fn offered_formats(device: &Device) -> Vec<OfferedFormat> {
    let mut formats = Vec::new();
    let next = |index| sys::v4l2_fmtdesc { index, type_: device.kind, ..zeroed() };
    device.node.each(FORMATS, LIMIT, next, |format| formats.push((format.pixelformat, text(&format.description))));
    let mut offered_formats = Vec::new();
    for (pixel_format, name) in formats {
        let fourcc = FourCC::from(pixel_format).repr;
        let mut sizes = Vec::new();
        let next = |index| sys::v4l2_frmsizeenum { index, pixel_format, ..zeroed() };
        device.node.each(SIZES, LIMIT, next, |size| sizes.extend(FrameSizeEnum::try_from(*size)));
        if sizes.is_empty() {
            offered_formats.push(OfferedFormat { fourcc, name, size: None, fps: None });
            continue;
        }
        for size in sizes {
            let size = match size {
                FrameSizeEnum::Discrete(one) => {
                    let size = (one.width, one.height);
                    Size { min: size, max: size, step: (1, 1) }
                }
                FrameSizeEnum::Stepwise(range) => Size {
                    min: (range.min_width, range.min_height),
                    max: (range.max_width, range.max_height),
                    step: (range.step_width, range.step_height),
                },
            };
            let fps = max_fps(device, pixel_format, size.nearest(SIZE));
            offered_formats.push(OfferedFormat { fourcc, name: name.clone(), size: Some(size), fps });
        }
    }
    offered_formats
}

/// Largest frames a second of a format and size.
fn max_fps(device: &Device, pixel_format: u32, (width, height): (u32, u32)) -> Option<f64> {
    let mut max_fps: Option<f64> = None;
    let next = |index| sys::v4l2_frmivalenum { index, pixel_format, width, height, ..zeroed() };
    device.node.each(INTERVALS, LIMIT, next, |interval| {
        // SAFETY: `type_` tells which part of the union the kernel filled in; both are plain numbers.
        let shortest = unsafe {
            if interval.type_ == sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE {
                interval.__bindgen_anon_1.discrete
            } else {
                interval.__bindgen_anon_1.stepwise.min
            }
        };
        let fps = f64::from(shortest.denominator) / f64::from(shortest.numerator.max(1));
        max_fps = Some(max_fps.map_or(fps, |before| before.max(fps)));
    });
    max_fps
}

/// FourCC and size of the supported format nearest to `request`.
///
/// Criteria in order: the requested format, the size, a sufficient rate, the cheapest conversion.
pub fn choose(offered_formats: &[OfferedFormat], request: &FormatRequest) -> Option<([u8; 4], (u32, u32))> {
    let size = (request.width.unwrap_or(SIZE.0), request.height.unwrap_or(SIZE.1));
    let fps = request.fps.unwrap_or(RATE);
    let is_named = |fourcc: [u8; 4]| request.format.as_ref().is_some_and(|name| *name == fourcc_text(fourcc));
    offered_formats
        .iter()
        .filter_map(|offered| {
            let preference = SUPPORTED.iter().position(|(known, _)| **known == offered.fourcc)?;
            let nearest = offered.size.map_or(size, |sizes| sizes.nearest(size));
            let distance = nearest.0.abs_diff(size.0) + nearest.1.abs_diff(size.1);
            let missing = offered.fps.map_or(0.0, |max| (fps - max).max(0.0));
            // In thousandths of a frame a second, so that it is `Ord`.
            let missing = (missing * 1e3) as u64;
            Some(((!is_named(offered.fourcc), distance, missing, preference), offered.fourcc, nearest))
        })
        .min_by_key(|(rank, ..)| *rank)
        .map(|(_, fourcc, size)| (fourcc, size))
}

/// Chooses a format for `device` and sets it.
///
/// # Errors
/// [`Kind::Unavailable`] if it has no supported format, or is busy.
pub fn negotiate(device: &Device, request: &FormatRequest) -> Result<StreamFormat> {
    let offered_formats = offered_formats(device);
    let place = device.path.display();
    let Some((fourcc, (width, height))) = choose(&offered_formats, request) else {
        let mut available: Vec<_> = offered_formats.iter().map(|offered| fourcc_text(offered.fourcc)).collect();
        available.dedup();
        let supported: Vec<_> = SUPPORTED.iter().map(|(known, _)| fourcc_text(**known)).collect();
        let text = format!(
            "{place}: gives no format that can be read: it has {}; {} can be read",
            if available.is_empty() { "none".to_owned() } else { available.join(", ") },
            supported.join(", ")
        );
        return Err(Error::new(Kind::Unavailable, text));
    };
    let mut format = sys::v4l2_format { type_: device.kind, ..zeroed() };
    let pixel_format = u32::from_le_bytes(fourcc);
    let field = sys::v4l2_field_V4L2_FIELD_NONE;
    let is_multi_planar = device.kind == sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE;
    if is_multi_planar {
        let pixels = sys::v4l2_pix_format_mplane { width, height, pixelformat: pixel_format, field, ..MULTI };
        format.fmt.pix_mp = pixels;
    } else {
        format.fmt.pix = sys::v4l2_pix_format { width, height, pixelformat: pixel_format, field, ..SINGLE };
    }
    device.node.ioctl(SET_FORMAT, &mut format).map_err(|error| super::device::device_error(&device.path, error))?;
    // SAFETY: the kernel filled in the part that belongs to the kind of buffer.
    let mut stream_format =
        unsafe { if is_multi_planar { multi(&format.fmt.pix_mp) } else { single(&format.fmt.pix) } }
            .map_err(|error| error.at(place))?;
    stream_format.fps = set_rate(device, request.fps);
    Ok(stream_format)
}

/// Empty `v4l2_format` structures.
// SAFETY: plain numbers.
const SINGLE: sys::v4l2_pix_format = unsafe { std::mem::zeroed() };
// SAFETY: plain numbers.
const MULTI: sys::v4l2_pix_format_mplane = unsafe { std::mem::zeroed() };

fn single(format: &sys::v4l2_pix_format) -> Result<StreamFormat> {
    // SAFETY: the union has one part, a plain number.
    let encoded = unsafe { format.__bindgen_anon_1.ycbcr_enc };
    let colour_codes = (format.colorspace, encoded, format.quantization);
    stream_format(
        format.pixelformat,
        (format.width, format.height),
        format.field,
        colour_codes,
        vec![format.bytesperline],
    )
}

fn multi(format: &sys::v4l2_pix_format_mplane) -> Result<StreamFormat> {
    let planes = format.plane_fmt;
    let strides = planes.iter().take(usize::from(format.num_planes)).map(|plane| plane.bytesperline).collect();
    // SAFETY: the union has one part, a plain number.
    let encoded = unsafe { format.__bindgen_anon_1.ycbcr_enc };
    let colour_codes = (format.colorspace, u32::from(encoded), u32::from(format.quantization));
    stream_format(format.pixelformat, (format.width, format.height), format.field, colour_codes, strides)
}

fn stream_format(
    pixel_format: u32,
    (width, height): (u32, u32),
    field: u32,
    colour_codes: (u32, u32, u32),
    strides: Vec<u32>,
) -> Result<StreamFormat> {
    let fourcc = FourCC::from(pixel_format).repr;
    let refuse = |text: String| Err(Error::new(Kind::Unavailable, text));
    let Some(encoding) = encoding(fourcc) else {
        return refuse(format!(
            "the driver chose {}, which was not requested and cannot be decoded",
            fourcc_text(fourcc)
        ));
    };
    let whole_frames =
        [sys::v4l2_field_V4L2_FIELD_ANY, sys::v4l2_field_V4L2_FIELD_NONE, sys::v4l2_field_V4L2_FIELD_INTERLACED];
    if !whole_frames.contains(&field) && ![8, 9].contains(&field) {
        return refuse(format!("the driver gives single fields (V4L2 field order {field}), not whole pictures"));
    }
    Ok(StreamFormat { fourcc, encoding, width, height, strides, colours: colours(encoding, colour_codes), fps: None })
}

/// Colour encoding by the kernel's rules for default values. Only grey has full range by default, as with the kernel's test
/// generator and infrared cameras.
fn colours(encoding: Encoding, (space, encoded, quantized): (u32, u32, u32)) -> (Matrix, Range) {
    let matrix = match (encoded, space) {
        (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709 | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709, _)
        | (
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT,
            sys::v4l2_colorspace_V4L2_COLORSPACE_REC709 | sys::v4l2_colorspace_V4L2_COLORSPACE_DCI_P3,
        ) => Matrix::Bt709,
        (
            sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020 | sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM,
            _,
        )
        | (sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT, sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020) => {
            Matrix::Bt2020
        }
        _ => Matrix::Bt601,
    };
    let range = match (quantized, space) {
        (sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE, _)
        | (sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT, sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG) => Range::Full,
        (sys::v4l2_quantization_V4L2_QUANTIZATION_DEFAULT, _) if encoding == Encoding::Pixels(PixelFormat::Grey) => {
            Range::Full
        }
        _ if !matches!(encoding, Encoding::Pixels(format) if format.is_yuv()) => Range::Full,
        _ => Range::Limited,
    };
    (matrix, range)
}

/// Requests frames a second, if configured, and returns the driver's value.
fn set_rate(device: &Device, fps: Option<f64>) -> Option<f64> {
    let mut parameters = sys::v4l2_streamparm { type_: device.kind, ..zeroed() };
    device.node.ioctl(PARAMETERS, &mut parameters).ok()?;
    // SAFETY: for capture, the kernel filled in this part of the union.
    let is_settable = unsafe { parameters.parm.capture.capability } & sys::V4L2_CAP_TIMEPERFRAME != 0;
    if let Some(fps) = fps.filter(|&fps| is_settable && fps > 0.0) {
        let time = sys::v4l2_fract { numerator: 1000, denominator: (fps * 1e3).round().max(1.0) as u32 };
        parameters.parm.capture.timeperframe = time;
        device.node.ioctl(SET_PARAMETERS, &mut parameters).ok()?;
    }
    // SAFETY: as above.
    let time = unsafe { parameters.parm.capture.timeperframe };
    (time.numerator > 0 && time.denominator > 0).then(|| f64::from(time.denominator) / f64::from(time.numerator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(fourcc: &[u8; 4], size: (u32, u32), fps: f64) -> OfferedFormat {
        let size = Some(Size { min: size, max: size, step: (1, 1) });
        OfferedFormat { fourcc: *fourcc, name: String::new(), size, fps: Some(fps) }
    }

    fn request(width: u32, height: u32, format: Option<&str>, fps: Option<f64>) -> FormatRequest {
        FormatRequest { width: Some(width), height: Some(height), format: format.map(str::to_owned), fps }
    }

    #[test]
    fn the_nearest_is_taken() {
        let offered_formats = [
            offered(b"YUYV", (640, 480), 30.0),
            offered(b"YUYV", (1920, 1080), 5.0),
            offered(b"MJPG", (1920, 1080), 30.0),
            offered(b"H264", (1920, 1080), 60.0),
        ];
        let chosen = |request: &FormatRequest| choose(&offered_formats, request).unwrap();
        assert_eq!(chosen(&request(1920, 1080, None, Some(5.0))), (*b"YUYV", (1920, 1080)));
        assert_eq!(chosen(&request(1920, 1080, None, Some(25.0))), (*b"MJPG", (1920, 1080)));
        assert_eq!(chosen(&request(1920, 1080, Some("YUYV"), Some(25.0))), (*b"YUYV", (1920, 1080)));
        assert_eq!(chosen(&request(600, 400, None, None)), (*b"YUYV", (640, 480)));
        // A format that the camera lacks: the size still counts.
        assert_eq!(chosen(&request(600, 400, Some("NV12"), None)), (*b"YUYV", (640, 480)));
        assert_eq!(choose(&offered_formats[3..], &FormatRequest::default()), None);
    }

    #[test]
    fn sizes_in_steps_are_met_as_nearly_as_they_allow() {
        let size = Size { min: (320, 240), max: (1920, 1080), step: (16, 2) };
        assert_eq!(size.nearest((1000, 700)), (992, 700));
        assert_eq!(size.nearest((1, 5000)), (320, 1080));
        assert_eq!(size.to_string(), "320×240 to 1920×1080");
    }

    #[test]
    fn what_the_kernel_calls_default_is_resolved_by_its_rules() {
        let yuyv = Encoding::Pixels(PixelFormat::Yuyv);
        let of = |space, encoded, quantized| colours(yuyv, (space, encoded, quantized));
        assert_eq!(of(sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB, 0, 0), (Matrix::Bt601, Range::Limited));
        assert_eq!(of(sys::v4l2_colorspace_V4L2_COLORSPACE_JPEG, 0, 0), (Matrix::Bt601, Range::Full));
        assert_eq!(of(sys::v4l2_colorspace_V4L2_COLORSPACE_REC709, 0, 0), (Matrix::Bt709, Range::Limited));
        let full = sys::v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE;
        let bt709 = sys::v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709;
        assert_eq!(of(sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB, bt709, full), (Matrix::Bt709, Range::Full));
        assert_eq!(of(sys::v4l2_colorspace_V4L2_COLORSPACE_BT2020, 0, 0).0, Matrix::Bt2020);
        let srgb = (sys::v4l2_colorspace_V4L2_COLORSPACE_SRGB, 0, 0);
        let range = |format| colours(Encoding::Pixels(format), srgb).1;
        assert_eq!((range(PixelFormat::Grey), range(PixelFormat::Rgb24)), (Range::Full, Range::Full));
    }

    #[test]
    fn the_configuration_knows_the_same_formats() {
        let supported: Vec<_> = SUPPORTED.iter().map(|(known, _)| fourcc_text(**known)).collect();
        assert_eq!(supported, crate::config::defaults::camera::FORMATS);
    }
}
