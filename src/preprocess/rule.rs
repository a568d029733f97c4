//! How large the canvas becomes, and which numbers normalize a pixel.

use crate::detector::settings::TransformSettings;
use crate::error::{Error, Kind, Result};
use crate::tensor::Fit;

/// Largest `max_size` allowed, in pixels. A canvas is a square of it at most.
const MAX_SIDE: u32 = 16_384;

/// The numbers of torchvision's transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Wanted length of the short side, in pixels. Of several that torchvision trains with, the last.
    pub min_size: u32,
    /// Limit for the long side, in pixels; wins over `min_size`.
    pub max_size: u32,
    /// Mean of red, green and blue, on a scale from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the same scale.
    pub std: [f32; 3],
    /// What rows and columns of the canvas are padded to a multiple of, in pixels.
    pub size_divisor: u32,
}

impl From<&TransformSettings> for Rule {
    /// The rule of a model.
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

impl Default for Rule {
    /// torchvision's own values.
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

impl Rule {
    /// Whether a canvas can be made with these numbers.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the number and what it may be.
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

    /// How a frame of `width` × `height` pixels lies on its canvas.
    ///
    /// The scale is min(`min_size` / short, `max_size` / long) in `f64`, the size floor(size · scale).
    ///
    /// # Errors
    /// [`Kind::Data`] if the frame is so narrow that less than one pixel of it would be left.
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
            let text = format!(
                "a picture of {width}×{height} pixels would be resized to {}×{}; nothing of it would be left",
                fit.width, fit.height
            );
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

    /// Height × width in, resized and canvas.
    fn fit(min: u32, max: u32, height: usize, width: usize) -> [usize; 4] {
        let fit = Rule { min_size: min, max_size: max, ..Rule::default() }.fit(width, height).unwrap();
        [fit.height, fit.width, fit.canvas_height, fit.canvas_width]
    }

    #[test]
    fn sizes_are_torchvisions() {
        // The frame that the costs in this crate's docs refer to.
        assert_eq!(fit(800, 1333, 375, 1242), [402, 1333, 416, 1344]);
        // The short side decides.
        assert_eq!(fit(800, 1333, 480, 640), [800, 1066, 800, 1088]);
        assert_eq!(fit(160, 1333, 360, 240), [240, 160, 256, 160]);
        // 128 / 255 · 255 is below 128 by one rounding in some orders; floor must not lose a row.
        assert_eq!(fit(128, 1333, 255, 640), [128, 321, 128, 352]);
    }

    #[test]
    fn a_sliver_is_refused() {
        let error = Rule { max_size: 100, ..Rule::default() }.fit(1000, 3).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        assert!(error.message().contains("1000×3"), "{error}");
        assert!(Rule::default().fit(0, 10).is_err());
    }

    #[test]
    fn numbers_that_cannot_work_are_named() {
        for (rule, name) in [
            (Rule { min_size: 0, ..Rule::default() }, "min_size"),
            (Rule { max_size: 1 << 20, ..Rule::default() }, "max_size"),
            (Rule { size_divisor: 0, ..Rule::default() }, "size_divisor"),
            (Rule { mean: [0.0, f32::NAN, 0.0], ..Rule::default() }, "mean"),
            (Rule { std: [1.0, 0.0, 1.0], ..Rule::default() }, "std"),
        ] {
            let error = rule.check().unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        Rule::default().check().unwrap();
    }
}
