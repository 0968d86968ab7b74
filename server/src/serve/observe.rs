//! What surrounds every request: its id, its trace, its time in the metrics, its line in the log.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::IntGauge;
use tracing::{debug, error};

use super::app::App;
use super::body::read_to_the_end;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Longest request id that is taken from a client.
const ID_MAX: usize = 128;

pub(crate) async fn observe(
    State(app): State<&'static App>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let _in_flight = InFlight::new(&app.metrics.in_flight);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("<unknown>", MatchedPath::as_str);
    // Any other method is a client's invention and must not make a new time series.
    let method = ["GET", "HEAD", "POST", "PUT", "OPTIONS"]
        .into_iter()
        .find(|known| request.method() == known)
        .unwrap_or("<other>");
    let id = request_id(&request);
    let trace = Trace::of(&request);

    let mut response = read_to_the_end(app, request, next).await;

    let took = start.elapsed();
    let status = response.status();
    app.metrics.answered(route, method, status.as_str(), took);
    let (micros, status) = (took.as_micros() as u64, status.as_u16());
    let id_text = id.to_str().unwrap_or_default();
    if status >= 500 && status != 503 {
        error!(route, method, status, micros, id = id_text, trace = trace.id(), "failed");
    } else {
        debug!(route, method, status, micros, id = id_text, trace = trace.id(), "answered");
    }
    if let Ok(value) = HeaderValue::try_from(trace.0) {
        response.headers_mut().insert(TRACE_RESPONSE, value);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Counts a request for as long as it is worked on, also when its client goes away.
struct InFlight(IntGauge);

impl InFlight {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The client's id where it is short and visible, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| {
        !id.is_empty() && id.len() <= ID_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(format!("{:016x}", random())).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// W3C Trace Context: what tells the caller which trace its request became part of, its own or a
/// new one.
struct Trace(String);

impl Trace {
    fn of(request: &Request) -> Self {
        let header = request.headers().get(TRACE_PARENT).and_then(|value| value.to_str().ok());
        header.and_then(Self::parse).unwrap_or_else(|| {
            let id = (random() | 1, random());
            Self(format!("00-{:016x}{:016x}-{:016x}-00", id.0, id.1, random() | 1))
        })
    }

    fn id(&self) -> &str {
        self.0.get(3..35).unwrap_or_default()
    }

    /// `version-traceid-parentid-flags`; a later version may go on behind these.
    fn parse(text: &str) -> Option<Self> {
        let hex = |text: &str, len| {
            text.len() == len
                && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        let mut parts = text.splitn(5, '-');
        let (version, id, parent) = (parts.next()?, parts.next()?, parts.next()?);
        let (flags, rest) = (parts.next()?, parts.next());
        let known = hex(version, 2) && version != "ff" && (rest.is_none() || version != "00");
        let fine = hex(id, 32) && !zero(id) && hex(parent, 16) && !zero(parent) && hex(flags, 2);
        (known && fine).then(|| Self(format!("00-{id}-{:016x}-{flags}", random() | 1)))
    }
}

/// Different at every call; not secret.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn trace_parents() {
        let fine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(fine).unwrap();
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.0.starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert!(trace.0.ends_with("-01") && trace.0.len() == fine.len() && trace.0 != fine);
        assert!(Trace::parse(&format!("cc{}-later", &fine[2..])).is_some());
        for wrong in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(Trace::parse(wrong).is_none(), "{wrong}");
        }
    }
}
