//! Header of a checkpoint: everything about a detector except its weights.
//!
//! In: JSON from a file, or the findings of an import. Out: a consistent [`CheckpointHeader`], or JSON with sorted keys.
//! The stored form is strict: a missing or unknown key, or a value out of range, is an error that names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::network::Architecture;
use super::super::settings::{AnchorSettings, BatchNormEps, RoiSettings, RpnSettings, Settings, TransformSettings};
use super::super::version_1::{AnchorSettingsV1, ArchitectureV1, RoiSettingsV1};
use super::coco;
use crate::error::{Error, Kind, Result};

/// Name and version of the format that is written.
pub const FORMAT: &str = "checkpoint/2";

/// Name and version of the earlier format, which is read.
pub const FORMAT_1: &str = "checkpoint/1";

/// The longest class name, in bytes.
const MAX_LABEL: usize = 100;

/// CRC-32 of the stored bytes of each tensor.
pub type Checksums = BTreeMap<String, u32>;

/// Everything in a checkpoint except its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointHeader {
    /// Parts, widths and number of classes.
    pub architecture: Architecture,
    /// Names of classes 1, 2, …; class 0, the background, has none.
    pub labels: Vec<String>,
    /// Hyper-parameters.
    pub settings: Settings,
    /// Added to the variances of the batch norms.
    pub batch_norm_eps: BatchNormEps,
    /// SHA-256 of the imported file, in lower-case hexadecimal.
    pub source_sha256: String,
}

/// [`CheckpointHeader`] as stored in `checkpoint/2`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHeader {
    format: String,
    architecture: Architecture,
    labels: Vec<String>,
    transform: TransformSettings,
    anchors: AnchorSettings,
    rpn: RpnSettings,
    roi: RoiSettings,
    batch_norm_eps: BatchNormEps,
    source_sha256: String,
    /// CRC-32 of the stored bytes of each tensor, as eight hexadecimal digits.
    checksums: BTreeMap<String, String>,
}

/// [`CheckpointHeader`] as stored in `checkpoint/1`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename = "StoredHeader")]
struct StoredHeaderV1 {
    #[serde(rename = "format")]
    _format: String,
    architecture: ArchitectureV1,
    labels: Vec<String>,
    transform: TransformSettings,
    anchors: AnchorSettingsV1,
    rpn: RpnSettings,
    roi: RoiSettingsV1,
    batch_norm_eps: f64,
    source_sha256: String,
}

impl From<StoredHeader> for CheckpointHeader {
    fn from(stored: StoredHeader) -> Self {
        let StoredHeader { architecture, labels, transform, anchors, rpn, roi, batch_norm_eps, source_sha256, .. } =
            stored;
        let settings = Settings { transform, anchors, rpn, roi };
        Self { architecture, labels, settings, batch_norm_eps, source_sha256 }
    }
}

impl TryFrom<StoredHeaderV1> for CheckpointHeader {
    type Error = String;

    fn try_from(stored: StoredHeaderV1) -> std::result::Result<Self, String> {
        let StoredHeaderV1 { transform, anchors, rpn, roi, .. } = stored;
        Ok(Self {
            architecture: stored.architecture.try_into()?,
            labels: stored.labels,
            settings: Settings { transform, anchors: anchors.into(), rpn, roi: roi.into() },
            batch_norm_eps: BatchNormEps::all(stored.batch_norm_eps),
            source_sha256: stored.source_sha256,
        })
    }
}

impl CheckpointHeader {
    /// Parses and checks the header's JSON. Returns it with the tensors' CRC-32, which `checkpoint/1` does not have.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the key and its valid values.
    pub fn parse(json: &str) -> Result<(Self, Option<Checksums>)> {
        #[derive(Deserialize)]
        struct Format {
            format: String,
        }
        let broken = |e: serde_json::Error| Error::new(Kind::Data, "the header is damaged").because(e);
        let Format { format } = serde_json::from_str(json).map_err(broken)?;
        if format.starts_with("artifact/") {
            let text = format!("a quantized model ({format}); expected a full-precision {FORMAT}");
            return Err(Error::new(Kind::Data, text));
        }
        let header = match format.as_str() {
            FORMAT => {
                let stored: StoredHeader = serde_json::from_str(json).map_err(broken)?;
                let checksums = stored.checksums.iter().map(checksum).collect::<Result<_>>()?;
                (Self::from(stored), Some(checksums))
            }
            FORMAT_1 => {
                let stored: StoredHeaderV1 = serde_json::from_str(json).map_err(broken)?;
                (Self::try_from(stored).map_err(|text| Error::new(Kind::Data, text))?, None)
            }
            _ => {
                let text = format!("format is {format:?}; this version reads {FORMAT_1:?} and {FORMAT:?}");
                return Err(Error::new(Kind::Data, text));
            }
        };
        header.0.check()?;
        Ok(header)
    }

