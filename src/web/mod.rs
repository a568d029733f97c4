//! HTTP server: live page, API, metrics and health.
//!
//! In: callbacks of the daemon, and every published message. Out: a page without external content, an API that
//! `/api/openapi.json` describes, `/metrics`, `/healthz`, `/readyz`.
//!
//! - Without a token only this machine has access, and not from pages of other sites.
//! - With a token, clients without it get the log-in form only.
//! - Requests can only call the commands behind the page's buttons.
//! - A slow client never costs the detector a frame.
//! - Connections, streams and wrong tokens are limited by client address, so that nobody locks others out.

mod access_control;
mod api;
mod connection;
mod health;
mod limits;
mod live;
mod openapi;
mod page;
pub mod picture;
mod proxy;
mod stream;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};

use access_control::AccessControl;
pub use live::Live;
pub use proxy::ProxySettings;

use crate::backoff::Backoff;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fault::FaultReporter;
use crate::frame::Frame;
use crate::message::Report;
use crate::metrics::Metrics;

/// Function that returns the newest frame of a camera and its report, by the camera's name.
pub type LatestOf = Arc<dyn Fn(&str) -> Option<(Arc<Frame>, Arc<Report>)> + Send + Sync>;
/// Function that returns a page of the history for a query.
pub type EventsOf = Arc<dyn Fn(Value) -> Result<Value> + Send + Sync>;
/// Function that returns the JPEG thumbnail of an event by its key.
pub type ThumbnailOf = Arc<dyn Fn(u64) -> Result<Option<Vec<u8>>> + Send + Sync>;
/// Function that returns the latest error maps as named PNGs.
pub type MapsOf = Arc<dyn Fn() -> Vec<(String, Vec<u8>)> + Send + Sync>;

/// Configuration and callbacks of the server.
#[derive(Clone)]
pub struct WebConfig {
    /// Names of the cameras.
    pub cameras: Vec<String>,
    /// Allow live pictures and thumbnails.
    pub pictures: bool,
    /// Access token; required unless the address is loopback.
    pub token: Option<Vec<u8>>,
    /// Command table of the daemon.
    pub control: Control,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Live feed.
    pub live: Live,
    /// Source of frames.
    pub latest: LatestOf,
    /// History, if enabled.
    pub events: Option<EventsOf>,
    /// Thumbnails of the history.
    pub thumbnail: Option<ThumbnailOf>,
    /// Error maps, if the monitor is enabled.
    pub maps: Option<MapsOf>,
    /// A proxy before the server.
    pub proxy: ProxySettings,
    /// Called with the address once the page is served.
    pub on_listening: Option<fn(SocketAddr)>,
    /// Takes the reason why the page is not served.
    pub fault: FaultReporter,
}

/// Shared state of all handlers.
struct AppState {
    config: WebConfig,
    access: AccessControl,
    picture_cache: api::PictureCache,
    streams: limits::StreamCounts,
}

/// A server, listening if the address was available.
pub struct Server {
    address: SocketAddr,
    listener: Option<tokio::net::TcpListener>,
    state: Arc<AppState>,
}

/// A listening socket between two servers: connections wait in its queue, and none is refused.
#[derive(Debug)]
pub struct ListeningSocket {
    /// The address it was asked for.
    address: SocketAddr,
    socket: OwnedFd,
}

impl ListeningSocket {
    fn listener(&self) -> std::io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket.try_clone()?.into())
    }
}

impl Server {
    /// Listens at `address` on the current runtime. If the address is in use, this is logged and retried while serving, so
    /// that detection does not depend on it.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] for a non-loopback address without a token.
    pub fn listen(address: SocketAddr, config: WebConfig) -> Result<Self> {
        Self::listen_on(None, address, config)
    }

    /// The listening socket, for the next server.
    pub fn socket(&self) -> Option<ListeningSocket> {
        let socket = self.listener.as_ref()?.as_fd().try_clone_to_owned().ok()?;
        Some(ListeningSocket { address: self.address, socket })
    }

