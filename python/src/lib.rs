//! `phishcnn._core`: the core's tokenizer and models, as byte buffers that `phishcnn` wraps in
//! NumPy arrays.

use phishcnn_core::tokens::{CharTable, Input, Tokens};
use phishcnn_core::url::Url;
use phishcnn_core::{Block, Error, Score, as_bytes_mut};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyList};
use std::borrow::Cow;

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
type TokenBuffers<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

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

/// Native-endian `(logit f32, probability f32, verdict u8, truncated u8, errors u16)`.
type ScoreBuffers<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

/// A model with its file. The core's `Model` borrows its file, so it is made anew for each
/// call: that costs microseconds, and keeps self-reference and `unsafe` out.
#[pyclass(frozen)]
struct Model {
    file: Cow<'static, [u8]>,
}

impl Model {
    fn core(&self) -> PyResult<phishcnn_core::Model<'_>> {
        phishcnn_core::Model::load(&self.file).map_err(|e| PyValueError::new_err(e.to_string()))
    }
}

#[pymethods]
impl Model {
    /// The embedded default model, or the one in `file`.
    #[new]
    #[pyo3(signature = (file=None))]
    fn new(file: Option<Vec<u8>>) -> PyResult<Self> {
        let file = file.map_or(Cow::Borrowed(phishcnn_weights::COMPACT), Cow::Owned);
        let model = Self { file };
        model.core()?;
        Ok(model)
    }

    #[getter]
    fn info(&self) -> PyResult<std::collections::BTreeMap<String, String>> {
        let model = self.core()?;
        Ok(model.metadata().iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    /// The model file.
    #[getter]
    fn file<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.file)
    }

    #[getter]
    fn scratch_len(&self) -> PyResult<usize> {
        Ok(self.core()?.scratch_len())
    }

    #[getter]
    fn parameters(&self) -> PyResult<usize> {
        Ok(self.core()?.parameters())
    }

    fn multiply_adds(&self, positions: usize) -> PyResult<u64> {
        Ok(self.core()?.multiply_adds(positions))
    }

    fn score_batch<'py>(
        &self,
        py: Python<'py>,
        urls: &Bound<'py, PyList>,
        threads: usize,
    ) -> PyResult<ScoreBuffers<'py>> {
        let model = self.core()?;
        let items: Vec<Item> = urls.iter().map(|item| Item::of(&item)).collect();
        let mut rows: Vec<Result<Score, Error>> = vec![Err(Error::Internal); items.len()];
        let share = items.len().div_ceil(threads.max(1)).max(1);
        py.detach(|| {
            std::thread::scope(|scope| {
                for (items, rows) in items.chunks(share).zip(rows.chunks_mut(share)) {
                    let model = &model;
                    let work = move || {
                        let mut scratch =
                            vec![Block::ZERO; model.scratch_len().div_ceil(size_of::<Block>())];
                        for (item, row) in items.iter().zip(rows) {
                            let score = |url| model.score(url, as_bytes_mut(&mut scratch));
                            *row = item.bytes().and_then(score);
                        }
                    };
                    // One share needs no thread: none is started unless the caller asks for it.
                    if share >= items.len() && threads <= 1 {
                        work()
                    } else {
                        drop(scope.spawn(work))
                    }
                }
            });
        });
        let floats = |of: fn(&Score) -> f32| -> Vec<f32> {
            rows.iter().map(|row| row.as_ref().map_or(f32::NAN, of)).collect()
        };
        let bytes = |of: fn(&Score) -> u8| -> Vec<u8> {
            rows.iter().map(|row| row.as_ref().map_or(0, of)).collect()
        };
        let errors: Vec<u16> =
            rows.iter().map(|row| row.as_ref().err().map_or(0, |e| e.code())).collect();
        Ok((
            PyBytes::new(py, bytemuck::cast_slice(&floats(|s| s.logit))),
            PyBytes::new(py, bytemuck::cast_slice(&floats(|s| s.probability))),
            PyBytes::new(py, &bytes(|s| s.verdict as u8)),
            PyBytes::new(py, &bytes(|s| u8::from(s.truncated))),
            PyBytes::new(py, bytemuck::cast_slice(&errors)),
        ))
    }
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", phishcnn_core::VERSION)?;
    module.add_function(wrap_pyfunction!(canonicalize, module)?)?;
    module.add_function(wrap_pyfunction!(tokenize_batch, module)?)?;
    module.add_class::<Model>()?;
    Ok(())
}
