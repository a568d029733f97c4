//! Access control.
//!
//! With a token: a request needs it (`Authorization: Bearer …`) or the cookie of a log-in; others get the log-in form.
//! Without a token: the server listens on loopback, and requests for other hosts are refused. Requests from other sites'
//! pages are refused by `Origin` and `Sec-Fetch-Site`. State-changing requests must have the content type JSON, which a
//! form of another site cannot send.

use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::proxy::{Peer, ProxySettings};
use super::{AppState, failure};
use crate::error::{Error, Result};

/// Name of the session cookie.
const COOKIE: &str = "lookout-session";
/// Scheme of the authorization header, with the space behind it.
const BEARER: &[u8] = b"Bearer ";
/// Delay after a wrong token. Attempts are serialized.
const WRONG_TOKEN_DELAY: Duration = Duration::from_secs(1);
/// Paths that need no authentication: the log-in form, and liveness, which then says the state alone.
const PUBLIC: &[&str] = &["/", "/page.js", "/page.css", "/login", "/healthz"];

/// Content security policy of every response, up to the sites that may embed it: no external content.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors ";

/// Security headers of every response: no caching, no use by other sites.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Expected credentials, stored as hashes.
pub struct AccessControl {
    token: Option<[u8; 32]>,
    session: String,
    attempts: Semaphore,
}

impl AccessControl {
    /// Access control with `token`, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Error::reading`] if the system provides no random numbers.
    pub fn new(token: Option<&[u8]>) -> Result<Self> {
        const RANDOM: &str = "/dev/urandom";
        let mut secret = [0; 32];
        std::fs::File::open(RANDOM)
            .and_then(|mut file| file.read_exact(&mut secret))
            .map_err(|error| Error::reading(RANDOM, error))?;
        // New at every start, so a restart requires a new log-in.
        let session = Sha256::new().chain_update(secret).chain_update(token.unwrap_or_default()).finalize();
        let session = session.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { token: token.map(|token| Sha256::digest(token).into()), session, attempts: Semaphore::new(1) })
    }

    /// True if a token is required.
    pub fn requires_token(&self) -> bool {
        self.token.is_some()
    }

    fn is_token(&self, token: &[u8]) -> bool {
        self.token.as_ref().is_none_or(|expected| equal_in_constant_time(&Sha256::digest(token), expected))
    }

    /// True if these headers authenticate a request.
    pub fn authenticates(&self, headers: &HeaderMap) -> bool {
        if !self.requires_token() {
            return true;
        }
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        // The name of a scheme is compared without case.
        let bearer = authorization.and_then(|value| value.split_at_checked(BEARER.len()));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER));
        if bearer.is_some_and(|(_, token)| self.is_token(token.trim_ascii())) {
            return true;
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let sessions =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        sessions
            .filter(|(name, _)| *name == COOKIE)
            .any(|(_, value)| equal_in_constant_time(value.as_bytes(), self.session.as_bytes()))
    }
}

