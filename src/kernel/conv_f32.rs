//! fp32 convolution over NHWC maps, with bias, skip and activation fused; a linear layer is the 1×1 case.
//!
//! In: weights once, then maps a call. Out: the maps the layer leaves. Every output is summed in one fixed order, so
//! the result does not depend on threads or blocks. Across instruction sets it differs by rounding.
//!
//! Three algorithms, chosen by shape: tiles over panels of weights (`tiles_f32`), Winograd's (`winograd_f32`), and single
//! channels or small groups without panels (`depthwise_f32`).

use super::activation::Activation;
use super::depthwise_f32::DepthwiseF32;
use super::geometry::ConvGeometry;
use super::isa::Isa;
use super::maps_f32::{ConvCallF32, SharedOutput};
pub use super::maps_f32::{MapsF32, SkipF32};
use super::tile_f32::KernelF32;
use super::tiles_f32::TilesF32;
use super::winograd_f32::WinogradF32;
use crate::error::{Error, Kind, Result};

/// A convolution ready to run: geometry, packed weights, bias and the kernel they are packed for.
#[derive(Debug)]
pub struct ConvF32 {
    geometry: ConvGeometry,
    kernel: &'static KernelF32,
    weights: Weights,
}

/// Packed weights, in the form of the algorithm that is used.
#[derive(Debug)]
enum Weights {
    Tiles(TilesF32),
    Winograd(WinogradF32),
    Depthwise(DepthwiseF32),
}

impl ConvF32 {
    /// Packs `weights` (`[out][kh][kw][in / groups]`) and `bias` (`[out]`, or empty for none) for `isa`.
    ///
    /// # Errors
    ///
    /// [`Kind::Internal`] where a length does not fit the geometry, the geometry has a zero in it, or its groups do not
    /// divide its channels.
    pub fn new(isa: Isa, geometry: ConvGeometry, weights: &[f32], bias: &[f32]) -> Result<Self> {
        Self::with_kernel(KernelF32::of(isa), geometry, weights, bias)
    }

    /// As [`ConvF32::new`], with a row of the kernel table chosen by name rather than by strength: for tests.
    ///
    /// # Errors
    ///
    /// As there; and [`Kind::Unavailable`] where the CPU lacks what the kernel needs.
    pub fn with_kernel(
        kernel: &'static KernelF32,
        geometry: ConvGeometry,
        weights: &[f32],
        bias: &[f32],
    ) -> Result<Self> {
        if Isa::new(kernel.isa).is_none() {
            let isa = kernel.isa.name();
            return Err(Error::new(
                Kind::Unavailable,
                format!("kernel {} needs {isa}, which this CPU lacks", kernel.name),
            ));
        }
        let wrong = |what: String| Err(Error::new(Kind::Internal, format!("convolution {geometry:?}: {what}")));
        if geometry.groups == 0 || geometry.weights() == 0 || geometry.stride == 0 {
            return wrong("every extent must be at least 1".into());
        }
        if !geometry.in_channels.is_multiple_of(geometry.groups)
            || !geometry.out_channels.is_multiple_of(geometry.groups)
        {
            return wrong("the groups must divide the channels in and the channels out".into());
        }
        if weights.len() != geometry.weights() {
            return wrong(format!("{} weights given, {} expected", weights.len(), geometry.weights()));
        }
        if !bias.is_empty() && bias.len() != geometry.out_channels {
            return wrong(format!("{} biases given, {} expected", bias.len(), geometry.out_channels));
        }
        let weights = if DepthwiseF32::suits(kernel, &geometry) {
            Weights::Depthwise(DepthwiseF32::new(kernel, &geometry, weights, bias))
        } else if WinogradF32::suits(&geometry) {
            Weights::Winograd(WinogradF32::new(&geometry, weights, bias))
        } else {
            Weights::Tiles(TilesF32::new(&geometry, weights, bias))
        };
        Ok(Self { geometry, kernel, weights })
    }

    /// The shape it was made for.
    pub fn geometry(&self) -> ConvGeometry {
        self.geometry
    }

    /// Convolves the maps of `input`, each padded on its own, adds bias and `skip`, and applies `activation`. The
    /// result overwrites `out` (`[count][oh][ow][out]`, see [`ConvGeometry::output`]). Uses the current rayon pool.
    ///
    /// # Panics
    ///
    /// Where a slice is shorter than its shape says, or there is a skip to more than one map. Shapes come from the plan
    /// and are checked there.
    pub fn run(&self, input: MapsF32<'_>, skip: Option<SkipF32<'_>>, activation: Activation, out: &mut [f32]) {
        let geometry = &self.geometry;
        let (rows, columns) = geometry.output(input.height, input.width);
        let pixels = input.count * rows * columns;
        let read = input.count * input.height * input.width * geometry.in_channels;
        assert!(input.data.len() >= read, "input shorter than its shape");
        assert!(out.len() >= pixels * geometry.out_channels, "output shorter than its shape");
        if let Some(skip) = skip {
            assert!(input.count <= 1, "skip to more than one map");
            assert!(skip.data.len() >= skip.height * skip.width * geometry.out_channels, "skip shorter than its shape");
            assert!(skip.height * skip.width > 0 || pixels == 0, "skip without pixels");
        }
        if pixels == 0 {
            return;
        }
        let call = ConvCallF32 {
            kernel: self.kernel,
            geometry,
            maps: input,
            skip,
            activation,
            size: (rows, columns),
            out: SharedOutput::new(out),
        };
        match &self.weights {
            Weights::Depthwise(weights) => weights.run(&call),
            Weights::Winograd(weights) => weights.run(&call),
            Weights::Tiles(weights) => weights.run(&call),
        }
    }
}
