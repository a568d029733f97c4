//! Packing of weights in the order in which a micro-kernel reads them.
//!
//! In: `[out][height][width][in]` weights, as the artifact holds them, and the kernel that will run. Out: 64-byte
//! aligned panels of `nr` output channels, `[panel][tap][depth group][nr][kr]`, missing channels and steps filled with
//! zeros, which add nothing to a sum. Start values and multipliers are not here but in the
//! [`Epilogue`](super::Epilogue): one packed set serves several epilogues.

use super::KernelU8;
use crate::error::{Error, Kind, Result};
use crate::kernel::aligned::AlignedBuffer;
use crate::kernel::geometry::ConvGeometry;
use crate::kernel::isa::Isa;

/// Most products of a byte and a weight whose sum fits into 32 bits, whatever they are.
pub const MAX_DEPTH: usize = i32::MAX as usize / (255 * 127);

/// Most pointers a driver's table holds; bounds the taps of a filter.
pub(super) const TABLE: usize = 4096;

/// Widest filter of [`PackedU8::pixels`], in both directions.
pub(super) const PIXEL_TAPS: usize = 8;

/// Bytes of a pixel of the u8 canvas: R, G, B and one that counts for nothing.
pub(super) const PIXEL_BYTES: usize = 4;

/// A convolution's shape and its weights, packed for one micro-kernel. Immutable; shared by every thread and model
/// that uses the same weights.
#[derive(Debug, Clone)]
pub struct PackedU8 {
    kernel: &'static KernelU8,
    geometry: ConvGeometry,
    reads: Reads,
    taps: usize,
    run: usize,
    panels: AlignedBuffer<i8>,
    weight_sums: Vec<i32>,
}

/// Data addressed by one pointer of the driver's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// The channels of one pixel.
    Pixel,
    /// The pixels under one row of the filter, which are neighbours in memory: for maps of few channels.
    FilterRow,
}

/// True if `vpmaddubsw` cannot saturate on these weights for any activations: no two neighbours (2i, 2i + 1) of a run
/// sum past ±128. `weights` is a whole number of runs of `run` steps (the channels of one tap); an odd last
/// step of a run has no neighbour.
pub fn pair_safe(weights: &[i8], run: usize) -> bool {
    weights
        .chunks(run.max(1))
        .all(|tap| tap.chunks(2).all(|pair| pair.iter().map(|&w| i32::from(w)).sum::<i32>().abs() <= 128))
}

impl PackedU8 {
    /// Packs `weights`, `[out][height][width][in]`, for the kernel that `isa` prefers.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] where the number of weights is not what `geometry` says, where an extent is zero, where the
    /// filter has more than some hundred taps, or where the kernel needs [pair-safe](pair_safe) weights and these are
    /// not.
    pub fn new(isa: Isa, geometry: ConvGeometry, weights: &[i8]) -> Result<Self> {
        Self::with_kernel(KernelU8::for_isa(isa), isa, geometry, weights)
    }

    /// Packs the first layer, which reads the u8 canvas: `geometry.in_channels` is 3, `weights` are
    /// `[out][height][width][RGB]`, the map that [`convolve`](super::convolve) is given has 4 bytes a pixel (RGBx). A
    /// row of the filter is one run of neighbouring pixels.
    ///
    /// # Errors
    ///
    /// As [`PackedU8::new`]; also where the filter is wider or higher than 8, or does not read 3 channels.
    pub fn pixels(isa: Isa, geometry: ConvGeometry, weights: &[i8]) -> Result<Self> {
        Self::pixels_with_kernel(KernelU8::for_isa(isa), isa, geometry, weights)
    }

    /// [`PackedU8::pixels`] for one row of the table.
    ///
    /// # Errors
    ///
    /// As [`PackedU8::pixels`]; also where `isa` is weaker than the kernel asks for.
    pub fn pixels_with_kernel(
        kernel: &'static KernelU8,
        isa: Isa,
        geometry: ConvGeometry,
        weights: &[i8],
    ) -> Result<Self> {
        kernel.proved_by(isa)?;
        let ConvGeometry { in_channels, kernel_height, kernel_width, .. } = geometry;
        if in_channels != 3 || kernel_height.max(kernel_width) > PIXEL_TAPS {
            return Err(Error::new(
                Kind::Data,
                format!(
                    "a first layer reads 3 channels through at most {PIXEL_TAPS}×{PIXEL_TAPS} taps, \
                     not {in_channels} through {kernel_height}×{kernel_width}"
                ),
            ));
        }
        check(&geometry, weights)?;
        let mut padded = vec![0i8; weights.len() / 3 * PIXEL_BYTES];
        for (pixel, rgb) in padded.chunks_exact_mut(PIXEL_BYTES).zip(weights.chunks_exact(3)) {
            pixel[..3].copy_from_slice(rgb);
        }
        let geometry = ConvGeometry { in_channels: PIXEL_BYTES, ..geometry };
        let run = kernel_width * PIXEL_BYTES;
        Self::pack(kernel, geometry, Reads::FilterRow, kernel_height, run, &padded)
    }

    /// Packs for one row of the table; `isa` proves that the CPU can run it. For tests and timings of rows that
    /// dispatch would not choose.
    ///
    /// # Errors
    ///
    /// As [`PackedU8::new`]; also where `isa` is weaker than the kernel asks for.
    pub fn with_kernel(kernel: &'static KernelU8, isa: Isa, geometry: ConvGeometry, weights: &[i8]) -> Result<Self> {
        kernel.proved_by(isa)?;
        check(&geometry, weights)?;
        Self::pack(kernel, geometry, Reads::Pixel, geometry.taps(), geometry.in_channels, weights)
    }

