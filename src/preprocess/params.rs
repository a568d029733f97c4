//! Parameters of the transform: canvas size and normalization.

use crate::detector::settings::TransformSettings;
use crate::error::{Error, Kind, Result};
use crate::tensor::Fit;

/// Upper limit for `min_size` and `max_size`, in pixels.
const MAX_SIDE: u32 = 16_384;

/// Parameters of torchvision's `GeneralizedRCNNTransform`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformParams {
    /// Target length of the short side, in pixels. Of several training sizes, torchvision uses the last for inference.
    pub min_size: u32,
    /// Limit for the long side, in pixels. It takes precedence over `min_size`.
    pub max_size: u32,
    /// Mean of red, green and blue, 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, 0 to 1.
    pub std: [f32; 3],
    /// Rows and columns of the canvas are padded to a multiple of this number of pixels.
    pub size_divisor: u32,
}

impl From<&TransformSettings> for TransformParams {
    /// Parameters of a model's settings.
    fn from(settings: &TransformSettings) -> Self {
        Self {
            min_size: settings.test_min_size(),
            max_size: settings.max_size,
            mean: settings.mean.map(|mean| mean as f32),
            std: settings.std.map(|std| std as f32),
            size_divisor: settings.size_divisor,
        }
    }
}

impl Default for TransformParams {
    /// torchvision's defaults.
    fn default() -> Self {
        Self {
            min_size: 800,
            max_size: 1333,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            size_divisor: 32,
        }
    }
}

impl TransformParams {
    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`Kind::Config`] with the name, the value and the allowed range.
    pub fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Kind::Config, text));
        for (name, value) in [("min_size", self.min_size), ("max_size", self.max_size)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return refuse(format!("transform.{name} is {value}; it may be 1 to {MAX_SIDE}"));
            }
        }
        if !(1..=1024).contains(&self.size_divisor) {
            return refuse(format!("transform.size_divisor is {}; it may be 1 to 1024", self.size_divisor));
        }
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return refuse(format!("transform.mean is {:?}; it must be three finite numbers", self.mean));
        }
        if self.std.iter().any(|std| !(std.is_finite() && *std > 0.0)) {
            return refuse(format!("transform.std is {:?}; it must be three positive numbers", self.std));
        }
        Ok(())
    }

    /// Geometry of the canvas for a frame of `width` × `height` pixels.
    ///
    /// scale = min(`min_size` / short side, `max_size` / long side) in `f64`; size = floor(size · scale)
    /// (`torchvision.models.detection.transform._resize_image_and_masks`).
    ///
    /// # Errors
    /// [`Kind::Data`] if the resized frame would have a side of zero pixels.
    pub fn fit(&self, width: usize, height: usize) -> Result<Fit> {
        let (short, long) = (width.min(height) as f64, width.max(height) as f64);
        let scale = (f64::from(self.min_size) / short).min(f64::from(self.max_size) / long);
        let resized = |size: usize| (size as f64 * scale).floor() as usize;
        let fit = Fit {
            frame_height: height,
            frame_width: width,
            height: resized(height),
            width: resized(width),
            canvas_height: self.padded(resized(height)),
            canvas_width: self.padded(resized(width)),
        };
        if width == 0 || height == 0 || fit.width == 0 || fit.height == 0 {
            let text =
                format!("a picture of {width}×{height} pixels would be resized to {}×{} pixels", fit.width, fit.height);
            return Err(Error::new(Kind::Data, text));
        }
        Ok(fit)
    }

    /// `size` rounded up to a multiple of the divisor.
    fn padded(&self, size: usize) -> usize {
        size.next_multiple_of(self.size_divisor as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resized and canvas size, as `[height, width, canvas height, canvas width]`.
    fn fit(min: u32, max: u32, height: usize, width: usize) -> [usize; 4] {
        let fit =
            TransformParams { min_size: min, max_size: max, ..TransformParams::default() }.fit(width, height).unwrap();
        [fit.height, fit.width, fit.canvas_height, fit.canvas_width]
    }

    #[test]
    fn sizes_are_torchvisions() {
        // A KITTI frame: benchmarks use this size.
        assert_eq!(fit(800, 1333, 375, 1242), [402, 1333, 416, 1344]);
        // The short side decides.
        assert_eq!(fit(800, 1333, 480, 640), [800, 1066, 800, 1088]);
        assert_eq!(fit(160, 1333, 360, 240), [240, 160, 256, 160]);
        // 128 / 255 · 255 is below 128 by one rounding in some orders; floor must not lose a row.
        assert_eq!(fit(128, 1333, 255, 640), [128, 321, 128, 352]);
    }

    #[test]
    fn a_sliver_is_refused() {
        let error = TransformParams { max_size: 100, ..TransformParams::default() }.fit(1000, 3).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.message().contains("1000×3"), "{error}");
        assert!(TransformParams::default().fit(0, 10).is_err());
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (params, name) in [
            (TransformParams { min_size: 0, ..TransformParams::default() }, "min_size"),
            (TransformParams { max_size: 1 << 20, ..TransformParams::default() }, "max_size"),
            (TransformParams { size_divisor: 0, ..TransformParams::default() }, "size_divisor"),
            (TransformParams { mean: [0.0, f32::NAN, 0.0], ..TransformParams::default() }, "mean"),
            (TransformParams { std: [1.0, 0.0, 1.0], ..TransformParams::default() }, "std"),
        ] {
            let error = params.check().unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        TransformParams::default().check().unwrap();
    }
}
