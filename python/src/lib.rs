//! `phishcnn._core`: the core's tokenizer and models for Python.
//!
//! One file a step: `items` (what is scored: lists, Arrow columns) → `model` or `tokens` (results as
//! byte buffers, which the package wraps in NumPy arrays); `command` is the command line.

mod command;
mod error;
mod items;
mod model;
mod tokens;

use pyo3::prelude::*;

/// The compiled part of `phishcnn`.
// Nothing here is shared but models, which no one writes to: threads need no lock.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", phishcnn_core::VERSION)?;
    module.add_class::<model::Model>()?;
    module.add_class::<model::Score>()?;
    module.add_function(wrap_pyfunction!(command::command, module)?)?;
    module.add_function(wrap_pyfunction!(error::error_message, module)?)?;
    module.add_function(wrap_pyfunction!(tokens::canonicalize, module)?)?;
    module.add_function(wrap_pyfunction!(tokens::tokenize_batch, module)?)?;
    module.add_function(wrap_pyfunction!(tokens::visible, module)?)?;
    Ok(())
}
