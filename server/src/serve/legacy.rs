//! The Python system's predictions: requests and answers as its clients know them.

use axum::Json;
use axum::extract::State;
use phishcnn_core::{Error, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::app::App;
use super::body::JsonBody;
use super::problem::Problem;
use super::urls::UrlText;

#[derive(Deserialize, ToSchema)]
pub(crate) struct PredictRequest {
    /// URLs.
    #[schema(value_type = Vec<UrlText>)]
    data: Vec<Value>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct PredictAnswer {
    /// 1 for verdict phishing, else 0, in the order of the request.
    prediction: Vec<u8>,
}

/// Predict a list of URLs (Python service)
///
/// These clients pair the answer with their list by position and know only 0 and 1, so an item
/// that cannot be scored fails the request and is named, rather than being called either.
#[utoipa::path(post, path = "/predict", tag = "python system", request_body = PredictRequest, responses(
    (status = 200, body = PredictAnswer),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn predict(
    State(app): State<&'static App>,
    JsonBody(request): JsonBody<PredictRequest>,
) -> Result<Json<PredictAnswer>, Problem> {
    let _leave = app.limits.admit()?;
    app.count(request.data.len())?;
    let current = app.engine.current();
    let mut prediction = Vec::with_capacity(request.data.len());
    for (index, item) in request.data.iter().enumerate() {
        let score = match item {
            Value::String(url) => current.score(url.as_bytes()),
            _ => Err(Error::NotAString),
        };
        let score = score.map_err(|error| Problem::of_item(error, index))?;
        prediction.push(u8::from(score.verdict == Verdict::Phishing));
        app.breathe(index).await;
    }
    Ok(Json(PredictAnswer { prediction }))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct CheckRequest {
    #[schema(value_type = UrlText)]
    test_url: Value,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CheckAnswer {
    /// Whether the verdict is phishing.
    is_phishing: bool,
}

/// Check one URL (Python app)
#[utoipa::path(post, path = "/check/", tag = "python system", request_body = CheckRequest, responses(
    (status = 200, body = CheckAnswer),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn check(
    State(app): State<&'static App>,
    JsonBody(request): JsonBody<CheckRequest>,
) -> Result<Json<CheckAnswer>, Problem> {
    let _leave = app.limits.admit()?;
    app.count(1)?;
    let Value::String(url) = request.test_url else { return Err(Error::NotAString.into()) };
    let score = app.engine.current().score(url.as_bytes())?;
    Ok(Json(CheckAnswer { is_phishing: score.verdict == Verdict::Phishing }))
}
