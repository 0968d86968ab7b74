//! `/v1`: scores, and why.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::{spawn_blocking, yield_now};
use utoipa::ToSchema;

use super::app::App;
use super::body::JsonBody;
use super::problem::Problem;
use super::stream;
use phishcnn_cli::inspect::Info;
use phishcnn_cli::json::{ExplainJson, ResultJson, ScoreJson};

/// URLs that are scored before a thread looks after other requests: about a millisecond.
const BREATH: usize = 64;

impl App {
    /// Counts the URLs of a request, and refuses too many.
    pub(crate) fn count(&self, urls: usize) -> Result<(), Problem> {
        let most = self.settings.max_urls;
        if urls > most {
            let detail = format!("{urls} URLs, at most {most}; a stream of lines may have more");
            return Err(Problem::detailed(Error::TooManyUrls, detail));
        }
        self.metrics.batch(urls);
        Ok(())
    }

    /// A long list must not keep a thread from other requests, nor from its own deadline.
    pub(crate) async fn breathe(&self, index: usize) {
        if index % BREATH == BREATH - 1 {
            yield_now().await;
        }
    }
}

/// Any text of at most 65,536 bytes that is not blank.
#[derive(ToSchema)]
#[schema(max_length = 65536, pattern = "[^\\t\\n\\f\\r ]", example = "https://example.com/login")]
#[expect(dead_code, reason = "only described")]
pub(crate) struct UrlText(String);

#[derive(Deserialize, ToSchema)]
pub(crate) struct UrlRequest {
    // Any value, so that what is not a string gets its own number.
    #[schema(value_type = UrlText)]
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

/// Score one URL
///
/// Scores on the spot: microseconds, less than handing the work to another thread.
#[utoipa::path(post, path = "/v1/score", tag = "v1", request_body = UrlRequest, responses(
    (status = 200, body = ScoreJson),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn score(
    State(app): State<&'static App>,
    JsonBody(request): JsonBody<UrlRequest>,
) -> Result<Response, Problem> {
    let _leave = app.limits.admit()?;
    app.count(1)?;
    let url = request.into_url()?;
    let score = app.engine.current().score(url.as_bytes())?;
    Ok(Json(ScoreJson::new(url.as_bytes(), &score)).into_response())
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct BatchRequest {
    /// URLs; an item that is none has an error in its place of the answer.
    #[schema(example = json!(["https://example.com/login"]))]
    urls: Vec<Value>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct BatchAnswer<'u> {
    /// A score or an error for each URL, in the order of the request.
    results: Vec<ResultJson<'u>>,
}

/// Score many URLs
///
/// As a JSON array, or as a stream: with content type `application/x-ndjson` each line is a JSON
/// string or `{"url": …}`, and each line of the answer its score or error, as soon as it is known.
#[utoipa::path(post, path = "/v1/score/batch", tag = "v1",
    request_body(content(
        (BatchRequest = "application/json"),
        // Any text: a line that is no JSON has its error in the answer.
        (Value = "application/x-ndjson", example = "{\"url\":\"https://example.com/login\"}\n"),
    )),
    responses(
        (status = 200, content(
            (BatchAnswer = "application/json"),
            (String = "application/x-ndjson"),
        )),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn score_batch(
    State(app): State<&'static App>,
    request: Request,
) -> Result<Response, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(stream::NDJSON) {
        return Ok(stream::score_lines(app, request));
    }
    let JsonBody(BatchRequest { urls }) = JsonBody::from_request(request, &app).await?;
    let _leave = app.limits.admit()?;
    app.count(urls.len())?;
    let current = app.engine.current();
    let mut results = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        results.push(match url {
            Value::String(url) => ResultJson::new(url.as_bytes(), current.score(url.as_bytes())),
            _ => ResultJson::nameless(Error::NotAString),
        });
        app.breathe(index).await;
    }
    Ok(Json(BatchAnswer { results }).into_response())
}

/// Score one URL and each of its parts
///
/// Costs one scoring for every segment, up to hundreds.
#[utoipa::path(post, path = "/v1/explain", tag = "v1", request_body = UrlRequest, responses(
    (status = 200, body = ExplainJson),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn explain(
    State(app): State<&'static App>,
    JsonBody(request): JsonBody<UrlRequest>,
) -> Result<Response, Problem> {
    let leave = app.limits.admit()?;
    app.count(1)?;
    let url = request.into_url()?;
    // Not on a thread that serves others.
    let work = move || {
        let _leave = leave;
        let (score, segments) = app.engine.current().explain(url.as_bytes())?;
        Ok(Json(ExplainJson::new(url.as_bytes(), &score, &segments)).into_response())
    };
    spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::Internal.into()))
}

/// What the model is
#[utoipa::path(get, path = "/v1/model", tag = "v1", responses((status = 200, body = Info)))]
pub(crate) async fn model(State(app): State<&'static App>) -> Response {
    Json(Info::new(app.engine.current().loaded())).into_response()
}
