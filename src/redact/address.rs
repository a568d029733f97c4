//! Addresses of cameras: parsing, encoding for ffmpeg, and the form without secrets.
//!
//! In: an address as people write it, with any character in its password. Out: its parts by RFC 3986 where they follow
//! it. Otherwise the host decides: the user information ends at the `@` before the only valid host.

use super::STARS;

/// Parts of names of parameters whose values are secrets, in lower case.
const SECRET_NAMES: &[&str] = &[
    "pas", "pw", "psw", "token", "secret", "key", "auth", "sig", "cred", "user", "usr", "login", "account", "sess",
    "sid", "hash", "code", "pin", "nonce", "ticket", "jwt", "streamid",
];

/// Names of parameters that hold no secrets, in lower case. The value of any other name counts as a secret.
const PLAIN_NAMES: &[&str] = &[
    "channel",
    "ch",
    "chn",
    "stream",
    "substream",
    "subtype",
    "profile",
    "width",
    "height",
    "w",
    "h",
    "fps",
    "framerate",
    "resolution",
    "res",
    "size",
    "quality",
    "codec",
    "videocodec",
    "audio",
    "video",
    "rate",
    "bitrate",
    "transport",
    "transportmode",
    "proto",
    "unicast",
    "mode",
    "type",
    "cmd",
    "camera",
    "id",
    "timeout",
    "format",
    "compression",
];

/// Parts of a path behind which a secret follows as the next part, in lower case.
const SECRET_FOLDERS: &[&str] = &[
    "password",
    "passwd",
    "pass",
    "pwd",
    "token",
    "access_token",
    "secret",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "streamkey",
];

/// Separators between parameters.
const SEPARATORS: [char; 6] = ['/', '?', '&', ';', '#', ','];

/// Length from which a part of a path with letters and digits counts as a token.
const TOKEN_LENGTH: usize = 16;

/// A part of an address that is a secret, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Byte range in the address.
    pub range: std::ops::Range<usize>,
    /// The value may end earlier, at one of these bytes: a separator that may be part of it.
    pub ends: Vec<usize>,
    /// True if its place or name marks it as a secret; false if the name of the parameter is unknown.
    pub is_named: bool,
}

/// An address in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    text: &'a str,
    /// Begin of the authority, behind `://`.
    authority: usize,
    /// End of the user information; the `@` is there.
    login_end: Option<usize>,
    /// End of host and port.
    host_end: usize,
    /// True if the address can be split in another way, too, or has no valid host.
    unclear: bool,
    /// Reason why the connection depends on a guess, or cannot be made.
    problem: Option<AddressProblem>,
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AddressProblem {
    /// The border of user information and path is unclear.
    Border,
    /// There is no valid host.
    Host,
}

