//! Splitter of JSON lists: the text and line of every entry, without copying.
//!
//! In: a JSON object and the names of its lists. Out: the text of every entry, so that an invalid entry can be reported
//! with its line while the others are used. `serde_json` finds the end of each value.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use crate::error::{Error, Kind, Result};

/// One entry of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListEntry<'a> {
    /// JSON text of the entry.
    pub text: &'a str,
    /// First line of the entry, from 1.
    pub line: usize,
}

/// The entries of the lists `names` in the object `text`.
///
/// # Errors
/// [`Kind::Data`] with line and column if it is not a JSON object or one of the lists is missing or not a list.
pub(super) fn json_lists<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Vec<ListEntry<'a>>; N]> {
    let mut lists: [Option<Vec<ListEntry<'a>>>; N] = std::array::from_fn(|_| None);
    let mut cursor = Cursor { text, at: 0, counted: 0, line: 1 };
    cursor.expect('{')?;
    let mut first = true;
    while !cursor.take('}') {
        if !std::mem::take(&mut first) {
            cursor.expect(',')?;
        }
        let key: String = serde_json::from_str(cursor.value()?.text).map_err(|_| cursor.expected("a key"))?;
        cursor.expect(':')?;
        match names.iter().position(|name| *name == key) {
            Some(index) => lists[index] = Some(cursor.list()?),
            None => drop(cursor.value()?),
        }
    }
    let mut found = std::array::from_fn(|_| Vec::new());
    for ((list, name), entries) in lists.into_iter().zip(names).zip(&mut found) {
        *entries = list.ok_or_else(|| Error::new(Kind::Data, format!("list `{name}` is missing")))?;
    }
    Ok(found)
}

/// The entries of the list `text`.
///
/// # Errors
/// [`Kind::Data`] with line and column if it is not a JSON list.
pub(super) fn json_list(text: &str) -> Result<Vec<ListEntry<'_>>> {
    let mut cursor = Cursor { text, at: 0, counted: 0, line: 1 };
    let entries = cursor.list()?;
    cursor.skip_blanks();
    if cursor.at == text.len() { Ok(entries) } else { Err(cursor.expected("the end")) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// Offset up to which lines are counted.
    counted: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn list(&mut self) -> Result<Vec<ListEntry<'a>>> {
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

    /// The next value of any type.
    fn value(&mut self) -> Result<ListEntry<'a>> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let mut stream = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        let found = stream.next();
        let length = stream.byte_offset();
        if !matches!(found, Some(Ok(_))) {
            return Err(self.expected("a value"));
        }
        self.at += length;
        Ok(ListEntry { text: &rest[..length], line: self.line })
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        let found = self.text[self.at..].starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(self.expected(&format!("`{wanted}`"))) }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let passed = &self.text.as_bytes()[self.counted..self.at];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.at;
    }

    fn expected(&self, wanted: &str) -> Error {
        let column = self.at - self.text[..self.at].rfind('\n').map_or(0, |end| end + 1) + 1;
        Error::new(Kind::Data, format!("line {}, column {column}: expected {wanted}", self.line))
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
    fn a_single_list_must_be_complete() {
        assert_eq!(json_list(" [1, {}]\n").unwrap().len(), 2);
        assert!(json_list("[] []").is_err() && json_list("{}").is_err());
    }

    #[test]
    fn errors_have_line_and_column() {
        for (text, wanted) in [
            ("", "line 1, column 1: expected `{`"),
            ("{\"a\": 1}", "line 1, column 7: expected `[`"),
            ("{\"a\": [1 2]}", "line 1, column 10: expected `,`"),
            ("{\"a\": [1,\n {]}", "line 2, column 2: expected a value"),
            ("{\"b\": []}", "list `a` is missing"),
        ] {
            assert_eq!(json_lists(text, ["a"]).unwrap_err().message(), wanted, "{text}");
        }
    }
}
