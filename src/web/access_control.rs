//! Access control.
//!
//! With a token: a request needs it (`Authorization: Bearer …`) or the cookie of a log-in; others get the log-in form.
//! Without a token: the server listens on loopback, and requests from other sites' pages are refused by `Host`, `Origin`
//! and `Sec-Fetch-Site`. State-changing requests must have the content type JSON, which a form of another site cannot
//! send.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{AppState, failure};
use crate::error::{Error, Result};

/// Name of the session cookie.
const COOKIE: &str = "lookout-session";
/// Delay after a wrong token. Attempts are serialized.
const PENALTY: Duration = Duration::from_secs(1);
/// Paths that need no authentication: the log-in form.
const PUBLIC: &[&str] = &["/", "/page.js", "/page.css", "/login"];

/// Security headers of every response: no external content, no framing, no caching.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
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
    pub fn is_closed(&self) -> bool {
        self.token.is_some()
    }

    fn knows(&self, token: &[u8]) -> bool {
        self.token.as_ref().is_none_or(|wanted| same(&Sha256::digest(token), wanted))
    }

    /// True if these headers authenticate a request.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        if !self.is_closed() {
            return true;
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if bearer.is_some_and(|token| self.knows(token)) {
            return true;
        }
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let sessions =
            cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        sessions.filter(|(name, _)| *name == COOKIE).any(|(_, value)| same(value.as_bytes(), self.session.as_bytes()))
    }
}

/// Compares two secrets in constant time.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Middleware of all requests.
pub async fn guard(State(site): State<Arc<AppState>>, request: Request<Body>, next: Next) -> Response {
    let mut response = match check_access(&site.access, &request) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => failure(status, why),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn check_access(
    access: &AccessControl,
    request: &Request<Body>,
) -> std::result::Result<(), (StatusCode, &'static str)> {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    if !access.is_closed() && !is_here(host) {
        return Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this page is for localhost alone; a token would open it to others",
        ));
    }
    let foreign = text(header::ORIGIN).is_some_and(|origin| !is_ours(origin, host))
        || text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site == "cross-site");
    // Links to the page are allowed from any site.
    let link = request.method() == Method::GET && request.uri().path() == "/";
    if foreign && !link {
        return Err((StatusCode::FORBIDDEN, "another site's page may not ask"));
    }
    if !access.admits(headers) && !PUBLIC.contains(&request.uri().path()) {
        return Err((StatusCode::UNAUTHORIZED, "the token is missing: Authorization: Bearer …"));
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
fn is_here(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(name) = uri.host() else { return false };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// True if `origin` has the host `host`.
fn is_ours(origin: &str, host: &str) -> bool {
    let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    site.is_some_and(|site| !host.is_empty() && site.eq_ignore_ascii_case(host))
}

/// `POST /login` with `{"token": …}`: sets the cookie.
pub async fn login(State(site): State<Arc<AppState>>, body: axum::body::Bytes) -> Response {
    let token =
        serde_json::from_slice(&body).ok().and_then(|body: Value| Some(body.get("token")?.as_str()?.to_owned()));
    let Some(token) = token else {
        return failure(StatusCode::BAD_REQUEST, "write {\"token\": \"…\"}");
    };
    let Ok(_one) = site.access.attempts.acquire().await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "not now");
    };
    if !site.access.knows(token.as_bytes()) {
        tokio::time::sleep(PENALTY).await;
        return failure(StatusCode::UNAUTHORIZED, "this is not the token");
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", site.access.session);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_another_sites_are_here() {
        for here in ["localhost", "localhost:8480", "LOCALHOST:1", "127.0.0.1:8480", "127.9.9.9", "[::1]:8480"] {
            assert!(is_here(here), "{here}");
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
            assert!(!is_here(other), "{other}");
        }
        assert!(is_ours("http://localhost:8480", "localhost:8480"));
        assert!(!is_ours("http://localhost:8481", "localhost:8480") && !is_ours("null", "localhost:8480"));
    }

    #[test]
    fn a_token_or_the_cookie_it_gave_is_needed() {
        let access = AccessControl::new(Some(b"secret")).unwrap();
        let with = |name: HeaderName, value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            access.admits(&headers)
        };
        assert!(with(header::AUTHORIZATION, "Bearer secret".into()));
        assert!(with(header::COOKIE, format!("a=b; {COOKIE}={}", access.session)));
        assert!(!with(header::AUTHORIZATION, "Bearer secre".into()) && !with(header::AUTHORIZATION, "secret".into()));
        assert!(!with(header::COOKIE, format!("{COOKIE}=")) && !access.admits(&HeaderMap::new()));
        assert!(AccessControl::new(None).unwrap().admits(&HeaderMap::new()));
        assert_ne!(access.session, AccessControl::new(Some(b"secret")).unwrap().session);
    }
}
