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
    kept: Mutex<BTreeMap<(String, usize), CachedPicture>>,
    /// Limits encoding to one picture at a time, since the detector needs the cores.
    encoding: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct CachedPicture {
    sequence: u64,
    jpeg: axum::body::Bytes,
}

/// Size of the picture cache, in entries of camera and width.
const KEPT: usize = 32;

/// Runs blocking work on a blocking thread.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Response> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "that went wrong; the log says why")),
    }
}

/// Calls a command of the daemon. An unknown one gives 404.
async fn call(site: &AppState, verb: &'static str, args: Value) -> Response {
    let control = site.setup.control.clone();
    if !control.verbs().contains(&verb) {
        return failure(StatusCode::NOT_FOUND, &format!("this daemon cannot do that: it has no verb {verb}"));
    }
    match aside(move || control.call(verb, args)).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(response) => response,
    }
}

/// `GET /api/v1/status`
pub async fn status(State(site): State<Arc<AppState>>) -> Response {
    call(&site, "status", Value::Null).await
}

/// `GET /api/v1/features`: features available to the page.
pub async fn features(State(site): State<Arc<AppState>>) -> Response {
    let setup = &site.setup;
    let verbs = setup.control.verbs();
    axum::Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cameras": setup.cameras,
        "pictures": setup.pictures,
        "events": setup.events.is_some(),
        "drift": verbs.contains(&"drift"),
        "maps": setup.maps.is_some(),
        "generations": verbs.contains(&"generations"),
        "recalibrate": verbs.contains(&"recalibrate"),
    }))
    .into_response()
}

/// `GET /api/v1/series`
pub async fn series(State(site): State<Arc<AppState>>) -> axum::Json<BTreeMap<String, Vec<SeriesPoint>>> {
    axum::Json(site.setup.live.series())
}

/// `GET /api/v1/cameras/{camera}/report`
pub async fn report(
    State(site): State<Arc<AppState>>,
    camera: std::result::Result<Path<String>, PathRejection>,
) -> Response {
    let Ok(Path(camera)) = camera else { return no_camera() };
    match site.setup.live.report(&camera) {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response(),
        None if site.setup.cameras.contains(&camera) => failure(StatusCode::NOT_FOUND, "nothing was seen by it yet"),
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
    State(site): State<Arc<AppState>>,
    camera: std::result::Result<Path<String>, PathRejection>,
    wanted: std::result::Result<Query<PictureQuery>, QueryRejection>,
) -> Response {
    let Ok(Path(camera)) = camera else { return no_camera() };
    let Ok(Query(wanted)) = wanted else { return failure(StatusCode::BAD_REQUEST, "width is a number of pixels") };
    if !site.setup.pictures {
        return failure(StatusCode::FORBIDDEN, "live pictures are forbidden by web.pictures");
    }
    if !site.setup.cameras.contains(&camera) {
        return no_camera();
    }
    let width = wanted.width.unwrap_or(WIDTH.0);
    if !WIDTH.1.contains(&width) {
        return failure(StatusCode::BAD_REQUEST, &format!("width is from {} to {}", WIDTH.1.start(), WIDTH.1.end()));
    }
    match shot(&site, camera, width).await {
        Ok(Some(CachedPicture { sequence, jpeg })) => {
            ([(header::CONTENT_TYPE, "image/jpeg".to_owned()), (SEQUENCE, sequence.to_string())], jpeg).into_response()
        }
        Ok(None) => failure(StatusCode::NOT_FOUND, "it gave no frame yet"),
        Err(response) => response,
    }
}

/// Header with the sequence number of a picture's frame, by which the page finds its report.
const SEQUENCE: header::HeaderName = header::HeaderName::from_static("x-lookout-sequence");

/// Newest frame of `camera`, encoded once for all clients.
async fn shot(
    site: &Arc<AppState>,
    camera: String,
    width: usize,
) -> std::result::Result<Option<CachedPicture>, Response> {
    let latest = || (site.setup.latest)(&camera);
    let kept = |sequence: u64| {
        let kept = site.shots.kept.lock().ignore_poison();
        kept.get(&(camera.clone(), width)).filter(|shot| shot.sequence >= sequence).cloned()
    };
    let Some((frame, _)) = latest() else { return Ok(None) };
    if let Some(shot) = kept(frame.sequence) {
        return Ok(Some(shot));
    }
    let _turn = site.shots.encoding.lock().await;
    // After waiting, the picture may be in the cache, or a newer frame may have arrived.
    let Some((frame, _)) = latest() else { return Ok(None) };
    if let Some(shot) = kept(frame.sequence) {
        return Ok(Some(shot));
    }
    let sequence = frame.sequence;
    let jpeg = aside(move || picture::plain(&frame.image, width)).await?;
    let shot = CachedPicture { sequence, jpeg: jpeg.into() };
    let mut kept = site.shots.kept.lock().ignore_poison();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert((camera, width), shot.clone());
    Ok(Some(shot))
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
    State(site): State<Arc<AppState>>,
    asked: std::result::Result<Query<EventQuery>, QueryRejection>,
) -> Response {
    let Some(events) = site.setup.events.clone() else { return no_history() };
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    if asked.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return failure(StatusCode::BAD_REQUEST, "limit is from 1 to 1000");
    }
    let query = json!({ "limit": asked.limit, "before": asked.before, "camera": asked.camera, "event": asked.event });
    match aside(move || events(query)).await {
        Ok(page) => axum::Json(page).into_response(),
        Err(response) => response,
    }
}

