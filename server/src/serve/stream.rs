//! Lines in, lines out: NDJSON of any length in constant memory.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use phishcnn_core::Error;
use serde::Deserialize;
use tokio::time::timeout;

use super::app::App;
use super::connections::Connection;
use super::engine::Current;
use phishcnn_cli::json::ResultJson;

pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Lines that are scored and answered together.
const PIECE: usize = 64;

/// What a line may take beyond its URL, in which JSON may spell every byte with six.
const LINE_ROOM: usize = 1024;

/// Answers each line of the body with a line, in order. The body is read no faster than the
/// answer is taken, so a client has to read while it writes.
pub(crate) fn score_lines(app: &'static App, request: Request) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let longest = app.settings.max_url_length * 6 + LINE_ROOM;
    let lines = Lines {
        app,
        connection,
        body: Some(request.into_body().into_data_stream()),
        current: app.engine.current(),
        frame: Bytes::new(),
        line: Line { bytes: Vec::new(), longest, dropped: false },
    };
    let pieces = stream::unfold(lines, async |mut lines| {
        let piece = lines.next_piece().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), lines))
    });
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(pieces)).into_response()
}

struct Lines {
    app: &'static App,
    connection: Option<Arc<Connection>>,
    /// `None` after its end.
    body: Option<BodyDataStream>,
    /// All lines are scored by one model.
    current: Current<'static>,
    /// What has arrived and is not yet cut into lines.
    frame: Bytes,
    line: Line,
}

impl Lines {
    /// The answers to some lines; `None` at the end.
    async fn next_piece(&mut self) -> Option<Bytes> {
        let mut answers = Vec::new();
        while answers.is_empty() {
            if self.frame.is_empty() && !self.next_frame(&mut answers).await {
                break;
            }
            let _turn = self.app.limits.turn().await?;
            self.score_some(&mut answers);
        }
        // A stream that is always ready must not keep its thread.
        tokio::task::yield_now().await;
        (!answers.is_empty()).then(|| answers.into())
    }

    /// Waits for more of the body; `false` at its end, of which the answer tells when it is a
    /// wrong one.
    async fn next_frame(&mut self, answers: &mut Vec<u8>) -> bool {
        let Some(body) = &mut self.body else { return false };
        let error = match timeout(self.app.settings.body_timeout, body.next()).await {
            Ok(Some(Ok(frame))) => {
                self.frame = frame;
                if let Some(connection) = &self.connection {
                    connection.touch();
                }
                return true;
            }
            Ok(None) => None,
            Ok(Some(Err(_))) => Some(Error::MalformedRequest),
            Err(_) => Some(Error::RequestTimeout),
        };
        self.body = None;
        match error {
            // The last line may lack its end.
            None if !self.line.is_empty() => self.line.answer(&self.current, answers),
            None => {}
            Some(error) => write(&ResultJson::nameless(error), answers),
        }
        false
    }

    fn score_some(&mut self, answers: &mut Vec<u8>) {
        let mut lines = 0;
        while lines < PIECE && !self.frame.is_empty() {
            match self.frame.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.line.extend(&self.frame.split_to(end));
                    let _ = self.frame.split_to(1);
                    self.line.answer(&self.current, answers);
                    lines += 1;
                }
                None => self.line.extend(&std::mem::take(&mut self.frame)),
            }
        }
        self.app.metrics.batch(lines);
    }
}

/// The line that is being read.
struct Line {
    bytes: Vec<u8>,
    longest: usize,
    /// Whether it was too long to be kept.
    dropped: bool,
}

/// A string, or an object with `url`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Url(String),
    Object { url: serde_json::Value },
}

impl Line {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.dropped
    }

    fn extend(&mut self, more: &[u8]) {
        if self.dropped || self.bytes.len() + more.len() > self.longest {
            self.dropped = true;
            self.bytes.clear();
        } else {
            self.bytes.extend_from_slice(more);
        }
    }

    /// Writes the answer to this line and begins the next.
    fn answer(&mut self, current: &Current<'_>, answers: &mut Vec<u8>) {
        match serde_json::from_slice(&self.bytes) {
            _ if self.dropped => write(&ResultJson::nameless(Error::UrlTooLong), answers),
            _ if self.bytes.trim_ascii().is_empty() => {
                write(&ResultJson::nameless(Error::EmptyUrl), answers);
            }
            Ok(Row::Url(url) | Row::Object { url: serde_json::Value::String(url) }) => {
                let score = current.score(url.as_bytes());
                write(&ResultJson::new(url.as_bytes(), score), answers);
            }
            Ok(Row::Object { .. }) => write(&ResultJson::nameless(Error::NotAString), answers),
            Err(_) => write(&ResultJson::nameless(Error::MalformedRequest), answers),
        }
        self.bytes.clear();
        self.dropped = false;
    }
}

fn write(result: &ResultJson<'_>, answers: &mut Vec<u8>) {
    // Writing JSON to memory fails only for keys that are no strings.
    let _ = serde_json::to_writer(&mut *answers, result);
    answers.push(b'\n');
}
