//! The model that answers: how it is used, exchanged while it works, and shadowed by another.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use phishcnn_core::{Error, Score, Segment};
use tracing::info;

use super::drift::Drift;
use super::metrics::{Metrics, Verdicts};
use super::settings::ServeArgs;
use phishcnn_cli::escape::visible;
use phishcnn_cli::failure::Failure;
use phishcnn_cli::model::{Loaded, Scratch};

thread_local! {
    /// Each thread's scratch memory: no lock, no allocation after the first call.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A model in use, and what is counted for it.
pub(crate) struct Live {
    pub(crate) loaded: Loaded,
    verdicts: Verdicts,
    pub(crate) drift: Option<Drift>,
}

impl Live {
    /// Refuses a model that fails its own tests.
    fn new(loaded: Loaded, metrics: &Metrics) -> Result<Self, Failure> {
        let unusable = |why| Failure::Model(format!("model {}: {why}", loaded.source));
        loaded.self_test().map_err(unusable)?;
        let drift = Drift::of(loaded.model()).map_err(unusable)?;
        let verdicts = metrics.verdicts(loaded.model());
        Ok(Self { loaded, verdicts, drift })
    }
}

pub(crate) struct Engine {
    live: ArcSwap<Live>,
    /// The file to read again.
    path: Option<PathBuf>,
    shadow: Option<Shadow>,
    metrics: Arc<Metrics>,
    base_rate: f32,
    max_url_length: usize,
    log_urls: bool,
}

impl Engine {
    pub(crate) fn start(settings: &ServeArgs, metrics: Arc<Metrics>) -> Result<Self, Failure> {
        let path = settings.model.path();
        let live = Live::new(Loaded::load(path)?, &metrics)?;
        let shadow = settings.shadow.as_deref().map(|path| Shadow::start(path, &metrics));
        metrics.model_in_use(&live.loaded, "live");
        Ok(Self {
            live: ArcSwap::from_pointee(live),
            path: path.map(Path::to_owned),
            shadow: shadow.transpose()?,
            metrics,
            base_rate: settings.base_rate,
            max_url_length: settings.max_url_length,
            log_urls: settings.log_urls,
        })
    }

    /// The model of now. A request keeps it to its end, so that one answer is of one model.
    pub(crate) fn current(&self) -> Current<'_> {
        Current { engine: self, live: self.live.load_full() }
    }

    /// Reads the model's file again. On failure the old model goes on.
    pub(crate) fn reload(&self) -> Result<Arc<Live>, Failure> {
        match &self.path {
            None => Err(Failure::Model("the built-in model is no file to read again".to_owned())),
            Some(path) => self.exchange(Loaded::load(Some(path))),
        }
    }

    /// Takes a new model once it has passed its tests. On failure the old model goes on.
    pub(crate) fn exchange(&self, loaded: Result<Loaded, Failure>) -> Result<Arc<Live>, Failure> {
        let live = loaded.and_then(|loaded| Live::new(loaded, &self.metrics)).map(Arc::new);
        if let Ok(live) = &live {
            self.metrics.model_in_use(&live.loaded, "live");
            self.live.store(live.clone());
        }
        self.metrics.reloaded(live.is_ok());
        live
    }
}

/// One model, for the length of one request.
pub(crate) struct Current<'e> {
    engine: &'e Engine,
    live: Arc<Live>,
}

impl Current<'_> {
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.live.loaded
    }

    pub(crate) fn drift(&self) -> Option<&Drift> {
        self.live.drift.as_ref()
    }

    /// # Errors
    /// 201 and 202, the latter also above the service's own limit.
    pub(crate) fn score(&self, url: &[u8]) -> Result<Score, Error> {
        let start = Instant::now();
        let score = self.raw_score(url)?;
        Ok(self.note(url, score, start))
    }

    /// As [`score`](Self::score), for a URL that was counted when it was first asked about.
    pub(crate) fn score_again(&self, url: &[u8]) -> Result<Score, Error> {
        self.raw_score(url).map(|score| self.at_base_rate(score))
    }

    fn raw_score(&self, url: &[u8]) -> Result<Score, Error> {
        self.within_limit(url)?;
        SCRATCH.with_borrow_mut(|s| s.score(self.live.loaded.model(), url))
    }

    /// As [`score`](Self::score), with the contribution of each segment.
    pub(crate) fn explain(&self, url: &[u8]) -> Result<(Score, Vec<Segment>), Error> {
        let start = Instant::now();
        self.within_limit(url)?;
        let model = self.live.loaded.model();
        let (score, segments) = SCRATCH.with_borrow_mut(|s| s.explain(model, url))?;
        Ok((self.note(url, score, start), segments))
    }

    fn within_limit(&self, url: &[u8]) -> Result<(), Error> {
        if url.len() > self.engine.max_url_length { Err(Error::UrlTooLong) } else { Ok(()) }
    }

    /// Counts a score and brings its probability to the base rate.
    fn note(&self, url: &[u8], score: Score, start: Instant) -> Score {
        let engine = self.engine;
        engine.metrics.scored(url, &score, start.elapsed(), &self.live.verdicts);
        if let Some(drift) = &self.live.drift {
            drift.add(url, &score);
        }
        if let Some(shadow) = &engine.shadow {
            shadow.offer(url, &score);
        }
        if engine.log_urls {
            info!(
                logit = score.logit,
                verdict = score.verdict.as_str(),
                url = visible(url),
                "scored"
            );
        }
        self.at_base_rate(score)
    }

    fn at_base_rate(&self, score: Score) -> Score {
        let probability = match self.engine.base_rate {
            0.5 => score.probability,
            rate => self.live.loaded.model().probability(score.logit, rate),
        };
        Score { probability, ..score }
    }
}

/// URLs that may wait for the second model; more are not compared.
const SHADOW_QUEUE: usize = 1024;

/// A second model on a thread of its own. It never delays an answer: what it has no time for, it
/// does not see.
struct Shadow {
    queue: SyncSender<(Vec<u8>, Score)>,
    metrics: Arc<Metrics>,
}

impl Shadow {
    fn start(path: &Path, metrics: &Arc<Metrics>) -> Result<Self, Failure> {
        let loaded = Loaded::load(Some(path))?;
        loaded
            .self_test()
            .map_err(|why| Failure::Model(format!("model {}: {why}", loaded.source)))?;
        metrics.model_in_use(&loaded, "shadow");
        let (queue, jobs) = sync_channel::<(Vec<u8>, Score)>(SHADOW_QUEUE);
        let shadow = Self { queue, metrics: metrics.clone() };
        let metrics = metrics.clone();
        thread::spawn(move || {
            let mut scratch = Scratch::default();
            for (url, live) in jobs {
                // What one model scores, every model scores, but for weights that overflow.
                match scratch.score(loaded.model(), &url) {
                    Ok(score) => metrics.shadowed(live.verdict, score.verdict),
                    Err(_) => metrics.shadow_skipped(),
                }
            }
        });
        Ok(shadow)
    }

    fn offer(&self, url: &[u8], score: &Score) {
        if self.queue.try_send((url.to_vec(), *score)).is_err() {
            self.metrics.shadow_skipped();
        }
    }
}
