//! Ids of COCO files: whole numbers, floats without a fraction, or text.
//!
//! `pycocotools` takes any value as a key; 1 and 1.0 are the same there. Here text of digits is that number, too.

use std::collections::HashMap;

use serde::Deserialize;

/// An id as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "IdValue")]
pub(super) enum Id {
    /// A whole number.
    Number(i64),
    /// Any other text.
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IdValue {
    Whole(i64),
    Float(f64),
    Text(String),
}

/// The whole number that `value` is, if it is one.
fn whole(value: f64) -> Option<i64> {
    // Beyond 2^53 a float cannot represent every whole number.
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
}

impl TryFrom<IdValue> for Id {
    type Error = String;

    fn try_from(value: IdValue) -> Result<Self, String> {
        Ok(match value {
            IdValue::Whole(number) => Self::Number(number),
            IdValue::Float(number) => Self::Number(whole(number).ok_or_else(|| format!("{number} is no id"))?),
            IdValue::Text(text) => {
                let trimmed = text.trim();
                let number = trimmed.parse().ok().or_else(|| trimmed.parse().ok().and_then(whole));
                // Digits with leading zeros are a name.
                match number.filter(|_| !trimmed.starts_with('0') || trimmed.len() == 1 || trimmed.starts_with("0.")) {
                    Some(number) => Self::Number(number),
                    None => Self::Text(text),
                }
            }
        })
    }
}

impl Id {
    /// The number, if it is one from 0.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(_) => None,
        }
    }

    /// The id as text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// Numbers for `ids`: a number from 0 stands for itself, any other id gets one that is free. Returns those of other ids
/// by their text.
pub(super) fn numbers<'a>(ids: impl Iterator<Item = &'a Id> + Clone) -> (HashMap<Id, u64>, HashMap<String, u64>) {
    let mut free = ids.clone().filter_map(Id::number).max().map_or(1, |most| most.saturating_add(1));
    let (mut all, mut others) = (HashMap::new(), HashMap::new());
    for id in ids {
        let number = id.number().unwrap_or_else(|| {
            let number = all.get(id).copied().unwrap_or(free);
            free = free.max(number.saturating_add(1));
            others.insert(id.text(), number);
            number
        });
        all.insert(id.clone(), number);
    }
    (all, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Id>(text).ok();
        for text in ["7", "7.0", "\"7\"", "\" 7 \"", "7e0", "\"7.0\""] {
            assert_eq!(read(text), Some(Id::Number(7)), "{text}");
        }
        assert_eq!(read("\"007\""), Some(Id::Text("007".into())));
        assert_eq!(read("\"frame-7\""), Some(Id::Text("frame-7".into())));
        assert_eq!(read("-7"), Some(Id::Number(-7)));
        for text in ["7.5", "null", "[7]", "true", "1e300"] {
            assert_eq!(read(text), None, "{text}");
        }
        let ids = [Id::Text("a".into()), Id::Number(5), Id::Text("b".into()), Id::Number(-1), Id::Text("a".into())];
        let (all, others) = numbers(ids.iter());
        assert_eq!((all[&ids[0]], all[&ids[1]], all[&ids[2]], all[&ids[3]]), (6, 5, 7, 8));
        assert_eq!(others.len(), 3);
    }
}
