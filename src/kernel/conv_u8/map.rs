//! Operands of a convolution over a whole map, with all extents checked once.

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

/// The maps that a convolution writes: count × rows × columns × out_channels values.
#[derive(Debug)]
pub enum ConvOutput<'a> {
    /// Bytes.
    U8(&'a mut [u8]),
    /// High bytes, then low ones.
    U16(&'a mut [u8]),
    /// Floats.
    F32(&'a mut [f32]),
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
}

/// One byte of each value of the input.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    pub(super) data: &'a [u8],
    /// One run of it outside the picture.
    pub(super) outside: &'a [u8],
}

/// Destination of the values of a map.
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
    /// Checks all extents.
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
        due("an input", input.data.len(), bytes * input.count * input.height, input.width, geometry.in_channels)?;
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
                | (ConvOutput::U16(_), OutputKind::U16 { .. })
                | (ConvOutput::F32(_), OutputKind::F32)
        );
        if !fits || !same {
            return Err(Error::new(
                Kind::Internal,
                "an epilogue of another convolution, or maps of other types than its",
            ));
        }
        match skip {
            SkipInput::None => {}
            SkipInput::U8 { data, height, width } => due("a residual", data.len(), height, width, channels)?,
            SkipInput::U16 { data, height, width } => due("a residual", data.len(), 2 * height, width, channels)?,
            SkipInput::F32 { data, height, width } => due("a residual", data.len(), height, width, channels)?,
        }
        if let SkipInput::U8 { height, width, .. }
        | SkipInput::U16 { height, width, .. }
        | SkipInput::F32 { height, width, .. } = skip
            && (height == 0 || width == 0)
        {
            return Err(Error::new(Kind::Internal, "a residual without pixels"));
        }
        let output = match output {
            ConvOutput::U8(data) => {
                due("an output", data.len(), input.count * rows, columns, channels)?;
                MapOutput::U8(data.as_mut_ptr())
            }
            ConvOutput::U16(data) => {
                due("an output", data.len(), 2 * input.count * rows, columns, channels)?;
                let (high, low) = data.split_at_mut(data.len() / 2);
                MapOutput::U16 { high: high.as_mut_ptr(), low: low.as_mut_ptr() }
            }
            ConvOutput::F32(data) => {
                due("an output", data.len(), input.count * rows, columns, channels)?;
                MapOutput::F32(data.as_mut_ptr())
            }
        };
        Ok(Self { packed, epilogue, input, rows, columns, skip, output })
    }

    /// The high bytes of the input, or the low ones, with what lies outside the picture.
    pub(super) fn plane(&self, reads_low_bytes: bool) -> Plane<'a> {
        let ConvInput { data, count, height, width } = self.input;
        let length = count * height * width * self.packed.geometry().in_channels;
        let data = if reads_low_bytes { &data[length..] } else { &data[..length] };
        Plane { data, outside: &self.epilogue.outside[usize::from(reads_low_bytes)] }
    }
}
