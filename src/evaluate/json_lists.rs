//! The entries of some lists of a JSON document, each as its own text with its line.
//!
//! In: a document that is an object, and the names of its lists. Out: the text of every entry, so that a wrong entry
//! can be told with its place while the others are read. `serde_json` finds where each value ends; nothing is copied.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use crate::error::{Error, Kind, Result};

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its JSON.
    pub text: &'a str,
    /// The line it begins on, from 1.
    pub line: usize,
}

/// The entries of the lists called `names` in the object `text`.
///
/// # Errors
/// [`Kind::Data`] with line and column where it is no JSON object or one of the lists is missing or no list.
pub(super) fn json_lists<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Vec<Entry<'a>>; N]> {
    let mut lists: [Option<Vec<Entry<'a>>>; N] = std::array::from_fn(|_| None);
    let mut cursor = Cursor { text, at: 0, counted: 0, line: 1 };
    cursor.expect('{')?;
    let mut first = true;
    while !cursor.take('}') {
        if !std::mem::take(&mut first) {
            cursor.expect(',')?;
        }
        let key: String = serde_json::from_str(cursor.value()?.text).map_err(|_| cursor.wrong("a key"))?;
        cursor.expect(':')?;
        match names.iter().position(|name| *name == key) {
            Some(index) => lists[index] = Some(cursor.list()?),
            None => drop(cursor.value()?),
        }
    }
    let mut found = std::array::from_fn(|_| Vec::new());
    for ((list, name), place) in lists.into_iter().zip(names).zip(&mut found) {
        *place = list.ok_or_else(|| Error::new(Kind::Data, format!("it has no list `{name}`")))?;
    }
    Ok(found)
}

/// The entries of the list `text`.
///
/// # Errors
/// [`Kind::Data`] with line and column where it is no JSON list.
pub(super) fn json_list(text: &str) -> Result<Vec<Entry<'_>>> {
    let mut cursor = Cursor { text, at: 0, counted: 0, line: 1 };
    let entries = cursor.list()?;
    cursor.skip_blanks();
    if cursor.at == text.len() { Ok(entries) } else { Err(cursor.wrong("the end")) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Up to where lines were counted.
    counted: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn list(&mut self) -> Result<Vec<Entry<'a>>> {
        let mut entries = Vec::new();
        self.expect('[')?;
        while !self.take(']') {
            if !entries.is_empty() {
                self.expect(',')?;
            }
            entries.push(self.value()?);
        }
        Ok(entries)
    }

    /// The next value, whatever it is.
    fn value(&mut self) -> Result<Entry<'a>> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let mut stream = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let found = stream.next();
        let length = stream.byte_offset();
        if !matches!(found, Some(Ok(_))) {
            return Err(self.wrong("a value"));
        }
        self.at += length;
        Ok(Entry { text: &rest[..length], line: self.line })
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        let found = self.text[self.at..].starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.wrong(&format!("`{wanted}`"))) }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let passed = &self.text.as_bytes()[self.counted..self.at];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.at;
    }

    fn wrong(&self, wanted: &str) -> Error {
        let column = self.at - self.text[..self.at].rfind('\n').map_or(0, |end| end + 1) + 1;
        Error::new(Kind::Data, format!("line {}, column {column}: {wanted} was expected", self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_lines() {
        let text = "{\"x\": [1, {\"a\": []}],\n \"b\": [\n {\"c\": \"]\\\"}\"}, 7 ,\n[]],\"a\":[]}";
        let [a, b] = json_lists(text, ["a", "b"]).unwrap();
        assert!(a.is_empty());
        let found: Vec<_> = b.iter().map(|entry| (entry.text, entry.line)).collect();
        assert_eq!(found, [("{\"c\": \"]\\\"}\"}", 3), ("7", 3), ("[]", 4)]);
    }

    #[test]
    fn numbers_are_read_to_the_last_digit() {
        let text =
            r#"{"a": {"area": 1}, "area" : 1023.9999999999999,"bbox":[ 1e2, -0.5 ,3, 9216.000000000002 ], "x": "y"}"#;
        #[derive(serde::Deserialize)]
        struct Numbers {
            area: f64,
            bbox: [f64; 4],
        }
        let Numbers { area, bbox } = serde_json::from_str(text).unwrap();
        assert_eq!(area, 1024f64.next_down());
        assert_eq!(bbox, [100.0, -0.5, 3.0, 9216f64.next_up()]);
        assert!(serde_json::from_str::<[f64; 3]>("[1, 2, 3, 4]").is_err());
    }

    #[test]
    fn a_list_alone_is_whole() {
        assert_eq!(json_list(" [1, {}]\n").unwrap().len(), 2);
        assert!(json_list("[] []").is_err() && json_list("{}").is_err());
    }

    #[test]
    fn the_place_of_a_fault_is_named() {
        for (text, wanted) in [
            ("", "line 1, column 1: `{` was expected"),
            ("{\"a\": 1}", "line 1, column 7: `[` was expected"),
            ("{\"a\": [1 2]}", "line 1, column 10: `,` was expected"),
            ("{\"a\": [1,\n {]}", "line 2, column 2: a value was expected"),
            ("{\"b\": []}", "it has no list `a`"),
        ] {
            assert_eq!(json_lists(text, ["a"]).unwrap_err().message(), wanted, "{text}");
        }
    }
}
