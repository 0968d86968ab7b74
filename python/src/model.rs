//! Models and scores.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use phishcnn_cli::model::{Loaded, Scratch};
use phishcnn_core::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};

use crate::error::{item_error, raise};
use crate::items::{Item, Items};
use crate::tokens;

thread_local! {
    /// Scratch memory of this thread's single scores: a call then allocates nothing.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The score of one URL.
#[pyclass(frozen, eq, module = "phishcnn")]
#[derive(PartialEq)]
pub(crate) struct Score(phishcnn_core::Score);

#[pymethods]
impl Score {
    /// The network's output; higher is more like phishing.
    #[getter]
    fn logit(&self) -> f32 {
        self.0.logit
    }

    /// Calibrated probability of phishing, 0 to 1.
    #[getter]
    fn probability(&self) -> f32 {
        self.0.probability
    }

    /// One of "benign", "suspicious", "phishing".
    #[getter]
    fn verdict<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::intern(py, self.0.verdict.as_str())
    }

    /// The URL was longer than the model reads.
    #[getter]
    fn truncated(&self) -> bool {
        self.0.truncated
    }

    fn __repr__(&self) -> String {
        let phishcnn_core::Score { logit, probability, verdict, truncated } = self.0;
        let (verdict, more) = (verdict.as_str(), if truncated { ", truncated=True" } else { "" });
        format!("Score(verdict='{verdict}', probability={probability:.4}, logit={logit:+.3}{more})")
    }

    fn __hash__(&self) -> u64 {
        u64::from(self.0.logit.to_bits())
    }
}

/// A model and its file.
#[pyclass(frozen, subclass, module = "phishcnn._core")]
pub(crate) struct Model(Loaded);

/// `(start, end, part, contribution)`, offsets in bytes of the URL as given.
type Segment = (usize, usize, &'static str, f32);

/// Native-endian `(logit f32, probability f32, verdict i8, truncated u8, errors u16)`.
type Buffers<'py> = (
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
);

/// The results of consecutive rows.
#[derive(Default)]
struct Columns {
    logit: Vec<f32>,
    probability: Vec<f32>,
    verdict: Vec<i8>,
    truncated: Vec<u8>,
    errors: Vec<u16>,
    /// The first row without a score.
    failed: Option<(usize, Error)>,
}

impl Columns {
    fn with_capacity(rows: usize) -> Self {
        Self {
            logit: Vec::with_capacity(rows),
            probability: Vec::with_capacity(rows),
            verdict: Vec::with_capacity(rows),
            truncated: Vec::with_capacity(rows),
            errors: Vec::with_capacity(rows),
            failed: None,
        }
    }

    fn push(&mut self, row: usize, scored: Result<phishcnn_core::Score, Error>) {
        self.logit.push(scored.map_or(f32::NAN, |s| s.logit));
        self.probability.push(scored.map_or(f32::NAN, |s| s.probability));
        self.verdict.push(scored.map_or(-1, |s| s.verdict as i8));
        self.truncated.push(scored.map_or(0, |s| u8::from(s.truncated)));
        self.errors.push(scored.map_or_else(Error::code, |_| 0));
        if let (Err(error), None) = (scored, self.failed) {
            self.failed = Some((row, error));
        }
    }
}

impl Model {
    fn model(&self) -> &phishcnn_core::Model<'_> {
        self.0.model()
    }

    /// Scores these rows; with `stop`, only up to the first that fails.
    fn rows(&self, items: &Items, rows: Range<usize>, base_rate: f32, stop: bool) -> Columns {
        let model = self.model();
        let mut scratch = Scratch::default();
        let mut columns = Columns::with_capacity(rows.len());
        let mut row = rows.start;
        items.each(rows, |item| {
            if !(stop && columns.failed.is_some()) {
                let scored = item.and_then(|url| scratch.score(model, url));
                columns.push(row, scored.map(|score| self.at(score, base_rate)));
                row += 1;
            }
        });
        columns
    }

    fn at(&self, score: phishcnn_core::Score, base_rate: f32) -> phishcnn_core::Score {
        if base_rate == 0.5 {
            return score;
        }
        let probability = self.model().probability(score.logit, base_rate);
        phishcnn_core::Score { probability, ..score }
    }
}

fn check_base_rate(py: Python<'_>, base_rate: f32) -> PyResult<()> {
    if base_rate > 0.0 && base_rate < 1.0 {
        return Ok(());
    }
    let error = Error::BadValue;
    Err(raise(py, error, format!("{error}: base_rate={base_rate}: not between 0 and 1"), None))
}

#[pymethods]
impl Model {
    /// The embedded default model, or the one in `file`.
    #[new]
    #[pyo3(signature = (file=None))]
    fn new(py: Python<'_>, file: Option<&[u8]>) -> PyResult<Self> {
        let loaded = match file {
            None => Loaded::load(None),
            Some(file) => {
                phishcnn_core::Model::load(file).map_err(|e| raise(py, e.error, e, None))?;
                Loaded::from_bytes(file, "memory".to_owned())
            }
        };
        // A file that loads once loads again.
        loaded.map(Self).map_err(|_| item_error(py, Error::Internal))
    }

