//! Marker segments: tables, frame header, scan header.

use super::huffman::Huffman;
use super::{ZIGZAG, cut_off, damaged, standard};
use crate::error::{Error, Kind, Result};
use crate::frame::MAX_PIXELS;

/// Read position in the file.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    /// A reader positioned after the start marker.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    /// Code of the next marker. Bytes before it are skipped.
    pub fn next_marker(&mut self) -> Result<u8> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_marker = |pair: &[u8]| pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff;
        let offset = rest.windows(2).position(is_marker).ok_or_else(cut_off)?;
        self.at += offset + 2;
        Ok(rest[offset + 1])
    }

    /// Content of the segment after the marker just read, without its length field.
    pub fn segment(&mut self) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let [high, low, ..] = rest else { return Err(cut_off()) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length < 2 {
            return Err(damaged("a segment shorter than its own length"));
        }
        self.at += length;
        rest.get(2..length).ok_or_else(cut_off)
    }
}

/// Quantization table, in row-major order.
pub(super) type Quantizer = [u16; 64];

/// A colour component.
pub(super) struct Component {
    id: u8,
    /// Sampling factors: blocks of an MCU, horizontally and vertically.
    pub horizontal: usize,
    pub vertical: usize,
    table: usize,
    /// Samples that belong to the picture, horizontally and vertically.
    pub width: usize,
    pub height: usize,
    /// Samples from row to row of `plane`, a whole number of MCUs.
    pub stride: usize,
    /// Samples, a whole number of MCUs.
    pub plane: Vec<u8>,
    /// Coefficients of a progressive file, block by block.
    pub coefficients: Vec<[i16; 64]>,
    /// Quantization table in force at the component's first scan; none before.
    pub quantizer: Option<Box<Quantizer>>,
}

impl Component {
    /// Blocks in a row and in a column that cover the picture: those of a non-interleaved scan.
    pub fn blocks(&self) -> (usize, usize) {
        (self.width.div_ceil(8), self.height.div_ceil(8))
    }
}

/// Frame header with the decoded samples.
pub(super) struct Frame {
    pub width: usize,
    pub height: usize,
    pub is_progressive: bool,
    /// Largest sampling factors of the components.
    pub units: (usize, usize),
    /// MCUs of an interleaved scan, in a row and in a column.
    pub columns: usize,
    pub rows: usize,
    pub components: Vec<Component>,
}

/// Markers that define the colour space.
#[derive(Default)]
pub(super) struct Colours {
    pub has_jfif: bool,
    /// Transform of Adobe's segment: 0 none, 1 YCbCr, 2 YCCK.
    pub adobe: Option<u8>,
    pub ids: Vec<u8>,
}

/// State accumulated from the segments before a scan.
#[derive(Default)]
pub(super) struct Header {
    /// Most pixels of the picture.
    max_pixels: u64,
    pub frame: Option<Frame>,
    pub colours: Colours,
    pub exif: Option<Vec<u8>>,
    pub restart_interval: usize,
    quantizers: [Option<Box<Quantizer>>; 4],
    pub dc: [Option<Huffman>; 4],
    pub ac: [Option<Huffman>; 4],
}

/// Scan header.
pub(super) struct Scan {
    /// Indices of component, DC table and AC table.
    pub parts: Vec<(usize, usize, usize)>,
    /// First and last coefficient, inclusive (spectral selection).
    pub from: usize,
    pub to: usize,
    /// Successive approximation of a progressive file: bit position before (0 in a first scan) and after this scan.
    pub before: u32,
    pub now: u32,
}

impl Header {
    /// The state before the first segment of a picture of at most `max_pixels`.
    pub fn new(max_pixels: u64) -> Self {
        Self { max_pixels, ..Self::default() }
    }

    /// True if every component of a sequential picture has its data.
    pub fn is_whole(&self) -> bool {
        self.frame.as_ref().is_some_and(|frame| {
            !frame.is_progressive && frame.components.iter().all(|component| component.quantizer.is_some())
        })
    }

