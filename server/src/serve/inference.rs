//! The Open Inference Protocol, version 2: the model as KServe, Triton and their clients know one.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use phishcnn_core::Error;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::body::JsonBody;
use super::problem::Problem;

pub(crate) fn routes() -> Router<&'static App> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(async || Json(json!({ "live": true }))))
        .route("/v2/health/ready", get(server_ready))
        .route("/v2/models/{name}", get(metadata))
        .route("/v2/models/{name}/ready", get(ready))
        .route("/v2/models/{name}/infer", post(infer))
        .route("/v2/models/{name}/versions/{version}", get(metadata))
        .route("/v2/models/{name}/versions/{version}/ready", get(ready))
        .route("/v2/models/{name}/versions/{version}/infer", post(infer))
}

/// An error as the protocol has it: `{"error": TEXT}`.
pub(crate) struct Failed(Problem);

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let text = json!({ "error": self.0.line() });
        // The problem's own headers say when to try again.
        let mut response = self.0.into_response();
        let (status, retry) =
            (response.status(), response.headers_mut().remove(axum::http::header::RETRY_AFTER));
        let mut response = (status, Json(text)).into_response();
        if let Some(retry) = retry {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, retry);
        }
        response
    }
}

async fn server() -> Json<Value> {
    let version = phishcnn_core::VERSION;
    Json(json!({ "name": "phishcnn", "version": version, "extensions": [] }))
}

async fn server_ready(State(app): State<&'static App>) -> (StatusCode, Json<Value>) {
    (readiness(app), Json(json!({ "ready": app.is_ready() })))
}

fn readiness(app: &App) -> StatusCode {
    if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Refuses names and versions that are not the model's.
fn known(app: &App, path: &[(String, String)]) -> Result<(), Failed> {
    let current = app.engine.current();
    let model = current.loaded().model();
    for (key, value) in path {
        let expected = if key == "name" { model.name() } else { model.version() };
        if value != expected {
            let detail = format!("{key} {value}; here is {} {}", model.name(), model.version());
            return Err(Failed(Problem::detailed(Error::NoSuchModel, detail)));
        }
    }
    Ok(())
}

async fn metadata(
    State(app): State<&'static App>,
    Path(path): Path<Vec<(String, String)>>,
) -> Result<Json<Value>, Failed> {
    known(app, &path)?;
    let current = app.engine.current();
    let model = current.loaded().model();
    Ok(Json(json!({
        "name": model.name(),
        "versions": [model.version()],
        "platform": "phishcnn",
        "inputs": [{ "name": "url", "datatype": "BYTES", "shape": [-1] }],
        "outputs": [{ "name": "probability", "datatype": "FP32", "shape": [-1] }],
    })))
}

async fn ready(
    State(app): State<&'static App>,
    Path(path): Path<Vec<(String, String)>>,
) -> Result<StatusCode, Failed> {
    known(app, &path).map(|()| readiness(app))
}

#[derive(Deserialize)]
struct InferRequest {
    #[serde(default)]
    id: Option<String>,
    inputs: Vec<Tensor>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    data: Vec<Value>,
}

async fn infer(
    State(app): State<&'static App>,
    Path(path): Path<Vec<(String, String)>>,
    request: Result<JsonBody<InferRequest>, Problem>,
) -> Result<Json<Value>, Failed> {
    known(app, &path)?;
    let JsonBody(request) = request?;
    let _leave = app.limits.admit()?;
    let wrong = |why: &str| Failed(Problem::detailed(Error::MalformedRequest, why));
    let [input] = request.inputs.as_slice() else { return Err(wrong("one input is needed")) };
    if input.name != "url" || input.datatype != "BYTES" {
        return Err(wrong("the input is `url` of datatype BYTES"));
    }
    let mut urls = Vec::with_capacity(input.data.len());
    flatten(&input.data, &mut urls);
    let size = input.shape.iter().try_fold(1_u64, |size, &n| size.checked_mul(n));
    if input.shape.is_empty() || size != Some(urls.len() as u64) {
        return Err(wrong("shape and data differ"));
    }
    app.count(urls.len())?;
    let current = app.engine.current();
    let mut probabilities = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let score = match url {
            Value::String(url) => current.score(url.as_bytes()),
            _ => Err(Error::NotAString),
        };
        probabilities.push(score.map_err(|error| Problem::of_item(error, index))?.probability);
        app.breathe(index).await;
    }
    let model = current.loaded().model();
    let mut answer = json!({
        "model_name": model.name(),
        "model_version": model.version(),
        "outputs": [{
            "name": "probability",
            "datatype": "FP32",
            "shape": input.shape,
            "data": probabilities,
        }],
    });
    if let (Some(id), Some(fields)) = (request.id, answer.as_object_mut()) {
        fields.insert("id".to_owned(), id.into());
    }
    Ok(Json(answer))
}

/// Data may be nested like its shape, or flat.
fn flatten<'v>(data: &'v [Value], into: &mut Vec<&'v Value>) {
    let mut open: Vec<_> = vec![data.iter()];
    while let Some(level) = open.last_mut() {
        match level.next() {
            Some(Value::Array(inner)) => open.push(inner.iter()),
            Some(value) => into.push(value),
            None => {
                open.pop();
            }
        }
    }
}
