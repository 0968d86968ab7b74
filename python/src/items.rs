//! What is scored: Python objects, or a column in Arrow's memory, read where it lies.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::ArrayStreamReader;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, GenericByteArray, make_array, types::ByteArrayType,
};
use arrow_buffer::ArrowNativeType;
use arrow_schema::{ArrowError, DataType};
use phishcnn_core::Error;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyCapsule, PyList, PyString};

/// One Python object; anything but `str` and `bytes` keeps its row and gets error 203.
pub(crate) enum Item {
    Text(PyBackedStr),
    Bytes(PyBackedBytes),
    NotAString,
}

impl Item {
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Self {
        if let Ok(text) = object.cast::<PyString>() {
            match PyBackedStr::try_from(text.clone()) {
                Ok(text) => Self::Text(text),
                Err(_) => surrogates(text).map_or(Self::NotAString, Self::Bytes),
            }
        } else if let Ok(bytes) = object.extract::<PyBackedBytes>() {
            Self::Bytes(bytes)
        } else {
            Self::NotAString
        }
    }

    pub(crate) fn bytes(&self) -> Result<&[u8], Error> {
        match self {
            Self::Text(text) => Ok(text.as_bytes()),
            Self::Bytes(bytes) => Ok(bytes),
            Self::NotAString => Err(Error::NotAString),
        }
    }
}

/// A `str` that UTF-8 cannot hold: the bytes that Python read it from (`surrogateescape`), else
/// its surrogates as if UTF-8 had them.
fn surrogates(text: &Bound<'_, PyString>) -> Option<PyBackedBytes> {
    let encode = |errors| text.call_method1("encode", ("utf-8", errors)).ok()?.extract().ok();
    encode("surrogateescape").or_else(|| encode("surrogatepass"))
}

/// The items of a batch.
pub(crate) enum Items {
    Objects(Vec<Item>),
    Column(Vec<Chunk>),
}

impl Items {
    /// Takes a list, or what exports itself as Arrow (`__arrow_c_stream__`, `__arrow_c_array__`).
    pub(crate) fn of(urls: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(list) = urls.cast::<PyList>() {
            return Ok(Self::Objects(list.iter().map(|item| Item::of(&item)).collect()));
        }
        let arrays = if urls.hasattr("__arrow_c_array__")? {
            vec![from_array(&urls.call_method0("__arrow_c_array__")?)?]
        } else {
            from_stream(&urls.call_method0("__arrow_c_stream__")?)?
        };
        arrays.into_iter().map(Chunk::new).collect::<PyResult<_>>().map(Self::Column)
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Objects(items) => items.len(),
            Self::Column(chunks) => chunks.iter().map(Chunk::len).sum(),
        }
    }

    /// Runs `work` on the items of these rows, in order.
    pub(crate) fn each(&self, rows: Range<usize>, mut work: impl FnMut(Result<&[u8], Error>)) {
        match self {
            Self::Objects(items) => {
                for item in items.get(rows).unwrap_or_default() {
                    work(item.bytes());
                }
            }
            Self::Column(chunks) => {
                let mut start = 0;
                for chunk in chunks {
                    let within = |row: usize| row.saturating_sub(start).min(chunk.len());
                    for i in within(rows.start)..within(rows.end) {
                        work(chunk.get(i));
                    }
                    start += chunk.len();
                }
            }
        }
    }
}

fn arrow_error(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn from_array(capsules: &Bound<'_, PyAny>) -> PyResult<ArrayRef> {
    let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = capsules.extract()?;
    let schema = schema.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(c"arrow_array"))?.cast::<FFI_ArrowArray>();
    // SAFETY: the PyCapsule interface promises that capsules of these names point to structs of
    // Arrow's C data interface; the array is moved out, and the schema lives with its capsule.
    let data = unsafe { from_ffi(FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
    Ok(make_array(data.map_err(arrow_error)?))
}

fn from_stream(capsule: &Bound<'_, PyAny>) -> PyResult<Vec<ArrayRef>> {
    let capsule = capsule.cast::<PyCapsule>()?;
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: the PyCapsule interface promises that a capsule of this name points to a stream of
    // Arrow's C stream interface; it is moved out.
    let reader = unsafe { ArrayStreamReader::from_raw(stream.cast().as_ptr()) };
    reader.map_err(arrow_error)?.collect::<Result<_, _>>().map_err(arrow_error)
}

/// Consecutive rows of a column.
pub(crate) enum Chunk {
    Small(ArrayRef),
    Large(ArrayRef),
    View(BinaryViewArray),
    Dictionary { keys: Vec<Option<usize>>, values: Box<Chunk> },
    Null(usize),
}

impl Chunk {
    fn new(array: ArrayRef) -> PyResult<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 | DataType::Binary => Self::Small(array),
            DataType::LargeUtf8 | DataType::LargeBinary => Self::Large(array),
            DataType::Utf8View => Self::View(array.as_string_view().clone().to_binary_view()),
            DataType::BinaryView => Self::View(array.as_binary_view().clone()),
            DataType::Null => Self::Null(array.len()),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let keys = dictionary.normalized_keys().into_iter().enumerate();
                Self::Dictionary {
                    keys: keys.map(|(i, key)| dictionary.is_valid(i).then_some(key)).collect(),
                    values: Box::new(Self::new(dictionary.values().clone())?),
                }
            }
            other => {
                let message = format!("a column of text is needed, not one of {other}");
                return Err(PyTypeError::new_err(message));
            }
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Small(array) | Self::Large(array) => array.len(),
            Self::View(array) => array.len(),
            Self::Dictionary { keys, .. } => keys.len(),
            Self::Null(len) => *len,
        }
    }

    fn get(&self, row: usize) -> Result<&[u8], Error> {
        match self {
            Self::Small(array) => match array.data_type() {
                DataType::Utf8 => bytes(array.as_string::<i32>(), row),
                _ => bytes(array.as_binary::<i32>(), row),
            },
            Self::Large(array) => match array.data_type() {
                DataType::LargeUtf8 => bytes(array.as_string::<i64>(), row),
                _ => bytes(array.as_binary::<i64>(), row),
            },
            Self::View(array) if array.is_valid(row) => Ok(array.value(row)),
            Self::Dictionary { keys, values } => match keys.get(row) {
                Some(Some(key)) => values.get(*key),
                _ => Err(Error::NotAString),
            },
            Self::View(_) | Self::Null(_) => Err(Error::NotAString),
        }
    }
}

/// The bytes of a row: not as `str`, because nobody has checked that they are UTF-8.
fn bytes<T: ByteArrayType>(array: &GenericByteArray<T>, row: usize) -> Result<&[u8], Error> {
    if array.is_null(row) {
        return Err(Error::NotAString);
    }
    let at = |i| array.value_offsets().get(i).map(|offset: &T::Offset| offset.as_usize());
    let range = at(row).zip(at(row + 1)).map(|(start, end)| start..end);
    range.and_then(|range| array.value_data().get(range)).ok_or(Error::Internal)
}
