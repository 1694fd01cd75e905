//! Which function answers which path: the areas' tables behind the gate, and the calls between nodes.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::MethodRouter;
use jettra_client::wire::ErrorCode;

use super::gate::{finish, is_known, serve};
use super::{App, answer, routes, rpc};
use crate::error::Error;

/// The router of all routes.
pub fn router(app: Arc<App>) -> Router {
    let mut paths: Vec<&'static str> = routes().map(|r| r.path).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut router = Router::new();
    for path in paths {
        let mut methods = MethodRouter::new();
        let mut allowed = Vec::new();
        for route in routes().filter(|r| r.path == path) {
            let enter = move |State(app): State<Arc<App>>, request: axum::extract::Request| async move {
                serve(app, route, request).await
            };
            let filter = axum::routing::MethodFilter::try_from(route.method.clone());
            let Ok(filter) = filter else { continue };
            methods = methods.on(filter, enter);
            allowed.push(route.method.as_str());
        }
        let allowed = allowed.join(", ");
        let other = move |State(app): State<Arc<App>>, request: axum::extract::Request| {
            let allowed = allowed.clone();
            async move {
                let message = format!("{} does not go with {path}: use {allowed}", request.method());
                let error = Error::new(ErrorCode::Unsupported, message).with("allowed", allowed);
                let known = is_known(&app, &request.into_parts().0).await;
                finish(&app, answer::error(error), known)
            }
        };
        router = router.route(path, methods.fallback(other));
    }
    let unknown = |State(app): State<Arc<App>>, request: axum::extract::Request| async move {
        let message = format!("there is no {}: see GET /api/openapi.json", request.uri().path());
        let known = is_known(&app, &request.into_parts().0).await;
        finish(&app, answer::error(Error::new(ErrorCode::Unsupported, message)), known)
    };
    router.merge(rpc::router()).fallback(unknown).with_state(app)
}
