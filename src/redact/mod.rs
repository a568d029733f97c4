//! Redaction: secrets are known values, replaced wherever text leaves the program.
//!
//! In: addresses and passwords, at the moment they are read. Out: any other text without them. An address is replaced
//! as a whole. Its user, its password and the values of its parameters are replaced wherever they occur, if they are
//! distinctive. A short value or a plain word would damage other text, and is hidden within addresses alone.

use std::sync::{PoisonError, RwLock};

pub mod address;

pub use address::Address;

/// Replacement of a secret.
const STARS: &str = "***";

/// Length from which a secret is replaced everywhere, in characters.
const LEAST_LENGTH: usize = 4;

/// The same for the value of a parameter whose name is unknown: it may be a common name.
const LEAST_LENGTH_UNNAMED: usize = 12;

/// Length from which a number is replaced everywhere: shorter ones occur in times and counts.
const LEAST_DIGITS: usize = 8;

/// Everything that must not leave, longest first.
struct Known {
    /// Texts with their replacements.
    texts: Vec<(String, String)>,
    /// Values that are too short or too common to be replaced everywhere.
    weak: Vec<String>,
}

static KNOWN: RwLock<Known> = RwLock::new(Known { texts: Vec::new(), weak: Vec::new() });

/// Learns the secrets of `text` if it is an address. Called with every text of a configuration.
pub fn learn(text: &str) {
    let Some(address) = Address::parse(text).or_else(|| Address::parse_without_scheme(text)) else { return };
    let secrets = address.secrets();
    let shown = address.shown();
    if secrets.is_empty() && shown == text {
        return;
    }
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for form in [text.to_owned(), address.encoded()] {
        known.add_forms(&form, &shown);
    }
    for secret in secrets {
        let value = &text[secret.range.clone()];
        // A value that may end at a separator is added with every possible end.
        let ends = secret.ends.iter().map(|&end| &text[secret.range.start..end]);
        for value in std::iter::once(value).chain(ends) {
            known.add_secret(value, if secret.is_named { LEAST_LENGTH } else { LEAST_LENGTH_UNNAMED });
        }
    }
    known.texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
}

/// Learns the addresses in a text that may not be a valid configuration: each up to its closing quote, or the line's end.
pub fn learn_within(text: &str) {
    for line in text.lines() {
        for (at, _) in line.match_indices("://") {
            let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            // The characters of a scheme have one byte each.
            let begin = at - line[..at].chars().rev().take_while(|&c| is_scheme(c)).count();
            let rest = &line[begin..];
            let quote = line[..begin].chars().next_back().filter(|c| "'\"".contains(*c));
            let end = quote.and_then(|quote| rest.find(quote)).unwrap_or(rest.len());
            // Both readings: a quote may be part of a password.
            learn(&rest[..end]);
            learn(rest.trim_end());
        }
    }
}

/// Learns a password or token. A weak one is never written by this program.
pub fn learn_secret(secret: &str) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.add_secret(secret, LEAST_LENGTH);
    known.texts.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
}

impl Known {
    fn add_secret(&mut self, value: &str, least_length: usize) {
        let plain = decoded(value);
        for form in [value, &plain] {
            if is_distinctive(form, least_length) {
                self.add_forms(form, STARS);
            } else if !form.is_empty() && !self.weak.iter().any(|weak| weak == form) {
                self.weak.push(form.to_owned());
            }
        }
    }

    /// Adds `text` as written, percent-encoded, and with the escapes of JSON and of Rust's debug format.
    fn add_forms(&mut self, text: &str, shown: &str) {
        let encoded = |is_allowed: fn(char) -> bool| {
            let mut out = String::new();
            address::encode(text, is_allowed, &mut out);
            out
        };
        let json = serde_json::Value::from(text).to_string();
        let debug = format!("{text:?}");
        let unquoted = |text: &str| text[1..text.len() - 1].to_owned();
        let strict = encoded(|c| c.is_ascii_alphanumeric() || "-._~".contains(c));
        let forms = [
            text.to_owned(),
            strict.to_lowercase(),
            strict,
            encoded(|c| c.is_ascii_alphanumeric() || "-._~!$&()*+,;=".contains(c)),
            unquoted(&json),
            unquoted(&debug),
        ];
        for form in forms {
            if !self.texts.iter().any(|(known, _)| *known == form) {
                self.texts.push((form, shown.to_owned()));
            }
        }
    }
}

/// True if replacing `text` everywhere damages no other text: no short one, no plain word, no short number.
fn is_distinctive(text: &str, least_length: usize) -> bool {
    let length = text.chars().count();
    let is_word = text.chars().all(char::is_alphabetic);
    let is_number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    length >= least_length && !is_word && !(is_number && length < LEAST_DIGITS)
}

/// `text` without secrets: known ones are replaced, and so are the secrets of any address in it.
pub fn redact(text: &str) -> String {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let text = known.texts.iter().fold(text.to_owned(), |text, (secret, shown)| match text.contains(secret.as_str()) {
        true => text.replace(secret.as_str(), shown),
        false => text,
    });
    drop(known);
    redact_addresses(&text)
}

/// `text`, a message about an address: as [`redact`], and weak secrets are replaced where they look like values.
pub fn redact_about_address(text: &str) -> String {
    let mut text = redact(text);
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    for weak in &known.weak {
        for before in ['=', ':'] {
            text = replace_values(&text, before, weak);
        }
    }
    text
}

