//! The Python system's requests and answers, for its clients.

use axum::Json;
use axum::extract::State;
use phishcnn_core::{Error, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::app::Served;
use super::problem::{JsonBody, Problem};

/// `{"data": ["<url>", …]}`
#[derive(Deserialize)]
pub(crate) struct PredictRequest {
    data: Vec<Value>,
}

/// `{"prediction": [0, 1, …]}`
#[derive(Serialize)]
pub(crate) struct PredictAnswer {
    prediction: Vec<u8>,
}

/// 1 for verdict phishing, else 0, in the order of the request.
///
/// These clients pair the answer with their list by position and know only 0 and 1, so an item
/// that cannot be scored fails the request and is named, rather than being called either.
pub(crate) async fn predict(
    State(served): State<&'static Served>,
    JsonBody(request): JsonBody<PredictRequest>,
) -> Result<Json<PredictAnswer>, Problem> {
    let mut prediction = Vec::with_capacity(request.data.len());
    for (index, item) in request.data.iter().enumerate() {
        let score = match item {
            Value::String(url) => served.with_scorer(|scorer| scorer.score(url.as_bytes())),
            _ => Err(Error::NotAString),
        };
        let score = score.map_err(|error| Problem::of_item(error, index))?;
        prediction.push(u8::from(score.verdict == Verdict::Phishing));
        // A long list must not keep this thread from other requests, nor from its own deadline.
        tokio::task::yield_now().await;
    }
    Ok(Json(PredictAnswer { prediction }))
}