    /// Reads the segment of `marker`, except scans and the end marker.
    pub fn read(&mut self, marker: u8, reader: &mut Reader<'_>) -> Result<()> {
        match marker {
            0x01 | 0xd0..=0xd7 => Ok(()),
            0xc0..=0xc2 => self.read_frame(reader.segment()?, marker == 0xc2),
            0xc4 => self.read_huffman(reader.segment()?),
            0xdb => self.read_quantizers(reader.segment()?),
            0xdd => {
                let [high, low, ..] = reader.segment()? else { return Err(damaged("a restart interval of no length")) };
                self.restart_interval = usize::from(u16::from_be_bytes([*high, *low]));
                Ok(())
            }
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcf => {
                let text = "a lossless, hierarchical or arithmetic-coded JPEG; only Huffman-coded baseline and \
                            progressive ones are decoded";
                Err(Error::new(Kind::Data, text))
            }
            0xd8 => Err(damaged("a second start marker")),
            0xdc => Err(damaged("a height that is given after the picture")),
            _ => {
                let segment = reader.segment()?;
                match marker {
                    0xe0 if segment.starts_with(b"JFIF\0") => self.colours.has_jfif = true,
                    0xe1 if self.exif.is_none() => self.exif = segment.strip_prefix(b"Exif\0\0").map(<[u8]>::to_vec),
                    0xee if segment.starts_with(b"Adobe") => self.colours.adobe = segment.get(11).copied(),
                    _ => {}
                }
                Ok(())
            }
        }
    }

