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
    answer: (&'static str, &'static str, Value),
    others: &'static [(&'static str, &'static str)],
}

/// Responses that any request may get.
const ALWAYS: &[(&str, &str)] = &[
    ("401", "The token is missing"),
    ("403", "Another site's page asks, or the configuration forbids it"),
    ("405", "Another method is meant"),
    ("421", "Without a token the page is for localhost alone"),
];
const NOT_FOUND: (&str, &str) = ("404", "There is none");
const BAD: (&str, &str) = ("400", "A parameter is wrong");
const UNAVAILABLE: (&str, &str) = ("503", "Not now");
const FAILED: (&str, &str) = ("500", "It failed; the log says why");
const CONFLICT: (&str, &str) = ("409", "Things are not so that it can be done");
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
    let answer = ("200", "application/json", schema);
    Operation { method: "get", path, summary, parameters, answer, others }
}

fn operations() -> Vec<Operation> {
    let any = || json!({});
    let camera = || path_parameter("camera", json!({ "type": "string", "minLength": 1 }));
    let key = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    let binary = |kind, operation: Operation| Operation {
        answer: ("200", kind, json!({ "type": "string", "format": "binary" })),
        ..operation
    };
    let health = || reference("Health");
    let width = query_parameter(
        "width",
        "Most columns",
        json!({ "type": "integer", "minimum": 64, "maximum": 1920, "default": 960 }),
    );
    let event_parameters = vec![
        query_parameter(
            "limit",
            "Most events",
            json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }),
        ),
        query_parameter("before", "The `next` of the page before", key.clone()),
        query_parameter("camera", "Only this camera's", json!({ "type": "string" })),
        query_parameter("event", "Only this name, or those that begin with it and a dot", json!({ "type": "string" })),
    ];
    let order = |path, summary, schema| Operation {
        method: "post",
        path,
        summary,
        parameters: Vec::new(),
        answer: ("200", "application/json", schema),
        others: &[BAD, NOT_FOUND, CONFLICT, MEDIA, FAILED, UNAVAILABLE],
    };
    vec![
        get("/healthz", "Whether the daemon lives", vec![], health(), &[UNAVAILABLE, FAILED]),
        get("/readyz", "Whether every camera is watched", vec![], health(), &[UNAVAILABLE, FAILED]),
        binary("application/openmetrics-text", get("/metrics", "Everything counted", vec![], any(), &[FAILED])),
        get("/api/openapi.json", "This document", vec![], json!({ "type": "object" }), &[]),
        get("/api/v1/status", "How the device is", vec![], reference("Status"), &[NOT_FOUND, FAILED, UNAVAILABLE]),
        get("/api/v1/features", "What this daemon can show", vec![], json!({ "type": "object" }), &[]),
        binary(
            "text/event-stream",
            get("/api/v1/stream", "Every message as it is said, without an end", vec![], any(), &[UNAVAILABLE]),
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
                "The latest frame; X-Lookout-Sequence says which",
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
                "What an event saw",
                vec![path_parameter("key", key)],
                any(),
                &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
            ),
        ),
        get(
            "/api/v1/drift",
            "The network's error, step by step",
            vec![],
            any(),
            &[BAD, NOT_FOUND, FAILED, UNAVAILABLE],
        ),
        get(
            "/api/v1/drift/maps",
            "Names of the latest maps of errors",
            vec![],
            json!({ "type": "array", "items": { "type": "string" } }),
            &[NOT_FOUND, FAILED],
        ),
        binary(
            "image/png",
            get(
                "/api/v1/drift/maps/{name}",
                "A map of errors",
                vec![path_parameter("name", json!({ "type": "string", "minLength": 1 }))],
                any(),
                &[BAD, NOT_FOUND, FAILED],
            ),
        ),
        get("/api/v1/generations", "Models to go back to", vec![], any(), &[BAD, NOT_FOUND, FAILED, UNAVAILABLE]),
        order("/api/v1/generations/rollback", "Go back to the model before", any()),
        order("/api/v1/recalibrate", "Begin a recalibration", any()),
    ]
}

/// The document.
pub fn description() -> Value {
    let mut paths = Map::new();
    for Operation { method, path, summary, parameters, answer: (code, kind, schema), others } in operations() {
        let mut content = Map::new();
        content.insert(kind.to_owned(), json!({ "schema": schema }));
        let mut responses = Map::new();
        responses.insert(code.to_owned(), json!({ "description": summary, "content": content }));
        let told = path.ends_with("z");
        for (code, description) in ALWAYS.iter().chain(others) {
            let schema = if told && *code == "503" { json!({}) } else { reference("Error") };
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
