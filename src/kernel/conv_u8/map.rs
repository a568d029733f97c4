//! Operands of a convolution over a whole map, with all extents checked once.

use std::ops::Range;

use super::epilogue::{Epilogue, OutputKind, SkipKind};
use super::pack::PackedU8;
use crate::error::{Error, Kind, Result};

/// The maps that a convolution reads.
#[derive(Debug, Clone, Copy)]
pub struct ConvInput<'a> {
    /// `count × height × width × in_channels` bytes; of two bytes a value, all high ones and then all low ones.
    pub data: &'a [u8],
    /// Maps, each padded on its own: 1, or one a proposal.
    pub count: usize,
    /// Rows of a map.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The map that a convolution adds to its output, with the output's channels. It may be smaller than the output:
/// output pixel (y, x) of h × w reads pixel (y · h' / h, x · w' / w), torchvision's nearest rule.
#[derive(Debug, Clone, Copy)]
pub enum SkipInput<'a> {
    /// None.
    None,
    /// A map of bytes.
    U8 {
        /// `height × width × out_channels` values.
        data: &'a [u8],
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A map of two bytes a value.
    U16 {
        /// `height × width × out_channels` high bytes, then as many low ones.
        data: &'a [u8],
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A map of floats.
    F32 {
        /// `height × width × out_channels` values.
        data: &'a [f32],
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

impl SkipInput<'_> {
    /// Rows of the whole map; 0 without one.
    fn height(&self) -> usize {
        match *self {
            Self::None => 0,
            Self::U8 { height, .. } | Self::U16 { height, .. } | Self::F32 { height, .. } => height,
        }
    }

    /// Columns; 0 without a map.
    fn width(&self) -> usize {
        match *self {
            Self::None => 0,
            Self::U8 { width, .. } | Self::U16 { width, .. } | Self::F32 { width, .. } => width,
        }
    }

    /// Values in the buffer.
    fn values(&self) -> usize {
        match self {
            Self::None => 0,
            Self::U8 { data, .. } => data.len(),
            Self::U16 { data, .. } => data.len() / 2,
            Self::F32 { data, .. } => data.len(),
        }
    }
}

impl ConvOutput<'_> {
    /// Values that the buffer holds.
    fn values(&self) -> usize {
        match self {
            Self::U8(data) => data.len(),
            Self::U16 { high, .. } => high.len(),
            Self::F32(data) => data.len(),
        }
    }
}

/// Rows of a residual of `height` rows that output rows `rows` of `all` read, by the rule of [`SkipInput`].
pub fn skip_rows(rows: &Range<usize>, all: usize, height: usize) -> Range<usize> {
    if rows.is_empty() || height == 0 {
        return 0..0;
    }
    let source = |row: usize| row * height / all;
    source(rows.start)..source(rows.end - 1) + 1
}

/// The maps that a convolution writes: count × rows × columns × out_channels values.
#[derive(Debug)]
pub enum ConvOutput<'a> {
    /// Bytes.
    U8(&'a mut [u8]),
    /// Two bytes a value, as many of each.
    U16 {
        /// The high bytes.
        high: &'a mut [u8],
        /// The low bytes.
        low: &'a mut [u8],
    },
    /// Floats.
    F32(&'a mut [f32]),
}

/// A band of a convolution: the output rows that are computed, and the first row that each buffer holds of its map. The
/// heights of the operands are those of the whole maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// Output rows to compute.
    pub rows: Range<usize>,
    /// First row of the input that its buffer holds.
    pub input: usize,
    /// First row of the residual that its buffer holds.
    pub skip: usize,
    /// First row of the output that its buffer holds.
    pub output: usize,
}

/// One convolution of its maps, every extent checked.
pub(super) struct Map<'a> {
    pub(super) packed: &'a PackedU8,
    pub(super) epilogue: &'a Epilogue,
    pub(super) input: ConvInput<'a>,
    /// Output rows and columns of a map.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) skip: SkipInput<'a>,
    pub(super) output: MapOutput,
    /// Output pixels to compute, counted over the whole map.
    pub(super) pixels: Range<usize>,
    /// Pixels of the input, and of the residual, before the first one in their buffers.
    pub(super) input_start: usize,
    pub(super) skip_start: usize,
}

/// One byte of each value of the input.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) data: &'a [u8],
    /// One run of it outside the picture.
    pub(super) outside: &'a [u8],
}

/// Destination of the values of a map: where its first pixel would be, were the buffer to hold all rows.
#[derive(Clone, Copy)]
pub(super) enum MapOutput {
    U8(*mut u8),
    U16 { high: *mut u8, low: *mut u8 },
    F32(*mut f32),
}

// SAFETY: the output pointer comes from an exclusive borrow that lives as long as the map. Blocks write disjoint parts
// of it. All else is shared references.
unsafe impl Sync for Map<'_> {}

impl<'a> Map<'a> {
    /// Checks all extents; the whole map is computed.
    ///
    /// # Errors
    /// [`Kind::Internal`] if a length does not match its shape, or a type does not match the epilogue.
    pub(super) fn new(
        packed: &'a PackedU8,
        epilogue: &'a Epilogue,
        input: ConvInput<'a>,
        skip: SkipInput<'a>,
        output: ConvOutput<'a>,
    ) -> Result<Self> {
        let (rows, _) = packed.geometry().output(input.height, input.width);
        let held = [input.count * input.height, skip.height(), input.count * rows];
        let band = Band { rows: 0..input.count * rows, input: 0, skip: 0, output: 0 };
        Self::over(packed, epilogue, (input, skip, output), held, &band)
    }

