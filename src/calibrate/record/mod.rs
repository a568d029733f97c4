//! Calibration record `calibration/2` (`<artifact>.calib`): histograms and channel means of every edge on every
//! picture.
//!
//! In: the statistics of one picture after the other. Out: a file from which any observer, and any subset or mixture of
//! the pictures, gives ranges without running the network again. The same statistics give the same bytes in any order,
//! because pictures are sorted by name. The reader checks as strictly as that of the artifact.
//!
//! # File format
//!
//! The container is that of the artifact (see [`container`]): safetensors, one metadata key `lookout` with a JSON
//! object of sorted keys, and checksums. Unknown keys are refused.
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `format` | string | `calibration/2`; `calibration/1`, without `equalization`, is read, too |
//! | `checkpoint_sha256` | string | SHA-256 of the observed checkpoint, hexadecimal |
//! | `edges` | array of `{"name": string, "channels": integer}` | observed edges, in the order of the plan |
//! | `equalization` | integer, optional | number of factors of equalized channels: the observed network is the checkpoint's with these factors folded in |
//! | `pictures` | array of `{"name": string, "sha256": string}` | pictures, sorted by name; SHA-256 of size and pixels, 64 hexadecimal digits |
//!
//! The tensor `equalization`, F32 of that length, has the factors as the artifact has them. Tensors of picture number i (six decimal digits, from `000000`):
//!
//! | tensor | element, shape | meaning |
//! |---|---|---|
//! | `i.means` | F32 `[Σ channels]` | channel means in real units, edge after edge; all finite |
//! | `i.histograms` | U8 `[bytes]` | packed histograms, edge after edge, without a gap |
//!
//! A packed histogram is:
//!
//! 1. smallest and largest value, two little-endian f32; +∞ and −∞ of an empty histogram, which has the one bin 0;
//! 2. number of exact zeros, a varint;
//! 3. the counts of all bins in order, one varint each. A count 0 is followed by a varint with the number of further empty
//!    bins.
//!
//! Bins follow from the extremes: bin j covers \[j · 2^k, (j + 1) · 2^k). They reach from min(0, smallest) to max(0,
//! largest). k ≥ −126 is the smallest exponent with which they are at most 2048 (see [`Binning`](super::Binning)). The bins of both extremes must have a count. A varint is 7 bits a byte, lowest first;
//! the top bit is set if more bytes follow. It is as short as possible and at most 64 bits long.

mod varint;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::calibrate::histogram::Histogram;
use crate::calibrate::observer::EdgeStatistics;
use crate::error::{Error, Kind, Result};
use crate::quant::container::{self, Container, EQUALIZATION, Element, Tensor, is_zero};
use crate::tensor::atomic_file;
use crate::tensor::digest::hexadecimal;

/// Format name of this version, which is written.
const FORMAT: &str = "calibration/2";
/// Format name of the earlier version, which is read.
const FORMAT_1: &str = "calibration/1";

/// Histograms and channel means of every edge on every picture.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationRecord {
    checkpoint_sha256: String,
    edges: Vec<RecordEdge>,
    /// Factors of equalized channels; empty where none is.
    equalization: Vec<f32>,
    /// By name.
    pictures: BTreeMap<String, PackedStatistics>,
}

/// An observed edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordEdge {
    /// Name in the plan.
    pub name: String,
    /// Number of channels, each of which has a mean.
    pub channels: usize,
}