/// Replaces `value` behind `before` where no letter or digit follows it.
fn replace_values(text: &str, before: char, value: &str) -> String {
    let wanted = format!("{before}{value}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&wanted) {
        let (head, tail) = rest.split_at(at + wanted.len());
        let is_whole = !tail.starts_with(|c: char| c.is_alphanumeric());
        out.push_str(if is_whole { &head[..at + 1] } else { head });
        out.push_str(if is_whole { STARS } else { "" });
        rest = tail;
    }
    out + rest
}

/// `value` with every text in it redacted, for messages. Names of fields stay.
pub fn redact_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => *text = redact(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(redact_json),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(redact_json),
        _ => {}
    }
}

/// Replaces the secrets of every address in `text`, known or not.
fn redact_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let scheme = rest[..at].chars().rev().take_while(|&c| is_scheme(c)).count();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '<' | '>' | '`');
        let end = rest[at + 3..].find(is_end).map_or(rest.len(), |end| at + 3 + end);
        let address = &rest[at - scheme..end];
        out.push_str(&rest[..at - scheme]);
        // Punctuation of the sentence is not part of the address.
        let bare = address.trim_end_matches([':', ',', ')', ']']);
        let bare = if bare.ends_with("://") || bare.contains('[') { address } else { bare };
        match Address::parse(bare) {
            Some(parsed) => out.push_str(&parsed.shown()),
            None => out.push_str(bare),
        }
        out.push_str(&address[bare.len()..]);
        rest = &rest[end..];
    }
    out + rest
}

/// Makes panics print without secrets.
pub fn redact_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        let safe = redact(&text);
        if safe == text {
            default(panic);
        } else {
            use std::io::Write;
            let thread = std::thread::current();
            // A closed stderr is ignored.
            let _ = writeln!(std::io::stderr(), "thread '{}': {safe}", thread.name().unwrap_or("?"));
        }
    }));
}

/// Decodes percent escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        match (first, tail) {
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = behind;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_redacted_even_if_they_are_not_known() {
        for (text, expected) in [
            ("rtsp://admin:hunter2@cam.local:554/stream", "rtsp://***@cam.local:554/stream"),
            ("rtsp://admin@cam/stream", "rtsp://***@cam/stream"),
            ("http://cam/v?user=a&password=b&x=1", "http://cam/v?user=***&password=***&x=1"),
            (
                "[in#0] Error opening 'rtsp://u:p@c/s': refused; rtsp://u:q@d",
                "[in#0] Error opening 'rtsp://***@c/s': refused; rtsp://***@d",
            ),
            ("rtsp://***@c/s", "rtsp://***@c/s"),
            ("the page is at http://127.0.0.1:8480", "the page is at http://127.0.0.1:8480"),
            ("/srv/film.mp4", "/srv/film.mp4"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(&redact(text)), expected);
        }
    }

    #[test]
    fn a_known_secret_is_replaced_in_any_text_and_every_escaped_form() {
        let address = "rtsp://admin:le\"tm'e in\\1@cam-a/stream?token=xyz-771";
        learn(address);
        for text in [
            address.to_owned(),
            format!("{address:?}"),
            serde_json::json!({ "a": address }).to_string(),
            Address::parse(address).unwrap().encoded(),
            "password le\"tm'e in\\1 refused".to_owned(),
            "password le%22tm%27e%20in%5C1 refused, token xyz-771".to_owned(),
        ] {
            let safe = redact(&text);
            assert!(!safe.contains("le\"tm") && !safe.contains("le\\\"tm") && !safe.contains("le%22"), "{safe}");
            assert!(!safe.contains("771") && safe.contains(STARS), "{safe}");
        }
    }

    #[test]
    fn a_short_or_common_secret_hides_its_address_and_damages_no_other_text() {
        learn("rtsp://root:root@cam-b/user=view&password=abc&channel=1");
        assert_eq!(redact("the root of abc: viewing"), "the root of abc: viewing");
        assert_eq!(
            redact("cannot open rtsp://root:root@cam-b/user=view&password=abc&channel=1"),
            "cannot open rtsp://***@cam-b/user=***&password=***&channel=1"
        );
        let about = redact_about_address("DESCRIBE /user=view&password=abc&channel=1 root:root failed: 401");
        assert_eq!(about, "DESCRIBE /user=***&password=***&channel=1 root:*** failed: 401");
    }

    #[test]
    fn addresses_are_learned_from_a_text_that_is_no_configuration() {
        learn_within("[[camera]\ninput = \"rtsp://admin:open-7-sesame@cam-c/s\"\n");
        assert_eq!(redact("x open-7-sesame y"), "x *** y");
    }

    #[test]
    fn a_panic_prints_without_secrets() {
        // The hook is the whole process's, so the panic happens in another one.
        const CHILD: &str = "LOOKOUT_TEST_OF_PANICS";
        let address = "rtsp://admin:p4nic-Secret@cam-e/password/s3cond-Secret/s";
        if std::env::var_os(CHILD).is_some() {
            learn(address);
            redact_panics();
            let open = move || panic!("cannot open {address:?}: p4nic-Secret and s3cond-Secret are refused");
            assert!(std::thread::Builder::new().name("camera-e".into()).spawn(open).unwrap().join().is_err());
            return;
        }
        let test = "redact::tests::a_panic_prints_without_secrets";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let run = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let output = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        assert!(run.status.success() && output.contains("thread 'camera-e'"), "{output}");
        assert!(output.contains("*** and *** are refused") && !output.contains("Secret"), "{output}");
    }

    #[test]
    fn a_value_is_known_with_every_end_it_may_have() {
        learn("rtsp://cam-d/user=admin&password=pass-9-word/live.sdp?real");
        assert_eq!(redact("DESCRIBE pass-9-word: 401"), "DESCRIBE ***: 401");
    }
}