fn no_history() -> Response {
    failure(StatusCode::NOT_FOUND, "no history is kept; history.enabled = true keeps one")
}

/// `GET /api/v1/events/{key}/thumbnail`
pub async fn thumbnail(
    State(site): State<Arc<AppState>>,
    key: std::result::Result<Path<u64>, PathRejection>,
) -> Response {
    let Some(thumbnail) = site.setup.thumbnail.clone() else { return no_history() };
    if !site.setup.pictures {
        return failure(StatusCode::FORBIDDEN, "pictures are forbidden by web.pictures");
    }
    let Ok(Path(key)) = key else { return failure(StatusCode::BAD_REQUEST, "an event's key is a number") };
    match aside(move || thumbnail(key)).await {
        Ok(Some(jpeg)) => ([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        Ok(None) => failure(StatusCode::NOT_FOUND, "there is no such thumbnail"),
        Err(response) => response,
    }
}

/// `GET /api/v1/drift`
pub async fn drift(State(site): State<Arc<AppState>>) -> Response {
    call(&site, "drift", Value::Null).await
}

/// `GET /api/v1/drift/maps`: names of the maps.
pub async fn maps(State(site): State<Arc<AppState>>) -> Response {
    let Some(maps) = site.setup.maps.clone() else { return no_maps() };
    match aside(move || Ok(maps())).await {
        Ok(maps) => axum::Json(maps.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).into_response(),
        Err(response) => response,
    }
}

/// `GET /api/v1/drift/maps/{name}`
pub async fn map(
    State(site): State<Arc<AppState>>,
    name: std::result::Result<Path<String>, PathRejection>,
) -> Response {
    let (Some(maps), Ok(Path(name))) = (site.setup.maps.clone(), name) else { return no_maps() };
    match aside(move || Ok(maps())).await {
        Ok(maps) => match maps.into_iter().find(|(known, _)| *known == name) {
            Some((_, png)) => ([(header::CONTENT_TYPE, "image/png")], png).into_response(),
            None => no_maps(),
        },
        Err(response) => response,
    }
}

fn no_maps() -> Response {
    failure(StatusCode::NOT_FOUND, "there is no such map of errors")
}

/// `GET /api/v1/generations`
pub async fn generations(State(site): State<Arc<AppState>>) -> Response {
    call(&site, "generations", json!({ "do": "list" })).await
}

/// `POST /api/v1/generations/rollback`
pub async fn roll_back(State(site): State<Arc<AppState>>, body: Bytes) -> Response {
    order(&site, "generations", json!({ "do": "rollback" }), &body).await
}

/// `POST /api/v1/recalibrate`
pub async fn recalibrate(State(site): State<Arc<AppState>>, body: Bytes) -> Response {
    order(&site, "recalibrate", Value::Null, &body).await
}

/// Calls a command without arguments: no body, or `{}`. A refusal by the current state gives 409.
async fn order(site: &AppState, verb: &'static str, args: Value, body: &[u8]) -> Response {
    let nothing = body.is_empty()
        || serde_json::from_slice(body)
            .is_ok_and(|value: Value| value.as_object().is_some_and(serde_json::Map::is_empty));
    if !nothing {
        return failure(StatusCode::BAD_REQUEST, "this order takes nothing: send {}");
    }
    tracing::info!(verb, "the web page gives an order");
    let mut response = call(site, verb, args).await;
    if response.status() == StatusCode::BAD_REQUEST {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    response
}
