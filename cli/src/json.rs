//! What results look like in JSON: the same on the command line and over HTTP.

use std::borrow::Cow;

use phishcnn_core::{Error, Score, Segment};
use serde::Serialize;

/// `{"url","logit","probability","verdict","truncated"}`
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScoreJson<'a> {
    /// As given.
    url: Cow<'a, str>,
    /// The network's output; higher is more like phishing.
    logit: f32,
    /// Calibrated, 0 to 1.
    probability: f32,
    /// benign, suspicious or phishing.
    #[cfg_attr(feature = "openapi", schema(example = "benign"))]
    verdict: &'static str,
    /// The URL was longer than the model reads.
    truncated: bool,
}

impl<'a> ScoreJson<'a> {
    /// Bytes that are not UTF-8 appear as U+FFFD.
    pub fn new(url: &'a [u8], score: &Score) -> Self {
        Self {
            url: String::from_utf8_lossy(url),
            logit: score.logit,
            probability: score.probability,
            verdict: score.verdict.as_str(),
            truncated: score.truncated,
        }
    }
}

/// `{"url","error":{"code","message"}}`, without `url` where the input has none.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailedJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
    error: ErrorJson,
}

#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct ErrorJson {
    /// The public error number.
    #[cfg_attr(feature = "openapi", schema(example = 201))]
    code: u16,
    #[cfg_attr(feature = "openapi", schema(example = "empty URL"))]
    message: &'static str,
}

impl<'a> FailedJson<'a> {
    /// Bytes that are not UTF-8 appear as U+FFFD.
    #[must_use]
    pub fn new(url: &'a [u8], error: Error) -> Self {
        Self { url: Some(String::from_utf8_lossy(url)), ..Self::nameless(error) }
    }

    fn nameless(error: Error) -> Self {
        Self { url: None, error: ErrorJson { code: error.code(), message: error.message() } }
    }
}

/// One of many: a score, or why there is none.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ResultJson<'a> {
    /// A score.
    Scored(ScoreJson<'a>),
    /// Why there is none.
    Failed(FailedJson<'a>),
}

impl<'a> ResultJson<'a> {
    /// One of the two.
    #[must_use]
    pub fn new(url: &'a [u8], result: Result<Score, Error>) -> Self {
        match result {
            Ok(score) => Self::Scored(ScoreJson::new(url, &score)),
            Err(error) => Self::Failed(FailedJson::new(url, error)),
        }
    }

    /// The input has no URL that could be shown.
    pub fn nameless(error: Error) -> Self {
        Self::Failed(FailedJson::nameless(error))
    }
}

/// A score with its `segments`.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainJson<'a> {
    #[serde(flatten)]
    score: ScoreJson<'a>,
    segments: Vec<SegmentJson<'a>>,
}

/// `start` and `end` count bytes of the URL as given.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct SegmentJson<'a> {
    start: usize,
    end: usize,
    part: &'static str,
    text: Cow<'a, str>,
    contribution: f32,
}

impl<'a> ExplainJson<'a> {
    /// Bytes that are not UTF-8 appear as U+FFFD.
    #[must_use]
    pub fn new(url: &'a [u8], score: &Score, segments: &[Segment]) -> Self {
        let segment = |s: &Segment| SegmentJson {
            start: s.start,
            end: s.end,
            part: s.part.as_str(),
            text: String::from_utf8_lossy(url.get(s.start..s.end).unwrap_or_default()),
            contribution: s.contribution,
        };
        Self { score: ScoreJson::new(url, score), segments: segments.iter().map(segment).collect() }
    }
}