/// Statistics of one picture. Histograms are packed, because those of a hundred edges would be megabytes.
#[derive(Debug, Clone, PartialEq)]
struct PackedStatistics {
    sha256: String,
    histograms: Vec<u8>,
    means: Vec<f32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordHeader {
    format: String,
    checkpoint_sha256: String,
    edges: Vec<RecordEdge>,
    #[serde(default, skip_serializing_if = "is_zero")]
    equalization: usize,
    pictures: Vec<PictureEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PictureEntry {
    name: String,
    sha256: String,
}

impl CalibrationRecord {
    /// A record without pictures, for a checkpoint with these edges, into which the factors of `equalization` are folded.
    pub fn new(checkpoint_sha256: impl Into<String>, edges: Vec<RecordEdge>, equalization: Vec<f32>) -> Self {
        Self { checkpoint_sha256: checkpoint_sha256.into(), edges, equalization, pictures: BTreeMap::new() }
    }

    /// SHA-256 of the checkpoint that was observed.
    pub fn checkpoint_sha256(&self) -> &str {
        &self.checkpoint_sha256
    }

    /// Factors of equalized channels, as the artifact has them; empty where none is.
    pub fn equalization(&self) -> &[f32] {
        &self.equalization
    }

    /// The edges, in the plan's order.
    pub fn edges(&self) -> &[RecordEdge] {
        &self.edges
    }

    /// Names of the pictures, sorted.
    pub fn pictures(&self) -> impl ExactSizeIterator<Item = &str> {
        self.pictures.keys().map(String::as_str)
    }

    /// Adds a picture: a histogram an edge, and the channel means of all edges one after the other.
    ///
    /// # Errors
    /// [`Kind::Internal`] where their numbers do not match the edges; [`Kind::Data`] where the name exists already.
    pub fn add(&mut self, name: &str, sha256: [u8; 32], histograms: &[Histogram], means: Vec<f32>) -> Result<()> {
        if histograms.len() != self.edges.len() || means.len() != self.mean_count() {
            let what =
                format!("{} histograms and {} means of {} edges", histograms.len(), means.len(), self.edges.len());
            return Err(Error::new(Kind::Internal, what));
        }
        let mut packed = Vec::new();
        histograms.iter().for_each(|histogram| pack(histogram, &mut packed));
        let sha256 = hexadecimal(&sha256);
        let picture = PackedStatistics { sha256, histograms: packed, means };
        match self.pictures.insert(name.to_string(), picture) {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Data, format!("there are two pictures called {name}"))),
        }
    }

    /// Histograms of one picture, one an edge.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such picture.
    pub fn histograms(&self, picture: &str) -> Result<Vec<Histogram>> {
        let packed = &self.get(picture)?.histograms;
        let mut histograms = Vec::with_capacity(self.edges.len());
        unpack(packed, self.edges.len(), |histogram| histograms.push(histogram))
            .map_err(|e| e.at(format!("picture {picture}")))?;
        Ok(histograms)
    }

