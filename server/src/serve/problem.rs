//! Errors as `application/problem+json` (RFC 9457) with the public number in `code`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    code: u16,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Which item of a list, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem with what the client should know beyond its number.
    pub(crate) fn detailed(error: Error, detail: String) -> Self {
        Self { detail: Some(detail), ..error.into() }
    }

    /// The problem of one item of a list.
    pub(crate) fn of_item(error: Error, index: usize) -> Self {
        Self { index: Some(index), detail: Some(format!("item {index}")), ..error.into() }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::EmptyUrl | Error::UrlTooLong | Error::NotAString => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Error::Overloaded | Error::FeedbackUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Error::MalformedRequest => StatusCode::BAD_REQUEST,
            Error::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Error::NoSuchRoute => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { code: error.code(), title: error.message(), status, detail: None, index: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// A JSON body. Any content type is taken, as clients of the old service need not send one.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let error = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Error::BodyTooLarge,
                _ => Error::MalformedRequest,
            };
            Problem::detailed(error, rejection.body_text())
        })?;
        let malformed = |why| Problem::detailed(Error::MalformedRequest, why);
        // serde would also read a list as an object's fields in order.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed("a JSON object is expected".to_owned()));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| malformed(error.to_string()))
    }
}
