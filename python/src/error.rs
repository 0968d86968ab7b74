//! The core's numbered errors as the package's exception.

use std::fmt::Display;

use phishcnn_core::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// `PhishcnnError(message, code, row)`.
pub(crate) fn raise(py: Python<'_>, error: Error, text: impl Display, row: Option<usize>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = CLASS.import(py, "phishcnn._errors", "PhishcnnError");
    match class.and_then(|class| class.call1((text.to_string(), error.code(), row))) {
        Ok(raised) => PyErr::from_value(raised),
        Err(other) => other,
    }
}

/// The exception of one item.
pub(crate) fn item_error(py: Python<'_>, error: Error) -> PyErr {
    raise(py, error, error, None)
}

/// What an error number means, as `"201: empty URL"`.
#[pyfunction]
pub(crate) fn error_message(py: Python<'_>, code: u16) -> PyResult<String> {
    let error = Error::ALL.into_iter().find(|error| error.code() == code);
    error.map(|error| error.to_string()).ok_or_else(|| {
        raise(py, Error::BadValue, format!("{}: no error {code}", Error::BadValue), None)
    })
}
