//! Kernels as custom operations of candle over `[height][width][channels]` tensors; each writes into an existing tensor.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, Storage, Tensor};

use crate::kernel::activation::Activation;
use crate::kernel::conv_f32::{ConvF32, MapsF32, SkipF32};
use crate::kernel::isa::Isa;
use crate::kernel::{pointwise_f32, pool_f32, roi_align_f32};

/// Convolution or linear layer, fused with the addition of a second input and the activation function.
pub(super) struct Convolve<'a> {
    pub conv: &'a ConvF32,
    pub activation: Activation,
    /// Maps in the input, one after the other; each has its own padding.
    pub count: usize,
}

impl Convolve<'_> {
    fn maps<'d>(&self, input: &'d CpuStorage, layout: &Layout) -> Result<MapsF32<'d>> {
        let (height, width, _) = layout.shape().dims3()?;
        Ok(MapsF32 { data: values(input, layout)?, count: self.count, height: height / self.count.max(1), width })
    }
}

/// 3×3 maximum, stride 2, padding 1.
pub(super) struct MaxPool(pub Isa);

/// Every second row and column.
pub(super) struct Subsample;

/// A function of each value.
pub(super) struct Activate(pub Isa, pub Activation);

/// Mean of each channel over its second tensor, a map.
pub(super) struct GlobalMean(pub Isa);

/// Its second tensor, a map, times its third, one value a channel.
pub(super) struct Scale(pub Isa);

/// RoIAlign of the boxes in its second tensor (`[n][4]`: x0, y0, x1, y1 in canvas pixels).
pub(super) struct RoiAlign<'a> {
    pub isa: Isa,
    /// Features of the finer levels, and their scales from canvas pixels to cells.
    pub levels: &'a [(Tensor, f32)],
    /// By box: the level that it is pooled from.
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

/// The values of a contiguous f32 tensor, for writing.
fn target<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("expected a contiguous f32 tensor, got {layout:?}"),
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

impl InplaceOp2 for Convolve<'_> {
    fn name(&self) -> &'static str {
        "lookout-convolve"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, input: &CpuStorage, layout: &Layout) -> Result<()> {
        self.conv.run(self.maps(input, layout)?, None, self.activation, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp3 for Convolve<'_> {
    fn name(&self) -> &'static str {
        "lookout-convolve-add"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        at: &Layout,
        input: &CpuStorage,
        layout: &Layout,
        skip: &CpuStorage,
        skip_layout: &Layout,
    ) -> Result<()> {
        let (height, width, _) = skip_layout.shape().dims3()?;
        let skip = SkipF32 { data: values(skip, skip_layout)?, height, width };
        self.conv.run(self.maps(input, layout)?, Some(skip), self.activation, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp2 for MaxPool {
    fn name(&self) -> &'static str {
        "lookout-max-pool"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, input: &CpuStorage, layout: &Layout) -> Result<()> {
        let (height, width, channels) = layout.shape().dims3()?;
        pool_f32::max_pool(self.0, values(input, layout)?, height, width, channels, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp2 for Subsample {
    fn name(&self) -> &'static str {
        "lookout-subsample"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, input: &CpuStorage, layout: &Layout) -> Result<()> {
        let (height, width, channels) = layout.shape().dims3()?;
        pool_f32::subsample(values(input, layout)?, height, width, channels, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp1 for Activate {
    fn name(&self) -> &'static str {
        "lookout-activate"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        pointwise_f32::activate(self.0, self.1, target(storage, layout)?);
        Ok(())
    }
}

impl InplaceOp2 for Activate {
    fn name(&self) -> &'static str {
        "lookout-activate"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, input: &CpuStorage, layout: &Layout) -> Result<()> {
        let (input, out) = (values(input, layout)?, target(out, at)?);
        out.copy_from_slice(input);
        pointwise_f32::activate(self.0, self.1, out);
        Ok(())
    }
}

impl InplaceOp2 for GlobalMean {
    fn name(&self) -> &'static str {
        "lookout-global-mean"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, input: &CpuStorage, layout: &Layout) -> Result<()> {
        let (height, width, channels) = layout.shape().dims3()?;
        pointwise_f32::global_mean(self.0, values(input, layout)?, height * width, channels, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp3 for Scale {
    fn name(&self) -> &'static str {
        "lookout-scale"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        at: &Layout,
        input: &CpuStorage,
        layout: &Layout,
        gates: &CpuStorage,
        gates_layout: &Layout,
    ) -> Result<()> {
        let (input, gates) = (values(input, layout)?, values(gates, gates_layout)?);
        pointwise_f32::scale_channels(self.0, input, gates, target(out, at)?);
        Ok(())
    }
}

impl InplaceOp2 for RoiAlign<'_> {
    fn name(&self) -> &'static str {
        "lookout-roi-align"
    }

    fn cpu_fwd(&self, out: &mut CpuStorage, at: &Layout, boxes: &CpuStorage, layout: &Layout) -> Result<()> {
        let boxes: Vec<[f32; 4]> =
            values(boxes, layout)?.chunks_exact(4).map(|corners| std::array::from_fn(|i| corners[i])).collect();
        let Some((finest, _)) = self.levels.first() else { candle_core::bail!("RoIAlign needs at least one level") };
        let channels = finest.dim(2)?;
        let guards: Vec<_> = self.levels.iter().map(|(map, scale)| (map.storage_and_layout(), *scale)).collect();
        let mut levels = Vec::with_capacity(guards.len());
        for ((storage, layout), scale) in &guards {
            let Storage::Cpu(storage) = &**storage else { candle_core::bail!("expected features on the CPU") };
            let (height, width, _) = layout.shape().dims3()?;
            levels.push(roi_align_f32::RoiLevel { data: values(storage, layout)?, height, width, scale: *scale });
        }
        let params =
            roi_align_f32::RoiAlignParams { channels, window: self.window, sampling_ratio: self.sampling_ratio };
        roi_align_f32::roi_align(self.isa, &levels, params, &boxes, self.level_of, target(out, at)?);
        Ok(())
    }
}
