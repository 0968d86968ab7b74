//! Feedback over HTTP: an answer is given once it is stored.

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use phishcnn_core::{Error, Score, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType};

use super::app::App;
use super::body::JsonBody;
use super::client;
use super::problem::Problem;
use super::urls::UrlText;
use crate::feedback::{Entry, Scored};

/// Longest comment and client id, in characters.
const TEXT_MAX: usize = 1000;

/// Who sends feedback, taken from a request before its body.
pub(crate) struct Sender {
    headers: HeaderMap,
    extensions: Extensions,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Sender {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self { headers: parts.headers.clone(), extensions: parts.extensions.clone() })
    }
}

impl Sender {
    fn allowed(&self, app: &App) -> Result<(), Problem> {
        app.keys.check(&self.headers)
    }

    /// The client's address, where it gives no id of its own.
    fn client(&self, app: &App) -> String {
        let trusted = &app.settings.trusted_proxies;
        format!("address {}", client::address_of(&self.extensions, &self.headers, trusted))
    }
}

/// What a client says about a URL.
struct Said {
    url: String,
    /// What was predicted, as the client saw it; else what is predicted now.
    label: Option<bool>,
    opinion: Opinion,
    client: String,
    origin: &'static str,
    note: Option<String>,
}

enum Opinion {
    Right(bool),
    IsPhishing(bool),
}

impl App {
    /// Scores the URL once more, uncounted, so that model and score are kept, and stores it all.
    async fn keep(&self, said: Said) -> Result<(Score, Entry), Problem> {
        let url = said.url.into_bytes();
        let current = self.engine.current();
        // Those who wait for a slow store are no work, and take no room from predictions.
        let score = {
            let _leave = self.limits.admit()?;
            current.score_again(&url)?
        };
        let label = said.label.unwrap_or(score.verdict == Verdict::Phishing);
        let entry = Entry {
            url,
            label,
            right: match said.opinion {
                Opinion::Right(right) => right,
                Opinion::IsPhishing(truth) => truth == label,
            },
            client: said.client,
            time: Timestamp::now(),
            origin: said.origin.to_owned(),
            scored: Some(Scored::new(current.loaded().sha256(), &score)),
            note: said.note,
        };
        if self.feedback.store(entry.clone()).await.is_err() {
            let why = match self.feedback.keeps() {
                true => "not known to be stored; try again",
                false => "this service keeps no feedback",
            };
            return Err(Problem::detailed(Error::FeedbackUnavailable, why));
        }
        self.metrics.feedback_stored();
        Ok((score, entry))
    }
}