/// Compares two secrets in constant time.
fn equal_in_constant_time(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Middleware of all requests.
pub async fn guard(State(state): State<Arc<AppState>>, request: Request<Body>, next: Next) -> Response {
    let proxy = &state.config.proxy;
    let mut response = match check_access(&state.access, proxy, &request) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => failure(status, &why),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = format!("{POLICY}{}", proxy.frame_ancestors());
    // The origins were checked with the configuration.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // This header cannot hold a list of sites; with such a list only the policy applies.
    if proxy.embed_origins.is_empty() {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}

/// Address of the other end of a request's connection.
fn peer(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip())
}

fn check_access(
    access: &AccessControl,
    proxy: &ProxySettings,
    request: &Request<Body>,
) -> std::result::Result<(), (StatusCode, String)> {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let peer = peer(request);
    let host = proxy.host(peer, headers);
    let is_local = is_loopback(host) && proxy.is_local(peer, headers);
    if !access.requires_token() && !is_local {
        let why = "without a token only localhost has access; web.token_file sets one";
        return Err((StatusCode::MISDIRECTED_REQUEST, why.to_owned()));
    }
    // Sec-Fetch-Site takes precedence, since a proxy may have replaced Host.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let other = text(header::ORIGIN).filter(|origin| site != Some("same-origin") && !proxy.is_ours(origin, host));
    // Links to the page are allowed from any site. A log-in is authenticated by the token in its body.
    let link = request.method() == Method::GET && request.uri().path() == "/";
    let login = access.requires_token() && request.uri().path() == "/login";
    if site == Some("cross-site") && !link {
        return Err((StatusCode::FORBIDDEN, "requests from another site's page are refused".to_owned()));
    }
    if let Some(origin) = other.filter(|_| !link && !login) {
        let why = format!(
            "requests from another site's page are refused: Origin is {origin:?}, Host is {host:?}; behind a proxy set \
             web.public_url to the address in the browser"
        );
        return Err((StatusCode::FORBIDDEN, why));
    }
    if !access.authenticates(headers) && !PUBLIC.contains(&request.uri().path()) {
        return Err((StatusCode::UNAUTHORIZED, "the token is missing: Authorization: Bearer …".to_owned()));
    }
    Ok(())
}

/// Middleware of state-changing requests.
pub async fn json_only(request: Request<Body>, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        next.run(request).await
    } else {
        failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
    }
}

/// True if `host`, with or without port, is a loopback name or address.
fn is_loopback(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(name) = uri.host() else { return false };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `POST /login` with `{"token": …}`: sets the cookie.
pub async fn login(
    State(state): State<Arc<AppState>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let proxy = &state.config.proxy;
    let peer = peer.map(|Extension(ConnectInfo(Peer(address)))| address.ip());
    let token =
        serde_json::from_slice(&body).ok().and_then(|body: Value| Some(body.get("token")?.as_str()?.to_owned()));
    let Some(token) = token else {
        return failure(StatusCode::BAD_REQUEST, "expected {\"token\": \"…\"}");
    };
    let Ok(_one) = state.access.attempts.acquire().await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping");
    };
    if !state.access.is_token(token.as_bytes()) {
        let client = proxy.client(peer, &headers).map(|client| client.to_string());
        tracing::warn!(client, "log-in with a wrong token");
        tokio::time::sleep(WRONG_TOKEN_DELAY).await;
        return failure(StatusCode::UNAUTHORIZED, "the token is wrong");
    }
    let secure = proxy.is_secure(peer, &headers);
    // In a frame of another site a strict cookie is not sent, and any other needs TLS. Requests that change something are
    // JSON of this page's origin in either case.
    let same_site = if secure && !proxy.embed_origins.is_empty() { "None" } else { "Strict" };
    let (session, path) = (&state.access.session, proxy.public_path());
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={session}; HttpOnly; SameSite={same_site}; Path={path}{secure}");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_another_sites_are_here() {
        for here in ["localhost", "localhost:8480", "LOCALHOST:1", "127.0.0.1:8480", "127.9.9.9", "[::1]:8480"] {
            assert!(is_loopback(here), "{here}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example:8480",
            "192.168.1.4:8480",
            "0.0.0.0",
            "a b",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }

    #[test]
    fn a_token_or_the_cookie_it_gave_is_needed() {
        let access = AccessControl::new(Some(b"secret")).unwrap();
        let with = |name: HeaderName, value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            access.authenticates(&headers)
        };
        assert!(with(header::AUTHORIZATION, "Bearer secret".into()));
        assert!(
            with(header::AUTHORIZATION, "bearer secret".into()) && with(header::AUTHORIZATION, "BEARER  secret".into())
        );
        assert!(with(header::COOKIE, format!("a=b; {COOKIE}={}", access.session)));
        assert!(!with(header::AUTHORIZATION, "Bearer secre".into()) && !with(header::AUTHORIZATION, "secret".into()));
        assert!(!with(header::COOKIE, format!("{COOKIE}=")) && !access.authenticates(&HeaderMap::new()));
        assert!(AccessControl::new(None).unwrap().authenticates(&HeaderMap::new()));
        assert_ne!(access.session, AccessControl::new(Some(b"secret")).unwrap().session);
    }
}
