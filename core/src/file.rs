//! Reads a `.safetensors` file in place.
//!
//! Stricter than the reference reader, and never accepting what that one rejects: the header is
//! at most 64 KiB, starts with `{` and ends in nothing but spaces; no name appears twice; no
//! string has an escape or a control character; no field is unknown; every dimension is at least
//! one; the tensors tile the data exactly. Format: <https://github.com/huggingface/safetensors>.

use crate::text::{number, split_once};
use crate::{Error, LoadError};
use byteorder::{ByteOrder, LittleEndian};

/// Largest header, in bytes.
const HEADER_MAX: usize = 64 * 1024;
/// Most tensors in a file.
const TENSORS_MAX: usize = 48;
/// Most metadata keys in a file; the search for a repeated key is quadratic in it.
const METADATA_MAX: usize = 64;
/// Most dimensions of a tensor.
const RANK_MAX: usize = 3;

/// Type of a tensor's elements; all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// Signed byte.
    I8,
}

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::I8 => 1,
        }
    }
}

/// One tensor, borrowed from the file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, row-major.
    pub shape: heapless::Vec<usize, RANK_MAX>,
    /// Its elements, little-endian, without any alignment.
    pub data: &'a [u8],
}

/// A file's tensors and metadata, borrowed from it.
#[derive(Clone, Debug)]
pub struct File<'a> {
    /// In the order of the header.
    pub tensors: heapless::Vec<Tensor<'a>, TENSORS_MAX>,
    /// The object `__metadata__`.
    pub metadata: Metadata<'a>,
}

impl<'a> File<'a> {
    /// Reads the header and checks that the tensors tile the data.
    ///
    /// # Errors
    /// 101 to 105 of [`Error`], with the name of the offending tensor or metadata key.
    pub fn read(bytes: &'a [u8]) -> Result<Self, LoadError<'a>> {
        let whole = |error| LoadError::new(error, "");
        let (length, body) = bytes.split_first_chunk::<8>().ok_or(whole(Error::NotSafetensors))?;
        if body.first() != Some(&b'{') {
            return Err(whole(Error::NotSafetensors));
        }
        let length = usize::try_from(LittleEndian::read_u64(length)).ok();
        let length = length.filter(|&n| n <= HEADER_MAX).ok_or(whole(Error::Header))?;
        let (header, data) = body.split_at_checked(length).ok_or(whole(Error::Header))?;
        let header = core::str::from_utf8(header).map_err(|_| whole(Error::Header))?;
        Header { json: Json { rest: header }, data }.read()
    }

    /// The tensor of this name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.iter().find(|t| t.name == name)
    }
}

/// The strings of `__metadata__`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata<'a> {
    /// Checked text of the object, from behind its `{`.
    json: Json<'a>,
}

impl<'a> Metadata<'a> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter().find_map(|(k, v)| (k == key).then_some(v))
    }

    /// All pairs, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut json = self.json;
        core::iter::from_fn(move || {
            json.eat(',');
            let key = json.string().ok()?;
            json.require(':').ok()?;
            Some((key, json.string().ok()?))
        })
    }
}

struct Header<'a> {
    json: Json<'a>,
    data: &'a [u8],
}

/// What a tensor's JSON object says.
struct Entry {
    dtype: Dtype,
    shape: heapless::Vec<usize, RANK_MAX>,
    begin: usize,
    end: usize,
}

impl<'a> Header<'a> {
    fn read(mut self) -> Result<File<'a>, LoadError<'a>> {
        let malformed = LoadError::new(Error::Header, "");
        let mut file = File { tensors: heapless::Vec::new(), metadata: Metadata::default() };
        let mut has_metadata = false;
        self.json.require('{').map_err(|_| malformed)?;
        let mut more = !self.json.eat('}');
        while more {
            let name = self.json.string().map_err(|_| malformed)?;
            self.json.require(':').map_err(|_| malformed)?;
            if name == "__metadata__" {
                if has_metadata {
                    return Err(LoadError::new(Error::Header, name));
                }
                has_metadata = true;
                file.metadata = self.metadata()?;
            } else {
                let tensor = self.tensor(name)?;
                if file.tensor(name).is_some() {
                    return Err(LoadError::new(Error::Header, name));
                }
                file.tensors.push(tensor).map_err(|_| LoadError::new(Error::Unsupported, name))?;
            }
            more = self.json.next_member().map_err(|_| malformed)?;
        }
        if !self.json.rest.bytes().all(|b| b == b' ') {
            return Err(malformed);
        }
        self.check_tiling(&file)?;
        Ok(file)
    }

