//! `phishcnn._core`: the core's tokenizer, as byte buffers that `phishcnn` wraps in NumPy arrays.

use phishcnn_core::tokens::{CharTable, Input, Tokens};
use phishcnn_core::url::Url;
use phishcnn_core::Error;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList};

/// One item of a batch; anything but `str` and `bytes` keeps its row and gets error 203.
enum Item {
    Text(PyBackedStr),
    Bytes(PyBackedBytes),
    NotAString,
}

impl Item {
    fn of(object: &Bound<'_, PyAny>) -> Self {
        if let Ok(text) = object.extract::<PyBackedStr>() {
            Self::Text(text)
        } else if let Ok(bytes) = object.extract::<PyBackedBytes>() {
            Self::Bytes(bytes)
        } else {
            Self::NotAString
        }
    }

    fn bytes(&self) -> Result<&[u8], Error> {
        match self {
            Self::Text(text) => Ok(text.as_bytes()),
            Self::Bytes(bytes) => Ok(bytes),
            Self::NotAString => Err(Error::NotAString),
        }
    }
}

fn value_error(error: Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The canonical form of one URL.
#[pyfunction]
fn canonicalize<'py>(py: Python<'py>, url: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let item = Item::of(url);
    let url = item.bytes().and_then(Url::parse).map_err(value_error)?;
    let bytes: Vec<u8> = url.bytes().map(|b| b.value).collect();
    Ok(PyBytes::new(py, &bytes))
}

/// Native-endian `(ids u16, parts u8, offsets i64, truncated u8, errors u16)`.
type TokenBuffers<'py> =
    (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Tokens of a batch, one row per item.
#[pyfunction]
fn tokenize_batch<'py>(
    py: Python<'py>,
    urls: &Bound<'py, PyList>,
    input: &str,
    chars: &[u8],
) -> PyResult<TokenBuffers<'py>> {
    let input = Input::parse(input).map_err(value_error)?;
    let table = match input {
        Input::UrlBytes { .. } => CharTable::default(),
        _ => CharTable::new(chars).map_err(value_error)?,
    };
    let items: Vec<Item> = urls.iter().map(|item| Item::of(&item)).collect();
    let (mut ids, mut parts, mut offsets) = (Vec::<u16>::new(), Vec::<u8>::new(), vec![0_i64]);
    let (mut truncated, mut errors) = (Vec::<u8>::new(), Vec::<u16>::new());
    py.detach(|| {
        for item in &items {
            match item.bytes().and_then(|url| Tokens::new(url, input, table)) {
                Ok(tokens) => {
                    for token in tokens.iter() {
                        ids.push(token.id);
                        parts.push(token.part as u8);
                    }
                    truncated.push(u8::from(tokens.truncated()));
                    errors.push(0);
                }
                Err(error) => {
                    truncated.push(0);
                    errors.push(error.code());
                }
            }
            offsets.push(ids.len() as i64);
        }
    });
    Ok((
        PyBytes::new(py, bytemuck::cast_slice(&ids)),
        PyBytes::new(py, &parts),
        PyBytes::new(py, bytemuck::cast_slice(&offsets)),
        PyBytes::new(py, &truncated),
        PyBytes::new(py, bytemuck::cast_slice(&errors)),
    ))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", phishcnn_core::VERSION)?;
    module.add_function(wrap_pyfunction!(canonicalize, module)?)?;
    module.add_function(wrap_pyfunction!(tokenize_batch, module)?)?;
    Ok(())
}
