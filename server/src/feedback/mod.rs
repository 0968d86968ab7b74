//! Feedback on verdicts: what is kept of it, where, and the commands that move it.

mod export;
mod import;
mod postgres;
mod sqlite;
mod writer;

use std::fmt;
use std::path::PathBuf;

use ::postgres::Config;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use phishcnn_core::{Error, Score};
use sha2::{Digest, Sha256};

use phishcnn_cli::failure::{Failure, Outcome};
use phishcnn_cli::model::hex;

pub(crate) use export::ExportArgs;
pub(crate) use import::ImportArgs;
pub(crate) use writer::Writer;

#[derive(Args)]
pub(crate) struct FeedbackArg {
    /// Where feedback is kept: a SQLite file, made when missing; postgres://USER@HOST/DATABASE
    /// for several replicas; or none
    #[arg(long, value_name = "FILE|URL", env = "PHISHCNN_FEEDBACK", hide_env_values = true,
          default_value = "phishcnn-feedback.sqlite", value_parser = place)]
    pub(crate) feedback: Place,
}

/// Where feedback is kept.
#[derive(Clone)]
pub(crate) enum Place {
    Nowhere,
    Sqlite(PathBuf),
    Postgres(Box<Config>),
}

fn place(text: &str) -> Result<Place, String> {
    match text {
        "" => Err(format!("{}: a file, a postgres:// URL or none", Error::BadValue)),
        "none" => Ok(Place::Nowhere),
        _ if text.starts_with("postgres://") || text.starts_with("postgresql://") => text
            .parse()
            .map(|config| Place::Postgres(Box::new(config)))
            .map_err(|error| format!("{}: {error}", Error::BadValue)),
        _ if text.contains("://") => {
            Err(format!("{}: a file, a postgres:// URL or none", Error::BadValue))
        }
        _ => Ok(Place::Sqlite(text.into())),
    }
}

impl Place {
    /// Opens the store and brings its tables up to date. `None` where nothing is kept.
    pub(crate) fn open(&self) -> Option<Result<Box<dyn Store>, StoreError>> {
        match self {
            Self::Nowhere => None,
            Self::Sqlite(path) => {
                Some(sqlite::Sqlite::open(path).map(|s| Box::new(s) as Box<dyn Store>))
            }
            Self::Postgres(config) => {
                Some(postgres::Postgres::open(config).map(|s| Box::new(s) as Box<dyn Store>))
            }
        }
    }

    /// As [`open`](Self::open), for a command that cannot do without.
    fn open_now(&self) -> Result<Box<dyn Store>, Failure> {
        let opened = self.open().ok_or_else(|| {
            Failure::setting(Error::BadValue, "PHISHCNN_FEEDBACK or --feedback: none")
        })?;
        opened.map_err(|error| Failure::Input(format!("{}: {error}", Error::FeedbackUnavailable)))
    }
}

/// Where the verdict on a URL came from, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    /// SHA-256 of the model, in hexadecimal.
    pub(crate) model: String,
    pub(crate) logit: f32,
    pub(crate) probability: f32,
    pub(crate) verdict: String,
}

impl Scored {
    pub(crate) fn new(model: &str, score: &Score) -> Self {
        Self {
            model: model.to_owned(),
            logit: score.logit,
            probability: score.probability,
            verdict: score.verdict.as_str().to_owned(),
        }
    }
}

/// What one client said about one URL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) url: Vec<u8>,
    /// What was predicted: phishing or not.
    pub(crate) label: bool,
    /// Whether the client calls the prediction right.
    pub(crate) right: bool,
    /// The client's id; only its digest is stored, so an entry that is read has that.
    pub(crate) client: String,
    pub(crate) time: Timestamp,
    /// The route or command that brought it.
    pub(crate) origin: String,
    pub(crate) scored: Option<Scored>,
    pub(crate) note: Option<String>,
}

impl Entry {
    /// What the URL is, if the client is right.
    pub(crate) fn truth(&self) -> bool {
        self.label == self.right
    }

    fn date(&self) -> Date {
        day(self.time)
    }
}

/// The day of a time, UTC.
fn day(time: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(time).date()
}

/// An entry as a store keeps it.
struct Kept<'e> {
    /// Equal for what counts as the same: URL, client and day.
    key: [u8; 32],
    client: String,
    entry: &'e Entry,
}