impl<'a> Address<'a> {
    /// Parses a whole address, `scheme://…`. `None` for other text, and for `file:`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let scheme = text.find("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme == 0 || !text[..scheme].chars().all(is_scheme) || text[..scheme].eq_ignore_ascii_case("file") {
            return None;
        }
        Some(Self::below(text, scheme + 3))
    }

    /// Parses `user:password@host/…`, an address whose scheme was forgotten. `None` without a login.
    pub fn parse_without_scheme(text: &'a str) -> Option<Self> {
        let at = text.find('@')?;
        let has_login = !text.starts_with(['/', '.', '~']) && text[..at].contains(':');
        (has_login && !text.contains("://")).then(|| Self::below(text, text.len() - text.trim_start_matches('/').len()))
    }

    fn below(text: &'a str, authority: usize) -> Self {
        let path = |from: usize| text[from..].find(['/', '?', '#']).map_or(text.len(), |at| from + at);
        let is_host_at = |from: usize| is_host(&text[from..path(from)]);
        let end = path(authority);
        let login = text[authority..end].rfind('@').map(|at| authority + at);
        let host = login.map_or(authority, |at| at + 1);
        // Any @ behind the authority whose text up to the next separator could be the host.
        let others: Vec<usize> =
            text[end..].match_indices('@').map(|(at, _)| end + at).filter(|&at| is_host_at(at + 1)).collect();
        let base = Self { text, authority, login_end: login, host_end: end, unclear: false, problem: None };
        if is_host_at(host) {
            let could_hold_password = text[authority..end].contains(':');
            let is_parameter =
                |&at: &usize| text[end..at].find('?').is_some_and(|mark| text[end + mark..at].contains('='));
            let nested = text[end..].contains("://");
            let ambiguous = could_hold_password && !nested && others.iter().any(|at| !is_parameter(at));
            let problem = ambiguous.then_some(AddressProblem::Border);
            return Self { unclear: !others.is_empty(), problem, ..base };
        }
        match others[..] {
            [at] => Self { login_end: Some(at), host_end: path(at + 1), ..base },
            [] => {
                // Streams that wait for a caller have a port alone.
                let has_host = !text[host..end].is_empty() && !text[host..end].starts_with(':');
                Self { unclear: true, problem: has_host.then_some(AddressProblem::Host), ..base }
            }
            [.., last] => {
                let problem = Some(AddressProblem::Border);
                Self { login_end: Some(last), host_end: path(last + 1), unclear: true, problem, ..base }
            }
        }
    }

    /// Advice if the border of user information and path is unclear, or the host is invalid; it holds no part of the
    /// address.
    pub fn problem(&self) -> Option<&'static str> {
        self.problem.map(|problem| match problem {
            AddressProblem::Border => {
                "it is unclear which @ ends the login; in user and password write @ as %40, / as %2F, ? as %3F, # as %23, \
                 and behind the host write @ as %40"
            }
            AddressProblem::Host => {
                "has no valid host: behind :// come USER:PASSWORD@ if needed, the host, and a port that is a number"
            }
        })
    }

    /// User and password as written.
    pub fn login(&self) -> Option<(&'a str, Option<&'a str>)> {
        let login = &self.text[self.authority..self.login_end?];
        Some(login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password))))
    }

    /// The secrets of login, path and query.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut found = Vec::new();
        if let (Some((user, password)), Some(end)) = (self.login(), self.login_end) {
            found.push(Secret { range: self.authority..self.authority + user.len(), ends: Vec::new(), is_named: true });
            if let Some(password) = password {
                found.push(Secret { range: end - password.len()..end, ends: Vec::new(), is_named: true });
            }
        }
        parameters(self.text, self.host_end, &mut found);
        found.retain(|secret| !secret.range.is_empty());
        found
    }

    /// The address without secrets. If its parts are unclear, only the scheme remains.
    pub fn shown(&self) -> String {
        let scheme = &self.text[..self.authority];
        if self.unclear && (self.text.contains('@') || self.text[self.authority..self.host_end].contains(':')) {
            return format!("{scheme}{STARS}");
        }
        let mut out = scheme.to_owned();
        let mut at = self.authority;
        if let Some(end) = self.login_end {
            out.push_str(STARS);
            at = end;
        }
        let mut secrets: Vec<Secret> =
            self.secrets().into_iter().filter(|secret| secret.range.start >= self.host_end).collect();
        secrets.sort_by_key(|secret| secret.range.start);
        for secret in secrets {
            // Nested and neighbouring secrets are hidden by the first.
            if secret.range.start >= at {
                out.push_str(&self.text[at..secret.range.start]);
                out.push_str(STARS);
            }
            at = at.max(secret.range.end);
        }
        out.push_str(&self.text[at..]);
        out
    }

    /// The address for ffmpeg, which decodes percent escapes of user and password: characters that would end the login,
    /// the address or a line are escaped. Escapes that are already there stay.
    pub fn encoded(&self) -> String {
        let mut out = self.text[..self.authority].to_owned();
        let mut at = self.authority;
        if let (Some((user, password)), Some(end)) = (self.login(), self.login_end) {
            encode(user, |c| c.is_ascii_alphanumeric() || "-._~!$&()*+,;=".contains(c), &mut out);
            if let Some(password) = password {
                out.push(':');
                encode(password, |c| c.is_ascii_alphanumeric() || "-._~!$&()*+,;=".contains(c), &mut out);
            }
            at = end;
        }
        out.push_str(&self.text[at..self.host_end]);
        encode(&self.text[self.host_end..], |c| c.is_ascii_graphic() && !"\"<>`\\^{|}#".contains(c), &mut out);
        out
    }
}

