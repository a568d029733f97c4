//! The page: files in the program, served to everybody because nothing of the device is in them.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The modules of the script, by name.
pub const MODULES: [(&str, &str); 7] = [
    ("main.js", include_str!("main.js")),
    ("util.js", include_str!("util.js")),
    ("plot.js", include_str!("plot.js")),
    ("live.js", include_str!("live.js")),
    ("events.js", include_str!("events.js")),
    ("setup.js", include_str!("setup.js")),
    ("model.js", include_str!("model.js")),
];

fn text(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// `GET /`
pub async fn index() -> Response {
    text("text/html; charset=utf-8", include_str!("index.html"))
}

/// `GET /page/{module}`
pub async fn module(Path(name): Path<String>) -> Response {
    match MODULES.iter().find(|(known, _)| *known == name) {
        Some((_, script)) => text("text/javascript; charset=utf-8", script),
        None => (StatusCode::NOT_FOUND, "there is no such part of the page").into_response(),
    }
}

/// `GET /page.css`
pub async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("page.css"))
}
