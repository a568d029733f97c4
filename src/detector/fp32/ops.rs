//! Our kernels as candle custom operations over `[height][width][channels]` tensors.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape as CandleShape, Storage, Tensor};

use crate::kernel::conv_f32::{ConvF32, SkipF32};
use crate::kernel::isa::Isa;
use crate::kernel::{pool_f32, roi_align_f32};

/// Convolution or linear layer, with its second input and ReLU fused.
pub(super) struct Convolve<'a> {
    pub conv: &'a ConvF32,
    pub relu: bool,
}

/// 3×3 maximum, stride 2, padding 1.
pub(super) struct MaxPool(pub Isa);

/// Every second row and column.
pub(super) struct Subsample;

/// RoIAlign of the boxes it is applied to (`[n][4]`, canvas pixels).
pub(super) struct RoiAlign<'a> {
    pub isa: Isa,
    /// The finer levels and their scales.
    pub levels: &'a [(Tensor, f32)],
    /// The level each box is read from.
    pub level_of: &'a [u8],
    pub window: usize,
    pub sampling_ratio: usize,
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("expected a contiguous tensor, got {layout:?}"),
    }
}

/// Calls `read` with the values of a contiguous f32 tensor on the CPU.
pub(super) fn with_values<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(values(storage, layout)?)),
        _ => candle_core::bail!("expected a tensor on the CPU"),
    }
}

impl Convolve<'_> {
    fn run(&self, input: &[f32], layout: &Layout, skip: Option<SkipF32<'_>>) -> Result<(CpuStorage, CandleShape)> {
        let (height, width, _) = layout.shape().dims3()?;
        let (rows, columns) = self.conv.geometry().output(height, width);
        let channels = self.conv.geometry().out_channels;
        let mut output = vec![0.0; rows * columns * channels];
        self.conv.run(input, height, width, skip, self.relu, &mut output);
        Ok((CpuStorage::F32(output), CandleShape::from((rows, columns, channels))))
    }
}

impl CustomOp1 for Convolve<'_> {
    fn name(&self) -> &'static str {
        "lookout-convolve"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, CandleShape)> {
        self.run(values(storage, layout)?, layout, None)
    }
}

impl CustomOp2 for Convolve<'_> {
    fn name(&self) -> &'static str {
        "lookout-convolve-add"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        skip: &CpuStorage,
        skip_layout: &Layout,
    ) -> Result<(CpuStorage, CandleShape)> {
        let (height, width, _) = skip_layout.shape().dims3()?;
        let skip = SkipF32 { data: values(skip, skip_layout)?, height, width };
        self.run(values(storage, layout)?, layout, Some(skip))
    }
}

/// Runs a pooling kernel that halves both sides.
fn halve(
    storage: &CpuStorage,
    layout: &Layout,
    pool: impl FnOnce(&[f32], [usize; 3], &mut [f32]),
) -> Result<(CpuStorage, CandleShape)> {
    let (height, width, channels) = layout.shape().dims3()?;
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let mut output = vec![0.0; rows * columns * channels];
    pool(values(storage, layout)?, [height, width, channels], &mut output);
    Ok((CpuStorage::F32(output), CandleShape::from((rows, columns, channels))))
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "lookout-max-pool"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, CandleShape)> {
        halve(storage, layout, |x, [height, width, channels], y| {
            pool_f32::max_pool(self.0, x, height, width, channels, y);
        })
    }
}

impl CustomOp1 for Subsample {
    fn name(&self) -> &'static str {
        "lookout-subsample"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, CandleShape)> {
        halve(storage, layout, |x, [height, width, channels], y| pool_f32::subsample(x, height, width, channels, y))
    }
}

impl CustomOp1 for RoiAlign<'_> {
    fn name(&self) -> &'static str {
        "lookout-roi-align"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, CandleShape)> {
        let boxes: Vec<[f32; 4]> =
            values(storage, layout)?.chunks_exact(4).map(|corners| std::array::from_fn(|i| corners[i])).collect();
        let Some((finest, _)) = self.levels.first() else { candle_core::bail!("RoIAlign needs at least one level") };
        let channels = finest.dim(2)?;
        let guards: Vec<_> = self.levels.iter().map(|(map, scale)| (map.storage_and_layout(), *scale)).collect();
        let mut levels = Vec::with_capacity(guards.len());
        for ((storage, layout), scale) in &guards {
            let Storage::Cpu(storage) = &**storage else { candle_core::bail!("expected features on the CPU") };
            let (height, width, _) = layout.shape().dims3()?;
            levels.push(roi_align_f32::RoiLevel { data: values(storage, layout)?, height, width, scale: *scale });
        }
        let grid = roi_align_f32::RoiGrid { channels, window: self.window, sampling_ratio: self.sampling_ratio };
        let mut output = vec![0.0; boxes.len() * self.window * self.window * channels];
        roi_align_f32::roi_align(self.isa, &levels, grid, &boxes, self.level_of, &mut output);
        let shape = CandleShape::from((boxes.len() * self.window, self.window, channels));
        Ok((CpuStorage::F32(output), shape))
    }
}
