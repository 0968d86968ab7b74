//! All metrics, declared in one place. The first four keep the Python system's names and types.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use phishcnn_core::url::Url;
use phishcnn_core::{Model, Part, Score, Verdict};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily, MetricType};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

use super::app::App;
use phishcnn_cli::model::Loaded;

/// Bytes and characters of URLs and their parts.
const LENGTHS: [f64; 14] =
    [8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0, 192.0, 256.0, 512.0, 2048.0, 65_536.0];

/// Seconds: a single score takes tens of microseconds, a large batch a second.
const DURATIONS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0,
];

const LOGITS: [f64; 14] =
    [-20.0, -15.0, -10.0, -8.0, -6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0];

const BATCHES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0];

const PARTS: [Part; Part::COUNT] = [
    Part::Scheme,
    Part::UserInfo,
    Part::Subdomain,
    Part::Registrable,
    Part::Suffix,
    Part::Port,
    Part::Path,
    Part::Query,
    Part::Fragment,
];

pub(crate) struct Metrics {
    registry: Registry,

    // Of the Python system.
    feedback_received: IntCounter,
    model_performance: Gauge,
    url_length: Histogram,
    prediction_time: Summary,

    requests: IntCounterVec,
    request_duration: HistogramVec,
    pub(crate) in_flight: IntGauge,
    connections: IntGauge,
    pub(crate) connections_evicted: IntCounter,
    pub(crate) connections_refused: IntCounter,
    batch_urls: Histogram,
    verdicts: IntCounterVec,
    logit: Histogram,
    part_bytes: [Histogram; Part::COUNT],
    drift: GaugeVec,
    feedback_precision: Gauge,
    feedback_queue: IntGauge,
    feedback_up: IntGauge,
    model_info: GaugeVec,
    /// The labels of each role's model.
    in_use: Mutex<HashMap<&'static str, [String; 5]>>,
    model_reloads: IntCounterVec,
    shadow_urls: IntCounterVec,
    shadow_skipped: IntCounter,
}