/// Appends `text` with all characters escaped that are not allowed. An escape in `text` stays one.
pub fn encode(text: &str, is_allowed: impl Fn(char) -> bool, out: &mut String) {
    let bytes = text.as_bytes();
    for (at, c) in text.char_indices() {
        let is_escape = c == '%' && bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        if is_escape || (c != '%' && is_allowed(c)) {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        }
    }
}

/// True for a host with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some(""))),
        None => text.split_once(':').map_or((text, Some("")), |(host, port)| (host, Some(port))),
    };
    let is_name = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && host.chars().all(is_name) && port.is_some_and(is_port)
}

/// Finds the secrets of the path and query that begin at `from`: values of parameters, and parts that look like tokens.
fn parameters(text: &str, from: usize, found: &mut Vec<Secret>) {
    // By parameter: begin and end of its name, begin of its value. A name begins behind a separator, or behind an underscore
    // or colon once there has been a parameter: some makers write user=admin_password=x_channel=1.
    let mut names: Vec<(usize, usize, usize)> = Vec::new();
    let mut begin = from;
    let mut last_joint = None;
    for (at, c) in text[from..].char_indices().map(|(at, c)| (from + at, c)) {
        if SEPARATORS.contains(&c) {
            (begin, last_joint) = (at + 1, None);
        } else if "_:".contains(c) && !names.is_empty() {
            last_joint = Some(at + 1);
        } else if let Some(length) = equals_sign(&text[at..]) {
            let inside = names.last().is_some_and(|&(.., value)| value > begin);
            let start = if inside { last_joint } else { Some(begin) };
            if let Some(start) = start.filter(|&start| is_parameter_name(&text[start..at])) {
                names.push((start, at, at + length));
                last_joint = None;
            }
        }
    }
    let first = names.first().map_or(text.len(), |&(start, ..)| start);
    tokens(text, from..first, found);
    path_values(text, from..first, found);
    for (index, &(start, name_end, value)) in names.iter().enumerate() {
        let end = names.get(index + 1).map_or(text.len(), |&(next, ..)| next.saturating_sub(1).max(value));
        let name = text[start..name_end].to_lowercase();
        let is_secret = is_secret_name(&name);
        let value_text = &text[value..end];
        if PLAIN_NAMES.contains(&name.as_str()) || (!is_secret && is_plain_value(value_text)) {
            tokens(text, value..end, found);
        } else {
            let separators = SEPARATORS.iter().chain(&['_', ':']).copied().collect::<Vec<_>>();
            let ends = value_text.match_indices(&separators[..]).map(|(at, _)| value + at).collect();
            found.push(Secret { range: value..end, ends, is_named: is_secret });
        }
    }
}

/// Length of the sign between a parameter and its value that begins `text`: `=`, also percent-encoded.
fn equals_sign(text: &str) -> Option<usize> {
    let is_encoded = |text: &str| text.get(..3).is_some_and(|text| text.eq_ignore_ascii_case("%3D"));
    if text.starts_with('=') { Some(1) } else { is_encoded(text).then_some(3) }
}

