//! For operators: metrics, and the exchange of the model.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde_json::json;
use tracing::{error, info};

use super::app::App;
use super::body;
use super::engine::Live;
use super::problem::Problem;
use phishcnn_cli::failure::Failure;
use phishcnn_cli::model::Loaded;

/// Largest model file that `PUT /admin/model` takes, in bytes.
const MODEL_MAX: usize = 64 << 20;

pub(crate) async fn metrics(State(app): State<&'static App>) -> Response {
    match app.metrics.text(app) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
            .into_response(),
        Err(why) => {
            error!("metrics cannot be written: {why}");
            Problem::from(Error::Internal).into_response()
        }
    }
}

/// Takes the model file in the body once it has passed its tests; a restart brings back the one
/// of `--model`. A refused file changes nothing: 422 with the reason.
pub(crate) async fn put_model(
    State(app): State<&'static App>,
    request: Request,
) -> Result<Response, Problem> {
    let file = body::whole(request, MODEL_MAX, app).await?;
    let exchanged = tokio::task::spawn_blocking(move || {
        app.engine.exchange(Loaded::from_bytes(&file, "PUT /admin/model".to_owned()))
    });
    let exchanged = exchanged.await.map_err(|_| Problem::from(Error::Internal))?;
    note_exchange(&exchanged);
    Ok(match exchanged {
        Ok(live) => {
            let model = live.loaded.model();
            let sha256 = live.loaded.sha256();
            let id = json!({ "name": model.name(), "version": model.version(), "sha256": sha256 });
            Json(id).into_response()
        }
        Err(failure) => refused(&failure).into_response(),
    })
}

fn refused(failure: &Failure) -> (StatusCode, [(header::HeaderName, &'static str); 1], String) {
    let why = why(failure);
    // The number that the message begins with, as the core gave it.
    let code = why.split([' ', ':']).find_map(|word| word.parse::<u16>().ok()).unwrap_or(104);
    let body = json!({ "code": code, "title": "model refused", "status": 422, "detail": why });
    let kind = (header::CONTENT_TYPE, "application/problem+json");
    (StatusCode::UNPROCESSABLE_ENTITY, [kind], body.to_string())
}

fn why(failure: &Failure) -> &str {
    match failure {
        Failure::Model(why) | Failure::Input(why) | Failure::Usage(why) => why,
        Failure::Output(_) => "cannot be read",
    }
}

/// Says in the log how an exchange ended.
pub(crate) fn note_exchange(exchanged: &Result<std::sync::Arc<Live>, Failure>) {
    match exchanged {
        Ok(live) => {
            let model = live.loaded.model();
            info!("now serves {} {} ({})", model.name(), model.version(), live.loaded.sha256());
        }
        Err(failure) => error!("the model stays as it was: {}", why(failure)),
    }
}
