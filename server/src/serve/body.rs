//! Reading requests: size, time, encoding, JSON.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use phishcnn_core::Error;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::app::App;
use super::problem::Problem;

/// A JSON object as body. Any content type is taken, as clients of the Python system need not
/// send one.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<&'static App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &&'static App) -> Result<Self, Problem> {
        let body = whole(request, app).await?;
        let malformed = |why: &str| Problem::detailed(Error::MalformedRequest, why);
        // serde would also read a list as an object's fields in order.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed("a JSON object is expected"));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| malformed(&error.to_string()))
    }
}

/// The whole body, within the limits of size and time.
pub(crate) async fn whole(request: Request, app: &App) -> Result<Bytes, Problem> {
    let body = timeout(app.settings.body_timeout, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_| {
        let seconds = app.settings.body_timeout.as_secs_f32();
        Problem::detailed(Error::RequestTimeout, format!("no whole body within {seconds} s"))
    })?;
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = app.settings.max_body;
            Problem::detailed(Error::BodyTooLarge, format!("at most {most} bytes, unpacked"))
        }
        _ => Problem::detailed(Error::MalformedRequest, rejection.body_text()),
    })
}

/// Answers what the layer that unpacks bodies has left packed.
pub(crate) async fn only_known_encodings(
    State(_): State<&'static App>,
    request: Request<Body>,
    next: Next,
) -> Response {
    match request.headers().get(header::CONTENT_ENCODING) {
        Some(name) if name != "identity" => {
            let mut response =
                Problem::detailed(Error::UnknownEncoding, "gzip and zstd are unpacked")
                    .into_response();
            let known = header::HeaderValue::from_static("gzip, zstd");
            response.headers_mut().insert(header::ACCEPT_ENCODING, known);
            response
        }
        _ => next.run(request).await,
    }
}
