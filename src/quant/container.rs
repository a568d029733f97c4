//! Container of artifacts and calibration records: safetensors with one metadata key and checksums.
//!
//! In: a JSON object and named tensors, or a file, in memory or on disk. Out: bytes that depend on nothing else, or a view
//! that was checked from end to end. All offsets, shapes and checksums are verified before anything is used. No more
//! memory is allocated than a small multiple of the header's length, and one tensor. A damaged file is refused with the
//! place of the damage. A file on disk is read tensor by tensor, so that it is never in memory as a whole; the checksum
//! of a tensor is verified whenever it is read.
//!
//! # File format
//!
//! 1. `u64` little-endian: length of the header in bytes.
//! 2. Header, JSON with sorted keys, padded with spaces so that the data starts at a multiple of 64 bytes. For each tensor
//!    `"name": {"data_offsets": [begin, end], "dtype": type, "shape": [extents]}`, with offsets from the start of the data.
//!    `__metadata__` has the single key `lookout`, whose value is the text of a JSON object with sorted keys.
//! 3. Data: the tensors without gap or overlap, to the end of the file. U32 and F32 tensors come before I8 and U8 tensors,
//!    each group sorted by name, so that every tensor is aligned. Numbers are little-endian.
//!
//! Names that begin with `__` are reserved. The tensor [`CHECKSUMS`] (`checksums`, U32) has the CRC-32 (ISO-HDLC) of
//! the header, then of every other tensor in file order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};
use crate::tensor::regular_file::RegularFile;

/// Name of the tensor with the checksums: U32, of the header, then of every other tensor in file order.
pub const CHECKSUMS: &str = "checksums";
/// Name of the only metadata key.
const METADATA: &str = "lookout";
const ALIGNMENT: usize = 64;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// Signed bytes.
    I8,
    /// Bytes.
    U8,
    /// Unsigned 32-bit integers.
    U32,
    /// 32-bit floats.
    F32,
}

impl Element {
    const ALL: [Self; 4] = [Self::I8, Self::U8, Self::U32, Self::F32];

    /// Name in safetensors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::U32 => "U32",
            Self::F32 => "F32",
        }
    }

    /// Size in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::U32 | Self::F32 => 4,
        }
    }
}

