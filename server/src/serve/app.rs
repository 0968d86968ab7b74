//! What the handlers share, the routes, and what surrounds every request.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use phishcnn_core::Error;
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any as AnyOrigin, CorsLayer};
use utoipa::ToSchema;

use super::connections::Connections;
use super::engine::Engine;
use super::keys::Keys;
use super::limits::{Limits, rate_limit};
use super::metrics::Metrics;
use super::observe::observe;
use super::problem::Problem;
use super::settings::ServeArgs;
use super::{admin, body, docs, feedback, inference, legacy, page, urls};
use crate::feedback::Writer;
use phishcnn_cli::failure::Failure;

/// The service. Lives as long as the process.
pub(crate) struct App {
    pub(crate) settings: &'static ServeArgs,
    pub(crate) engine: Engine,
    pub(crate) feedback: Writer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) keys: Keys,
    pub(crate) connections: &'static Connections,
    /// False from the signal to stop on.
    ready: AtomicBool,
}

impl App {
    pub(crate) fn start(settings: &'static ServeArgs) -> Result<&'static Self, Failure> {
        let metrics = Metrics::new().map_err(|error| Failure::Usage(format!("901: {error}")))?;
        let metrics = Arc::new(metrics);
        let keys = Keys::read(settings.api_keys_file.as_deref())?;
        let engine = Engine::start(settings, metrics.clone())?;
        Ok(Box::leak(Box::new(Self {
            settings,
            engine,
            feedback: Writer::start(settings.feedback.feedback.clone()),
            metrics,
            limits: Limits::new(settings),
            keys,
            connections: Box::leak(Box::new(Connections::new(settings.max_connections))),
            ready: AtomicBool::new(true),
        })))
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(crate) fn stopping(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

/// The public routes; with an admin listener those of [`admin`] are not among them.
pub(crate) fn public(app: &'static App) -> Router {
    let mut api = Router::new()
        .route("/predict", post(legacy::predict))
        .route("/check/", post(legacy::check))
        .route("/add", post(feedback::add))
        .route("/feedback/", post(feedback::feedback))
        .route("/v1/score", post(urls::score))
        .route("/v1/score/batch", post(urls::score_batch))
        .route("/v1/explain", post(urls::explain))
        .route("/v1/feedback", post(feedback::v1))
        .route("/v1/model", get(urls::model))
        .merge(inference::routes());
    if app.settings.rate_limit.is_some() {
        api = api.route_layer(middleware::from_fn_with_state(app, rate_limit));
    }
    let mut routes = Router::new()
        .merge(api)
        .merge(page::routes())
        .merge(docs::routes())
        .route("/version", get(version));
    if app.settings.admin_listen.is_none() {
        routes = routes.merge(operators());
    }
    surrounded(routes, app)
}

/// The routes of the admin listener.
pub(crate) fn private(app: &'static App) -> Router {
    let routes =
        operators().route("/admin/model", put(admin::put_model)).route("/version", get(version));
    surrounded(routes, app)
}

/// Probes and metrics.
fn operators() -> Router<&'static App> {
    Router::new()
        .route("/healthz", get("alive"))
        .route("/readyz", get(ready))
        .route("/metrics", get(admin::metrics))
}

fn surrounded(routes: Router<&'static App>, app: &'static App) -> Router {
    // As the Python service: any page may ask.
    let cors = CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AnyOrigin)
        .expose_headers([HeaderName::from_static("x-request-id"), header::RETRY_AFTER]);
    // From the outermost inwards. Each layer costs every request some copies of those within it,
    // so they are few, and one stack.
    let layers = (
        middleware::from_fn_with_state(app, observe),
        cors,
        CatchPanicLayer::custom(panicked),
        middleware::from_fn_with_state(app, deadline),
    );
    routes
        .fallback(async || Problem::from(Error::NoSuchRoute))
        .method_not_allowed_fallback(async || Problem::from(Error::MethodNotAllowed))
        .layer(layers)
        .with_state(app)
}

async fn deadline(State(app): State<&'static App>, request: Request, next: Next) -> Response {
    let answer = body::unpack(request, next);
    match tokio::time::timeout(app.settings.request_timeout, answer).await {
        Ok(response) => response,
        Err(_) => Problem::from(Error::RequestTimeout).into_response(),
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::from(Error::Internal).into_response()
}

async fn ready(State(app): State<&'static App>) -> (StatusCode, &'static str) {
    if app.is_ready() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    #[schema(example = "0.1.0")]
    version: &'static str,
    model: ModelId,
}

#[derive(Serialize, ToSchema)]
struct ModelId {
    name: String,
    version: String,
    sha256: String,
}

/// Versions of the service and of its model
#[utoipa::path(get, path = "/version", tag = "service", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(app): State<&'static App>) -> Json<Version> {
    let current = app.engine.current();
    let loaded = current.loaded();
    Json(Version {
        version: phishcnn_core::VERSION,
        model: ModelId {
            name: loaded.model().name().to_owned(),
            version: loaded.model().version().to_owned(),
            sha256: loaded.sha256().to_owned(),
        },
    })
}