    /// Scores one URL.
    #[pyo3(signature = (url, *, base_rate=0.5))]
    fn score(&self, py: Python<'_>, url: &Bound<'_, PyAny>, base_rate: f32) -> PyResult<Score> {
        check_base_rate(py, base_rate)?;
        let item = Item::of(url);
        // The GIL stays: a score takes less time than giving it up and waiting for it.
        let score =
            |scratch: &RefCell<Scratch>| scratch.borrow_mut().score(self.model(), item.bytes()?);
        let score = SCRATCH.with(score).map_err(|error| item_error(py, error))?;
        Ok(Score(self.at(score, base_rate)))
    }

    /// The URL as given, its score and its segments.
    fn _explain<'py>(
        &self,
        py: Python<'py>,
        url: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyBytes>, Score, Vec<Segment>)> {
        let item = Item::of(url);
        let explained = py.detach(|| Scratch::default().explain(self.model(), item.bytes()?));
        let (score, segments) = explained.map_err(|error| item_error(py, error))?;
        let tuple = |s: &phishcnn_core::Segment| (s.start, s.end, s.part.as_str(), s.contribution);
        let raw = PyBytes::new(py, item.bytes().unwrap_or_default());
        Ok((raw, Score(score), segments.iter().map(tuple).collect()))
    }

    /// Scores a batch.
    fn _score_batch<'py>(
        &self,
        py: Python<'py>,
        urls: &Bound<'py, PyAny>,
        threads: usize,
        base_rate: f32,
        raise_errors: bool,
    ) -> PyResult<Buffers<'py>> {
        check_base_rate(py, base_rate)?;
        let items = Items::of(urls)?;
        let len = items.len();
        let share = len.div_ceil(threads.clamp(1, len.max(1))).max(1);
        let work = |start: usize| {
            self.rows(&items, start..len.min(start + share), base_rate, raise_errors)
        };
        // The caller's thread takes the first share; others are started for the rest only.
        let columns = py.detach(|| {
            std::thread::scope(|scope| {
                let start = |at| std::thread::Builder::new().spawn_scoped(scope, move || work(at));
                let others = (share..len).step_by(share).map(start).collect::<Result<Vec<_>, _>>();
                let mut columns = vec![work(0)];
                for other in others? {
                    columns.push(other.join().map_err(|_| std::io::Error::other("a panic"))?);
                }
                Ok::<_, std::io::Error>(columns)
            })
        });
        let columns = columns.map_err(|error| PyOSError::new_err(error.to_string()))?;
        if let (true, Some((row, error))) = (raise_errors, columns.iter().find_map(|c| c.failed)) {
            return Err(raise(py, error, format!("{error} (row {row})"), Some(row)));
        }
        Ok((
            joined(py, &columns, |c| bytemuck::cast_slice(&c.logit))?,
            joined(py, &columns, |c| bytemuck::cast_slice(&c.probability))?,
            joined(py, &columns, |c| bytemuck::cast_slice(&c.verdict))?,
            joined(py, &columns, |c| &c.truncated)?,
            joined(py, &columns, |c| bytemuck::cast_slice(&c.errors))?,
        ))
    }

    /// Tokens of a batch, as this model reads it.
    fn _tokenize_batch<'py>(
        &self,
        py: Python<'py>,
        urls: &Bound<'py, PyAny>,
    ) -> PyResult<tokens::Buffers<'py>> {
        let model = self.model();
        tokens::rows_of(py, urls, |item, rows| rows.push(item.and_then(|url| model.tokens(url))))
    }

    /// The file's metadata.
    #[getter]
    fn info(&self) -> BTreeMap<&str, &str> {
        self.model().metadata().iter().collect()
    }

    /// SHA-256 of the file.
    #[getter]
    fn sha256(&self) -> &str {
        self.0.sha256()
    }

    /// The model file.
    #[getter]
    fn file<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.file())
    }

    /// Whether this is the model in the wheel.
    #[getter]
    fn embedded(&self) -> bool {
        self.0.source == "embedded"
    }

    /// The kernels that scoring runs on.
    #[getter]
    fn backend(&self) -> &'static str {
        self.model().backend().as_str()
    }

    /// Bytes of scratch memory that one scoring thread uses.
    #[getter]
    fn scratch_len(&self) -> usize {
        self.model().scratch_len()
    }

    /// Number of weights.
    #[getter]
    fn parameters(&self) -> usize {
        self.model().parameters()
    }

    /// Multiply-adds for an input of so many tokens.
    fn multiply_adds(&self, positions: usize) -> u64 {
        self.model().multiply_adds(positions)
    }
}

/// One column of all shares, in one buffer.
fn joined<'py>(
    py: Python<'py>,
    shares: &[Columns],
    column: impl Fn(&Columns) -> &[u8],
) -> PyResult<Bound<'py, PyByteArray>> {
    let len = shares.iter().map(|share| column(share).len()).sum();
    PyByteArray::new_with(py, len, |buffer| {
        let mut rest = buffer;
        for share in shares {
            let (here, behind) = rest.split_at_mut(column(share).len());
            here.copy_from_slice(column(share));
            rest = behind;
        }
        Ok(())
    })
}