/// True if the value of a parameter called `name`, in lower case, is a secret.
fn is_secret_name(name: &str) -> bool {
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// Finds secrets of a path that have no sign between name and value, or a colon: `/password/x/`, `/user:x/`.
fn path_values(text: &str, range: std::ops::Range<usize>, found: &mut Vec<Secret>) {
    let mut start = range.start;
    let mut is_value = false;
    for part in text[range].split(SEPARATORS) {
        let found_at = |value: usize, is_named| Secret { range: value..start + part.len(), ends: Vec::new(), is_named };
        match part.split_once(':') {
            Some((name, _)) if is_secret_name(&name.to_lowercase()) => {
                found.push(found_at(start + name.len() + 1, true));
            }
            // Some write a login into the path.
            Some((name, value)) if is_user_name(name) && !is_plain_value(value) => {
                found.push(found_at(start + name.len() + 1, false));
            }
            _ if is_value => found.push(found_at(start, true)),
            _ => {}
        }
        is_value = SECRET_FOLDERS.contains(&part.to_lowercase().as_str());
        start += part.len() + 1;
    }
}

/// Finds parts that look like random tokens: long, with letters and digits.
fn tokens(text: &str, range: std::ops::Range<usize>, found: &mut Vec<Secret>) {
    let mut start = range.start;
    let is_stream = ["rtmp://", "rtmps://"].iter().any(|scheme| text.to_ascii_lowercase().starts_with(scheme));
    for part in text[range].split(|c: char| !c.is_ascii_alphanumeric() && !"-%".contains(c)) {
        let has = |is: fn(&char) -> bool| part.chars().any(|c| is(&c));
        // A stream key has groups of four: abcd-1234-….
        let is_key = is_stream && part.contains('-');
        let bare = part.chars().filter(|c| *c != '-').count();
        let is_long =
            bare >= TOKEN_LENGTH && (is_key || part.split('-').any(|run| run.len() >= TOKEN_LENGTH) || bare == 32);
        if is_long && has(char::is_ascii_alphabetic) && has(char::is_ascii_digit) {
            found.push(Secret { range: start..start + part.len(), ends: Vec::new(), is_named: true });
        }
        // What separates parts may be any character.
        start += part.len();
        start += text[start..].chars().next().map_or(0, char::len_utf8);
    }
}

fn is_parameter_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_.[]%$".contains(c))
}

fn is_user_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_@".contains(c))
}

