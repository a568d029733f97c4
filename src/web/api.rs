//! Handlers of the API, described in [`super::openapi`]. Blocking work (disk, lock, encoder) runs on a separate thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::live::SeriesPoint;
use super::{AppState, failure, picture, refusal};
use crate::error::Result;
use crate::sync::IgnorePoison;

/// Default width of a live picture, and the range of widths that may be requested.
const WIDTH: (usize, std::ops::RangeInclusive<usize>) = (960, 64..=1920);

/// Cache of encoded pictures, so that each frame is encoded once for all clients.
#[derive(Default)]
pub struct PictureCache {
    pictures: Mutex<BTreeMap<(String, usize), CachedPicture>>,
    /// Limits encoding to one picture at a time, since the detector needs the cores.
    encoding: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct CachedPicture {
    sequence: u64,
    jpeg: axum::body::Bytes,
}

/// Size of the picture cache, in entries of camera and width.
const CACHED_PICTURES: usize = 32;

/// Runs blocking work on a blocking thread.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Response> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the log has the reason")),
    }
}

/// Calls a command of the daemon. An unknown one gives 404.
async fn call(state: &AppState, verb: &'static str, args: Value) -> Response {
    let control = state.config.control.clone();
    if !control.verbs().contains(&verb) {
        return failure(StatusCode::NOT_FOUND, &format!("this service has no command {verb}"));
    }
    match run_blocking(move || control.call(verb, args)).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(response) => response,
    }
}

/// `GET /api/v1/status`
pub async fn status(State(state): State<Arc<AppState>>) -> Response {
    call(&state, "status", Value::Null).await
}

/// `GET /api/v1/features`: features available to the page.
pub async fn features(State(state): State<Arc<AppState>>) -> Response {
    let config = &state.config;
    let verbs = config.control.verbs();
    axum::Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cameras": config.cameras,
        "pictures": config.pictures,
        "events": config.events.is_some(),
        "drift": verbs.contains(&"drift"),
        "maps": config.maps.is_some(),
        "generations": verbs.contains(&"generations"),
        "recalibrate": verbs.contains(&"recalibrate"),
        "regions": config.control.call("regions", Value::Null).ok(),
    }))
    .into_response()
}

/// `GET /api/v1/series`
pub async fn series(State(state): State<Arc<AppState>>) -> axum::Json<BTreeMap<String, Vec<SeriesPoint>>> {
    axum::Json(state.config.live.series())
}

/// `GET /api/v1/cameras/{camera}/report`
pub async fn report(
    State(state): State<Arc<AppState>>,
    camera: std::result::Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(camera)) = camera else { return no_camera() };
    match state.config.live.report(&camera) {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response(),
        None if state.config.cameras.contains(&camera) => {
            failure(StatusCode::NOT_FOUND, "this camera has no report yet")
        }
        None => no_camera(),
    }
}

fn no_camera() -> Response {
    failure(StatusCode::NOT_FOUND, "there is no such camera")
}

/// Query parameters of a picture.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureQuery {
    width: Option<usize>,
}

/// `GET /api/v1/cameras/{camera}/picture`
pub async fn picture(
    State(state): State<Arc<AppState>>,
    camera: std::result::Result<Path<String>, PathRejection>,
    query: std::result::Result<Query<PictureQuery>, QueryRejection>,
) -> Response {
    let Ok(Path(camera)) = camera else { return no_camera() };
    let Ok(Query(query)) = query else { return failure(StatusCode::BAD_REQUEST, "width is a number of pixels") };
    if !state.config.pictures {
        return failure(StatusCode::FORBIDDEN, "live pictures are forbidden by web.pictures");
    }
    if !state.config.cameras.contains(&camera) {
        return no_camera();
    }
    let width = query.width.unwrap_or(WIDTH.0);
    if !WIDTH.1.contains(&width) {
        return failure(StatusCode::BAD_REQUEST, &format!("width is from {} to {}", WIDTH.1.start(), WIDTH.1.end()));
    }
    match cached_picture(&state, camera, width).await {
        Ok(Some(CachedPicture { sequence, jpeg })) => {
            ([(header::CONTENT_TYPE, "image/jpeg".to_owned()), (SEQUENCE, sequence.to_string())], jpeg).into_response()
        }
        Ok(None) => failure(StatusCode::NOT_FOUND, "this camera has no frame yet"),
        Err(response) => response,
    }
}

/// Header with the sequence number of a picture's frame, by which the page finds its report.
const SEQUENCE: header::HeaderName = header::HeaderName::from_static("x-lookout-sequence");