/// A tensor of a container; numbers are little-endian.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    /// Element type.
    pub element: Element,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    /// A tensor of f32 values.
    pub fn of_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { element: Element::F32, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of u32 values.
    pub fn of_u32(shape: Vec<usize>, values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { element: Element::U32, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of i8 values.
    pub fn of_i8(shape: Vec<usize>, values: &[i8]) -> Self {
        let bytes = values.iter().map(|value| value.cast_unsigned()).collect();
        Self { element: Element::I8, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of bytes, one-dimensional.
    pub fn of_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        let bytes = bytes.into();
        Self { element: Element::U8, shape: vec![bytes.len()], bytes }
    }

    /// The bytes as f32 values.
    pub fn to_f32(&self) -> Vec<f32> {
        self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// The bytes as u32 values.
    pub fn to_u32(&self) -> Vec<u32> {
        self.bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    /// The bytes as i8 values. Bytes that were read from a file are not copied.
    pub fn into_i8(self) -> Vec<i8> {
        self.bytes.into_owned().into_iter().map(u8::cast_signed).collect()
    }
}

/// Writes a container: the same `metadata` and `tensors` give the same bytes.
///
/// # Errors
/// Errors of `out`; [`io::ErrorKind::InvalidInput`] where the bytes of a tensor do not match its shape or a name is
/// reserved, which is a fault of the caller.
pub fn write(out: &mut dyn Write, metadata: &Map<String, Value>, tensors: &BTreeMap<String, Tensor>) -> io::Result<()> {
    let invalid = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let mut order: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let sums = Tensor::of_u32(vec![tensors.len() + 1], &vec![0; tensors.len() + 1]);
    for (name, tensor) in &order {
        if byte_count(&tensor.shape, tensor.element) != Some(tensor.bytes.len()) {
            return invalid(format!("{name} has {} bytes for shape {:?}", tensor.bytes.len(), tensor.shape));
        }
        if *name == CHECKSUMS || name.starts_with("__") {
            return invalid(format!("{name} is a reserved name"));
        }
    }
    order.push((CHECKSUMS, &sums));
    order.sort_by_key(|(name, tensor)| (std::cmp::Reverse(tensor.element.size()), *name));

    let mut header = Map::new();
    let text = sorted(&Value::Object(metadata.clone())).to_string();
    header.insert("__metadata__".into(), json!({ METADATA: text }));
    let mut offset = 0;
    for (name, tensor) in &order {
        let end = offset + tensor.bytes.len();
        let entry = json!({ "dtype": tensor.element.name(), "shape": tensor.shape, "data_offsets": [offset, end] });
        header.insert((*name).to_string(), entry);
        offset = end;
    }
    let mut header = sorted(&Value::Object(header)).to_string().into_bytes();
    header.resize((8 + header.len()).next_multiple_of(ALIGNMENT) - 8, b' ');

    let others = order.iter().filter(|(name, _)| *name != CHECKSUMS);
    let sums: Vec<u32> = std::iter::once(crc32fast::hash(&header))
        .chain(others.map(|(_, tensor)| crc32fast::hash(&tensor.bytes)))
        .collect();
    let sums = Tensor::of_u32(vec![sums.len()], &sums);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    order
        .iter()
        .try_for_each(|(name, tensor)| out.write_all(if *name == CHECKSUMS { &sums.bytes } else { &tensor.bytes }))
}

/// The value with the keys of every object sorted, whichever map serde_json was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Size of a tensor in bytes; `None` where it overflows.
fn byte_count(shape: &[usize], element: Element) -> Option<usize> {
    shape.iter().try_fold(element.size(), |bytes, extent| bytes.checked_mul(*extent))
}

/// The bytes of a file.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Bytes(&'a [u8]),
    File(&'a RegularFile),
}

impl<'a> Source<'a> {
    fn size(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(file) => usize::try_from(file.size()).unwrap_or(usize::MAX),
        }
    }

    /// The bytes in `place`, which lies inside of the file.
    fn get(self, place: &Range<usize>) -> Result<Cow<'a, [u8]>> {
        match self {
            Self::Bytes(bytes) => Ok(Cow::Borrowed(bytes.get(place.clone()).unwrap_or_default())),
            Self::File(file) => file.read_range(place.start as u64, place.len()).map(Cow::Owned),
        }
    }

    /// CRC-32 of the bytes in `place`.
    fn crc32(self, place: &Range<usize>) -> Result<u32> {
        let mut crc = crc32fast::Hasher::new();
        match self {
            Self::Bytes(bytes) => crc.update(bytes.get(place.clone()).unwrap_or_default()),
            Self::File(file) => file.visit(place.start as u64, place.len() as u64, |piece| crc.update(piece))?,
        }
        Ok(crc.finalize())
    }

    /// The error for bytes that do not match their checksum: a file that was overwritten is not a damaged one.
    fn mismatch<T>(self, what: &str) -> Result<T> {
        if let Self::File(file) = self {
            file.check_unchanged()?;
        }
        refuse(format!("{what} does not match its checksum"))
    }
}

/// Type and place of a tensor in the file.
#[derive(Debug)]
struct TensorEntry {
    element: Element,
    shape: Vec<usize>,
    /// Bytes of the file.
    place: Range<usize>,
    crc32: u32,
}

/// A container with verified structure and checksums.
#[derive(Debug)]
pub struct Container<'a> {
    source: Source<'a>,
    metadata: Map<String, Value>,
    tensors: BTreeMap<String, TensorEntry>,
}

impl<'a> Container<'a> {
    /// Reads a container and checks `file` from end to end.
    ///
    /// # Errors
    /// [`Kind::Data`] naming the first place that is wrong.
    pub fn parse(file: &'a [u8]) -> Result<Self> {
        Self::of(Source::Bytes(file))
    }

    /// Checks `file` from end to end. Its tensors are read one at a time.
    ///
    /// # Errors
    /// As [`Container::parse`] and [`RegularFile::read_range`].
    pub fn open(file: &'a RegularFile) -> Result<Self> {
        Self::of(Source::File(file))
    }

    fn of(source: Source<'a>) -> Result<Self> {
        let size = source.size();
        let begin = source.get(&(0..size.min(8)))?;
        let Some(length) = begin.first_chunk::<8>() else {
            return refuse(format!("it ends after {size} bytes, before the length of its header"));
        };
        let length = u64::from_le_bytes(*length);
        let Some(start) =
            usize::try_from(length).ok().and_then(|length| length.checked_add(8)).filter(|end| *end <= size)
        else {
            return refuse(format!("its header claims {length} bytes, {} are left", size - 8));
        };
        let header = source.get(&(8..start))?;
        let parsed: Value = serde_json::from_slice(&header).map_err(|e| {
            Error::new(Kind::Data, format!("its header is not JSON at byte {}", 8 + e.column())).because(e)
        })?;
        let Value::Object(mut entries) = parsed else { return refuse("its header is not a JSON object".into()) };
        let metadata = metadata(entries.remove("__metadata__"))?;
        let mut order = tensors_in_order(entries, start..size)?;
        verify(source, &header, &mut order)?;
        let tensors = order.into_iter().filter(|(name, _)| name != CHECKSUMS).collect();
        Ok(Self { source, metadata, tensors })
    }

    /// JSON object of the metadata key.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// The tensor called `name`, of this element type and shape.
    ///
    /// # Errors
    /// [`Kind::Data`] where it is missing or different; of a file on disk also those of reading it.
    pub fn tensor(&self, name: &str, element: Element, shape: &[usize]) -> Result<Tensor<'a>> {
        self.check(name, element, shape)?;
        self.get(name)
    }

    /// Checks that there is a tensor called `name` of this element type and shape, without reading it.
    ///
    /// # Errors
    /// [`Kind::Data`] where it is missing or different.
    pub fn check(&self, name: &str, element: Element, shape: &[usize]) -> Result<()> {
        let entry = self.entry(name)?;
        if (entry.element, entry.shape.as_slice()) == (element, shape) {
            return Ok(());
        }
        refuse(format!(
            "tensor {name} is {} {:?}, expected {} {shape:?}",
            entry.element.name(),
            entry.shape,
            element.name()
        ))
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`Kind::Data`] where it is missing; of a file on disk also those of reading it.
    pub fn get(&self, name: &str) -> Result<Tensor<'a>> {
        let TensorEntry { element, shape, place, crc32 } = self.entry(name)?;
        let bytes = self.source.get(place)?;
        // Bytes in memory are those that were verified.
        if matches!(bytes, Cow::Owned(_)) && crc32fast::hash(&bytes) != *crc32 {
            return self.source.mismatch(&format!("tensor {name}"));
        }
        Ok(Tensor { element: *element, shape: shape.clone(), bytes })
    }

    fn entry(&self, name: &str) -> Result<&TensorEntry> {
        self.tensors.get(name).ok_or_else(|| Error::new(Kind::Data, format!("tensor {name} is missing")))
    }

    /// The `count` numbers of the tensor called `name`; none, and no such tensor, where `count` is 0.
    ///
    /// # Errors
    /// As [`Container::tensor`].
    pub fn optional_f32(&self, name: &str, count: usize) -> Result<Vec<f32>> {
        if count == 0 { Ok(Vec::new()) } else { Ok(self.tensor(name, Element::F32, &[count])?.to_f32()) }
    }

    /// Names of all tensors but the checksums, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors by name, without the checksums.
    #[cfg(test)]
    pub fn tensors(&self) -> BTreeMap<String, Tensor<'a>> {
        self.names().map(|name| (name.to_owned(), self.get(name).unwrap())).collect()
    }
}