    fn metadata(&mut self) -> Result<Metadata<'a>, LoadError<'a>> {
        let malformed = LoadError::new(Error::Header, "__metadata__");
        self.json.require('{').map_err(|_| malformed)?;
        let metadata = Metadata { json: self.json };
        let mut pairs = 0;
        let mut more = !self.json.eat('}');
        while more {
            let key = self.json.string().map_err(|_| malformed)?;
            let duplicate = metadata.iter().take(pairs).any(|(k, _)| k == key);
            let in_key = LoadError::new(Error::Header, key);
            let value = self.json.require(':').and_then(|()| self.json.string());
            if duplicate || value.is_err() {
                return Err(in_key);
            }
            pairs += 1;
            if pairs > METADATA_MAX {
                return Err(LoadError::new(Error::Unsupported, key));
            }
            more = self.json.next_member().map_err(|_| in_key)?;
        }
        Ok(metadata)
    }

    fn tensor(&mut self, name: &'a str) -> Result<Tensor<'a>, LoadError<'a>> {
        let entry = self.entry().map_err(|error| LoadError::new(error, name))?;
        let elements = entry.shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
        let bytes = elements.and_then(|n| n.checked_mul(entry.dtype.size()));
        let data = self.data.get(entry.begin..entry.end);
        match data {
            Some(data) if bytes == Some(data.len()) => {
                Ok(Tensor { name, dtype: entry.dtype, shape: entry.shape, data })
            }
            _ => Err(LoadError::new(Error::TensorLayout, name)),
        }
    }

    fn entry(&mut self) -> Result<Entry, Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        self.json.require('{')?;
        let mut more = !self.json.eat('}');
        while more {
            let key = self.json.string()?;
            self.json.require(':')?;
            let repeated = match key {
                "dtype" => {
                    let parsed = match self.json.string()? {
                        "F32" => Dtype::F32,
                        "U32" => Dtype::U32,
                        "I32" => Dtype::I32,
                        "I8" => Dtype::I8,
                        _ => return Err(Error::Unsupported),
                    };
                    dtype.replace(parsed).is_some()
                }
                "shape" => shape.replace(self.json.uints::<RANK_MAX>(Error::Shape)?).is_some(),
                "data_offsets" => offsets.replace(self.json.uints::<2>(Error::Header)?).is_some(),
                _ => return Err(Error::Header),
            };
            if repeated {
                return Err(Error::Header);
            }
            more = self.json.next_member()?;
        }
        let (Some(dtype), Some(shape), Some(offsets)) = (dtype, shape, offsets) else {
            return Err(Error::Header);
        };
        let &[begin, end] = offsets.as_slice() else {
            return Err(Error::Header);
        };
        if shape.is_empty() || shape.contains(&0) {
            return Err(Error::Shape);
        }
        Ok(Entry { dtype, shape, begin, end })
    }

    /// Every byte of the data belongs to exactly one tensor. (No tensor is empty.)
    fn check_tiling(&self, file: &File<'a>) -> Result<(), LoadError<'a>> {
        let offset = |tensor: &Tensor<'_>| tensor.data.as_ptr().addr() - self.data.as_ptr().addr();
        let mut end = 0;
        for _ in &file.tensors {
            let Some(next) = file.tensors.iter().find(|t| offset(t) == end) else {
                let astray = file.tensors.iter().find(|t| offset(t) > end);
                return Err(LoadError::new(Error::TensorLayout, astray.map_or("", |t| t.name)));
            };
            end += next.data.len();
        }
        if end == self.data.len() { Ok(()) } else { Err(LoadError::new(Error::TensorLayout, "")) }
    }
}

/// The subset of JSON that a header may use.
#[derive(Clone, Copy, Debug, Default)]
struct Json<'a> {
    rest: &'a str,
}

impl<'a> Json<'a> {
    /// Consumes white space, then `token` if it is next.
    fn eat(&mut self, token: char) -> bool {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let after = self.rest.strip_prefix(token);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn require(&mut self, token: char) -> Result<(), Error> {
        if self.eat(token) { Ok(()) } else { Err(Error::Header) }
    }

    /// Behind a member of an object: whether another follows.
    fn next_member(&mut self) -> Result<bool, Error> {
        if self.eat(',') { Ok(true) } else { self.require('}').map(|()| false) }
    }

    /// A string without escapes or control characters.
    fn string(&mut self) -> Result<&'a str, Error> {
        self.require('"')?;
        let (text, rest) = split_once(self.rest, b'"').ok_or(Error::Header)?;
        if text.bytes().any(|b| b == b'\\' || b < 0x20) {
            return Err(Error::Header);
        }
        self.rest = rest;
        Ok(text)
    }

    /// An unsigned integer without leading zeros.
    fn uint(&mut self) -> Result<usize, Error> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let after = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = self.rest.strip_suffix(after).unwrap_or_default();
        self.rest = after;
        number(digits).ok_or(Error::Header)
    }

    /// An array of at most N unsigned integers; a longer one is the error `too_long`.
    fn uints<const N: usize>(&mut self, too_long: Error) -> Result<heapless::Vec<usize, N>, Error> {
        let mut numbers = heapless::Vec::new();
        self.require('[')?;
        if self.eat(']') {
            return Ok(numbers);
        }
        loop {
            numbers.push(self.uint()?).map_err(|_| too_long)?;
            if !self.eat(',') {
                return self.require(']').map(|()| numbers);
            }
        }
    }
}