    /// SHA-256 of one picture's size and pixels.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such picture, or its SHA-256 is invalid.
    pub fn sha256(&self, picture: &str) -> Result<[u8; 32]> {
        let text = &self.get(picture)?.sha256;
        let wrong = || Error::new(Kind::Data, format!("picture {picture}: {text:?} is not a SHA-256"));
        let mut sum = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        for (at, byte) in sum.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|source| wrong().because(source))?;
        }
        Ok(sum)
    }

    /// The channel means of one picture, all edges one after the other.
    ///
    /// # Errors
    /// [`Kind::Data`] where there is no such picture.
    #[cfg(test)]
    fn means(&self, picture: &str) -> Result<&[f32]> {
        Ok(&self.get(picture)?.means)
    }

    /// Statistics for the observers, one an edge, over the pictures that `chosen` accepts, in the order of their names.
    ///
    /// # Errors
    /// As [`Self::histograms`].
    pub fn statistics(&self, chosen: impl Fn(&str) -> bool) -> Result<Vec<EdgeStatistics>> {
        let mut statistics = vec![EdgeStatistics::new(); self.edges.len()];
        for picture in self.pictures().filter(|name| chosen(name)) {
            for (edge, histogram) in statistics.iter_mut().zip(self.histograms(picture)?) {
                edge.add(&histogram);
            }
        }
        Ok(statistics)
    }

    /// SHA-256 over the SHA-256 of the pictures that `chosen` accepts, in the order of their names.
    pub fn pictures_sha256(&self, chosen: impl Fn(&str) -> bool) -> String {
        let mut hash = Sha256::new();
        for (_, picture) in self.pictures.iter().filter(|(name, _)| chosen(name)) {
            hash.update(picture.sha256.as_bytes());
        }
        hexadecimal(&hash.finalize())
    }

    /// Encodes the record as the bytes of a file.
    ///
    /// # Errors
    /// [`Kind::Internal`] where the parts are inconsistent.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let fault = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Internal, "calibration record to write").because(e)
        };
        let entry = |(name, picture): (&String, &PackedStatistics)| PictureEntry {
            name: name.clone(),
            sha256: picture.sha256.clone(),
        };
        let header = RecordHeader {
            format: FORMAT.into(),
            checkpoint_sha256: self.checkpoint_sha256.clone(),
            edges: self.edges.clone(),
            equalization: self.equalization.len(),
            pictures: self.pictures.iter().map(entry).collect(),
        };
        let mut tensors = BTreeMap::new();
        if !self.equalization.is_empty() {
            let factors = Tensor::of_f32(vec![self.equalization.len()], &self.equalization);
            tensors.insert(EQUALIZATION.to_owned(), factors);
        }
        for (at, picture) in self.pictures.values().enumerate() {
            tensors.insert(format!("{at:06}.histograms"), Tensor::of_bytes(&picture.histograms[..]));
            tensors.insert(format!("{at:06}.means"), Tensor::of_f32(vec![picture.means.len()], &picture.means));
        }
        let Value::Object(metadata) = serde_json::to_value(header).map_err(|e| fault(e.into()))? else {
            return Err(fault("its header is not a JSON object".into()));
        };
        let mut bytes = Vec::new();
        container::write(&mut bytes, &metadata, &tensors).map_err(|e| fault(e.into()))?;
        Ok(bytes)
    }

    /// Reads a record and checks `file` from end to end.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the first place that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let container = Container::parse(file)?;
        let header: RecordHeader = serde_json::from_value(Value::Object(container.metadata().clone()))
            .map_err(|e| Error::new(Kind::Data, format!("its header is not that of {FORMAT}")).because(e))?;
        if header.format != FORMAT && (header.format != FORMAT_1 || header.equalization > 0) {
            return Err(Error::new(Kind::Data, format!("its format is `{}`, expected `{FORMAT}`", header.format)));
        }
        let equalization = container.optional_f32(EQUALIZATION, header.equalization)?;
        let others = usize::from(!equalization.is_empty());
        let mut record = Self::new(header.checkpoint_sha256, header.edges, equalization);
        let tensors = container.names().len();
        if tensors != 2 * header.pictures.len() + others {
            let what = format!("{tensors} tensors of {} pictures", header.pictures.len());
            return Err(Error::new(Kind::Data, what));
        }
        for (at, PictureEntry { name, sha256 }) in header.pictures.into_iter().enumerate() {
            let means = container.tensor(&format!("{at:06}.means"), Element::F32, &[record.mean_count()])?.to_f32();
            let packed = format!("{at:06}.histograms");
            let tensor = container.get(&packed)?;
            if tensor.element != Element::U8 {
                return Err(Error::new(Kind::Data, format!("tensor {packed} has no bytes")));
            }
            let histograms = tensor.bytes.into_owned();
            // One at a time: a few bytes can encode thousands of bins.
            unpack(&histograms, record.edges.len(), drop).map_err(|e| e.at(format!("picture {name}")))?;
            if let Some(mean) = means.iter().find(|mean| !mean.is_finite()) {
                return Err(Error::new(Kind::Data, format!("picture {name}: a channel mean is {mean}")));
            }
            if record.pictures.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(Error::new(Kind::Data, format!("picture {name} is out of order")));
            }
            record.pictures.insert(name, PackedStatistics { sha256, histograms, means });
        }
        Ok(record)
    }

    /// Writes the file at `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`Self::encode`] and [`atomic_file::write`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.encode()?;
        atomic_file::write(path, |out| out.write_all(&bytes))
    }

    fn get(&self, picture: &str) -> Result<&PackedStatistics> {
        self.pictures
            .get(picture)
            .ok_or_else(|| Error::new(Kind::Data, format!("the calibration record has no picture {picture}")))
    }

    fn mean_count(&self) -> usize {
        self.edges.iter().fold(0usize, |sum, edge| sum.saturating_add(edge.channels))
    }
}

/// Appends a packed histogram (see the file format above).
fn pack(histogram: &Histogram, out: &mut Vec<u8>) {
    out.extend(histogram.min().to_le_bytes());
    out.extend(histogram.max().to_le_bytes());
    varint::put(histogram.zeros(), out);
    let mut counts = histogram.counts();
    while let Some((&count, rest)) = counts.split_first() {
        varint::put(count, out);
        counts = rest;
        if count == 0 {
            let more = rest.iter().take_while(|count| **count == 0).count();
            varint::put(more as u64, out);
            counts = &rest[more..];
        }
    }
}

fn unpack(bytes: &[u8], edges: usize, mut each: impl FnMut(Histogram)) -> Result<()> {
    let mut rest = bytes;
    for edge in 0..edges {
        let at = bytes.len() - rest.len();
        each(unpack_one(&mut rest).map_err(|e| e.at(format!("edge {edge}, byte {at}")))?);
    }
    if rest.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Data, format!("{} bytes are left after the last edge", rest.len())))
}