/// Name of the tensor with the factors of equalized channels, in artifacts and calibration records.
pub const EQUALIZATION: &str = "equalization";

/// True for a count that headers leave out.
pub fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::new(Kind::Data, what))
}

fn metadata(entry: Option<Value>) -> Result<Map<String, Value>> {
    let Some(Value::Object(keys)) = entry else { return refuse("its header has no metadata".into()) };
    let Some(Value::String(text)) = keys.get(METADATA) else {
        return refuse(format!("its metadata has no text under `{METADATA}`"));
    };
    if let Some(other) = keys.keys().find(|key| *key != METADATA) {
        return refuse(format!("its metadata has the unknown key `{other}`"));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(metadata)) => Ok(metadata),
        Ok(_) => refuse(format!("its metadata `{METADATA}` is not a JSON object")),
        Err(e) => {
            let what = format!("its metadata `{METADATA}` is not JSON at character {}", e.column());
            Err(Error::new(Kind::Data, what).because(e))
        }
    }
}

/// The tensors in file order, without their checksums. They must fill `data` without gap or overlap.
fn tensors_in_order(entries: Map<String, Value>, data: Range<usize>) -> Result<Vec<(String, TensorEntry)>> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct HeaderEntry {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: [usize; 2],
    }
    let mut order = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let entry: HeaderEntry = serde_json::from_value(entry)
            .map_err(|e| Error::new(Kind::Data, format!("the header's entry for {name} is wrong")).because(e))?;
        let Some(element) = Element::ALL.into_iter().find(|element| element.name() == entry.dtype) else {
            return refuse(format!("tensor {name} is of the unknown type `{}`", entry.dtype));
        };
        let [start, end] = entry.data_offsets;
        if start > end || end > data.len() {
            return refuse(format!("tensor {name} claims bytes {start} to {end} of {}", data.len()));
        }
        if byte_count(&entry.shape, element) != Some(end - start) {
            return refuse(format!("tensor {name} has {} bytes for shape {:?}", end - start, entry.shape));
        }
        let place = data.start + start..data.start + end;
        order.push((name, TensorEntry { element, shape: entry.shape, place, crc32: 0 }));
    }
    order.sort_by(|(a_name, a), (b_name, b)| {
        (a.place.start, a.place.end, a_name).cmp(&(b.place.start, b.place.end, b_name))
    });
    let mut expected = data.start;
    for (name, TensorEntry { place, .. }) in &order {
        if place.start != expected {
            let (start, expected) = (place.start - data.start, expected - data.start);
            return refuse(format!("tensor {name} starts at byte {start} of the data, expected {expected}"));
        }
        expected = place.end;
    }
    if expected != data.end {
        let end = expected - data.start;
        return refuse(format!("its tensors end at byte {end} of {} of the data", data.len()));
    }
    Ok(order)
}

