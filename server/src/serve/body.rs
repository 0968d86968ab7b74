//! Reading requests: size, time, encoding, JSON.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};
use hyper::body::{Frame, SizeHint};
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
    let mut kept = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Problem::detailed(Error::MalformedRequest, error.to_string()))?;
        if kept.len() + chunk.len() > most {
            let told = format!("at most {most} bytes, unpacked");
            return Err(Problem::detailed(Error::BodyTooLarge, told));
        }
        kept.extend_from_slice(&chunk);
    }
    Ok(kept.into())
}

/// What is still taken of a body that nobody wants.
const LEFTOVER_MAX: usize = 16 << 20;

/// Reads what a handler has left of a body (it was too large, or the path is unknown) before the
/// answer goes out. Otherwise the connection would have to be cut off while its client writes,
/// who then sees a broken connection and not the answer, or loses its next request.
pub(crate) async fn read_to_the_end(app: &App, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let response = next.run(Request::from_parts(parts, Body::new(Lent(body.clone())))).await;
    let unread =
        Arc::into_inner(body).map(|body| body.into_inner().unwrap_or_else(PoisonError::into_inner));
    // A handler that still streams has the body, and one that was slow was waited for already.
    if let Some(body) = unread
        && response.status() != StatusCode::REQUEST_TIMEOUT
    {
        let leftover = async {
            let (mut chunks, mut read) = (body.into_data_stream(), 0);
            while let Some(Ok(chunk)) = chunks.next().await {
                read += chunk.len();
                if read > LEFTOVER_MAX {
                    break;
                }
            }
        };
        let _ = timeout(app.settings.body_timeout, leftover).await;
    }
    response
}

/// A body that comes back when a handler drops it.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
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
