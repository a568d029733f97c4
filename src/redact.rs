//! Redaction of addresses: removes passwords and tokens before an address is logged or published.

/// Query parameters whose values are secrets, in lower case. A name that contains one of these counts as well.
const SECRET: [&str; 8] = ["pass", "pwd", "token", "secret", "key", "auth", "sig", "cred"];

/// Replacement of a secret.
const STARS: &str = "***";

/// `text` with user, password and secret query parameters of every address in it replaced.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let is_end = |c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '<' | '>' | '`');
        let (address, behind) = after.split_at(after.find(is_end).unwrap_or(after.len()));
        // A password may contain these characters, so the last @ before the path counts. If the password contains a
        // slash, the last @ of the address counts.
        let authority = address.find(['/', '?', '#']).unwrap_or(address.len());
        let user = address[..authority].rfind('@').or_else(|| {
            let colon = address[..authority].find(':')?;
            let port = &address[colon + 1..authority];
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            if is_port { None } else { address.rfind('@') }
        });
        let address = match user {
            Some(end) => {
                out.push_str(STARS);
                &address[end..]
            }
            None => address,
        };
        push_query(address, &mut out);
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Appends an address with the values of secret query parameters replaced.
fn push_query(address: &str, out: &mut String) {
    let Some(at) = address.find('?') else { return out.push_str(address) };
    let (path, query) = address.split_at(at + 1);
    out.push_str(path);
    for parameter in query.split_inclusive(['&', ';']) {
        match parameter.split_once('=') {
            Some((name, value)) if SECRET.iter().any(|secret| name.to_lowercase().contains(secret)) => {
                out.push_str(name);
                out.push('=');
                out.push_str(STARS);
                out.push_str(if value.ends_with(['&', ';']) { &value[value.len() - 1..] } else { "" });
            }
            _ => out.push_str(parameter),
        }
    }
}

/// Secrets contained in an address, which must be redacted in any other text.
pub fn secrets(address: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some((_, after)) = address.split_once("://") else { return found };
    let authority = after.find(['/', '?', '#']).unwrap_or(after.len());
    let end = after[..authority].rfind('@').or_else(|| after.rfind('@'));
    if let Some((_, password)) = end.and_then(|end| after[..end].split_once(':')) {
        found.push(password.to_owned());
        found.push(decoded(password));
    }
    if let Some((_, query)) = after.split_once('?') {
        for (name, value) in query.split(['&', ';']).filter_map(|parameter| parameter.split_once('=')) {
            if SECRET.iter().any(|secret| name.to_lowercase().contains(secret)) {
                found.push(value.to_owned());
                found.push(decoded(value));
            }
        }
    }
    // Shorter ones would match parts of ordinary words.
    found.retain(|secret| secret.len() >= 3);
    found
}

/// `text` redacted, with `secrets` replaced as well.
pub fn redact_all(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(redact(text), |text, secret| text.replace(secret.as_str(), STARS))
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
    fn users_and_passwords_are_replaced() {
        for (text, expected) in [
            ("rtsp://admin:hunter2@cam.local:554/stream", "rtsp://***@cam.local:554/stream"),
            ("rtsp://admin@cam/stream", "rtsp://***@cam/stream"),
            ("rtsp://a:p@ss@cam/stream", "rtsp://***@cam/stream"),
            ("rtsp://a:p/ss@cam/stream", "rtsp://***@cam/stream"),
            ("rtsp://cam:554/user@example", "rtsp://cam:554/user@example"),
            ("http://cam/v?user=a&password=b&x=1", "http://cam/v?user=a&password=***&x=1"),
            ("http://cam/v?access_token=abc", "http://cam/v?access_token=***"),
            (
                "[in#0] Error opening 'rtsp://u:p@c/s': refused; rtsp://u:q@d",
                "[in#0] Error opening 'rtsp://***@c/s': refused; rtsp://***@d",
            ),
            ("/srv/film.mp4", "/srv/film.mp4"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn a_secret_is_redacted_in_other_text() {
        let found = secrets("rtsp://admin:hun%40ter2@cam/stream?token=xyz1");
        assert_eq!(found, ["hun%40ter2", "hun@ter2", "xyz1", "xyz1"]);
        assert_eq!(redact_all("password hun@ter2 refused, token xyz1", &found), "password *** refused, token ***");
        assert!(secrets("rtsp://cam/stream").is_empty() && secrets("/srv/film.mp4").is_empty());
        assert!(secrets("rtsp://a:b@cam").is_empty(), "too short to be redacted");
    }
}