    /// Checks all extents of a band of one map. Buffers hold as many rows as they have room for.
    ///
    /// # Errors
    /// As [`Map::new`]; also if the band reads or writes a row that a buffer does not hold.
    pub(super) fn band(
        packed: &'a PackedU8,
        epilogue: &'a Epilogue,
        (input, skip, output): (ConvInput<'a>, SkipInput<'a>, ConvOutput<'a>),
        band: &Band,
    ) -> Result<Self> {
        let geometry = packed.geometry();
        let (rows, columns) = geometry.output(input.height, input.width);
        let bytes = if epilogue.reads_low_bytes() { 2 } else { 1 };
        let rows_in = |values: usize, row: usize| values.checked_div(row).unwrap_or(0);
        let held = [
            rows_in(input.data.len(), bytes * input.width * geometry.in_channels),
            rows_in(skip.values(), skip.width() * geometry.out_channels),
            rows_in(output.values(), columns * geometry.out_channels),
        ];
        let needed = geometry.rows_read(&band.rows, input.height);
        let of_skip = skip_rows(&band.rows, rows, skip.height());
        let holds = |first: usize, held: usize, needed: &Range<usize>| {
            needed.is_empty() || (first <= needed.start && needed.end <= first + held)
        };
        let is_held = input.count == 1
            && band.rows.end <= rows
            && holds(band.input, held[0], &needed)
            && holds(band.skip, held[1], &of_skip)
            && holds(band.output, held[2], &band.rows);
        if !is_held {
            let text = format!("rows {:?} of {rows}, whose operands are not there: {band:?}, {held:?}", band.rows);
            return Err(Error::new(Kind::Internal, text));
        }
        Self::over(packed, epilogue, (input, skip, output), held, band)
    }

    /// Checks extents of buffers that hold these rows of input, residual and output.
    fn over(
        packed: &'a PackedU8,
        epilogue: &'a Epilogue,
        (input, skip, output): (ConvInput<'a>, SkipInput<'a>, ConvOutput<'a>),
        [input_rows, skip_rows, output_rows]: [usize; 3],
        band: &Band,
    ) -> Result<Self> {
        let geometry = packed.geometry();
        let channels = geometry.out_channels;
        let (rows, columns) = geometry.output(input.height, input.width);
        let due = |what: &str, values: usize, height: usize, width: usize, channels: usize| {
            if values == height * width * channels {
                return Ok(());
            }
            let text = format!("{what} of {values} values where {height} × {width} × {channels} are due");
            Err(Error::new(Kind::Internal, text))
        };
        let bytes = if epilogue.reads_low_bytes() { 2 } else { 1 };
        due("an input", input.data.len(), bytes * input_rows, input.width, geometry.in_channels)?;
        if input.count != 1 && !matches!(skip, SkipInput::None) {
            return Err(Error::new(Kind::Internal, "a residual to several maps"));
        }
        let fits = epilogue.channels == channels
            && epilogue.flips == packed.kernel().flips
            && epilogue.outside[0].len() == packed.readable()
            && epilogue.low_terms.len() == usize::from(packed.low().is_some()) + usize::from(bytes == 2)
            && epilogue.start.len() == packed.places().len() * packed.kernel().nr;
        let same = matches!(
            (&skip, epilogue.skip),
            (SkipInput::None, SkipKind::None)
                | (SkipInput::U8 { .. }, SkipKind::U8 { .. })
                | (SkipInput::U16 { .. }, SkipKind::U16 { .. })
                | (SkipInput::F32 { .. }, SkipKind::F32 { .. })
        ) && matches!(
            (&output, epilogue.output),
            (ConvOutput::U8(_), OutputKind::U8 { .. })
                | (ConvOutput::U16 { .. }, OutputKind::U16 { .. })
                | (ConvOutput::F32(_), OutputKind::F32)
        );
        if !fits || !same {
            return Err(Error::new(
                Kind::Internal,
                "an epilogue of another convolution, or maps of other types than its",
            ));
        }
        if !matches!(skip, SkipInput::None) {
            due("a residual", skip.values(), skip_rows, skip.width(), channels)?;
            if skip.height() == 0 || skip.width() == 0 {
                return Err(Error::new(Kind::Internal, "a residual without pixels"));
            }
        }
        due("an output", output.values(), output_rows, columns, channels)?;
        let before = band.output * columns * channels;
        let output = match output {
            ConvOutput::U8(data) => MapOutput::U8(data.as_mut_ptr().wrapping_sub(before)),
            ConvOutput::U16 { high, low } => {
                due("the low bytes of an output", low.len(), output_rows, columns, channels)?;
                let [high, low] = [high, low].map(|plane| plane.as_mut_ptr().wrapping_sub(before));
                MapOutput::U16 { high, low }
            }
            ConvOutput::F32(data) => MapOutput::F32(data.as_mut_ptr().wrapping_sub(before)),
        };
        let pixels = band.rows.start * columns..band.rows.end * columns;
        let (input_start, skip_start) = (band.input * input.width, band.skip * skip.width());
        Ok(Self { packed, epilogue, input, rows, columns, skip, output, pixels, input_start, skip_start })
    }

    /// The high bytes of the input, or the low ones, with what lies outside the picture.
    pub(super) fn plane(&self, reads_low_bytes: bool) -> Plane<'a> {
        let data = self.input.data;
        let (high, low) = data.split_at(if self.epilogue.reads_low_bytes() { data.len() / 2 } else { data.len() });
        let data = if reads_low_bytes { low } else { high };
        Plane { data, outside: &self.epilogue.outside[usize::from(reads_low_bytes)] }
    }
}
