//! Description of the API in OpenAPI 3.1.

use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::message::{Report, Status};

/// `GET /api/openapi.json`
pub async fn document() -> Response {
    axum::Json(description()).into_response()
}

/// An operation: method, path, summary, parameters, content type, schema, further responses.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    response: (&'static str, &'static str, Value),
    others: &'static [(&'static str, &'static str)],
}

/// Responses that any request may get.
const ALWAYS: &[(&str, &str)] = &[
    ("401", "The token is missing or wrong"),
    ("403", "Request by another site's page, or forbidden by the configuration"),
    ("405", "Wrong method"),
    ("421", "Without a token only localhost has access"),
    ("429", "Too many wrong tokens from this address; Retry-After has the seconds to wait"),
];
const NOT_FOUND: (&str, &str) = ("404", "Not found, or not enabled");
const BAD: (&str, &str) = ("400", "A parameter is wrong");
const UNAVAILABLE: (&str, &str) = ("503", "Not available now");
const FAILED: (&str, &str) = ("500", "Internal error; the log has the reason");
const CONFLICT: (&str, &str) = ("409", "The current state does not allow it");
const MEDIA: (&str, &str) = ("415", "Content-Type must be application/json");

fn path_parameter(name: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn query_parameter(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn get(
    path: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    schema: Value,
    others: &'static [(&'static str, &'static str)],
) -> Operation {
    let response = ("200", "application/json", schema);
    Operation { method: "get", path, summary, parameters, response, others }
}

fn operations() -> Vec<Operation> {
    let any = || json!({});
    let camera = || path_parameter("camera", json!({ "type": "string", "minLength": 1 }));
    let key = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    let binary = |kind, operation: Operation| Operation {
        response: ("200", kind, json!({ "type": "string", "format": "binary" })),
        ..operation
    };
    let health = || reference("Health");
    let width = query_parameter(
        "width",
        "Largest width in pixels",
        json!({ "type": "integer", "minimum": 64, "maximum": 1920, "default": 960 }),
    );
    let event_parameters = vec![
        query_parameter(
            "limit",
            "Largest number of events",
            json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }),
        ),
        query_parameter("before", "Key before which to continue: `next` of the previous page", key.clone()),
        query_parameter("camera", "Only events of this camera", json!({ "type": "string" })),
        query_parameter(
            "event",
            "Only events of this name, or whose name begins with it and a dot",
            json!({ "type": "string" }),
        ),
    ];
    let state_changing = |path, summary, schema| Operation {
        method: "post",
        path,
        summary,
        parameters: Vec::new(),
        response: ("200", "application/json", schema),
        others: &[BAD, NOT_FOUND, CONFLICT, MEDIA, FAILED, UNAVAILABLE],
    };
    vec![
        get("/healthz", "Liveness; where there is a token, without reasons", vec![], health(), &[UNAVAILABLE, FAILED]),
        get(
            "/readyz",
            "Readiness: every camera is analysed, every output works",
            vec![],
            health(),
            &[UNAVAILABLE, FAILED],
        ),
        binary("application/openmetrics-text", get("/metrics", "Metrics", vec![], any(), &[FAILED])),
        get("/api/openapi.json", "This document", vec![], json!({ "type": "object" }), &[]),
        get("/api/v1/status", "Status of the device", vec![], reference("Status"), &[NOT_FOUND, FAILED, UNAVAILABLE]),
        get("/api/v1/features", "Features that are enabled", vec![], json!({ "type": "object" }), &[]),
        binary(
            "text/event-stream",
            get(
                "/api/v1/stream",
                "Server-sent events: every message when it is published, and `end` when the service stops",
                vec![],
                any(),
                &[UNAVAILABLE],
            ),
        ),
        get(
            "/api/v1/series",
            "A few minutes of rates and latencies by camera",
            vec![],
            json!({ "type": "object" }),
            &[],
        ),
        get(
            "/api/v1/cameras/{camera}/report",
            "The latest report",
            vec![camera()],
            reference("Report"),
            &[BAD, NOT_FOUND],
        ),
        binary(
            "image/jpeg",
            get(
                "/api/v1/cameras/{camera}/picture",
                "The latest frame; its number is in X-Lookout-Sequence",
                vec![camera(), width],
                any(),
                &[BAD, NOT_FOUND, FAILED],
            ),
        ),
        get(
            "/api/v1/events",
            "Events of the history, the newest first",
            event_parameters,
            reference("Page"),
            &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
        ),
        binary(
            "image/jpeg",
            get(
                "/api/v1/events/{key}/thumbnail",
                "Thumbnail of an event",
                vec![path_parameter("key", key)],
                any(),
                &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
            ),
        ),
        get(
            "/api/v1/drift",
            "Drift of the int8 network, step by step",
            vec![],
            any(),
            &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
        ),
        get(
            "/api/v1/drift/series",
            "Deviations, agreement and brightness of the compared frames of 24 hours",
            vec![],
            any(),
            &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
        ),
        get(
            "/api/v1/drift/maps",
            "Names of the latest error maps",
            vec![],
            json!({ "type": "array", "items": { "type": "string" } }),
            &[NOT_FOUND, FAILED],
        ),
        binary(
            "image/png",
            get(
                "/api/v1/drift/maps/{name}",
                "An error map",
                vec![path_parameter("name", json!({ "type": "string", "minLength": 1 }))],
                any(),
                &[BAD, NOT_FOUND, FAILED],
            ),
        ),
        get("/api/v1/generations", "Generations of the model", vec![], any(), &[BAD, NOT_FOUND, FAILED, UNAVAILABLE]),
        state_changing("/api/v1/generations/rollback", "Roll back to the previous generation", any()),
        state_changing("/api/v1/recalibrate", "Start a recalibration", any()),
    ]
}