/// What a URL is, to somebody who knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Truth {
    Phishing,
    Legitimate,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct FeedbackRequest {
    #[schema(value_type = UrlText)]
    url: Value,
    truth: Truth,
    /// Any text that tells this client from others; only a digest is kept. Without it, the
    /// client's address serves. The last word of a client on a URL and day counts.
    #[schema(max_length = 1000)]
    client: Option<String>,
    #[schema(max_length = 1000)]
    comment: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackAnswer {
    url: String,
    truth: Truth,
    /// The verdict of now, which is stored too.
    #[schema(example = "benign")]
    verdict: &'static str,
    /// Whether `phishing` or not was predicted rightly.
    prediction_was_right: bool,
}

/// Say what a URL is
///
/// Answers when it is stored.
#[utoipa::path(post, path = "/v1/feedback", tag = "v1", request_body = FeedbackRequest, responses(
    (status = 200, body = FeedbackAnswer),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn v1(
    State(app): State<&'static App>,
    sender: Sender,
    JsonBody(request): JsonBody<FeedbackRequest>,
) -> Result<Json<FeedbackAnswer>, Problem> {
    sender.allowed(app)?;
    let Value::String(url) = request.url else { return Err(Error::NotAString.into()) };
    for text in [&request.client, &request.comment].into_iter().flatten() {
        if text.chars().count() > TEXT_MAX {
            let why = format!("client and comment have at most {TEXT_MAX} characters");
            return Err(Problem::detailed(Error::MalformedRequest, why));
        }
    }
    let said = Said {
        url: url.clone(),
        label: None,
        opinion: Opinion::IsPhishing(request.truth == Truth::Phishing),
        client: match request.client {
            Some(id) => format!("id {id}"),
            None => sender.client(app),
        },
        origin: "/v1/feedback",
        note: request.comment,
    };
    let (score, entry) = app.keep(said).await?;
    Ok(Json(FeedbackAnswer {
        url,
        truth: request.truth,
        verdict: score.verdict.as_str(),
        prediction_was_right: entry.right,
    }))
}

/// `true`, `false`, 0 or 1, also as text.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(known) => Some(*known),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) => Some(false),
            Some(1.0) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.as_str() {
            "0" | "false" | "False" => Some(false),
            "1" | "true" | "True" => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// What [`boolean`] reads.
fn zero_or_one() -> Object {
    let spellings = [0, 1].map(Value::from).into_iter();
    let spellings = spellings.chain([false, true].map(Value::from));
    let texts = ["0", "1", "false", "true", "False", "True"].map(Value::from);
    ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .enum_values(Some(spellings.chain(texts)))
        .examples([Value::from(1)])
        .build()
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct AddRequest {
    #[schema(value_type = UrlText)]
    url: Value,
    /// What was predicted.
    #[schema(schema_with = zero_or_one)]
    label: Value,
    /// 1 when that was right, 0 when it was wrong. Anything else is kept as a note, and the label
    /// counts as right.
    #[serde(default)]
    feedback: Value,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct AddAnswer {
    msg: String,
}

/// Submit a labelled URL (Python service)
#[utoipa::path(post, path = "/add", tag = "python system", request_body = AddRequest, responses(
    (status = 200, body = AddAnswer),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn add(
    State(app): State<&'static App>,
    sender: Sender,
    JsonBody(request): JsonBody<AddRequest>,
) -> Result<Json<AddAnswer>, Problem> {
    sender.allowed(app)?;
    let Value::String(url) = request.url else { return Err(Error::NotAString.into()) };
    let label = boolean(&request.label)
        .ok_or_else(|| Problem::detailed(Error::MalformedRequest, "label: 0 or 1 is needed"))?;
    let right = boolean(&request.feedback);
    let note = match (&right, request.feedback) {
        (Some(_), _) | (None, Value::Null) => None,
        (None, Value::String(text)) => Some(text),
        (None, other) => Some(other.to_string()),
    };
    let shown = match &request.label {
        Value::String(text) => text.clone(),
        Value::Bool(known) => if *known { "True" } else { "False" }.to_owned(),
        other => other.to_string(),
    };
    let said = Said {
        url: url.clone(),
        label: Some(label),
        opinion: Opinion::Right(right.unwrap_or(true)),
        client: sender.client(app),
        origin: "/add",
        note,
    };
    app.keep(said).await?;
    Ok(Json(AddAnswer { msg: format!("Thank you for submitting:\n{url} with label {shown}") }))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct PythonFeedbackRequest {
    #[schema(value_type = UrlText)]
    url: Value,
    /// What was predicted.
    #[schema(schema_with = zero_or_one)]
    label: Value,
    /// 1 when that was right, 0 when it was wrong.
    #[schema(schema_with = zero_or_one)]
    feedback: Value,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct PythonFeedbackAnswer {
    #[schema(example = "Feedback received successfully")]
    message: &'static str,
    /// As sent.
    feedback_result: Value,
}

/// Say whether a prediction was right (Python app)
///
/// What is wrong with a request is said in plain text, as its clients expect.
#[utoipa::path(post, path = "/feedback/", tag = "python system", request_body = PythonFeedbackRequest, responses(
    (status = 200, body = PythonFeedbackAnswer),
    (status = 400, body = String, content_type = "text/plain"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn feedback(
    State(app): State<&'static App>,
    sender: Sender,
    request: Result<JsonBody<PythonFeedbackRequest>, Problem>,
) -> Response {
    match python_feedback(app, &sender, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem)
            if matches!(
                problem.status(),
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
            ) =>
        {
            (StatusCode::BAD_REQUEST, problem.line()).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

async fn python_feedback(
    app: &'static App,
    sender: &Sender,
    request: Result<JsonBody<PythonFeedbackRequest>, Problem>,
) -> Result<PythonFeedbackAnswer, Problem> {
    sender.allowed(app)?;
    let JsonBody(request) = request?;
    let Value::String(url) = request.url else { return Err(Error::NotAString.into()) };
    let needed = |name| {
        move || Problem::detailed(Error::MalformedRequest, format!("{name}: 0 or 1 is needed"))
    };
    let said = Said {
        url,
        label: Some(boolean(&request.label).ok_or_else(needed("label"))?),
        opinion: Opinion::Right(boolean(&request.feedback).ok_or_else(needed("feedback"))?),
        client: sender.client(app),
        origin: "/feedback/",
        note: None,
    };
    app.keep(said).await?;
    let message = "Feedback received successfully";
    Ok(PythonFeedbackAnswer { message, feedback_result: request.feedback })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::boolean;

    #[test]
    fn booleans_of_every_spelling() {
        for yes in [json!(true), json!(1), json!("1"), json!("true")] {
            assert_eq!(boolean(&yes), Some(true), "{yes}");
        }
        for no in [json!(false), json!(0), json!("0"), json!("False")] {
            assert_eq!(boolean(&no), Some(false), "{no}");
        }
        for neither in [json!(2), json!(-1), json!(0.5), json!(""), json!(null), json!([1])] {
            assert_eq!(boolean(&neither), None, "{neither}");
        }
    }
}
