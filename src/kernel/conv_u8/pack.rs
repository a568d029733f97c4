//! Packing of weights in the order in which a micro-kernel reads them.
//!
//! In: `[out][height][width][in / groups]` weights, as the artifact holds them, and the kernel that will run. Out:
//! 64-byte aligned panels of `nr` output channels, `[panel][tap][depth group][nr][kr]`, missing channels and steps
//! filled with zeros, which add nothing to a sum. Depthwise panels are `[panel][tap group][nr][kr]`. Start values and
//! multipliers are not here but in the [`Epilogue`](super::Epilogue): one packed set serves several epilogues.

use super::KernelU8;
use crate::error::{Error, Kind, Result};
use crate::kernel::aligned::AlignedBuffer;
use crate::kernel::bundles::{Bundles, Place};
use crate::kernel::geometry::ConvGeometry;
use crate::kernel::isa::Isa;

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
    places: Vec<Place>,
    panels: AlignedBuffer<i8>,
    weight_sums: Vec<i32>,
    weight_magnitudes: Vec<u32>,
    low: Option<Box<Self>>,
}

/// Data addressed by one pointer of the driver's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// The channels of one pixel, of a bundle of groups.
    Pixel(Bundles),
    /// The pixels under one row of the filter, which are neighbours in memory: for maps of few channels.
    FilterRow,
    /// The panel's own channels of one pixel: depthwise.
    Channels,
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
    /// Packs `weights`, `[out][height][width][in / groups]`, for the kernel that `isa` prefers.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] where the number of weights is not what `geometry` says, an extent is zero, or the filter has
    /// more than some hundred taps. The same where the kernel needs [pair-safe](pair_safe) weights and these are not.
    pub fn new(isa: Isa, geometry: ConvGeometry, weights: &[i8]) -> Result<Self> {
        Self::with_kernel(KernelU8::of(isa, &geometry), isa, geometry, weights)
    }

    /// Packs the first layer, which reads the u8 canvas: `geometry.in_channels` is 3, `weights` are
    /// `[out][height][width][RGB]`, the map that [`convolve`](super::convolve) is given has 4 bytes a pixel (RGBx). A
    /// row of the filter is one run of neighbouring pixels.
    ///
    /// # Errors
    ///
    /// As [`PackedU8::new`]; also where the filter is wider or higher than 8, or does not read 3 channels.
    pub fn pixels(isa: Isa, geometry: ConvGeometry, weights: &[i8]) -> Result<Self> {
        Self::pixels_with_kernel(KernelU8::of(isa, &geometry), isa, geometry, weights)
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
        if geometry.is_depthwise() {
            return Self::pack(kernel, geometry, Reads::Channels, geometry.taps(), 1, weights);
        }
        // A pair must stay a pair: behind an odd number of channels it would not.
        let is_odd = geometry.group_channels() > 1 && geometry.group_channels() % 2 == 1;
        let bundles = if is_odd { Bundles::single(&geometry) } else { Bundles::of(&geometry, kernel.nr) };
        let weights = bundles.spread(geometry.taps(), weights);
        Self::pack(kernel, geometry, Reads::Pixel(bundles), geometry.taps(), bundles.channels, &weights)
    }

    /// These weights as the high digits of weights of two: w = high + low / 128. `low` holds the low digits, packed for
    /// the same kernel.
    ///
    /// # Errors
    ///
    /// [`Kind::Data`] where `low` is of another shape, or a low digit lies outside −64 … 63.
    pub fn with_low_digits(self, low: Self) -> Result<Self> {
        if low.geometry != self.geometry || low.reads != self.reads || !std::ptr::eq(low.kernel, self.kernel) {
            return Err(Error::new(Kind::Data, "high and low digits of weights of different shapes"));
        }
        if low.panels.iter().any(|digit| !(-64..64).contains(digit)) {
            return Err(Error::new(Kind::Data, "a low digit of a weight lies outside -64 to 63"));
        }
        Ok(Self { low: Some(Box::new(low)), ..self })
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
        if kernel.needs_pair_safe && !pair_safe(weights, if reads == Reads::FilterRow { PIXEL_BYTES } else { run }) {
            return Err(Error::new(
                Kind::Data,
                format!("weights are not pair-safe, which {} needs to be exact: quantize again", kernel.name),
            ));
        }
        let KernelU8 { nr, kr, .. } = *kernel;
        let places = match reads {
            Reads::Pixel(bundles) => bundles.places(nr),
            Reads::FilterRow => Bundles::single(&geometry).places(nr),
            Reads::Channels => Place::of_channels(geometry.out_channels, nr),
        };
        // Steps of depth that follow one another, and how many such runs: a depthwise filter is one run of taps.
        let (runs, steps) = if reads == Reads::Channels { (1, taps) } else { (taps, run) };
        let groups = steps.div_ceil(kr);
        let depth = runs * groups * kr;
        let mut panels = AlignedBuffer::zeroed(places.len() * nr * depth);
        let filters: Vec<&[i8]> = weights.chunks_exact(taps * run).collect();
        for (place, panel) in places.iter().zip(panels.chunks_exact_mut(nr * depth)) {
            for (column, filter) in filters[place.column..][..place.filled].iter().enumerate() {
                for (tap, steps) in filter.chunks_exact(steps).enumerate() {
                    for (group, steps) in steps.chunks(kr).enumerate() {
                        let at = ((tap * groups + group) * nr + column) * kr;
                        panel[at..at + steps.len()].copy_from_slice(steps);
                    }
                }
            }
        }
        let weight_sums = filters.iter().map(|filter| filter.iter().map(|&w| i32::from(w)).sum()).collect();
        let weight_magnitudes =
            filters.iter().map(|filter| filter.iter().map(|&w| u32::from(w.unsigned_abs())).sum()).collect();
        Ok(Self { kernel, geometry, reads, taps, run, places, panels, weight_sums, weight_magnitudes, low: None })
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

    /// Each output channel's sum of weights without their signs: times 255, the most that its products add up to.
    pub fn weight_magnitudes(&self) -> &[u32] {
        &self.weight_magnitudes
    }

    /// The low digits of weights of two.
    pub fn low(&self) -> Option<&Self> {
        self.low.as_deref()
    }

    /// Bytes of the panels.
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + self.low().map_or(0, Self::bytes)
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

    /// Bytes that a pointer of the driver's table may be read for.
    pub(super) fn readable(&self) -> usize {
        match self.reads {
            Reads::FilterRow => self.run,
            Reads::Pixel(_) | Reads::Channels => self.geometry.in_channels,
        }
    }

    /// Input and output channels of every panel.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The weights of one panel.
    pub(super) fn panel(&self, panel: usize) -> &[i8] {
        let length = self.panels.len() / self.places.len();
        &self.panels[panel * length..][..length]
    }
}

