//! Token ids and part ids of a URL: what a model's embedding looks up.
//!
//! `url-bytes/1` gives one token per byte of the canonical form. `keras-char/1` is exactly
//! Keras' character tokenizer with `pad_sequences`' defaults, so that imported networks score
//! as they did where they were trained.

use crate::text::{number, split};
use crate::url::{Byte, Part, Url};
use crate::{Error, MAX_URL_LEN};

/// Token id of a masked byte, and the only token of an empty canonical form (`url-bytes`).
pub const MASK_ID: u16 = 256;
/// Token ids of `url-bytes`: 256 byte values and the mask.
pub const BYTE_IDS: usize = 257;
/// Padding id of `keras-char`; it also serves as its mask.
pub const PADDING_ID: u16 = 0;
/// Marks, in a `keras-char` table, the id of characters that the table does not list.
pub const UNKNOWN_CODE_POINT: u32 = 0xffff_fffe;

/// How a URL becomes tokens: the metadata line `phishcnn.input`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// `url-bytes/1 max=N`: the first N bytes of the canonical form.
    UrlBytes {
        /// Most tokens of one URL, 1 to 65,536.
        max: usize,
    },
    /// `keras-char/1 length=N pad=pre truncate=pre canonical=yes|no`: code points, case kept,
    /// padded in front, and losing their front when too long.
    KerasChar {
        /// Tokens of every URL, 1 to 65,536.
        length: usize,
        /// Whether the canonical form is read instead of the raw text.
        canonical: bool,
    },
}

impl Input {
    /// Parses the metadata line.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for anything that this version does not read exactly.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let mut words = split(line, b' ');
        let mut word = |key: &str| words.next().and_then(|w| w.strip_prefix(key));
        let number = |text: Option<&str>| {
            let n = text.and_then(number);
            n.filter(|n| (1..=MAX_URL_LEN).contains(n)).ok_or(Error::Unsupported)
        };
        let input = match word("") {
            Some("url-bytes/1") => Self::UrlBytes { max: number(word("max="))? },
            Some("keras-char/1") => {
                let length = number(word("length="))?;
                if word("pad=") != Some("pre") || word("truncate=") != Some("pre") {
                    return Err(Error::Unsupported);
                }
                let canonical = match word("canonical=") {
                    Some("yes") => true,
                    Some("no") => false,
                    _ => return Err(Error::Unsupported),
                };
                Self::KerasChar { length, canonical }
            }
            _ => return Err(Error::Unsupported),
        };
        if words.next().is_some() { Err(Error::Unsupported) } else { Ok(input) }
    }

    /// Most tokens of one URL.
    #[must_use]
    pub const fn max_tokens(self) -> usize {
        match self {
            Self::UrlBytes { max } => max,
            Self::KerasChar { length, .. } => length,
        }
    }

    /// The token id that hides a byte: [`MASK_ID`] or, for Keras, [`PADDING_ID`].
    #[must_use]
    pub const fn mask_id(self) -> u16 {
        match self {
            Self::UrlBytes { .. } => MASK_ID,
            Self::KerasChar { .. } => PADDING_ID,
        }
    }
}

/// One position of the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Row of the character embedding.
    pub id: u16,
    /// Row of the part embedding; `Scheme` (0) throughout for `keras-char`.
    pub part: Part,
    /// Offset in the URL as given of the byte or character; `usize::MAX` when there is none.
    pub at: usize,
}

impl Token {
    const fn without_source(id: u16) -> Self {
        Self { id, part: Part::Scheme, at: usize::MAX }
    }
}

/// A URL's tokens.
pub struct Tokens<'u> {
    url: Url<'u>,
    input: Input,
    table: CharTable<'u>,
    /// Bytes or code points before any cut.
    available: usize,
}

