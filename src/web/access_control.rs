//! Access control.
//!
//! With a token: a request needs it (`Authorization: Bearer …`) or the cookie of a log-in; others get the log-in form.
//! Wrong tokens are limited by client address.
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

use super::connection::Peer;
use super::limits::{Attempt, TokenAttempts};
use super::proxy::ProxySettings;
use super::{AppState, failure, page};
use crate::error::{Error, Result};

/// Name of the session cookie.
const COOKIE: &str = "lookout-session";
/// Scheme of the authorization header, with the space behind it.
const BEARER: &[u8] = b"Bearer ";
/// Paths that need no authentication: the log-in form, and liveness, which then says the state alone.
const PUBLIC: &[&str] = &["/", "/page.css", "/login", "/healthz"];

/// True for paths that need no token: [`PUBLIC`], and the modules of the page.
fn is_public(path: &str) -> bool {
    let module = path.strip_prefix("/page/");
    PUBLIC.contains(&path) || module.is_some_and(|name| page::MODULES.iter().any(|(known, _)| *known == name))
}

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
    attempts: TokenAttempts,
}

/// Result of the authentication of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// It has the token or the cookie of a log-in, or no token is required.
    Passed,
    /// It has neither.
    Missing,
    /// Its token is wrong.
    Wrong,
    /// Its address tried too many wrong tokens; it may try again after this time.
    Refused(Duration),
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
        Ok(Self { token: token.map(|token| Sha256::digest(token).into()), session, attempts: TokenAttempts::default() })
    }

    /// True if a token is required.
    pub fn requires_token(&self) -> bool {
        self.token.is_some()
    }

    fn is_token(&self, token: &[u8]) -> bool {
        self.token.as_ref().is_none_or(|expected| equal_in_constant_time(&Sha256::digest(token), expected))
    }

    /// Authenticates a request of `client` with these headers. The cookie comes first: who is logged in is not affected by
    /// others who guess at the same address.
    pub fn authenticate(&self, client: Option<IpAddr>, headers: &HeaderMap) -> Authentication {
        if !self.requires_token() || self.has_session(headers) {
            return Authentication::Passed;
        }
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        // The name of a scheme is compared without case.
        let bearer = authorization.and_then(|value| value.split_at_checked(BEARER.len()));
        let Some((_, token)) = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER)) else {
            return Authentication::Missing;
        };
        match self.attempt(client, token.trim_ascii()) {
            Attempt::Right => Authentication::Passed,
            Attempt::Wrong => Authentication::Wrong,
            Attempt::Refused(wait) => Authentication::Refused(wait),
        }
    }

    fn attempt(&self, client: Option<IpAddr>, token: &[u8]) -> Attempt {
        self.attempts.attempt(client, || self.is_token(token))
    }

    /// True if these headers have the cookie of a log-in.
    fn has_session(&self, headers: &HeaderMap) -> bool {
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
        Err(refusal) => refusal.into_response(),
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

/// A refused request.
struct Refusal {
    status: StatusCode,
    why: String,
    /// Time after which it may be repeated.
    retry: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), retry: None }
    }

    /// The address tried too many wrong tokens.
    fn too_many_attempts(wait: Duration) -> Self {
        let why = "too many wrong tokens from this address; wait, then try again";
        Self { retry: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, why) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let response = failure(self.status, &self.why);
        match self.retry {
            Some(wait) => ([(header::RETRY_AFTER, wait.as_secs_f64().ceil().to_string())], response).into_response(),
            None => response,
        }
    }
}

/// Address of the other end of a request's connection.
fn peer(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip())
}

fn check_access(
    access: &AccessControl,
    proxy: &ProxySettings,
    request: &Request<Body>,
) -> std::result::Result<(), Refusal> {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let peer = peer(request);
    let host = proxy.host(peer, headers);
    let is_local = is_loopback(host) && proxy.is_local(peer, headers);
    if !access.requires_token() && !is_local {
        let why = "without a token only localhost has access; web.token_file sets one";
        return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, why));
    }
    // Sec-Fetch-Site takes precedence, since a proxy may have replaced Host.
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let other = text(header::ORIGIN).filter(|origin| site != Some("same-origin") && !proxy.is_ours(origin, host));
    // Links to the page are allowed from any site. A log-in is authenticated by the token in its body.
    let link = request.method() == Method::GET && request.uri().path() == "/";
    let login = access.requires_token() && request.uri().path() == "/login";
    if site == Some("cross-site") && !link {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "requests from another site's page are refused"));
    }
    if let Some(origin) = other.filter(|_| !link && !login) {
        let why = format!(
            "requests from another site's page are refused: Origin is {origin:?}, Host is {host:?}; behind a proxy set \
             web.public_url to the address in the browser"
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    if is_public(request.uri().path()) {
        return Ok(());
    }
    match access.authenticate(proxy.client(peer, headers), headers) {
        Authentication::Passed => Ok(()),
        Authentication::Missing => {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is missing: Authorization: Bearer …"))
        }
        Authentication::Wrong => Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is wrong")),
        Authentication::Refused(wait) => Err(Refusal::too_many_attempts(wait)),
    }
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
    match state.access.attempt(proxy.client(peer, &headers), token.as_bytes()) {
        Attempt::Right => {}
        Attempt::Wrong => return failure(StatusCode::UNAUTHORIZED, "the token is wrong"),
        Attempt::Refused(wait) => return Refusal::too_many_attempts(wait).into_response(),
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
            access.authenticate(None, &headers) == Authentication::Passed
        };
        assert!(with(header::AUTHORIZATION, "Bearer secret".into()));
        assert!(
            with(header::AUTHORIZATION, "bearer secret".into()) && with(header::AUTHORIZATION, "BEARER  secret".into())
        );
        assert!(with(header::COOKIE, format!("a=b; {COOKIE}={}", access.session)));
        assert!(!with(header::AUTHORIZATION, "Bearer secre".into()) && !with(header::AUTHORIZATION, "secret".into()));
        assert!(!with(header::COOKIE, format!("{COOKIE}=")));
        assert_eq!(access.authenticate(None, &HeaderMap::new()), Authentication::Missing);
        let open = AccessControl::new(None).unwrap();
        assert_eq!(open.authenticate(None, &HeaderMap::new()), Authentication::Passed);
        assert_ne!(access.session, AccessControl::new(Some(b"secret")).unwrap().session);
    }
}