fn unpack_one(rest: &mut &[u8]) -> Result<Histogram> {
    let short = || Error::new(Kind::Data, "the histogram is cut off");
    let mut float = || {
        let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        *rest = after;
        Ok::<f32, Error>(f32::from_le_bytes(*bytes))
    };
    let (min, max) = (float()?, float()?);
    let mut integer = || varint::take(rest).ok_or_else(short);
    let zeros = integer()?;
    let (first, bins) = Histogram::layout(min, max)?;
    let mut counts = Vec::with_capacity(bins);
    while counts.len() < bins {
        let count = integer()?;
        counts.push(count);
        if count == 0 {
            let more = integer()?;
            if more > (bins - counts.len()) as u64 {
                return Err(Error::new(Kind::Data, format!("{more} more empty bins do not fit into {bins}")));
            }
            counts.resize(counts.len() + more as usize, 0);
        }
    }
    Histogram::from_parts(min, max, zeros, (first..).zip(counts).filter(|(_, count)| *count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::histogram::tests::histogram_of;
    use proptest::prelude::*;

    fn record(order: &[usize]) -> CalibrationRecord {
        let edges = ["input", "conv1"].map(|name| RecordEdge { name: name.into(), channels: 2 });
        let mut record = CalibrationRecord::new("c".repeat(64), edges.to_vec(), vec![0.5, 2.0]);
        for &at in order {
            let values: Vec<f32> = (0..900).map(|i| ((i * (at + 3)) % 301) as f32 * 0.01 - 0.7).collect();
            let relu: Vec<f32> = values.iter().map(|x| x.max(0.0)).collect();
            let means = vec![at as f32, 0.5, -1.0, 2.0];
            record
                .add(&format!("p{at}"), [at as u8; 32], &[histogram_of(&values), histogram_of(&relu)], means)
                .unwrap();
        }
        record
    }

    #[test]
    fn the_order_of_pictures_does_not_matter() {
        let bytes = record(&[0, 1, 2]).encode().unwrap();
        assert_eq!(bytes, record(&[2, 0, 1]).encode().unwrap());
        let read = CalibrationRecord::parse(&bytes).unwrap();
        assert_eq!(read, record(&[1, 2, 0]));
        assert_eq!(read.pictures().collect::<Vec<_>>(), ["p0", "p1", "p2"]);
        assert_eq!(read.means("p1").unwrap(), [1.0, 0.5, -1.0, 2.0]);
        assert!(read.histograms("p3").is_err());
    }

    #[test]
    fn a_subset_equals_a_record_of_its_pictures() {
        let all = record(&[0, 1, 2]);
        let chosen = |name: &str| name != "p1";
        let part = all.statistics(chosen).unwrap();
        let alone = record(&[0, 2]).statistics(|_| true).unwrap();
        for (part, alone) in part.iter().zip(&alone) {
            assert_eq!((part.merged(), part.extremes()), (alone.merged(), alone.extremes()));
        }
        assert_eq!(all.pictures_sha256(chosen), record(&[0, 2]).pictures_sha256(|_| true));
        assert_ne!(all.pictures_sha256(|_| true), all.pictures_sha256(chosen));
    }

    #[test]
    fn inconsistent_pictures_are_refused() {
        let mut record = record(&[0]);
        let histograms = [histogram_of(&[1.0]), histogram_of(&[])];
        assert!(record.add("p0", [0; 32], &histograms, vec![0.0; 4]).is_err());
        assert!(record.add("p9", [0; 32], &histograms[..1], vec![0.0; 4]).is_err());
        assert!(record.add("p9", [0; 32], &histograms, vec![0.0; 3]).is_err());
        record.add("p9", [0; 32], &histograms, vec![0.0; 4]).unwrap();
        let bytes = record.encode().unwrap();
        assert_eq!(CalibrationRecord::parse(&bytes).unwrap(), record);
        assert!(CalibrationRecord::parse(&bytes[..bytes.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn packing_is_lossless(values in prop::collection::vec(prop_oneof![-2.0f32..9.0, Just(0.0), Just(1e-40), -1e5f32..1e5], 0..300)) {
            let histogram = histogram_of(&values);
            let mut packed = Vec::new();
            pack(&histogram, &mut packed);
            let mut unpacked = Vec::new();
            unpack(&packed, 1, |histogram| unpacked.push(histogram)).unwrap();
            prop_assert_eq!(unpacked, vec![histogram]);
            for end in 0..packed.len() {
                prop_assert!(unpack(&packed[..end], 1, drop).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes, 3, drop);
        }
    }
}