impl<'e> Kept<'e> {
    fn new(entry: &'e Entry, salt: &[u8]) -> Self {
        let client = Sha256::new().chain_update(salt).chain_update(&entry.client).finalize();
        let client = hex(client.get(..16).unwrap_or_default());
        let key = Sha256::new()
            .chain_update(&client)
            .chain_update(entry.date().to_string())
            .chain_update(&entry.url)
            .finalize();
        Self { key: key.into(), client, entry }
    }

    /// All of a batch in the order of their keys, so that two writers never wait for each other
    /// in a circle. What was said later stays later.
    fn all(entries: &'e [Entry], salt: &[u8]) -> Vec<Self> {
        let mut kept: Vec<_> = entries.iter().map(|entry| Self::new(entry, salt)).collect();
        kept.sort_by_key(|kept| kept.key);
        kept
    }
}

/// How many entries there are, by what was predicted and whether it was right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `[predicted phishing][called right]`
    by: [[u64; 2]; 2],
}

impl Counts {
    fn add(&mut self, label: bool, right: bool, count: u64) {
        if let Some(cell) =
            self.by.get_mut(usize::from(label)).and_then(|row| row.get_mut(usize::from(right)))
        {
            *cell += count;
        }
    }

    fn ratio([wrong, right]: [u64; 2]) -> Option<f64> {
        let all = wrong + right;
        (all > 0).then(|| right as f64 / all as f64)
    }

    /// Mean of all feedback: the share of predictions that were called right.
    pub(crate) fn mean(&self) -> Option<f64> {
        let [[a, b], [c, d]] = self.by;
        Self::ratio([a + c, b + d])
    }

    /// Share of phishing predictions that were called right.
    pub(crate) fn precision(&self) -> Option<f64> {
        let [_, phishing] = self.by;
        Self::ratio(phishing)
    }
}

/// Keeps an entry, in the order of the columns; what is said again replaces what was said. (Both
/// databases read these three.)
const INSERT: &str =
    "INSERT INTO feedback VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     ON CONFLICT (key) DO UPDATE SET label = excluded.label, feedback = excluded.feedback,
         time = excluded.time, origin = excluded.origin, model = excluded.model,
         logit = excluded.logit, probability = excluded.probability, verdict = excluded.verdict,
         note = excluded.note";
/// By label and feedback.
const COUNT: &str = "SELECT label, feedback, count(*) FROM feedback GROUP BY label, feedback";
/// Entries from a time on.
const SELECT: &str = "SELECT url, label, feedback, client, time, origin, note,
         model, logit, probability, verdict
     FROM feedback WHERE time >= $1 ORDER BY time, key";

/// A place that keeps entries. Its methods block.
pub(crate) trait Store: Send {
    /// Keeps all of them, durably, or none.
    fn write(&mut self, entries: &[Entry]) -> Result<(), StoreError>;
    fn counts(&mut self) -> Result<Counts, StoreError>;
    /// Hands over the entries from a time on, oldest first.
    fn read(
        &mut self,
        since: Timestamp,
        sink: &mut dyn FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure>;
}

/// Why a store failed.
#[derive(Debug)]
pub(crate) struct StoreError(String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StoreError {
    fn failure(self) -> Failure {
        Failure::Input(format!("{}: {self}", Error::FeedbackUnavailable))
    }
}

/// Move feedback out of and into the store
#[derive(Subcommand)]
pub(crate) enum FeedbackCommand {
    Export(ExportArgs),
    Import(ImportArgs),
}

pub(crate) fn run(command: &FeedbackCommand) -> Result<Outcome, Failure> {
    match command {
        FeedbackCommand::Export(args) => export::run(args),
        FeedbackCommand::Import(args) => import::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert!(matches!(place("none"), Ok(Place::Nowhere)));
        assert!(matches!(place("a/b.sqlite"), Ok(Place::Sqlite(_))));
        assert!(matches!(place("postgres://u:p@h:5/d?sslmode=require"), Ok(Place::Postgres(_))));
        for wrong in ["", "mysql://a/b", "postgres://u@h:port/d", "postgres://u@h/d?unknown=1"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_of_what_was_said() {
        let mut counts = Counts::default();
        assert_eq!((counts.mean(), counts.precision()), (None, None));
        counts.add(true, true, 3);
        counts.add(true, false, 1);
        counts.add(false, false, 4);
        assert_eq!((counts.mean(), counts.precision()), (Some(0.375), Some(0.75)));
    }
}