/// Newest frame of `camera`, encoded once for all clients.
async fn cached_picture(
    state: &Arc<AppState>,
    camera: String,
    width: usize,
) -> std::result::Result<Option<CachedPicture>, Response> {
    let latest = || (state.config.latest)(&camera);
    let cached = |sequence: u64| {
        let pictures = state.picture_cache.pictures.lock().ignore_poison();
        pictures.get(&(camera.clone(), width)).filter(|entry| entry.sequence >= sequence).cloned()
    };
    let Some((frame, _)) = latest() else { return Ok(None) };
    if let Some(entry) = cached(frame.sequence) {
        return Ok(Some(entry));
    }
    let _turn = state.picture_cache.encoding.lock().await;
    // After waiting, the picture may be in the cache, or a newer frame may have arrived.
    let Some((frame, _)) = latest() else { return Ok(None) };
    if let Some(entry) = cached(frame.sequence) {
        return Ok(Some(entry));
    }
    let sequence = frame.sequence;
    let jpeg = run_blocking(move || picture::scaled(&frame.image, width)).await?;
    let entry = CachedPicture { sequence, jpeg: jpeg.into() };
    let mut pictures = state.picture_cache.pictures.lock().ignore_poison();
    if pictures.len() >= CACHED_PICTURES {
        pictures.clear();
    }
    pictures.insert((camera, width), entry.clone());
    Ok(Some(entry))
}

/// Query parameters of the history.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    limit: Option<u64>,
    before: Option<u64>,
    camera: Option<String>,
    event: Option<String>,
}

/// `GET /api/v1/events`
pub async fn events(
    State(state): State<Arc<AppState>>,
    query: std::result::Result<Query<EventQuery>, QueryRejection>,
) -> Response {
    let Some(events) = state.config.events.clone() else { return no_history() };
    let query = match query {
        Ok(Query(query)) => query,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if query.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return failure(StatusCode::BAD_REQUEST, "limit is from 1 to 1000");
    }
    let query = json!({ "limit": query.limit, "before": query.before, "camera": query.camera, "event": query.event });
    match run_blocking(move || events(query)).await {
        Ok(page) => axum::Json(page).into_response(),
        Err(response) => response,
    }
}

fn no_history() -> Response {
    failure(StatusCode::NOT_FOUND, "no history is kept; history.enabled = true keeps one")
}

/// `GET /api/v1/events/{key}/thumbnail`
pub async fn thumbnail(
    State(state): State<Arc<AppState>>,
    key: std::result::Result<Path<u64>, PathRejection>,
) -> Response {
    let Some(thumbnail) = state.config.thumbnail.clone() else { return no_history() };
    if !state.config.pictures {
        return failure(StatusCode::FORBIDDEN, "pictures are forbidden by web.pictures");
    }
    let Ok(Path(key)) = key else { return failure(StatusCode::BAD_REQUEST, "an event's key is a number") };
    match run_blocking(move || thumbnail(key)).await {
        Ok(Some(jpeg)) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        Ok(None) => failure(StatusCode::NOT_FOUND, "there is no such thumbnail"),
        Err(response) => response,
    }
}

/// `GET /api/v1/drift`
pub async fn drift(State(state): State<Arc<AppState>>) -> Response {
    call(&state, "drift", Value::Null).await
}

/// `GET /api/v1/drift/series`: figures of the passes of 24 hours.
pub async fn drift_series(State(state): State<Arc<AppState>>) -> Response {
    call(&state, "drift", json!({ "series": true })).await
}

/// `GET /api/v1/drift/maps`: names of the maps.
pub async fn maps(State(state): State<Arc<AppState>>) -> Response {
    let Some(maps) = state.config.maps.clone() else { return no_maps() };
    match run_blocking(move || Ok(maps())).await {
        Ok(maps) => axum::Json(maps.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).into_response(),
        Err(response) => response,
    }
}

/// `GET /api/v1/drift/maps/{name}`
pub async fn map(
    State(state): State<Arc<AppState>>,
    name: std::result::Result<Path<String>, PathRejection>,
) -> Response {
    let (Some(maps), Ok(Path(name))) = (state.config.maps.clone(), name) else { return no_maps() };
    match run_blocking(move || Ok(maps())).await {
        Ok(maps) => match maps.into_iter().find(|(known, _)| *known == name) {
            Some((_, png)) => ([(header::CONTENT_TYPE, "image/png")], png).into_response(),
            None => no_maps(),
        },
        Err(response) => response,
    }
}

fn no_maps() -> Response {
    failure(StatusCode::NOT_FOUND, "there is no such error map")
}

/// `GET /api/v1/generations`
pub async fn generations(State(state): State<Arc<AppState>>) -> Response {
    call(&state, "generations", json!({ "do": "list" })).await
}

/// `POST /api/v1/generations/rollback`
pub async fn roll_back(State(state): State<Arc<AppState>>, body: Bytes) -> Response {
    request(&state, "generations", json!({ "do": "rollback" }), &body).await
}

/// `POST /api/v1/recalibrate`
pub async fn recalibrate(State(state): State<Arc<AppState>>, body: Bytes) -> Response {
    request(&state, "recalibrate", Value::Null, &body).await
}

/// Calls a command without arguments: no body, or `{}`. A refusal by the current state gives 409.
async fn request(state: &AppState, verb: &'static str, args: Value, body: &[u8]) -> Response {
    let nothing = body.is_empty()
        || serde_json::from_slice(body)
            .is_ok_and(|value: Value| value.as_object().is_some_and(serde_json::Map::is_empty));
    if !nothing {
        return failure(StatusCode::BAD_REQUEST, "this request has no parameters: send {}");
    }
    tracing::info!(verb, "request by the web page");
    let mut response = call(state, verb, args).await;
    if response.status() == StatusCode::BAD_REQUEST {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    response
}
