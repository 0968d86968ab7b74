//! The command `phishcnn`: the binary's own code, with Parquet by PyArrow.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use phishcnn_cli::args::Cli;
use phishcnn_cli::failure::{self, Failure};
use phishcnn_cli::items::Items;
use phishcnn_cli::parquet::{Parquet, ParquetBatches, Sink};
use phishcnn_core::{Error, Score};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::items;

/// Runs the command line with these arguments, the program's name first, and gives its exit code.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| match Cli::try_parse_from(arguments) {
        Ok(cli) => failure::exit_code(phishcnn_cli::run(&cli.command, &PyArrow)),
        Err(error) => {
            // Standard output or error may be closed; there is nowhere else to say so.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(2)
        }
    })
}

/// `phishcnn._parquet`.
struct PyArrow;

fn module<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
    py.import("phishcnn._parquet")
}

/// Wrong names and a missing PyArrow are the user's to mend.
fn usage(py: Python<'_>, file: &Path, error: &PyErr) -> Failure {
    let what = error.value(py).to_string();
    Failure::setting(Error::BadValue, format!("{}: {what}", file.display()))
}

impl Parquet for PyArrow {
    fn read(&self, file: &Path, column: &str) -> Result<ParquetBatches, Failure> {
        let rows = Python::attach(|py| {
            let rows = module(py).and_then(|m| m.call_method1("read", (file, column)));
            rows.map(Bound::unbind).map_err(|error| usage(py, file, &error))
        })?;
        let name = file.display().to_string();
        Ok(Box::new(std::iter::from_fn(move || {
            Python::attach(|py| next_batch(rows.bind(py)))
                .map_err(|error| Failure::Input(format!("{name}: {error}")))
                .transpose()
        })))
    }

    fn write(&self, file: &Path) -> Result<Box<dyn Sink>, Failure> {
        Python::attach(|py| {
            let writer = module(py).and_then(|m| m.call_method1("Writer", (file,)));
            let writer = writer.map_err(|error| usage(py, file, &error))?;
            Ok(Box::new(Writer(writer.unbind())) as Box<dyn Sink>)
        })
    }
}

/// `(column of text, bytes of the file)`, or `None` at the end.
fn next_batch(rows: &Bound<'_, PyAny>) -> PyResult<Option<(Items, u64)>> {
    let next = rows.call_method0("__next__");
    let batch = match next {
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(rows.py()) => {
            return Ok(None);
        }
        next => next?,
    };
    let (column, bytes): (Bound<'_, PyAny>, u64) = batch.extract()?;
    let column = items::Items::of(&column)?;
    let mut items = Items::default();
    column.each(0..column.len(), |item| items.push(item));
    Ok(Some((items, bytes)))
}

struct Writer(Py<PyAny>);

impl Writer {
    fn write(
        &self,
        py: Python<'_>,
        items: &Items,
        scores: &[Result<Score, Error>],
    ) -> PyResult<()> {
        let urls =
            PyList::new(py, items.texts().map(|url| PyBytes::new(py, url)).collect::<Vec<_>>())?;
        let scores = scores.iter().map(|score| match score {
            Ok(s) => (
                Some(s.logit),
                Some(s.probability),
                Some(s.verdict.as_str()),
                Some(s.truncated),
                None,
            ),
            Err(error) => (None, None, None, None, Some(error.to_string())),
        });
        let scores = PyList::new(py, scores.collect::<Vec<_>>())?;
        self.0.call_method1(py, "write", (urls, scores)).map(drop)
    }
}

fn output(error: PyErr) -> Failure {
    Failure::Output(std::io::Error::other(error.to_string()))
}

impl Sink for Writer {
    fn write(&mut self, items: &Items, scores: &[Result<Score, Error>]) -> Result<(), Failure> {
        Python::attach(|py| Self::write(self, py, items, scores)).map_err(output)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Python::attach(|py| self.0.call_method0(py, "close").map(drop)).map_err(output)
    }
}
