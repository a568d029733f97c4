//! HTTP: the live page, its API, metrics and health.
//!
//! In: what the daemon hands over at the start, and every message as it is said. Out: one page that needs nothing from
//! elsewhere, an API that `/api/openapi.json` describes, `/metrics`, `/healthz`, `/readyz`. Promises: without a token
//! only who is on this machine gets in, from a page of ours or from no page at all; with one nobody else gets more than
//! the form that asks for it; nothing is executed from a request but the verbs that the page's buttons name; no client,
//! however slow, costs the detector a frame.

mod api;
mod connection;
mod gate;
mod health;
mod live;
mod openapi;
mod page;
pub mod picture;
mod stream;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};

use gate::Gate;
pub use live::Live;

use crate::backoff::Backoff;
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::message::Report;
use crate::metrics::Metrics;

/// The newest frame of a camera, by its name, with what was found in it.
pub type LatestOf = Arc<dyn Fn(&str) -> Option<(Arc<Frame>, Arc<Report>)> + Send + Sync>;
/// A page of the history, by what is asked for.
pub type EventsOf = Arc<dyn Fn(Value) -> Result<Value> + Send + Sync>;
/// The thumbnail of an event of the history, a JPEG, by its key.
pub type ThumbnailOf = Arc<dyn Fn(u64) -> Result<Option<Vec<u8>>> + Send + Sync>;
/// The latest maps of the network's error, each a PNG under its name.
pub type MapsOf = Arc<dyn Fn() -> Vec<(String, Vec<u8>)> + Send + Sync>;

/// What the page is built on.
#[derive(Clone)]
pub struct Setup {
    /// Names of the cameras.
    pub cameras: Vec<String>,
    /// Allow live pictures and thumbnails.
    pub pictures: bool,
    /// What whoever comes must know; needed where others than this machine can come.
    pub token: Option<Vec<u8>>,
    /// The daemon's verbs.
    pub control: Control,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What is being said.
    pub live: Live,
    /// Frames.
    pub latest: LatestOf,
    /// The history, if one is kept.
    pub events: Option<EventsOf>,
    /// Its thumbnails.
    pub thumbnail: Option<ThumbnailOf>,
    /// Error maps, if the monitor makes them.
    pub maps: Option<MapsOf>,
}

/// What every handler sees.
struct Site {
    setup: Setup,
    gate: Gate,
    shots: api::Shots,
}

/// A server, listening if the address could be had.
pub struct Server {
    address: SocketAddr,
    listener: Option<tokio::net::TcpListener>,
    site: Arc<Site>,
}

impl Server {
    /// Listens at `address`, on the runtime this is called in. An address that cannot be had now is told in the log
    /// and tried again while serving: what detects does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] for an address that others can reach without a token.
    pub fn listen(address: SocketAddr, setup: Setup) -> Result<Self> {
        if !address.ip().is_loopback() && setup.token.is_none() {
            let text = format!("web.listen = \"{address}\" can be reached by others: name a web.token_file");
            return Err(Error::new(Kind::Config, text));
        }
        let gate = Gate::new(setup.token.as_deref())?;
        let listener = bind(address);
        if let Err(error) = &listener {
            tracing::warn!(%address, error = error.to_string(), "the web page cannot be served yet; trying again");
        }
        Ok(Self {
            address,
            listener: listener.ok(),
            site: Arc::new(Site { setup, gate, shots: api::Shots::default() }),
        })
    }

    /// The address that was taken.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Serves until this future is dropped, which ends every connection.
    pub async fn serve(self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut listener = self.listener;
        let listener = loop {
            match listener.map_or_else(|| bind(self.address), Ok) {
                Ok(listener) => break listener,
                Err(error) => tracing::debug!(error = error.to_string(), "the web page's address cannot be had"),
            }
            listener = None;
            tokio::time::sleep(backoff.delay()).await;
        };
        let open = self.site.gate.is_closed();
        tracing::info!(address = %listener.local_addr().unwrap_or(self.address), token = open, "the web page is served");
        // Falls with this future.
        let (_closing, closed) = tokio::sync::watch::channel(());
        let listener = connection::Limited::new(listener, closed);
        if let Err(error) = axum::serve(listener, router(self.site)).into_future().await {
            tracing::error!(error = error.to_string(), "the web page is gone");
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/login", order(post(gate::login)))
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
        .route("/api/v1/drift/maps", get(api::maps))
        .route("/api/v1/drift/maps/{name}", get(api::map))
        .route("/api/v1/generations", get(api::generations))
        .route("/api/v1/generations/rollback", order(post(api::roll_back)))
        .route("/api/v1/recalibrate", order(post(api::recalibrate)))
        .fallback(async || failure(StatusCode::NOT_FOUND, "there is nothing here; see /api/openapi.json"))
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, "not with this method"))
        .layer(axum::extract::DefaultBodyLimit::max(16 << 10))
        .layer(from_fn_with_state(site.clone(), gate::guard))
        .with_state(site)
}

/// Something that changes the device: no form of another site can send it.
fn order(handler: MethodRouter<Arc<Site>>) -> MethodRouter<Arc<Site>> {
    handler.route_layer(from_fn(gate::json_only))
}

/// An error as the API says it.
fn failure(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "error": message }))).into_response()
}

/// One of our errors as the API says it.
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
