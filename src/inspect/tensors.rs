//! Tensors of steps as safetensors files, for analyses elsewhere, as in Python.
//!
//! In: pairs of activations, step by step. Out: one file for each step and picture with the four tensors `fp32`, `int8`,
//! `scale` and `zero_point`. `(int8 - zero_point) * scale` in f32 is the value of the quantized network, bit for bit.
//! `int8` has the stored integers: U8, or U16 where an edge has two bytes. A step that runs in fp32 has F32 values with
//! scale 1 and zero point 0, so the formula holds for every step.
//!
//! Shapes are PyTorch's: a map is `[1, channels, height, width]` with the padding of the canvas, RoI features are
//! `[regions, channels, height, width]`, and the output of a linear layer is `[regions, features]`. The second stage of
//! both networks has the regions that fp32 proposes, so rows correspond. The metadata name the step, its precision, the
//! picture, both models with their SHA-256, and the part of a map that is not padding.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::report::ModelRow;
use crate::detector::plan::{Part, Plan, StepId};
use crate::detector::tap::{Activation, Values};
use crate::error::{Error, Kind, Result};
use crate::tensor::{LOW_LEVELS, Shape, zero_point_16};

/// Writer of the files of one picture.
pub struct TensorFiles<'a> {
    plan: &'a Plan,
    /// By step: true if it is written.
    selected: &'a [bool],
    /// By step: name of its precision.
    precision: &'a [&'static str],
    folder: PathBuf,
    /// Metadata of every file.
    metadata: HashMap<String, String>,
    failed: Option<Error>,
}

/// Facts of the files of one picture.
pub struct TensorSource<'a> {
    /// Path of the picture.
    pub picture: &'a Path,
    /// The checkpoint.
    pub reference: &'a ModelRow,
    /// The artifact.
    pub model: &'a ModelRow,
}

impl<'a> TensorFiles<'a> {
    /// A writer to `folder`, which it creates.
    ///
    /// # Errors
    /// As [`Error::writing`].
    pub fn create(
        folder: PathBuf,
        source: &TensorSource<'_>,
        plan: &'a Plan,
        selected: &'a [bool],
        precision: &'a [&'static str],
    ) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|source| Error::writing(&folder, source))?;
        let TensorSource { picture, reference, model } = source;
        let metadata = [
            ("lookout", env!("CARGO_PKG_VERSION").to_owned()),
            ("picture", picture.display().to_string()),
            ("reference", reference.name.clone()),
            ("reference_sha256", reference.sha256.clone()),
            ("model", model.name.clone()),
            ("model_sha256", model.sha256.clone()),
            ("int8_value", "(int8 - zero_point) * scale".to_owned()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        Ok(Self { plan, selected, precision, folder, metadata, failed: None })
    }

    /// Writes the values of a selected step. After an error nothing is written; [`TensorFiles::finish`] returns it.
    pub fn add(&mut self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) {
        if self.selected[step] && self.failed.is_none() {
            self.failed = self.write(step, reference, other).err();
        }
    }

    /// Ends writing.
    ///
    /// # Errors
    /// The first error of [`TensorFiles::add`].
    pub fn finish(self) -> Result<()> {
        self.failed.map_or(Ok(()), Err)
    }

    fn write(&self, step: StepId, reference: &Activation<'_>, other: &Activation<'_>) -> Result<()> {
        let Values::F32(values) = reference.values else { return Ok(()) };
        let layout = TensorLayout::of(reference.shape, self.plan.steps[step].part == Part::Roi);
        let name = &self.plan.steps[step].name;
        let fp32 = f32_bytes(&layout.planes(values));
        let (dtype, bytes, scale, zero_point) = match other.values {
            Values::F32(values) => (Dtype::F32, f32_bytes(&layout.planes(values)), 1.0, 0.0),
            Values::U8 { data, scale, zero_point } => (Dtype::U8, layout.planes(data), scale, f32::from(zero_point)),
            Values::U16 { high, low, scale, zero_point } => {
                let pairs: Vec<u16> =
                    high.iter().zip(low).map(|(&high, &low)| u16::from_be_bytes([high, low])).collect();
                let bytes = layout.planes(&pairs).into_iter().flat_map(u16::to_le_bytes).collect();
                (Dtype::U16, bytes, scale / f32::from(LOW_LEVELS), f32::from(zero_point_16(zero_point)))
            }
        };
        let (scale, zero_point) = (scale.to_le_bytes(), zero_point.to_le_bytes());
        let tensors = [
            ("fp32", Dtype::F32, layout.shape.clone(), fp32.as_slice()),
            ("int8", dtype, layout.shape.clone(), bytes.as_slice()),
            ("scale", Dtype::F32, Vec::new(), &scale),
            ("zero_point", Dtype::F32, Vec::new(), &zero_point),
        ];
        let path = self.folder.join(format!("{}.safetensors", name.replace(['@', '/'], "-")));
        let failed = |source: safetensors::SafeTensorError| match source {
            safetensors::SafeTensorError::IoError(source) => Error::writing(&path, source),
            other => Error::new(Kind::Internal, format!("{}: cannot be written", path.display())).because(other),
        };
        let view = |(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes).map_err(failed)?));
        let views = tensors.into_iter().map(view).collect::<Result<Vec<(&str, TensorView<'_>)>>>()?;
        let mut metadata = self.metadata.clone();
        metadata.insert("step".to_owned(), name.clone());
        metadata.insert("precision".to_owned(), self.precision[step].to_owned());
        if layout.is_map {
            metadata.insert("valid_height".to_owned(), reference.valid_height.to_string());
            metadata.insert("valid_width".to_owned(), reference.valid_width.to_string());
        }
        safetensors::serialize_to_file(views, Some(metadata), &path).map_err(failed)
    }
}

