//! The page behind a proxy: its public address, trusted proxies, sites that may embed it.
//!
//! A proxy may replace `Host`. The headers `X-Forwarded-For`, `X-Forwarded-Host`, `X-Forwarded-Proto` and `Forwarded`
//! (RFC 7239) are used only if the connection comes from a trusted address: anybody can send them. Whoever sends them, a
//! request that names another machine as its client is not local.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

/// Settings for a proxy before the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Address of the page as browsers know it: scheme, host, port and path.
    pub public_url: Option<String>,
    /// Networks of trusted proxies: address and length of the prefix in bits.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Origins whose pages may embed the page in a frame.
    pub embed_origins: Vec<String>,
}

impl ProxySettings {
    /// Origin of the public address, without its path.
    pub fn public_origin(&self) -> Option<String> {
        let uri: Uri = self.public_url.as_ref()?.parse().ok()?;
        Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
    }

    /// Path of the public address, with a `/` at its end.
    pub fn public_path(&self) -> String {
        let uri: Option<Uri> = self.public_url.as_ref().and_then(|url| url.parse().ok());
        let path = uri.map_or_else(String::new, |uri| uri.path().trim_end_matches('/').to_owned());
        path + "/"
    }

    /// True if `peer` is a trusted proxy.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return false };
        self.trusted.iter().any(|&(network, bits)| is_within(peer, network, bits))
    }

    /// The client of a request from `peer`: the last forwarded address that is no trusted proxy. `X-Forwarded-For` comes
    /// before `Forwarded`.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.trusts(peer) {
            return peer;
        }
        let mut hops = list(headers, X_FORWARDED_FOR);
        if hops.is_empty() {
            hops = forwarded(headers, "for");
        }
        let mut client = peer;
        for hop in hops.iter().rev() {
            // Entries before one that is no address cannot be trusted.
            let Some(address) = address(hop) else { break };
            client = Some(address);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// True if `peer` and every client that a header names are this machine. A name that is no address is another's.
    pub fn is_local(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let hops = list(headers, X_FORWARDED_FOR).into_iter().chain(forwarded(headers, "for"));
        peer.is_none_or(|peer| peer.to_canonical().is_loopback())
            && hops.into_iter().all(|hop| address(hop).is_some_and(|address| address.is_loopback()))
    }

    /// The host that the client asked for: that of a trusted proxy (`X-Forwarded-Host`, `Forwarded`), else `Host`.
    pub fn host<'a>(&self, peer: Option<IpAddr>, headers: &'a HeaderMap) -> &'a str {
        let forwarded = self.forwarded_value(peer, headers, "x-forwarded-host", "host");
        forwarded.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default()
    }

    /// True if browsers reach the page over TLS.
    pub fn is_secure(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.to_ascii_lowercase().starts_with("https:"))
            || self
                .forwarded_value(peer, headers, "x-forwarded-proto", "proto")
                .is_some_and(|it| it.eq_ignore_ascii_case("https"))
    }

    /// What a trusted proxy says about the client's request: the first value of `header`, else of `parameter` of
    /// `Forwarded`. Several proxies append theirs; the first is the client's.
    fn forwarded_value<'a>(
        &self,
        peer: Option<IpAddr>,
        headers: &'a HeaderMap,
        header: &str,
        parameter: &str,
    ) -> Option<&'a str> {
        let first = |values: Vec<&'a str>| values.first().copied();
        self.trusts(peer).then(|| first(list(headers, header)).or_else(|| first(forwarded(headers, parameter))))?
    }

    /// True if a page of `origin` is the page of a server that is asked as `host`. A host without a port, as nginx's `$host`
    /// has it, fits every port.
    pub fn is_ours(&self, origin: &str, host: &str) -> bool {
        if self.public_origin().is_some_and(|public| same_origin(&public, origin)) {
            return true;
        }
        let Ok(uri) = origin.parse::<Uri>() else { return false };
        let Some(authority) = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
            return false;
        };
        let has_port = host.parse::<Uri>().is_ok_and(|host| host.port().is_some());
        let named = if has_port { authority.as_str() } else { authority.host() };
        !host.is_empty() && named.eq_ignore_ascii_case(host)
    }

    /// Sources of `frame-ancestors` in a content security policy.
    pub fn frame_ancestors(&self) -> String {
        if self.embed_origins.is_empty() {
            "'none'".to_owned()
        } else {
            format!("'self' {}", self.embed_origins.join(" "))
        }
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The values of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect()
}

/// The values of `parameter` in the elements of `Forwarded`, as `for=192.0.2.1;host="cam.example", for="[::1]:80"`.
fn forwarded<'a>(headers: &'a HeaderMap, parameter: &str) -> Vec<&'a str> {
    let values = headers.get_all(header::FORWARDED).iter().map(|value| value.to_str().unwrap_or("for=?"));
    let mut found = Vec::new();
    for value in values {
        // Separators within quotes are part of a value.
        let mut is_quoted = false;
        let pairs = value.split(|c: char| {
            is_quoted ^= c == '"';
            !is_quoted && matches!(c, ',' | ';')
        });
        for (name, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            if name.trim().eq_ignore_ascii_case(parameter) {
                found.push(value.trim().trim_matches('"'));
            }
        }
    }
    found
}