fn check(geometry: &ConvGeometry, weights: &[i8]) -> Result<()> {
    let ConvGeometry { in_channels, out_channels, stride, .. } = *geometry;
    if in_channels == 0 || out_channels == 0 || stride == 0 || geometry.taps() == 0 {
        return Err(Error::new(Kind::Data, format!("a convolution has an extent of zero: {geometry:?}")));
    }
    if geometry.groups == 0
        || !in_channels.is_multiple_of(geometry.groups)
        || !out_channels.is_multiple_of(geometry.groups)
    {
        return Err(Error::new(Kind::Data, format!("the groups do not divide the channels: {geometry:?}")));
    }
    if weights.len() != geometry.weights() {
        return Err(Error::new(
            Kind::Data,
            format!(
                "{} weights where {out_channels} × {} × {} are due",
                weights.len(),
                geometry.taps(),
                geometry.group_channels()
            ),
        ));
    }
    if weights.contains(&i8::MIN) {
        return Err(Error::new(Kind::Data, "a weight is -128, below the least quantized weight, -127"));
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
        assert_eq!(packed.places().len(), 2);
        // Channel 1, tap 1, step 4: alone in the second group of its tap.
        let at = ((2 + 1) * 16 + 1) * 4;
        assert_eq!(packed.panel(0)[at..at + 4], [weights[10 + 5 + 4], 0, 0, 0]);
        assert!(packed.panel(1)[4..64].iter().all(|&w| w == 0));
        assert_eq!(packed.weight_sums()[1], weights[10..20].iter().map(|&w| i32::from(w)).sum::<i32>());
        assert!(PackedU8::new(isa, geometry, &weights[1..]).is_err());
    }
}