/// Shape of a step's tensors, and the way there from rows of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TensorLayout {
    /// Shape in the file.
    shape: Vec<usize>,
    /// True for a map of the canvas.
    is_map: bool,
    /// Maps, pixels of each, channels of each pixel.
    sizes: [usize; 3],
}

impl TensorLayout {
    /// The layout of an activation of `shape`; `is_of_regions` if it has a map or row for each region.
    fn of(Shape { height, width, channels }: Shape, is_of_regions: bool) -> Self {
        match (is_of_regions, width) {
            (true, 1) => Self { shape: vec![height, channels], is_map: false, sizes: [height, 1, channels] },
            // A region has as many rows as columns.
            (true, 2..) if height % width == 0 => {
                let regions = height / width;
                let shape = vec![regions, channels, width, width];
                Self { shape, is_map: false, sizes: [regions, width * width, channels] }
            }
            _ => Self { shape: vec![1, channels, height, width], is_map: true, sizes: [1, height * width, channels] },
        }
    }

    /// The values with the channels of a map one after the other, as PyTorch stores them.
    fn planes<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let [maps, pixels, channels] = self.sizes;
        let mut out = Vec::with_capacity(values.len());
        for map in values.chunks_exact((pixels * channels).max(1)).take(maps) {
            for channel in 0..channels {
                out.extend(map[channel..].iter().step_by(channels).copied());
            }
        }
        out
    }
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_order_are_pytorch_s() {
        let map = TensorLayout::of(Shape::new(2, 3, 2), false);
        assert_eq!((map.shape.as_slice(), map.is_map), ([1, 2, 2, 3].as_slice(), true));
        let values: Vec<u8> = (0..12).collect();
        assert_eq!(map.planes(&values), [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
        let regions = TensorLayout::of(Shape::new(4, 2, 2), true);
        assert_eq!(regions.shape, [2, 2, 2, 2]);
        let values: Vec<u8> = (0..16).collect();
        assert_eq!(regions.planes(&values), [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]);
        let linear = TensorLayout::of(Shape::new(2, 1, 3), true);
        assert_eq!((linear.shape.as_slice(), linear.planes(&values[..6])), ([2, 3].as_slice(), values[..6].to_vec()));
    }
}
