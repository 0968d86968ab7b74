//! The one thread that writes feedback: what arrives together is committed together, so that a
//! storm costs few syncs of the disk, and nobody gets an answer before the commit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info};

use super::{Counts, Entry, Place, Store, StoreError};

/// Entries that may wait; more are refused at once.
const QUEUE: usize = 1024;

/// Most entries in one commit.
const BATCH: usize = 256;

/// How long a client waits for the commit. An entry that is stored later was not acknowledged, and
/// storing it again changes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a store that is down is tried again and counts are brought up to date.
const REFRESH: Duration = Duration::from_secs(1);

/// The store is down or hangs, the queue is full, or nothing is kept here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unavailable;

struct Job {
    entry: Entry,
    stored: oneshot::Sender<Result<(), Unavailable>>,
}

/// What metrics tell about the store.
#[derive(Default)]
struct State {
    up: AtomicBool,
    waiting: AtomicUsize,
    counts: Mutex<Counts>,
}

/// Hands entries to the thread.
pub(crate) struct Writer {
    queue: Option<SyncSender<Job>>,
    state: Arc<State>,
}

impl Writer {
    /// Starts the thread, which opens the store and keeps trying while it is down.
    pub(crate) fn start(place: Place) -> Self {
        let state = Arc::new(State::default());
        if matches!(place, Place::Nowhere) {
            return Self { queue: None, state };
        }
        let (queue, jobs) = sync_channel(QUEUE);
        let thread =
            Thread { place, state: state.clone(), store: None, refused: None, reported: false };
        thread::spawn(move || thread.run(&jobs));
        Self { queue: Some(queue), state }
    }

    /// Returns when the entry is durable.
    pub(crate) async fn store(&self, entry: Entry) -> Result<(), Unavailable> {
        let queue = self.queue.as_ref().ok_or(Unavailable)?;
        let (stored, answer) = oneshot::channel();
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        if queue.try_send(Job { entry, stored }).is_err() {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Unavailable);
        }
        // A database that hangs holds up the thread, but not those who wait for it.
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.unwrap_or(Err(Unavailable)),
            Err(_) => {
                self.state.up.store(false, Ordering::Relaxed);
                Err(Unavailable)
            }
        }
    }

    /// Whether feedback is kept at all.
    pub(crate) fn keeps(&self) -> bool {
        self.queue.is_some()
    }

    /// Whether the last use of the store succeeded.
    pub(crate) fn is_up(&self) -> bool {
        self.state.up.load(Ordering::Relaxed)
    }

    /// Entries that wait for their commit.
    pub(crate) fn waiting(&self) -> usize {
        self.state.waiting.load(Ordering::Relaxed)
    }

    /// All entries of the store, at most about a second old.
    pub(crate) fn counts(&self) -> Counts {
        *self.state.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    place: Place,
    state: Arc<State>,
    store: Option<Box<dyn Store>>,
    /// When the store last could not be opened.
    refused: Option<Instant>,
    /// Whether the log says that it is down.
    reported: bool,
}

impl Thread {
    fn run(mut self, jobs: &Receiver<Job>) {
        self.refresh();
        let mut refreshed = Instant::now();
        loop {
            match jobs.recv_timeout(REFRESH.saturating_sub(refreshed.elapsed())) {
                Ok(first) => self.commit(first, jobs),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if refreshed.elapsed() >= REFRESH {
                self.refresh();
                refreshed = Instant::now();
            }
        }
    }

    /// Stores a job and those that wait behind it, then answers all of them.
    fn commit(&mut self, first: Job, jobs: &Receiver<Job>) {
        let (mut entries, mut answers) = (vec![first.entry], vec![first.stored]);
        for job in jobs.try_iter().take(BATCH - 1) {
            entries.push(job.entry);
            answers.push(job.stored);
        }
        // Once more on a new connection, as a database may have dropped an idle one: writing the
        // same entries again changes nothing.
        let result = self
            .with_store(|store| store.write(&entries))
            .or_else(|_| self.with_store(|store| store.write(&entries)));
        self.state.waiting.fetch_sub(answers.len(), Ordering::Relaxed);
        for answer in answers {
            // A client that went away needs no answer.
            let _ = answer.send(result);
        }
    }

    fn refresh(&mut self) {
        if let Ok(counts) = self.with_store(|store| store.counts()) {
            *self.state.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        }
    }

    /// Runs `work` with the store, which is opened when it is not; after a failure it is closed.
    fn with_store<R>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> Result<R, StoreError>,
    ) -> Result<R, Unavailable> {
        let result = self.open().and_then(|store| work(store.as_mut()));
        self.state.up.store(result.is_ok(), Ordering::Relaxed);
        match &result {
            Ok(_) if self.reported => info!("the feedback store works again"),
            Err(why) if !self.reported => {
                error!("feedback is refused until the store works: {why}");
            }
            _ => {}
        }
        self.reported = result.is_err();
        if result.is_err() {
            self.store = None;
        }
        result.map_err(|_| Unavailable)
    }

    fn open(&mut self) -> Result<&mut Box<dyn Store>, StoreError> {
        if self.store.is_none() {
            // A database that is down may take seconds to say so: not for every entry again.
            if self.refused.is_some_and(|when| when.elapsed() < REFRESH) {
                return Err(StoreError("could not be opened".to_owned()));
            }
            let opened = self.place.open().unwrap_or_else(|| Err(StoreError("none".to_owned())));
            self.refused = opened.is_err().then(Instant::now);
            self.store = Some(opened?);
        }
        self.store.as_mut().ok_or_else(|| StoreError("closed".to_owned()))
    }
}