    fn read_frame(&mut self, segment: &[u8], is_progressive: bool) -> Result<()> {
        if self.frame.is_some() {
            return Err(damaged("a second frame"));
        }
        let &[bits, h1, h0, w1, w0, count, ref rest @ ..] = segment else {
            return Err(damaged("a short frame header"));
        };
        let (height, width) = (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
        if bits != 8 {
            return Err(Error::new(Kind::Data, format!("a JPEG of {bits} bits a sample; only 8 are decoded")));
        }
        crate::frame::picture::check_size(width as u64, height as u64, self.max_pixels)?;
        let count = usize::from(count);
        if !matches!(count, 1 | 3 | 4) || rest.len() < count * 3 {
            return Err(damaged(format_args!("{count} colour components in a header of {} bytes", segment.len())));
        }
        let parts: Vec<_> = rest.chunks_exact(3).take(count).map(|part| (part[0], part[1], part[2])).collect();
        let sizes = |(_, sampling, _): &(u8, u8, u8)| (usize::from(sampling >> 4), usize::from(sampling & 15));
        if !parts.iter().all(|part| {
            let (horizontal, vertical) = sizes(part);
            (1..=4).contains(&horizontal) && (1..=4).contains(&vertical) && part.2 < 4
        }) {
            return Err(damaged("an impossible sampling of a colour component"));
        }
        let units =
            parts.iter().map(sizes).fold((1, 1), |(h, v), (horizontal, vertical)| (h.max(horizontal), v.max(vertical)));
        let (columns, rows) = (width.div_ceil(8 * units.0), height.div_ceil(8 * units.1));
        let component = |part: &(u8, u8, u8)| {
            let (horizontal, vertical) = sizes(part);
            Component {
                id: part.0,
                horizontal,
                vertical,
                table: usize::from(part.2),
                width: (width * horizontal).div_ceil(units.0),
                height: (height * vertical).div_ceil(units.1),
                stride: columns * horizontal * 8,
                plane: Vec::new(),
                coefficients: Vec::new(),
                quantizer: None,
            }
        };
        self.colours.ids = parts.iter().map(|part| part.0).collect();
        let components = parts.iter().map(component).collect();
        self.frame = Some(Frame { width, height, is_progressive, units, columns, rows, components });
        Ok(())
    }

    fn read_huffman(&mut self, mut segment: &[u8]) -> Result<()> {
        while let [id, rest @ ..] = segment {
            let lengths = rest.first_chunk::<16>().ok_or_else(|| damaged("a short Huffman table"))?;
            let count: usize = lengths.iter().map(|&count| usize::from(count)).sum();
            let values = rest.get(16..16 + count).ok_or_else(|| damaged("a short Huffman table"))?;
            self.set_huffman(*id, lengths, values)?;
            segment = &rest[16 + count..];
        }
        Ok(())
    }

    fn set_huffman(&mut self, id: u8, lengths: &[u8; 16], values: &[u8]) -> Result<()> {
        let table = Huffman::new(lengths, values)?;
        let (tables, is_dc) = if id >> 4 == 0 { (&mut self.dc, true) } else { (&mut self.ac, false) };
        // A DC difference has at most 15 bits, which bounds the shifts of the decoder.
        if id >> 4 > 1 || id & 15 > 3 || is_dc && values.iter().any(|&value| value > 15) {
            return Err(damaged("an impossible Huffman table"));
        }
        tables[usize::from(id & 15)] = Some(table);
        Ok(())
    }

    fn read_quantizers(&mut self, mut segment: &[u8]) -> Result<()> {
        while let [id, rest @ ..] = segment {
            let width = if id >> 4 == 0 { 1 } else { 2 };
            let values = rest.get(..64 * width).ok_or_else(|| damaged("a short quantization table"))?;
            if id & 15 > 3 {
                return Err(damaged("an impossible quantization table"));
            }
            let mut table = Box::new([0; 64]);
            for (&place, value) in ZIGZAG.iter().zip(values.chunks_exact(width)) {
                table[usize::from(place)] = value.iter().fold(0, |sum, &byte| sum << 8 | u16::from(byte));
            }
            self.quantizers[usize::from(id & 15)] = Some(table);
            segment = &rest[64 * width..];
        }
        Ok(())
    }

    /// Reads a scan header and prepares the components for its data.
    pub fn scan(&mut self, segment: &[u8], bytes: usize) -> Result<Scan> {
        let frame = self.frame.as_mut().ok_or_else(|| damaged("data in front of the frame header"))?;
        let short = || damaged("a short scan header");
        let (&count, rest) = segment.split_first().ok_or_else(short)?;
        let count = usize::from(count);
        if !(1..=4).contains(&count) || rest.len() < count * 2 + 3 {
            return Err(short());
        }
        let (pairs, numbers) = rest.split_at(count * 2);
        let mut parts: Vec<(usize, usize, usize)> = Vec::with_capacity(count);
        for pair in pairs.chunks_exact(2) {
            let index = frame.components.iter().position(|component| component.id == pair[0]);
            let index = index.filter(|index| parts.iter().all(|&(other, ..)| other != *index));
            let index = index.ok_or_else(|| damaged("a scan of a component that is not there, or twice"))?;
            let (dc, ac) = (usize::from(pair[1] >> 4), usize::from(pair[1] & 15));
            if dc > 3 || ac > 3 {
                return Err(damaged("a scan with an impossible table"));
            }
            parts.push((index, dc, ac));
        }
        let (from, to) = (usize::from(numbers[0]), usize::from(numbers[1]));
        let scan = Scan { parts, from, to, before: u32::from(numbers[2] >> 4), now: u32::from(numbers[2] & 15) };
        frame.prepare(&scan, &self.quantizers, bytes)?;
        self.default_tables(&scan)?;
        Ok(scan)
    }

    /// Installs the standard Huffman tables that a sequential scan uses without defining them.
    fn default_tables(&mut self, scan: &Scan) -> Result<()> {
        for table in &standard::TABLES {
            let number = usize::from(table.id & 15);
            let is_dc = table.id >> 4 == 0;
            let is_wanted = scan.parts.iter().any(|&(_, dc, ac)| if is_dc { dc } else { ac } == number);
            let is_there = if is_dc { self.dc[number].is_some() } else { self.ac[number].is_some() };
            if is_wanted && !is_there {
                self.set_huffman(table.id, &table.lengths, table.values)?;
            }
        }
        Ok(())
    }
}

impl Frame {
    /// Checks a scan, fixes the quantization tables of its components and allocates their samples.
    fn prepare(&mut self, scan: &Scan, quantizers: &[Option<Box<Quantizer>>; 4], bytes: usize) -> Result<()> {
        let valid = if self.is_progressive {
            let band = scan.from == 0 && scan.to == 0 || scan.from > 0 && scan.parts.len() == 1;
            let bits = scan.now <= 13 && (scan.before == 0 || scan.before == scan.now + 1);
            scan.from <= scan.to && scan.to < 64 && band && bits
        } else {
            // Some baseline files set these fields to 0; they mean all coefficients.
            true
        };
        let units: usize = scan
            .parts
            .iter()
            .map(|&(index, ..)| {
                let component = &self.components[index];
                component.horizontal * component.vertical
            })
            .sum();
        if !valid || scan.parts.len() > 1 && units > 10 {
            return Err(damaged("an impossible scan"));
        }
        // A block takes at least one bit, so a small file cannot request much memory.
        let blocks = self.columns * self.rows * units;
        if blocks > bytes.saturating_mul(8) || self.width * self.height > MAX_PIXELS as usize {
            return Err(cut_off());
        }
        for &(index, ..) in &scan.parts {
            let component = &mut self.components[index];
            if component.quantizer.is_some() {
                if self.is_progressive {
                    continue;
                }
                return Err(damaged("a second scan of a component"));
            }
            let quantizer = quantizers[component.table].clone();
            component.quantizer = Some(quantizer.ok_or_else(|| damaged("a quantization table is missing"))?);
            let rows = self.rows * component.vertical;
            component.plane = vec![0; component.stride * rows * 8];
            if self.is_progressive {
                component.coefficients = vec![[0; 64]; component.stride / 8 * rows];
            }
        }
        Ok(())
    }
}
