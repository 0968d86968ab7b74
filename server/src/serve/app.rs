//! The routes, and what surrounds every request.

use std::any::Any;
use std::cell::RefCell;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use phishcnn_core::Error;
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any as AnyOrigin, CorsLayer};

use super::problem::Problem;
use super::{legacy, page, urls};
use crate::model::{Loaded, Scorer};

/// The largest request body in bytes: room for the longest URL in any JSON spelling, and for lists.
const BODY_LIMIT: usize = 2 << 20;

/// From the request's head to its answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// What the handlers work with.
pub(crate) struct Served {
    pub(crate) loaded: &'static Loaded,
    pub(crate) sha256: String,
    /// The page with names and versions filled in.
    pub(crate) page: String,
}

impl Served {
    /// Lives as long as the process, as the model does.
    pub(crate) fn new(loaded: &'static Loaded) -> &'static Self {
        let sha256 = loaded.sha256();
        let page = page::html(&loaded.model, &sha256);
        Box::leak(Box::new(Self { loaded, sha256, page }))
    }

    /// Runs `work` with this thread's scratch memory: no lock, no allocation after the first call.
    pub(crate) fn with_scorer<R>(&self, work: impl FnOnce(&mut Scorer) -> R) -> R {
        thread_local! {
            static SCORER: RefCell<Option<Scorer>> = const { RefCell::new(None) };
        }
        SCORER.with_borrow_mut(|slot| work(slot.get_or_insert_with(|| Scorer::new(self.loaded))))
    }
}

pub(crate) fn router(served: &'static Served) -> Router {
    // As the Python service: any page may ask.
    let cors = CorsLayer::new()
        .allow_origin(AnyOrigin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AnyOrigin);
    Router::new()
        .merge(page::routes())
        .route("/predict", post(legacy::predict))
        .route("/v1/score", post(urls::score))
        .route("/v1/explain", post(urls::explain))
        .route("/healthz", get("alive"))
        // The model is loaded before the port opens: who can ask, finds it ready.
        .route("/readyz", get("ready"))
        .route("/version", get(version))
        .fallback(async || Problem::from(Error::NoSuchRoute))
        .method_not_allowed_fallback(async || Problem::from(Error::MethodNotAllowed))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(deadline))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors)
        .with_state(served)
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(Error::RequestTimeout).into_response(),
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::from(Error::Internal).into_response()
}

/// `{"version", "model": {"name", "version", "sha256"}}`
async fn version(State(served): State<&'static Served>) -> Json<Value> {
    let model = &served.loaded.model;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": { "name": model.name(), "version": model.version(), "sha256": served.sha256 },
    }))
}