/// Verifies every checksum, and enters them in `order`.
fn verify(source: Source<'_>, header: &[u8], order: &mut [(String, TensorEntry)]) -> Result<()> {
    let Some((_, sums)) = order.iter().find(|(name, _)| name == CHECKSUMS) else {
        return refuse(format!("tensor {CHECKSUMS} is missing"));
    };
    if sums.element != Element::U32 || sums.shape != [order.len()] {
        return refuse(format!("tensor {CHECKSUMS} is not U32 [{}]", order.len()));
    }
    let sums = source.get(&sums.place)?;
    let mut sums = sums.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    if sums.next() != Some(crc32fast::hash(header)) {
        return source.mismatch(&format!("its header, bytes 8 to {},", 8 + header.len()));
    }
    for (name, TensorEntry { place, crc32, .. }) in order.iter_mut().filter(|(name, _)| name != CHECKSUMS) {
        *crc32 = source.crc32(place)?;
        if sums.next() != Some(*crc32) {
            let Range { start, end } = place;
            return source.mismatch(&format!("tensor {name}, bytes {start} to {end} of the file,"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let metadata = json!({ "b": [1, { "z": 1, "a": "\"" }], "a": 0.1 });
        let tensors = BTreeMap::from([
            ("w".to_string(), Tensor::of_i8(vec![3], &[-127, 0, 5])),
            ("x".to_string(), Tensor::of_f32(vec![2, 1], &[1.5, -0.0])),
            ("empty".to_string(), Tensor::of_u32(vec![0], &[])),
        ]);
        let mut bytes = Vec::new();
        write(&mut bytes, metadata.as_object().unwrap(), &tensors).unwrap();
        bytes
    }

    #[test]
    fn written_tensors_are_read_back() {
        let bytes = sample();
        assert_eq!(bytes, sample());
        let container = Container::parse(&bytes).unwrap();
        assert_eq!(container.metadata()["b"][1]["a"], "\"");
        assert_eq!(container.tensor("w", Element::I8, &[3]).unwrap().into_i8(), [-127, 0, 5]);
        assert_eq!(container.tensor("x", Element::F32, &[2, 1]).unwrap().to_f32(), [1.5, -0.0]);
        assert!(
            container.tensor("x", Element::F32, &[2]).is_err() && container.tensor("y", Element::F32, &[]).is_err()
        );
        assert!(container.names().eq(["empty", "w", "x"]));
    }

    #[test]
    fn it_is_safetensors_with_aligned_data() {
        let bytes = sample();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("w").unwrap().data(), [129, 0, 5]);
        let (length, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!((8 + length) % 64, 0);
        assert_eq!(metadata.metadata().as_ref().unwrap()["lookout"], r#"{"a":0.1,"b":[1,{"a":"\"","z":1}]}"#);
    }

    #[test]
    fn every_damaged_byte_is_detected() {
        let bytes = sample();
        for at in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= mask;
                assert!(Container::parse(&damaged).is_err(), "byte {at}");
            }
            assert!(Container::parse(&bytes[..at]).is_err(), "cut at {at}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(Container::parse(&longer).is_err());
    }

    #[test]
    fn a_file_on_disk_is_what_its_bytes_are_and_a_change_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = sample();
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            RegularFile::open(&path).unwrap()
        };
        let file = open(&bytes);
        let container = Container::open(&file).unwrap();
        assert_eq!(container.metadata(), Container::parse(&bytes).unwrap().metadata());
        assert_eq!(container.get("w").unwrap().into_i8(), [-127, 0, 5]);
        for cut in 0..bytes.len() {
            let of_bytes = Container::parse(&bytes[..cut]).unwrap_err();
            assert_eq!(Container::open(&open(&bytes[..cut])).unwrap_err().chain(), of_bytes.chain(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            let of_bytes = Container::parse(&damaged).unwrap_err();
            assert_eq!(Container::open(&open(&damaged)).unwrap_err().chain(), of_bytes.chain(), "byte {at}");
        }
        let file = open(&bytes);
        let container = Container::open(&file).unwrap();
        std::fs::write(&path, vec![0; bytes.len() + 1]).unwrap();
        let error = container.get("w").unwrap_err();
        assert!(error.kind() == Kind::Unavailable && error.message().contains("overwritten"), "{error}");
    }

    #[test]
    fn errors_name_the_damage() {
        let mut bytes = sample();
        let last = bytes.len() - 1;
        bytes[last] = 6;
        let message = Container::parse(&bytes).unwrap_err().to_string();
        assert_eq!(
            message,
            format!("tensor w, bytes {} to {} of the file, does not match its checksum", last - 2, last + 1)
        );
        let message = Container::parse(&bytes[..last]).unwrap_err().to_string();
        assert!(message.starts_with("tensor w claims bytes"), "{message}");
    }

    #[test]
    fn invalid_tensors_are_not_written() {
        for (name, tensor) in [
            ("w", Tensor { element: Element::F32, shape: vec![3], bytes: Cow::Borrowed(&[0; 4][..]) }),
            (CHECKSUMS, Tensor::of_bytes(vec![1])),
            ("__metadata__", Tensor::of_bytes(vec![1])),
        ] {
            let tensors = BTreeMap::from([(name.to_string(), tensor)]);
            assert!(write(&mut Vec::new(), &Map::new(), &tensors).is_err());
        }
    }
}