impl<'u> Tokens<'u> {
    /// Tokenises a URL. `table` serves `keras-char` only.
    ///
    /// # Errors
    /// [`Error::EmptyUrl`] and [`Error::UrlTooLong`].
    pub fn new(url: &'u [u8], input: Input, table: CharTable<'u>) -> Result<Self, Error> {
        let raw = url;
        let url = match input {
            Input::KerasChar { canonical: false, .. } => Url::raw(raw)?,
            _ => Url::parse(raw)?,
        };
        let mut tokens = Self { url, input, table, available: 0 };
        tokens.available = match input {
            Input::UrlBytes { .. } => tokens.url.len(),
            Input::KerasChar { .. } => CodePoints(tokens.url.bytes()).count(),
        };
        Ok(tokens)
    }

    /// The canonical form (or, for raw `keras-char`, the URL as given).
    #[must_use]
    pub fn url(&self) -> &Url<'u> {
        &self.url
    }

    /// Number of tokens: at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.input {
            Input::UrlBytes { max } => self.available.clamp(1, max),
            Input::KerasChar { length, .. } => length,
        }
    }

    /// Whether the URL had more bytes or characters than the model reads.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.available > self.input.max_tokens()
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = Token> + '_ {
        let (bytes, chars) = match self.input {
            Input::UrlBytes { .. } => (Some(self.byte_tokens()), None),
            Input::KerasChar { length, .. } => (None, Some(self.char_tokens(length))),
        };
        bytes.into_iter().flatten().chain(chars.into_iter().flatten())
    }

    fn byte_tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let lone_mask = (self.available == 0).then_some(Token::without_source(MASK_ID));
        let bytes = self.url.bytes().take(self.input.max_tokens());
        let bytes = bytes.map(|b| Token { id: u16::from(b.value), part: b.part, at: b.at });
        bytes.chain(lone_mask)
    }

    fn char_tokens(&self, length: usize) -> impl Iterator<Item = Token> + '_ {
        let padding = length.saturating_sub(self.available);
        let padding = core::iter::repeat_n(Token::without_source(PADDING_ID), padding);
        let cut = self.available.saturating_sub(length);
        let chars = CodePoints(self.url.bytes()).skip(cut);
        padding.chain(chars.map(|(code_point, at)| Token {
            id: self.table.id(code_point),
            part: Part::Scheme,
            at,
        }))
    }
}

/// The tensor `chars` of a `keras-char` model: the code point of each token id, little-endian.
#[derive(Clone, Copy, Debug, Default)]
pub struct CharTable<'a> {
    code_points: &'a [[u8; 4]],
    unknown: u16,
}

impl<'a> CharTable<'a> {
    /// Reads a table of `u32` little-endian code points, id 0 first.
    ///
    /// # Errors
    /// [`Error::Shape`] when it is not made of 1 to 65,536 numbers, [`Error::Unsupported`] when
    /// no id, or more than one, is marked as [`UNKNOWN_CODE_POINT`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let (code_points, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || code_points.is_empty() {
            return Err(Error::Shape);
        }
        let is_unknown = |c: &[u8; 4]| u32::from_le_bytes(*c) == UNKNOWN_CODE_POINT;
        let unknown = code_points.iter().position(is_unknown).ok_or(Error::Unsupported)?;
        if code_points.iter().filter(|c| is_unknown(c)).count() != 1 {
            return Err(Error::Unsupported);
        }
        let unknown = u16::try_from(unknown).map_err(|_| Error::Shape)?;
        Ok(Self { code_points, unknown })
    }

    fn id(&self, code_point: Option<char>) -> u16 {
        let Some(c) = code_point else { return self.unknown };
        let wanted = u32::from(c).to_le_bytes();
        let found = self.code_points.iter().position(|&c| c == wanted);
        found.and_then(|id| u16::try_from(id).ok()).unwrap_or(self.unknown)
    }
}

/// Decodes UTF-8; a byte that starts no valid character gives `None` and is passed over alone.
#[derive(Clone)]
struct CodePoints<I>(I);

