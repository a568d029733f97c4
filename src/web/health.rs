//! Health and metrics endpoints: `/healthz`, `/readyz`, `/metrics`.
//!
//! Health follows from the daemon's status. `/healthz` succeeds while the daemon answers and is not stopping; `/readyz`
//! succeeds while every camera is analysed and every output works. `/healthz` needs no token, so that a supervisor can
//! read it. Where there is a token, it tells no reasons.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::api::run_blocking;
use super::{AppState, refusal};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /healthz`
pub async fn alive(State(state): State<Arc<AppState>>) -> Response {
    // No test of a token here: it would be another place to guess one.
    health(&state, !state.access.requires_token(), |state| !matches!(state, "stopping" | "")).await
}

/// `GET /readyz`
pub async fn ready(State(state): State<Arc<AppState>>) -> Response {
    health(&state, true, |state| state == "ok").await
}

async fn health(state: &AppState, tells_reasons: bool, is_healthy: fn(&str) -> bool) -> Response {
    let control = state.config.control.clone();
    let status = match run_blocking(move || control.call("status", Value::Null)).await {
        Ok(status) => status,
        Err(response) => return response,
    };
    let state = status.get("state").and_then(Value::as_str).unwrap_or_default();
    let code = if is_healthy(state) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons = status.get("reasons").filter(|_| tells_reasons).cloned().unwrap_or_else(|| json!([]));
    (code, axum::Json(json!({ "state": state, "reasons": reasons }))).into_response()
}

/// `GET /metrics`
pub async fn metrics(State(state): State<Arc<AppState>>, headers: HeaderMap) -> Response {
    let text = match state.config.metrics.encode() {
        Ok(text) => text,
        Err(error) => return refusal(&error),
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accepted: Vec<&str> = accepted.collect();
    // A client that accepts only the older text format gets it.
    let older = accepted.iter().any(|kinds| kinds.contains("text/plain"))
        && !accepted.iter().any(|kinds| kinds.contains("openmetrics") || kinds.contains("*/*"));
    if older {
        return ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], to_prometheus_text(&text))
            .into_response();
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

/// Converts OpenMetrics to Prometheus' older text format. There counters and infos have the name of their sample, and
/// units and the end marker do not exist.
pub fn to_prometheus_text(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    let counted: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), rest) => {
                let rest = rest.unwrap_or_default();
                let (suffix, rest) = match rest {
                    "info" => ("_info", "gauge"),
                    rest if counted.contains(&name) => ("_total", rest),
                    rest => (if info_follows(text, name) { "_info" } else { "" }, rest),
                };
                lines.push_str(&format!("# {what} {name}{suffix} {rest}\n"));
            }
            _ => {
                lines.push_str(line);
                lines.push('\n');
            }
        }
    }
    lines
}

fn info_follows(text: &str, name: &str) -> bool {
    text.contains(&format!("# TYPE {name} info\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_calls_counters_by_their_samples() {
        let text = "# HELP a_b StreamMessage.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n# HELP i What.\n# TYPE i info\ni_info{v=\"1\"} 1\n# HELP t_seconds T.\n# TYPE t_seconds gauge\n# UNIT t_seconds seconds\nt_seconds 1\n# EOF\n";
        let wanted = "# HELP a_b_total StreamMessage.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n# HELP i_info What.\n# TYPE i_info gauge\ni_info{v=\"1\"} 1\n# HELP t_seconds T.\n# TYPE t_seconds gauge\nt_seconds 1\n";
        assert_eq!(to_prometheus_text(text), wanted);
    }
}