/// True for a value that cannot be a secret: a flag, or one or two characters.
fn is_plain_value(text: &str) -> bool {
    text.chars().count() <= 2 || ["true", "false", "yes", "off"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Address::parse(text).map_or_else(|| text.to_owned(), |address| address.shown())
    }

    fn values(text: &str) -> Vec<&str> {
        Address::parse(text).unwrap().secrets().into_iter().map(|secret| &text[secret.range]).collect()
    }

    #[test]
    fn a_token_behind_any_character_is_hidden_whole() {
        for separator in ["/", "ü", "号", "𝄞", "\u{fffd}", "!"] {
            let text = format!("rtsp://camera/süd{separator}0123456789abcdef0123/{separator}/x");
            assert_eq!(shown(&text), format!("rtsp://camera/süd{separator}***/{separator}/x"));
            assert_eq!(values(&text), ["0123456789abcdef0123"]);
        }
    }

    #[test]
    fn any_character_may_stand_in_a_password() {
        for password in
            ["don't", "a\"b", "a b", "a<b>", "a`b", "a#b", "a/b", "a?b", "p@ss", "a:b", "100%", "пароль", "a\\b"]
        {
            let text = format!("rtsp://admin:{password}@camera:554/stream");
            let address = Address::parse(&text).unwrap();
            assert_eq!(address.login(), Some(("admin", Some(password))), "{text}");
            assert_eq!(address.shown(), "rtsp://***@camera:554/stream");
            let encoded = address.encoded();
            assert!(
                address.problem().is_none() && !encoded.contains([' ', '\'', '"', '<', '`', '#', '?']),
                "{encoded}"
            );
            let again = Address::parse(&encoded).unwrap();
            let (_, escaped) = again.login().unwrap();
            assert_eq!(super::super::decoded(escaped.unwrap()), password, "{encoded}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_said_and_hidden() {
        for text in ["rtsp://admin:p@ss/word@camera/x", "rtsp://admin:1234/x@camera/s", "rtsp://a:p/a@b/c@d/e"] {
            let address = Address::parse(text).unwrap();
            assert!(address.problem().unwrap().contains("%40"), "{text}");
            assert_eq!(address.shown(), "rtsp://***");
        }
        let path = Address::parse("rtsp://camera/user@example").unwrap();
        assert!(path.problem().is_none());
        assert!(Address::parse("http://cam:80/x.cgi?user=me@mail.com&pwd=xyz").unwrap().problem().is_none());
        assert_eq!(shown("rtsp://admin:pa/ss"), "rtsp://***");
    }

    #[test]
    fn an_address_without_a_valid_host_is_no_address() {
        for text in ["rtsp://admin:open-sesame", "http://cam:8x/s", "rtsp://a b/s", "rtsp://u:p@h:port/s"] {
            assert!(Address::parse(text).unwrap().problem().unwrap().contains("host"), "{text}");
        }
        for text in ["srt://:9000?mode=listener", "udp://@:1234", "udp://@239.0.0.1:1234", "rtsp://[fe80::1%25eth0]/s"]
        {
            assert_eq!(Address::parse(text).unwrap().problem(), None, "{text}");
        }
    }

    #[test]
    fn parameters_of_makers_are_secrets_wherever_they_stand() {
        for (text, expected) in [
            (
                "rtsp://c/user=admin&password=x2y3&channel=1&stream=0.sdp?real_stream",
                "rtsp://c/user=***&password=***&channel=1&stream=0.sdp?real_stream",
            ),
            (
                "rtsp://c/user=admin_password=tlJ_wpbo6_channel=1_stream=0.sdp",
                "rtsp://c/user=***_password=***_channel=1_stream=0.sdp",
            ),
            (
                "http://c/videostream.cgi?loginuse=admin&loginpas=x2y3",
                "http://c/videostream.cgi?loginuse=***&loginpas=***",
            ),
            ("http://c/v?user=a&password=b&x=1", "http://c/v?user=***&password=***&x=1"),
            ("http://c/v?access_token=abc", "http://c/v?access_token=***"),
            ("http://c/v?password=a/b?c#d&channel=2", "http://c/v?password=***&channel=2"),
            ("rtsp://c/s?auth=YWRtaW46cGFzcw==", "rtsp://c/s?auth=***"),
            ("rtsps://c:7441/HhGJ7NJdKQ8p5EVA?enableSrtp", "rtsps://c:7441/***?enableSrtp"),
            ("rtmp://c/live2/abcd-12ef-gh34-5678", "rtmp://c/live2/***"),
            ("srt://c:9?streamid=publish:a:b:sesame&passphrase=x2y3", "srt://c:9?streamid=***&passphrase=***"),
            ("http://c/v?unheard=A8sd9f7g", "http://c/v?unheard=***"),
            ("http://c/v?key%3Dx2y3&channel=1", "http://c/v?key%3D***&channel=1"),
            ("http://c/mjpg/password/x2y3/ch/1", "http://c/mjpg/password/***/ch/1"),
            ("http://c/user:admin/pw:x2y3/s?a=1", "http://c/user:***/pw:***/s?a=1"),
            ("http://c/v?login:x2y3", "http://c/v?login:***"),
            ("rtsp://c/admin:x2y3/stream1", "rtsp://c/admin:***/stream1"),
            ("rtsp://c/video:1", "rtsp://c/video:1"),
            ("http://c/film.mp4:404", "http://c/film.mp4:404"),
            (
                "rtsp://c:554/Streaming/Channels/101?transportmode=unicast",
                "rtsp://c:554/Streaming/Channels/101?transportmode=unicast",
            ),
            ("rtsp://c/h264Preview_01_main", "rtsp://c/h264Preview_01_main"),
            ("rtsp://c:554/stream", "rtsp://c:554/stream"),
            ("rtsp://[fe80::1]:554/s", "rtsp://[fe80::1]:554/s"),
            ("/srv/film.mp4", "/srv/film.mp4"),
            ("file:///srv/a:b@c.mp4", "file:///srv/a:b@c.mp4"),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(values("rtsp://c/user=admin&password=a/b&channel=1"), ["admin", "a/b"]);
    }

    #[test]
    fn an_address_without_a_scheme_is_recognized_by_its_login() {
        let address = Address::parse_without_scheme("admin:hunter2@10.0.0.5/stream").unwrap();
        assert_eq!(address.shown(), "***@10.0.0.5/stream");
        assert!(Address::parse_without_scheme("/srv/a:b@c.mp4").is_none());
        assert!(Address::parse_without_scheme("film@home.mp4").is_none());
    }
}