impl<I: Iterator<Item = Byte> + Clone> Iterator for CodePoints<I> {
    type Item = (Option<char>, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.next()?;
        let length = match first.value {
            0..=0x7f => return Some((Some(char::from(first.value)), first.at)),
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Some((None, first.at)),
        };
        let mut rest = self.0.clone();
        let mut utf8 = [first.value, 0, 0, 0];
        for byte in utf8.iter_mut().take(length).skip(1) {
            *byte = rest.next().map_or(0, |b| b.value);
        }
        let utf8 = utf8.get(..length).unwrap_or_default();
        let decoded = core::str::from_utf8(utf8).ok().and_then(|s| s.chars().next());
        if decoded.is_some() {
            self.0 = rest;
        }
        Some((decoded, first.at))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const BYTES: Input = Input::UrlBytes { max: 8 };

    fn ids(url: &[u8], input: Input, table: &[u32]) -> Vec<u16> {
        let bytes: Vec<u8> = table.iter().flat_map(|c| c.to_le_bytes()).collect();
        let table =
            if table.is_empty() { CharTable::default() } else { CharTable::new(&bytes).unwrap() };
        let tokens = Tokens::new(url, input, table).unwrap();
        let ids: Vec<u16> = tokens.iter().map(|t| t.id).collect();
        assert_eq!(ids.len(), tokens.count());
        ids
    }

    #[test]
    fn input_lines() {
        assert_eq!(Input::parse("url-bytes/1 max=256"), Ok(Input::UrlBytes { max: 256 }));
        assert_eq!(
            Input::parse("keras-char/1 length=200 pad=pre truncate=pre canonical=no"),
            Ok(Input::KerasChar { length: 200, canonical: false })
        );
        for bad in [
            "",
            "url-bytes/2 max=256",
            "url-bytes/1",
            "url-bytes/1 max=0",
            "url-bytes/1 max=65537",
            "url-bytes/1 max=256 more",
            "url-bytes/1  max=256",
            "url-bytes/1 max=256 ",
            "keras-char/1 length=200 pad=post truncate=pre canonical=no",
            "keras-char/1 length=200 pad=pre truncate=pre canonical=maybe",
        ] {
            assert_eq!(Input::parse(bad), Err(Error::Unsupported), "{bad:?}");
        }
    }

    #[test]
    fn bytes_of_the_canonical_form() {
        assert_eq!(ids(b"http://www.A.b/", BYTES, &[]), [97, 46, 98]);
        assert_eq!(ids(b"https://", BYTES, &[]), [MASK_ID]);
        assert_eq!(ids(b"123456789", BYTES, &[]).len(), 8);
        let tokens = |url| Tokens::new(url, BYTES, CharTable::default()).unwrap();
        assert!(!tokens(b"12345678").truncated());
        assert!(tokens(b"123456789").truncated());
    }

    #[test]
    fn characters_as_keras_counts_them() {
        let table = [u32::MAX, 'a' as u32, 'é' as u32, UNKNOWN_CODE_POINT, 'A' as u32];
        let keras = |length| Input::KerasChar { length, canonical: false };
        assert_eq!(ids("aéz".as_bytes(), keras(5), &table), [0, 0, 1, 2, 3]);
        assert_eq!(ids("aéA".as_bytes(), keras(2), &table), [2, 4]);
        assert_eq!(ids(b"a\xc3", keras(2), &table), [1, 3]);
        assert_eq!(ids(b"\xe2\x82a", keras(3), &table), [3, 3, 1]);
        assert_eq!(ids(b" a", keras(2), &table), [3, 1]);
        let canonical = Input::KerasChar { length: 2, canonical: true };
        assert_eq!(ids(b"http://A.a", canonical, &table), [3, 1]);
        assert_eq!(ids(b"http://", canonical, &table), [0, 0]);
    }

    #[test]
    fn char_tables_need_exactly_one_unknown_id() {
        assert_eq!(CharTable::new(&[]).err(), Some(Error::Shape));
        assert_eq!(CharTable::new(&[0; 5]).err(), Some(Error::Shape));
        assert_eq!(CharTable::new(&[0; 8]).err(), Some(Error::Unsupported));
        let twice = [UNKNOWN_CODE_POINT.to_le_bytes(); 2].concat();
        assert_eq!(CharTable::new(&twice).err(), Some(Error::Unsupported));
    }
}
