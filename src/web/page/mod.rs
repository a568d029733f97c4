//! The page: three files in the program, served to everybody because nothing of the device is in them.

use axum::http::header;
use axum::response::{IntoResponse, Response};

fn text(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// `GET /`
pub async fn index() -> Response {
    text("text/html; charset=utf-8", include_str!("index.html"))
}

/// `GET /page.js`
pub async fn script() -> Response {
    text("text/javascript; charset=utf-8", include_str!("page.js"))
}

/// `GET /page.css`
pub async fn style() -> Response {
    text("text/css; charset=utf-8", include_str!("page.css"))
}
