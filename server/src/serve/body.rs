//! Reading requests: size, time, encoding, JSON.

use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use phishcnn_core::Error;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::io::{ReaderStream, StreamReader};

use super::app::App;
use super::problem::Problem;

/// A JSON object as body. Any content type is taken, as clients of the Python system need not
/// send one.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<&'static App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &&'static App) -> Result<Self, Problem> {
        let body = whole(request, app.settings.max_body, app).await?;
        let malformed = |why: &str| Problem::detailed(Error::MalformedRequest, why);
        // serde would also read a list as an object's fields in order.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed("a JSON object is expected"));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| malformed(&error.to_string()))
    }
}

/// What a client may still send of a body that is refused already: one that is cut off while it
/// writes sees a broken connection and not the answer.
const DRAINED: usize = 16 << 20;

/// The whole body, of `most` bytes at most and within the limit of time.
pub(crate) async fn whole(request: Request, most: usize, app: &App) -> Result<Bytes, Problem> {
    let gathered = timeout(app.settings.body_timeout, gather(request.into_body(), most)).await;
    gathered.map_err(|_| {
        let seconds = app.settings.body_timeout.as_secs_f32();
        Problem::detailed(Error::RequestTimeout, format!("no whole body within {seconds} s"))
    })?
}

async fn gather(body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut dropped) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Problem::detailed(Error::MalformedRequest, error.to_string()))?;
        if dropped == 0 && kept.len() + chunk.len() <= most {
            kept.extend_from_slice(&chunk);
            continue;
        }
        kept = Vec::new();
        dropped += chunk.len();
        if dropped > DRAINED {
            break;
        }
    }
    if dropped > 0 {
        let told = format!("at most {most} bytes, unpacked");
        return Err(Problem::detailed(Error::BodyTooLarge, told));
    }
    Ok(kept.into())
}

/// Largest window of a zstd body, as a power of two: the 8 MiB that RFC 9659 has for HTTP. The
/// library's own limit would let every stream take 128 MiB.
const ZSTD_WINDOW: u32 = 23;

/// Unpacks bodies as they are read, so that limits of size hold for what comes out.
pub(crate) async fn unpack(request: Request<Body>, next: Next) -> Response {
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let encoding = encoding.unwrap_or(b"identity").to_ascii_lowercase();
    let packed = |body: Body| StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let unpack: fn(_) -> Body = match encoding.as_slice() {
        b"identity" => return next.run(request).await,
        b"gzip" | b"x-gzip" => |packed| {
            let mut decoder = GzipDecoder::new(packed);
            // Without this, what follows a first member would be lost in silence.
            decoder.multiple_members(true);
            Body::from_stream(ReaderStream::new(decoder))
        },
        b"zstd" => |packed| {
            let window = DParameter::window_log_max(ZSTD_WINDOW);
            let mut decoder = ZstdDecoder::with_params(packed, &[window]);
            decoder.multiple_members(true);
            Body::from_stream(ReaderStream::new(decoder))
        },
        _ => {
            let problem = Problem::detailed(Error::UnknownEncoding, "gzip and zstd are unpacked");
            let mut response = problem.into_response();
            let known = HeaderValue::from_static("gzip, zstd");
            response.headers_mut().insert(header::ACCEPT_ENCODING, known);
            return response;
        }
    };
    let mut request = request.map(|body| unpack(packed(body)));
    request.headers_mut().remove(header::CONTENT_ENCODING);
    request.headers_mut().remove(header::CONTENT_LENGTH);
    next.run(request).await
}
