//! Text and integers of a pickle's opcodes.
//!
//! In: an opcode's bytes. Out: a node. Text that is not Unicode becomes [`Node::Bytes`], an integer of more than 16
//! bytes [`Node::LongInt`]. Neither can be a name or a number of a tensor.

use std::borrow::Cow;

use super::node::Node;
use super::reader::Step;

/// The string in UTF-8, else bytes.
pub(super) fn utf8(bytes: &[u8]) -> Node<'_> {
    std::str::from_utf8(bytes).map_or(Node::Bytes, |text| Node::Str(Cow::Borrowed(text)))
}

/// The string of opcode UNICODE: Latin-1 with the escapes `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn raw_unicode_escape(bytes: &[u8]) -> Node<'_> {
    if bytes.is_ascii() && !bytes.contains(&b'\\') {
        return utf8(bytes);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let code = after.get(1..1 + digits).and_then(hexadecimal).and_then(char::from_u32);
        let Some(code) = code else { return Node::Bytes };
        text.push(code);
        rest = &after[1 + digits..];
    }
    Node::Str(Cow::Owned(text))
}

/// The string of opcode STRING: a Python literal in quotes.
pub(super) fn literal(line: &[u8]) -> Step<Node<'_>> {
    let trimmed = line.trim_ascii();
    let inner = match trimmed {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return Err("a string without quotes".into()),
    };
    if !inner.contains(&b'\\') {
        return Ok(utf8(inner));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else { return Err("a string that ends in an escape".into()) };
        rest = after;
        bytes.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'\'' | b'"' => escape,
            b'x' => {
                let code = rest.get(..2).and_then(hexadecimal).and_then(|code| u8::try_from(code).ok());
                rest = rest.get(2..).unwrap_or_default();
                code.ok_or("a string with a wrong escape")?
            }
            _ => return Ok(Node::Bytes),
        });
    }
    Ok(String::from_utf8(bytes).map_or(Node::Bytes, |text| Node::Str(Cow::Owned(text))))
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(text, 16).ok()
}

/// A little-endian two's-complement integer.
pub(super) fn signed(bytes: &[u8]) -> Node<'static> {
    let Some(&last) = bytes.last() else { return Node::Int(0) };
    let mut wide = if last & 0x80 == 0 { [0; 16] } else { [0xff; 16] };
    match wide.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Node::LongInt,
    }
    Node::Int(i128::from_le_bytes(wide))
}

/// An integer written in decimal digits.
pub(super) fn decimal(text: &str) -> Step<Node<'static>> {
    let text = text.trim();
    if let Ok(value) = text.parse() {
        return Ok(Node::Int(value));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown: String = text.chars().take(40).collect();
        return Err(format!("an integer written as {shown:?}"));
    }
    Ok(Node::LongInt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(node: &'a Node<'_>) -> &'a str {
        match node {
            Node::Str(text) => text,
            other => other.kind(),
        }
    }

    #[test]
    fn text_of_every_protocol_is_decoded() {
        assert_eq!(text(&raw_unicode_escape(b"a.b")), "a.b");
        assert_eq!(text(&raw_unicode_escape(b"gr\xfcn \\u20ac \\U0001f600 \\n")), "grün € 😀 \\n");
        for wrong in [&b"\\u12"[..], b"\\ud800", b"\\U00110000", b"\\u+123"] {
            assert_eq!(text(&raw_unicode_escape(wrong)), "bytes");
        }
        assert_eq!(text(&literal(b"'it\\'s\\x41\\n'").unwrap()), "it'sA\n");
        assert_eq!(text(&literal(b"\"\\xff\"").unwrap()), "bytes");
        for wrong in [&b"'"[..], b"", b"abc", b"'\\'", b"'\\x4'"] {
            assert!(literal(wrong).is_err());
        }
    }

    #[test]
    fn integers_of_any_length_are_read() {
        let is = |node: Node<'_>, wanted: i128| matches!(node, Node::Int(value) if value == wanted);
        assert!(is(signed(&[]), 0) && is(signed(&[0xff]), -1) && is(signed(&[0, 1]), 256));
        assert!(is(signed(&[0xff; 16]), -1));
        assert!(matches!(signed(&[1; 17]), Node::LongInt));
        assert!(is(decimal("-12").unwrap(), -12));
        assert!(matches!(decimal(&"9".repeat(60)).unwrap(), Node::LongInt));
        assert!(decimal("1x").is_err() && decimal("").is_err());
    }
}