impl Metrics {
    /// # Errors
    /// Names or labels that contradict each other: a defect.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let part_bytes = registered(
            r,
            HistogramVec::new(
                histogram(
                    "phishcnn_url_part_bytes",
                    "Bytes of each part that a URL has.",
                    &LENGTHS,
                ),
                &["part"],
            )?,
        )?;
        let build = registered(
            r,
            GaugeVec::new(Opts::new("phishcnn_build_info", "Always 1."), &["version"])?,
        )?;
        build.with_label_values(&[phishcnn_core::VERSION]).set(1.0);
        let counters = |name, help, labels: &[&str]| {
            registered(r, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name, help, labels: &[&str]| {
            registered(r, GaugeVec::new(Opts::new(name, help), labels)?)
        };
        let counter = |name, help| registered(r, IntCounter::new(name, help)?);
        let gauge = |name, help| registered(r, Gauge::new(name, help)?);
        let level = |name, help| registered(r, IntGauge::new(name, help)?);
        let one_histogram = |name, help, buckets| {
            registered(r, Histogram::with_opts(histogram(name, help, buckets))?)
        };
        Ok(Self {
            feedback_received: counter(
                "feedback_received_total",
                "Feedback stored by this process.",
            )?,
            model_performance: gauge(
                "model_performance",
                "Mean of all feedback in the store: share of predictions called right, 3 decimals.",
            )?,
            url_length: one_histogram("url_length", "Characters of the scored URLs.", &LENGTHS)?,
            prediction_time: registered(
                r,
                Summary::new("prediction_time", "Seconds to score one URL.")?,
            )?,
            requests: counters(
                "phishcnn_requests_total",
                "Answered requests.",
                &["route", "method", "status"],
            )?,
            request_duration: registered(
                r,
                HistogramVec::new(
                    histogram(
                        "phishcnn_request_duration_seconds",
                        "From a request's head to its answer's.",
                        &DURATIONS,
                    ),
                    &["route", "status"],
                )?,
            )?,
            in_flight: level("phishcnn_requests_in_flight", "Requests without an answer yet.")?,
            connections: level("phishcnn_connections", "Open connections.")?,
            connections_evicted: counter(
                "phishcnn_connections_evicted_total",
                "Idle connections closed to make room.",
            )?,
            connections_refused: counter(
                "phishcnn_connections_refused_total",
                "Connections answered 503 because all others were at work.",
            )?,
            batch_urls: one_histogram("phishcnn_batch_urls", "URLs per request.", &BATCHES)?,
            verdicts: counters(
                "phishcnn_verdicts_total",
                "Scored URLs.",
                &["verdict", "model", "model_version"],
            )?,
            logit: one_histogram("phishcnn_logit", "Logits of the scored URLs.", &LOGITS)?,
            part_bytes: PARTS.map(|part| part_bytes.with_label_values(&[part.as_str()])),
            drift: gauges(
                "phishcnn_input_drift_psi",
                "Population stability index of recent URLs against the model's reference.",
                &["feature"],
            )?,
            feedback_precision: gauge(
                "phishcnn_feedback_precision",
                "Share of phishing predictions that people called right.",
            )?,
            feedback_queue: level("phishcnn_feedback_queue_depth", "Feedback not yet stored.")?,
            feedback_up: level("phishcnn_feedback_store_up", "1 while the store works.")?,
            model_info: gauges(
                "phishcnn_model_info",
                "Always 1 for the models in use; role is live or shadow.",
                &["role", "name", "model_version", "sha256", "backend"],
            )?,
            in_use: Mutex::default(),
            model_reloads: counters(
                "phishcnn_model_reloads_total",
                "Exchanges of the model; a failed one leaves the old model.",
                &["result"],
            )?,
            shadow_urls: counters(
                "phishcnn_shadow_urls_total",
                "URLs that both models scored, by both verdicts.",
                &["live", "shadow"],
            )?,
            shadow_skipped: counter(
                "phishcnn_shadow_skipped_total",
                "URLs for which the second model had no time.",
            )?,
            registry,
        })
    }

    pub(crate) fn verdicts(&self, model: &Model<'_>) -> Verdicts {
        Verdicts([Verdict::Benign, Verdict::Suspicious, Verdict::Phishing].map(|verdict| {
            self.verdicts.with_label_values(&[verdict.as_str(), model.name(), model.version()])
        }))
    }

    pub(crate) fn scored(&self, url: &[u8], score: &Score, took: Duration, verdicts: &Verdicts) {
        self.prediction_time.observe(took);
        self.logit.observe(score.logit.into());
        if let Some(counter) = verdicts.0.get(score.verdict as usize) {
            counter.inc();
        }
        // Bytes that begin a character; invalid UTF-8 cannot come through JSON.
        let characters = url.iter().filter(|&&b| b & 0xc0 != 0x80).count();
        self.url_length.observe(characters as f64);
        if let Ok(url) = Url::parse(url) {
            for (part, span) in url.spans() {
                if let Some(bytes) = self.part_bytes.get(part as usize) {
                    bytes.observe(span.len() as f64);
                }
            }
        }
    }

    pub(crate) fn batch(&self, urls: usize) {
        self.batch_urls.observe(urls as f64);
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: &str, took: Duration) {
        self.requests.with_label_values(&[route, method, status]).inc();
        self.request_duration.with_label_values(&[route, status]).observe(took.as_secs_f64());
    }

    pub(crate) fn feedback_stored(&self) {
        self.feedback_received.inc();
    }

    pub(crate) fn model_in_use(&self, loaded: &Loaded, role: &'static str) {
        // Only one model at a time has a role; the vector tells no reader its labels.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let model = loaded.model();
        let labels =
            [role, model.name(), model.version(), loaded.sha256(), model.backend().as_str()];
        if let Some(old) = in_use.insert(role, labels.map(str::to_owned)) {
            let _ = self.model_info.remove_label_values(&old);
        }
        self.model_info.with_label_values(&labels).set(1.0);
    }

    pub(crate) fn reloaded(&self, ok: bool) {
        self.model_reloads.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    pub(crate) fn shadowed(&self, live: Verdict, shadow: Verdict) {
        self.shadow_urls.with_label_values(&[live.as_str(), shadow.as_str()]).inc();
    }

    pub(crate) fn shadow_skipped(&self) {
        self.shadow_skipped.inc();
    }

    /// The text format, with what is only measured when asked.
    pub(crate) fn text(&self, app: &App) -> Result<String, prometheus::Error> {
        self.connections.set(app.connections.count() as i64);
        self.feedback_queue.set(app.feedback.waiting() as i64);
        self.feedback_up.set(app.feedback.is_up().into());
        let counts = app.feedback.counts();
        let decimals = |share: f64| (share * 1000.0).round() / 1000.0;
        self.model_performance.set(counts.mean().map_or(0.0, decimals));
        self.feedback_precision.set(counts.precision().unwrap_or(f64::NAN));
        self.drift.reset();
        for (feature, psi) in app.engine.current().drift().map(|d| d.psi()).unwrap_or_default() {
            self.drift.with_label_values(&[feature]).set(psi);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The counters of one model, looked up once.
pub(crate) struct Verdicts([IntCounter; 3]);

/// A summary without quantiles, which the crate lacks: `_count` and `_sum` of seconds.
#[derive(Clone)]
struct Summary(std::sync::Arc<SummaryState>);

struct SummaryState {
    desc: Desc,
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Summary {
    fn new(name: &str, help: &str) -> Result<Self, prometheus::Error> {
        let desc = Desc::new(name.to_owned(), help.to_owned(), vec![], Default::default())?;
        let (count, nanoseconds) = Default::default();
        Ok(Self(std::sync::Arc::new(SummaryState { desc, count, nanoseconds })))
    }

    fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl Collector for Summary {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut summary = proto::Summary::default();
        summary.set_sample_count(self.0.count.load(Ordering::Relaxed));
        summary.set_sample_sum(self.0.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9);
        let mut metric = proto::Metric::default();
        metric.set_summary(summary);
        let mut family = MetricFamily::default();
        family.set_name(self.0.desc.fq_name.clone());
        family.set_help(self.0.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