    /// The header as JSON with sorted keys: equal headers and tensors give equal bytes.
    ///
    /// # Errors
    /// [`Kind::Internal`] if a number has no JSON form; [`CheckpointHeader::check`] excludes that.
    pub fn to_json(&self, checksums: &Checksums) -> Result<String> {
        let Self { architecture, labels, settings, batch_norm_eps, source_sha256 } = self.clone();
        let Settings { transform, anchors, rpn, roi } = settings;
        let checksums = checksums.iter().map(|(name, crc)| (name.clone(), format!("{crc:08x}"))).collect();
        let stored = StoredHeader {
            format: FORMAT.to_owned(),
            architecture,
            labels,
            transform,
            anchors,
            rpn,
            roi,
            batch_norm_eps,
            source_sha256,
            checksums,
        };
        let cannot = |e: serde_json::Error| Error::new(Kind::Internal, "the header has no JSON form").because(e);
        let value = serde_json::to_value(stored).map_err(cannot)?;
        serde_json::to_string(&sorted(value)).map_err(cannot)
    }

    /// Checks labels, settings, eps and hash.
    ///
    /// # Errors
    /// [`Kind::Data`], naming the value.
    pub fn check(&self) -> Result<()> {
        let data = |text: String| Err(Error::new(Kind::Data, text));
        // First: everything else lays out the parts that these extents describe.
        self.architecture.check_extents()?;
        let classes = self.architecture.classes.saturating_sub(1);
        if self.labels.len() != classes {
            return data(format!("{} labels; expected {classes}, the background not counted", self.labels.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for label in &self.labels {
            check_label(label)?;
            // COCO's list has a name for its unused ids.
            if !seen.insert(label) && label != coco::UNUSED {
                return data(format!("label {label:?} occurs twice"));
            }
        }
        self.batch_norm_eps.check()?;
        let hash = &self.source_sha256;
        if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return data(format!("source_sha256 is {hash:?}; it must be 64 hexadecimal digits"));
        }
        self.settings.check(&self.architecture)
    }
}

/// A stored checksum.
fn checksum((name, digits): (&String, &String)) -> Result<(String, u32)> {
    let is_hex = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match u32::from_str_radix(digits, 16) {
        Ok(crc) if is_hex => Ok((name.clone(), crc)),
        _ => {
            let text = format!("checksums.{name} is {digits:?}; it must be 8 hexadecimal digits");
            Err(Error::new(Kind::Data, text))
        }
    }
}

/// Checks that `label` can be a class name: not blank, not long, printable.
///
/// # Errors
/// [`Kind::Data`], naming the label.
pub(super) fn check_label(label: &str) -> Result<()> {
    let is_bad = label.trim().is_empty() || label.len() > MAX_LABEL || label.chars().any(char::is_control);
    if is_bad {
        let shown: String = label.chars().take(40).collect();
        let text = format!("label {shown:?} is no class name; expected 1 to {MAX_LABEL} bytes of printable text");
        return Err(Error::new(Kind::Data, text));
    }
    Ok(())
}

/// The same value with sorted keys in every object; `serde_json` sorts only without its feature `preserve_order`.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let ordered: std::collections::BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::network::tests::narrow;
    use super::*;

    fn header() -> CheckpointHeader {
        CheckpointHeader {
            architecture: narrow(),
            labels: ["Person", "TwoWheeler", "Vehicle"].map(String::from).to_vec(),
            settings: Settings::default(),
            batch_norm_eps: BatchNormEps::all(1e-5),
            source_sha256: "0".repeat(64),
        }
    }

    #[test]
    fn the_header_survives_and_its_keys_are_sorted() {
        let json = header().to_json(&Checksums::new()).unwrap();
        assert_eq!(CheckpointHeader::parse(&json).unwrap(), (header(), Some(Checksums::new())));
        let order =
            ["\"anchors\"", "\"architecture\"", "\"batch_norm_eps\"", "\"format\"", "\"labels\"", "\"roi\"", "\"rpn\""];
        let places: Vec<_> = order.iter().map(|key| json.find(key).unwrap()).collect();
        assert!(places.is_sorted(), "{json}");
    }

    #[test]
    fn invalid_headers_are_named() {
        for (change, words) in [
            (("format", "\"checkpoint/3\""), "this version reads"),
            (("format", "\"artifact/1\""), "a quantized model"),
            (("labels", "[\"a\"]"), "1 labels; expected 3"),
            (("labels", "[\"a\", \"b\", \"b\"]"), "\"b\" occurs twice"),
            (("labels", "[\"a\", \"b\", \"\\n\"]"), "no class name"),
            (("batch_norm_eps", "{\"body\": -1, \"pyramid\": 0, \"heads\": 0}"), "batch_norm_eps.body is -1"),
            (("source_sha256", "\"XYZ\""), "64 hexadecimal digits"),
            (("surprise", "1"), "unknown field `surprise`"),
        ] {
            let mut value: serde_json::Value =
                serde_json::from_str(&header().to_json(&Checksums::new()).unwrap()).unwrap();
            value[change.0] = serde_json::from_str(change.1).unwrap();
            let error = CheckpointHeader::parse(&value.to_string()).unwrap_err();
            assert!(error.chain().contains(words), "{}", error.chain());
        }
    }
}
