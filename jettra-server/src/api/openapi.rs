//! The tables of routes as an OpenAPI document.

use jettra_client::wire::ErrorCode;
use serde_json::{Map, Value, json};

use super::{Access, Kind, live, routes, watch};

/// The document that `GET /api/openapi.json` answers.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let in_path = route
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| name.trim_start_matches('*'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let in_query = route.parameters().map(|name| {
            let required = !name.ends_with('?');
            json!({"name": name.trim_end_matches('?'), "in": "query", "required": required, "schema": {"type": "string"}})
        });
        let in_headers: &[&str] = match route.kind {
            Kind::WriteOne => &["If-Match", "If-None-Match", "Idempotency-Key", "Jettra-Session"],
            Kind::Write => &["Idempotency-Key", "Jettra-Session"],
            Kind::Page | Kind::Plain | Kind::Read | Kind::Membership => &[],
        };
        let in_headers = in_headers
            .iter()
            .map(|name| json!({"name": name, "in": "header", "required": false, "schema": {"type": "string"}}));
        let parameters: Vec<Value> = in_path.chain(in_query).chain(in_headers).collect();
        let content_type =
            if [watch::PATH, live::PATH].contains(&route.path) { "text/event-stream" } else { "application/json" };
        let mut operation = json!({
            "summary": route.summary,
            "parameters": parameters,
            "responses": {
                "200": {"description": "done", "content": {content_type: {}}},
                "default": {"description": "refused", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}},
            },
        });
        if route.method != axum::http::Method::GET {
            operation["requestBody"] = json!({"content": {"application/json": {}}});
        }
        match route.access {
            Access::Public => operation["security"] = json!([]),
            Access::Machine => operation["x-jettra-loopback-without-credentials"] = json!(true),
            Access::Role(role) => operation["x-jettra-role"] = json!(role.as_str()),
        }
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation;
    }
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "JettraDB", "version": env!("CARGO_PKG_VERSION")},
        "security": [{"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {"Error": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {"code": {"type": "string", "enum": codes}, "message": {"type": "string"}},
                }},
            }},
        },
    })
}
