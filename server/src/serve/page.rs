//! The page at `/`: three files in the binary, nothing from elsewhere.

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::app::App;
use phishcnn_cli::model::Loaded;

/// Only this service's own script and style run, and they may talk only to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<&'static App> {
    Router::new()
        .route("/", get(page))
        .route("/page.css", get(file("text/css; charset=utf-8", include_str!("page/page.css"))))
        .route(
            "/page.js",
            get(file("text/javascript; charset=utf-8", include_str!("page/page.js"))),
        )
        .route("/icon.svg", get(file("image/svg+xml", include_str!("page/icon.svg"))))
}

async fn page(State(app): State<&'static App>) -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    let current = app.engine.current();
    (headers, Html(html(current.loaded(), app.feedback.keeps()))).into_response()
}

fn file(kind: &'static str, content: &'static str) -> impl IntoResponse + Clone {
    // A new version of the service must not meet an old script in the browser's cache.
    let headers =
        [(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-cache")];
    (headers, content)
}

/// The page with version, model, thresholds and the place of feedback filled in.
fn html(loaded: &Loaded, keeps_feedback: bool) -> String {
    let model = loaded.model();
    let thresholds = model.thresholds();
    include_str!("page/page.html")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{model}", &escape(&format!("{} {}", model.name(), model.version())))
        .replace("{sha256}", loaded.sha256())
        .replace("{feedback}", &keeps_feedback.to_string())
        .replace("{suspicious}", &thresholds.suspicious.to_string())
        .replace("{phishing}", &thresholds.phishing.to_string())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_models_name_cannot_write_html() {
        assert_eq!(super::escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }
}
