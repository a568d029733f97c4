//! Server-sent events: every message, keep-alive comments, and `end` when the service stops or begins another run.

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
use super::live::{END, StreamMessage};
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
    let state = (Some(first), Some(messages), permit);
    let texts = futures_util::stream::unfold(state, |(first, messages, permit)| async move {
        let mut messages = messages?;
        let (text, is_last) = match first {
            Some(first) => (first, false),
            None => next(&mut messages).await?,
        };
        Some((Ok::<_, Infallible>(text), (None, Some(messages).filter(|_| !is_last), permit)))
    });
    // Without this header nginx buffers a response before it passes it on.
    const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
    ([(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED], Body::from_stream(texts)).into_response()
}

/// The next part of the stream, and true if it is the last.
async fn next(messages: &mut Receiver<StreamMessage>) -> Option<(Bytes, bool)> {
    match tokio::time::timeout(KEEP_ALIVE, messages.recv()).await {
        Ok(Ok(StreamMessage { kind, text })) => Some((format!("event: {kind}\ndata: {text}\n\n").into(), kind == END)),
        Ok(Err(RecvError::Lagged(missed))) => Some((format!("event: missed\ndata: {missed}\n\n").into(), false)),
        Ok(Err(RecvError::Closed)) => None,
        Err(_) => Some((Bytes::from_static(b": keep-alive\n\n"), false)),
    }
}
