//! What results look like in JSON: the same on the command line and over HTTP.

use std::borrow::Cow;

use phishcnn_core::{Error, Score, Segment};
use serde::Serialize;

/// `{"url","logit","probability","verdict","truncated"}`
#[derive(Serialize)]
pub(crate) struct ScoreJson<'a> {
    url: Cow<'a, str>,
    logit: f32,
    probability: f32,
    verdict: &'static str,
    truncated: bool,
}

impl<'a> ScoreJson<'a> {
    /// Bytes that are not UTF-8 appear as U+FFFD.
    pub(crate) fn new(url: &'a [u8], score: &Score) -> Self {
        Self {
            url: String::from_utf8_lossy(url),
            logit: score.logit,
            probability: score.probability,
            verdict: score.verdict.as_str(),
            truncated: score.truncated,
        }
    }
}

/// `{"url","error":{"code","message"}}`
#[derive(Serialize)]
pub(crate) struct FailedJson<'a> {
    url: Cow<'a, str>,
    error: ErrorJson,
}

#[derive(Serialize)]
struct ErrorJson {
    code: u16,
    message: &'static str,
}

impl<'a> FailedJson<'a> {
    pub(crate) fn new(url: &'a [u8], error: Error) -> Self {
        let error = ErrorJson { code: error.code(), message: error.message() };
        Self { url: String::from_utf8_lossy(url), error }
    }
}

/// A score with its `segments`.
#[derive(Serialize)]
pub(crate) struct ExplainJson<'a> {
    #[serde(flatten)]
    score: ScoreJson<'a>,
    segments: Vec<SegmentJson<'a>>,
}

/// `start` and `end` count bytes of the URL as given.
#[derive(Serialize)]
struct SegmentJson<'a> {
    start: usize,
    end: usize,
    part: &'static str,
    text: Cow<'a, str>,
    contribution: f32,
}

impl<'a> ExplainJson<'a> {
    pub(crate) fn new(url: &'a [u8], score: &Score, segments: &[Segment]) -> Self {
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
