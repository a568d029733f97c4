//! Server-sent events: every message, and keep-alive comments.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::connection::Peer;
use super::live::StreamMessage;
use super::{AppState, failure};

/// Keep-alive interval.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// `GET /api/v1/stream`
pub async fn stream(
    State(state): State<Arc<AppState>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    headers: HeaderMap,
) -> Response {
    let peer = peer.map(|Extension(ConnectInfo(Peer(address)))| address.ip());
    let Some(permit) = state.streams.acquire(state.config.proxy.client(peer, &headers)) else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too many streams of this address");
    };
    let messages = state.config.live.subscribe();
    let first = Bytes::from_static(b"retry: 2000\n\n");
    let texts =
        futures_util::stream::unfold((Some(first), messages, permit), |(first, mut messages, permit)| async move {
            let text = match first {
                Some(first) => first,
                None => next(&mut messages).await?,
            };
            Some((Ok::<_, Infallible>(text), (None, messages, permit)))
        });
    // Without this header nginx buffers a response before it passes it on.
    const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
    ([(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED], Body::from_stream(texts)).into_response()
}

async fn next(messages: &mut Receiver<StreamMessage>) -> Option<Bytes> {
    match tokio::time::timeout(KEEP_ALIVE, messages.recv()).await {
        Ok(Ok(StreamMessage { kind, text })) => Some(format!("event: {kind}\ndata: {text}\n\n").into()),
        Ok(Err(RecvError::Lagged(missed))) => Some(format!("event: missed\ndata: {missed}\n\n").into()),
        Ok(Err(RecvError::Closed)) => None,
        Err(_) => Some(Bytes::from_static(b": keep-alive\n\n")),
    }
}
