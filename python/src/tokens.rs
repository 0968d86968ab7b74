//! Tokens, as training uses them.

use phishcnn_core::Error;
use phishcnn_core::tokens::{CharTable, Input, Tokens};
use phishcnn_core::url::Url;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use crate::error::item_error;
use crate::items::{Item, Items};

/// The canonical form of one URL.
#[pyfunction]
pub(crate) fn canonicalize<'py>(
    py: Python<'py>,
    url: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let item = Item::of(url);
    let url = item.bytes().and_then(Url::parse).map_err(|error| item_error(py, error))?;
    let bytes: Vec<u8> = url.bytes().map(|b| b.value).collect();
    Ok(PyBytes::new(py, &bytes))
}

/// Bytes as text in which nothing is hidden or reorders what the reader sees.
#[pyfunction]
pub(crate) fn visible(text: &[u8]) -> String {
    phishcnn_cli::escape::visible(text)
}

/// Native-endian `(ids u16, parts u8, offsets i64, truncated u8, errors u16)`.
pub(crate) type Buffers<'py> = (
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
    Bound<'py, PyByteArray>,
);

/// Tokens of a batch, one row per item.
#[pyfunction]
pub(crate) fn tokenize_batch<'py>(
    py: Python<'py>,
    urls: &Bound<'py, PyAny>,
    input: &str,
    chars: &[u8],
) -> PyResult<Buffers<'py>> {
    let input = Input::parse(input).map_err(|error| item_error(py, error))?;
    let table = match input {
        Input::UrlBytes { .. } => CharTable::default(),
        _ => CharTable::new(chars).map_err(|error| item_error(py, error))?,
    };
    rows_of(py, urls, |item, rows| rows.push(item.and_then(|url| Tokens::new(url, input, table))))
}

/// Tokens of consecutive items.
#[derive(Default)]
pub(crate) struct Rows {
    ids: Vec<u16>,
    parts: Vec<u8>,
    ends: Vec<i64>,
    truncated: Vec<u8>,
    errors: Vec<u16>,
}

impl Rows {
    pub(crate) fn push(&mut self, tokens: Result<Tokens<'_>, Error>) {
        for token in tokens.iter().flat_map(Tokens::iter) {
            self.ids.push(token.id);
            self.parts.push(token.part as u8);
        }
        self.ends.push(self.ids.len() as i64);
        self.truncated.push(tokens.as_ref().map_or(0, |tokens| u8::from(tokens.truncated())));
        self.errors.push(tokens.as_ref().map_or_else(|error| error.code(), |_| 0));
    }
}

/// Tokens of a batch; `tokenize` pushes one row for every item.
pub(crate) fn rows_of<'py>(
    py: Python<'py>,
    urls: &Bound<'py, PyAny>,
    tokenize: impl Fn(Result<&[u8], Error>, &mut Rows) + Send + Sync,
) -> PyResult<Buffers<'py>> {
    let items = Items::of(urls)?;
    let mut rows = Rows { ends: vec![0], ..Rows::default() };
    py.detach(|| items.each(0..items.len(), |item| tokenize(item, &mut rows)));
    Ok((
        PyByteArray::new(py, bytemuck::cast_slice(&rows.ids)),
        PyByteArray::new(py, &rows.parts),
        PyByteArray::new(py, bytemuck::cast_slice(&rows.ends)),
        PyByteArray::new(py, &rows.truncated),
        PyByteArray::new(py, bytemuck::cast_slice(&rows.errors)),
    ))
}