    /// [`Server::listen`] on the socket of the server before, if it listens at the same address.
    ///
    /// # Errors
    ///
    /// As [`Server::listen`].
    pub fn listen_on(before: Option<&ListeningSocket>, address: SocketAddr, config: WebConfig) -> Result<Self> {
        if !address.ip().is_loopback() && config.token.is_none() {
            let text = format!("web.listen = \"{address}\" can be reached from other hosts: set web.token_file");
            return Err(Error::new(Kind::Config, text));
        }
        let access = AccessControl::new(config.token.as_deref())?;
        let before = before.filter(|before| before.address == address).and_then(|before| before.listener().ok());
        let listener = before.map_or_else(|| bind(address), Ok);
        if let Err(error) = &listener {
            config.fault.set(not_served(address, error));
            tracing::warn!(
                %address,
                error = error.to_string(),
                "web page not served, retrying; --set web.listen={}:PORT chooses another port",
                address.ip()
            );
        }
        Ok(Self {
            address,
            listener: listener.ok(),
            state: Arc::new(AppState {
                config,
                access,
                picture_cache: api::PictureCache::default(),
                streams: limits::StreamCounts::default(),
            }),
        })
    }

    /// The bound address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Serves until this future is dropped, which ends all connections.
    pub async fn serve(self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut listener = self.listener;
        let listener = loop {
            match listener.map_or_else(|| bind(self.address), Ok) {
                Ok(listener) => break listener,
                Err(error) => {
                    self.state.config.fault.set(not_served(self.address, &error));
                    tracing::debug!(error = error.to_string(), "address of the web page not available");
                }
            }
            listener = None;
            tokio::time::sleep(backoff.delay()).await;
        };
        let has_token = self.state.access.requires_token();
        let address = listener.local_addr().unwrap_or(self.address);
        self.state.config.fault.clear();
        tracing::info!(%address, token = has_token, "web page served");
        if let Some(on_listening) = self.state.config.on_listening {
            on_listening(address);
        }
        // Dropped with this future.
        let (_closing, closed) = tokio::sync::watch::channel(());
        let listener = connection::LimitedListener::new(listener, self.state.config.proxy.clone(), closed);
        let fault = self.state.config.fault.clone();
        let service = router(self.state).into_make_service_with_connect_info::<connection::Peer>();
        if let Err(error) = axum::serve(listener, service).into_future().await {
            fault.set(not_served(address, &error));
            tracing::error!(error = error.to_string(), "web server failed");
        }
    }
}

fn not_served(address: SocketAddr, error: &std::io::Error) -> String {
    format!("output web: nothing can be served at {address}: {error}")
}

fn bind(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page/{module}", get(page::module))
        .route("/page.css", get(page::style))
        .route("/login", state_changing(post(access_control::login)))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/openapi.json", get(openapi::document))
        .route("/api/v1/status", get(api::status))
        .route("/api/v1/features", get(api::features))
        .route("/api/v1/stream", get(stream::stream))
        .route("/api/v1/series", get(api::series))
        .route("/api/v1/cameras/{camera}/report", get(api::report))
        .route("/api/v1/cameras/{camera}/picture", get(api::picture))
        .route("/api/v1/events", get(api::events))
        .route("/api/v1/events/{key}/thumbnail", get(api::thumbnail))
        .route("/api/v1/drift", get(api::drift))
        .route("/api/v1/drift/series", get(api::drift_series))
        .route("/api/v1/drift/maps", get(api::maps))
        .route("/api/v1/drift/maps/{name}", get(api::map))
        .route("/api/v1/generations", get(api::generations))
        .route("/api/v1/generations/rollback", state_changing(post(api::roll_back)))
        .route("/api/v1/recalibrate", state_changing(post(api::recalibrate)))
        .fallback(async || failure(StatusCode::NOT_FOUND, "no such path; /api/openapi.json lists all"))
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, "wrong method"))
        .layer(axum::extract::DefaultBodyLimit::max(16 << 10))
        .layer(from_fn_with_state(state.clone(), access_control::guard))
        .with_state(state)
}

/// A state-changing request, which forms of other sites cannot send.
fn state_changing(handler: MethodRouter<Arc<AppState>>) -> MethodRouter<Arc<AppState>> {
    handler.route_layer(from_fn(access_control::json_only))
}

/// Response for an error of the API.
fn failure(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "error": message }))).into_response()
}

/// Response for an [`Error`].
fn refusal(error: &Error) -> Response {
    let status = match error.kind() {
        Kind::Usage | Kind::Data | Kind::Config => StatusCode::BAD_REQUEST,
        Kind::NoInput => StatusCode::NOT_FOUND,
        Kind::Permission => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal | Kind::CannotCreate | Kind::Io => StatusCode::INTERNAL_SERVER_ERROR,
    };
    failure(status, &error.chain())
}

#[cfg(test)]
mod tests;