/// The document.
pub fn description() -> Value {
    let mut paths = Map::new();
    for Operation { method, path, summary, parameters, response: (code, kind, schema), others } in operations() {
        let mut content = Map::new();
        content.insert(kind.to_owned(), json!({ "schema": schema }));
        let mut responses = Map::new();
        responses.insert(code.to_owned(), json!({ "description": summary, "content": content }));
        let is_health = path.ends_with("z");
        for (code, description) in ALWAYS.iter().chain(others) {
            let schema = if is_health && *code == "503" { json!({}) } else { reference("Error") };
            let content = json!({ "application/json": { "schema": schema } });
            responses.insert((*code).to_owned(), json!({ "description": description, "content": content }));
        }
        let mut operation = json!({ "summary": summary, "parameters": parameters, "responses": responses });
        if method == "post" {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": { "type": "object", "additionalProperties": false } } },
            });
        }
        paths.insert(path.to_owned(), json!({ method: operation }));
    }
    let settings = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    generator.subschema_for::<Report>();
    generator.subschema_for::<Status>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert(
        "Error".to_owned(),
        json!({ "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } }),
    );
    schemas.insert(
        "Health".to_owned(),
        json!({
            "type": "object", "required": ["state", "reasons"],
            "properties": { "state": { "type": "string" }, "reasons": { "type": "array", "items": { "type": "string" } } },
        }),
    );
    let key = json!({ "type": "integer", "minimum": 0 });
    schemas.insert(
        "Page".to_owned(),
        json!({
            "type": "object", "required": ["events", "next"],
            "properties": {
                "events": { "type": "array", "items": {
                    "type": "object", "required": ["key", "thumbnail", "message"],
                    "properties": { "key": key, "thumbnail": { "type": "boolean" }, "message": { "type": "object" } },
                } },
                "next": { "type": ["integer", "null"], "minimum": 0 },
            },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": { "title": "lookout", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT OR Apache-2.0" } },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}