    fn pack(
        kernel: &'static KernelU8,
        geometry: ConvGeometry,
        reads: Reads,
        taps: usize,
        run: usize,
        weights: &[i8],
    ) -> Result<Self> {
        if taps * kernel.mr > TABLE {
            return Err(Error::new(Kind::Data, format!("a filter of {taps} taps is larger than the kernels take")));
        }
        if kernel.needs_pair_safe && !pair_safe(weights, geometry.in_channels) {
            return Err(Error::new(
                Kind::Data,
                format!("weights are not pair-safe, which {} needs to be exact: quantize again", kernel.name),
            ));
        }
        let (nr, kr) = (kernel.nr, kernel.kr);
        let groups = run.div_ceil(kr);
        let depth = taps * groups * kr;
        let mut panels = AlignedBuffer::zeroed(geometry.out_channels.div_ceil(nr) * nr * depth);
        for (channel, filter) in weights.chunks_exact(taps * run).enumerate() {
            let (panel, column) = (channel / nr, channel % nr);
            let panel = &mut panels[panel * nr * depth..][..nr * depth];
            for (tap, steps) in filter.chunks_exact(run).enumerate() {
                for (group, steps) in steps.chunks(kr).enumerate() {
                    let at = ((tap * groups + group) * nr + column) * kr;
                    panel[at..at + steps.len()].copy_from_slice(steps);
                }
            }
        }
        let weight_sums =
            weights.chunks_exact(taps * run).map(|filter| filter.iter().map(|&w| i32::from(w)).sum()).collect();
        Ok(Self { kernel, geometry, reads, taps, run, panels, weight_sums })
    }

    /// The micro-kernel that these panels are for.
    pub fn kernel(&self) -> &'static KernelU8 {
        self.kernel
    }

    /// The convolution's shape; `in_channels` as the map holds them (4 for the first layer).
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// Each output channel's sum of weights: what a zero point of the input adds to its sums, negated.
    pub fn weight_sums(&self) -> &[i32] {
        &self.weight_sums
    }

    /// Bytes of the panels.
    pub fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    pub(super) fn reads(&self) -> Reads {
        self.reads
    }

    pub(super) fn taps(&self) -> usize {
        self.taps
    }

    pub(super) fn run(&self) -> usize {
        self.run
    }

    /// Multiply-adds of one output value.
    pub(super) fn depth(&self) -> usize {
        self.taps * self.run
    }

    /// Panels: output channels / nr, rounded up.
    pub(super) fn panels(&self) -> usize {
        self.geometry.out_channels.div_ceil(self.kernel.nr)
    }

    /// The weights of one panel.
    pub(super) fn panel(&self, panel: usize) -> &[i8] {
        let length = self.taps * self.run.div_ceil(self.kernel.kr) * self.kernel.kr * self.kernel.nr;
        &self.panels[panel * length..][..length]
    }
}

fn check(geometry: &ConvGeometry, weights: &[i8]) -> Result<()> {
    let ConvGeometry { in_channels, out_channels, stride, .. } = *geometry;
    if in_channels == 0 || out_channels == 0 || stride == 0 || geometry.taps() == 0 {
        return Err(Error::new(Kind::Data, format!("a convolution has an extent of zero: {geometry:?}")));
    }
    if geometry.groups != 1 {
        return Err(Error::new(
            Kind::Unavailable,
            format!("a convolution of {} groups has no int8 kernel", geometry.groups),
        ));
    }
    if weights.len() != geometry.weights() {
        return Err(Error::new(
            Kind::Data,
            format!("{} weights where {} × {} × {in_channels} are due", weights.len(), out_channels, geometry.taps()),
        ));
    }
    if weights.contains(&i8::MIN) {
        return Err(Error::new(Kind::Data, "a weight is -128, below the least quantized weight, -127"));
    }
    if geometry.taps() * in_channels > MAX_DEPTH {
        return Err(Error::new(
            Kind::Data,
            format!("sums of {} products do not fit into 32 bits", geometry.taps() * in_channels),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_do_not_cross_a_tap() {
        assert!(pair_safe(&[0, 0, 127, 127, 0, 0], 3));
        assert!(!pair_safe(&[0, 0, 127, 127, 0, 0], 6));
        assert!(pair_safe(&[64, 64, -64, -64, 127, -127], 2));
        assert!(!pair_safe(&[65, 64], 2));
        assert!(!pair_safe(&[-65, -64], 2));
    }

    #[test]
    fn panels_interleave_groups_and_fill_with_zeros() {
        let isa = Isa::new(crate::kernel::isa::IsaName::Scalar).unwrap();
        let geometry = ConvGeometry {
            in_channels: 5,
            out_channels: 17,
            kernel_height: 1,
            kernel_width: 2,
            stride: 1,
            padding: 0,
            groups: 1,
        };
        let weights: Vec<i8> = (0..geometry.weights()).map(|i| (i % 120) as i8).collect();
        let packed = PackedU8::new(isa, geometry, &weights).unwrap();
        assert_eq!(packed.panels(), 2);
        // Channel 1, tap 1, step 4: alone in the second group of its tap.
        let at = ((2 + 1) * 16 + 1) * 4;
        assert_eq!(packed.panel(0)[at..at + 4], [weights[10 + 5 + 4], 0, 0, 0]);
        assert!(packed.panel(1)[4..64].iter().all(|&w| w == 0));
        assert_eq!(packed.weight_sums()[1], weights[10..20].iter().map(|&w| i32::from(w)).sum::<i32>());
        assert!(PackedU8::new(isa, geometry, &weights[1..]).is_err());
    }
}
