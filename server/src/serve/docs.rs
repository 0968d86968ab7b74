//! The OpenAPI document, made from the handlers' own types, and Swagger UI out of the binary.

use std::io::Read;
use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use flate2::read::GzDecoder;
use phishcnn_core::Error;
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, serve};

use super::app::App;
use super::problem::Problem;
use super::{app, feedback, legacy, urls};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "PhishCNN",
        description = "Tells phishing URLs from honest ones, from the URL's text alone.",
    ),
    tags(
        (name = "v1", description = "Scores, explanations, feedback"),
        (name = "python system", description = "For clients of the older Python service and app"),
        (name = "service", description = "About this service"),
    ),
    paths(
        urls::score,
        urls::score_batch,
        urls::explain,
        urls::model,
        feedback::v1,
        app::version,
        legacy::predict,
        legacy::check,
        feedback::add,
        feedback::feedback,
    )
)]
struct Document;

static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Document::openapi);

/// Relative, so that a path in front of the service does not matter.
static SWAGGER: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json")));

/// Swagger UI brings styles and images inline; everything else comes from here.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'",
);

pub(crate) fn routes() -> Router<&'static App> {
    let document = get(async || Json(&*DOCUMENT));
    Router::new()
        .route("/openapi.json", document.clone())
        // Where the Python service had it.
        .route("/phishing_url_prediction.json", document)
        .route("/apidocs", get(async || Redirect::permanent("apidocs/")))
        .route("/apidocs/", get(async |headers: HeaderMap| swagger_ui("", &headers)))
        .route("/apidocs/{*file}", get(swagger_file))
}

async fn swagger_file(Path(file): Path<String>, headers: HeaderMap) -> Response {
    swagger_ui(&file, &headers)
}

fn swagger_ui(file: &str, headers: &HeaderMap) -> Response {
    match serve(file, SWAGGER.clone()) {
        Ok(Some(found)) => {
            // The files lie in the binary packed; nearly every client takes them so.
            let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
            let keep = found.gzpipped && accepted.is_some_and(|list| list.contains("gzip"));
            let mut bytes = found.bytes.into_owned();
            if found.gzpipped && !keep {
                let mut plain = Vec::new();
                if GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).is_err() {
                    return Problem::from(Error::Internal).into_response();
                }
                bytes = plain;
            }
            let kind = [(header::CONTENT_TYPE, found.content_type)];
            let mut response = (kind, bytes).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            if keep {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(None) => Problem::from(Error::NoSuchRoute).into_response(),
        Err(_) => Problem::from(Error::Internal).into_response(),
    }
}