/// True for the same scheme, host and port; the default port may be left out.
fn same_origin(one: &str, other: &str) -> bool {
    let parts = |origin: &str| {
        let uri: Uri = origin.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    parts(one).is_some_and(|one| Some(one) == parts(other))
}

/// The address in a hop of `X-Forwarded-For`, which may have a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim_matches('"');
    let plain = hop.parse().ok().or_else(|| hop.trim_matches(['[', ']']).parse().ok());
    plain
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

/// True if `address` has the first `bits` bits of `network`.
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let first = |value: u128, length: u32| value.checked_shr(length.saturating_sub(u32::from(bits))).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => first(u32::from(a).into(), 32) == first(u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => first(a.into(), 128) == first(b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn forwarded_addresses_count_from_trusted_proxies_alone() {
        let settings = ProxySettings { trusted: vec![("10.0.0.0".parse().unwrap(), 8)], ..ProxySettings::default() };
        let request =
            headers(&[("x-forwarded-for", "1.2.3.4, 10.0.0.9"), ("x-forwarded-host", "cam.example"), ("host", "up:1")]);
        assert_eq!(settings.client(ip("10.0.0.1"), &request), ip("1.2.3.4"));
        assert_eq!(settings.client(ip("192.0.2.1"), &request), ip("192.0.2.1"));
        assert_eq!(
            (settings.host(ip("10.1.1.1"), &request), settings.host(ip("192.0.2.1"), &request)),
            ("cam.example", "up:1")
        );
        let forged = headers(&[("x-forwarded-for", "9.9.9.9, garbage, 10.0.0.9:80")]);
        assert_eq!(settings.client(ip("10.0.0.1"), &forged), ip("10.0.0.9"));
        for secure in
            [("x-forwarded-proto", "https"), ("x-forwarded-proto", "HTTPS, http"), ("forwarded", "proto=https")]
        {
            let secure = headers(&[secure]);
            assert!(settings.is_secure(ip("10.0.0.1"), &secure) && !settings.is_secure(ip("192.0.2.1"), &secure));
        }
        let standard = headers(&[
            ("forwarded", "for=\"[2001:db8::1]:4711\";proto=https;host=\"cam.example:8443\", For=10.0.0.9"),
            ("host", "up:1"),
        ]);
        assert_eq!(settings.client(ip("10.0.0.1"), &standard), ip("2001:db8::1"));
        assert_eq!(settings.host(ip("10.0.0.1"), &standard), "cam.example:8443");
        assert_eq!(settings.host(ip("192.0.2.1"), &standard), "up:1");
        let both = headers(&[("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=5.6.7.8")]);
        assert_eq!(settings.client(ip("10.0.0.1"), &both), ip("1.2.3.4"));
        assert!(settings.trusts(ip("::ffff:10.0.0.1")) && !settings.trusts(ip("fe80::1")) && !settings.trusts(None));
    }

    #[test]
    fn a_forwarded_request_of_another_machine_is_not_local() {
        let settings = ProxySettings::default();
        let local = |peer, pairs: &[(&'static str, &'static str)]| settings.is_local(ip(peer), &headers(pairs));
        assert!(local("127.0.0.1", &[]) && local("::ffff:127.0.0.1", &[("x-forwarded-for", "::1, 127.0.0.1")]));
        assert!(!local("192.0.2.1", &[]));
        for other in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "127.0.0.1, 192.0.2.1"),
            ("x-forwarded-for", "unknown"),
            ("forwarded", "for=192.0.2.1;host=localhost"),
            ("forwarded", "for=_hidden"),
            ("forwarded", "for=127.0.0.1, for=\"[2001:db8::1]\""),
        ] {
            assert!(!local("127.0.0.1", &[other]), "{other:?}");
        }
    }

    #[test]
    fn the_page_is_known_by_its_host_or_its_public_address() {
        let plain = ProxySettings::default();
        assert!(plain.is_ours("http://localhost:8480", "localhost:8480"));
        assert!(!plain.is_ours("http://localhost:8481", "localhost:8480") && !plain.is_ours("null", "localhost:8480"));
        assert!(
            plain.is_ours("http://cam.example:18602", "cam.example")
                && !plain.is_ours("http://evil.example", "cam.example")
        );
        assert!(!plain.is_ours("ftp://cam.example", "cam.example") && !plain.is_ours("http://cam.example", ""));
        let public = ProxySettings { public_url: Some("https://cam.example/lookout".into()), ..plain };
        assert!(
            public.is_ours("https://cam.example:443", "127.0.0.1:8480")
                && !public.is_ours("http://cam.example", "127.0.0.1:8480")
        );
        assert_eq!(
            (public.public_path().as_str(), public.public_origin().as_deref()),
            ("/lookout/", Some("https://cam.example"))
        );
        assert_eq!(ProxySettings::default().public_path(), "/");
    }
}
