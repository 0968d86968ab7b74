//! Errors as `application/problem+json` (RFC 9457) with the public number in `code`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde::Serialize;
use utoipa::ToSchema;

/// An error: RFC 9457, with the number that all surfaces share.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The public error number.
    #[schema(example = 201)]
    code: u16,
    #[schema(example = "empty URL")]
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, example = 422)]
    status: StatusCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Which item of a list, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// Seconds after which to try again.
    #[serde(skip)]
    retry_after: Option<u64>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem with what the client should know beyond its number.
    pub(crate) fn detailed(error: Error, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..error.into() }
    }

    /// The problem of one item of a list.
    pub(crate) fn of_item(error: Error, index: usize) -> Self {
        Self { index: Some(index), detail: Some(format!("item {index}")), ..error.into() }
    }

    /// This client asked too often.
    pub(crate) fn too_often(retry_after: u64) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            detail: Some(format!("rate limit of this client; try again in {retry_after} s")),
            retry_after: Some(retry_after),
            ..Error::Overloaded.into()
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// One line: number, meaning, detail.
    pub(crate) fn line(&self) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}"));
        format!("{}: {}{}", self.code, self.title, detail.unwrap_or_default())
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
            Error::BodyTooLarge | Error::TooManyUrls => StatusCode::PAYLOAD_TOO_LARGE,
            Error::NoSuchRoute | Error::NoSuchModel => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Error::UnknownEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Error::Unauthorised => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
        Self {
            code: error.code(),
            title: error.message(),
            status,
            detail: None,
            index: None,
            retry_after: unavailable.then_some(1),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let how = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
        }
        response
    }
}
