//! `/v1`: one URL, its score, and why.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde::Deserialize;
use serde_json::Value;

use super::app::Served;
use super::problem::{JsonBody, Problem};
use crate::json::{ExplainJson, ScoreJson};

/// `{"url": "…"}`
#[derive(Deserialize)]
pub(crate) struct UrlRequest {
    // Any value, so that what is not a string gets its own number.
    url: Value,
}

impl UrlRequest {
    fn into_url(self) -> Result<String, Problem> {
        match self.url {
            Value::String(url) => Ok(url),
            _ => Err(Error::NotAString.into()),
        }
    }
}

/// Scores on the spot: microseconds, less than handing the work to another thread.
pub(crate) async fn score(
    State(served): State<&'static Served>,
    JsonBody(request): JsonBody<UrlRequest>,
) -> Result<Response, Problem> {
    let url = request.into_url()?;
    let score = served.with_scorer(|scorer| scorer.score(url.as_bytes()))?;
    Ok(Json(ScoreJson::new(url.as_bytes(), &score)).into_response())
}

/// Scores once for every segment, up to hundreds of times: not on a thread that serves others.
pub(crate) async fn explain(
    State(served): State<&'static Served>,
    JsonBody(request): JsonBody<UrlRequest>,
) -> Result<Response, Problem> {
    let url = request.into_url()?;
    let work = move || {
        let (score, segments) = served.with_scorer(|scorer| scorer.explain(url.as_bytes()))?;
        Ok(Json(ExplainJson::new(url.as_bytes(), &score, &segments)).into_response())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::Internal.into()))
}
