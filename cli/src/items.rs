//! What is scored: lines, or the cells of a table's column.

use phishcnn_core::Error;

use crate::failure::Failure;
use crate::lines::Lines;

/// Some consecutive items of an input.
#[derive(Debug, Default)]
pub struct Items {
    texts: Lines,
    /// Why an item is no text; shorter than `texts` when none of the later ones has an error.
    errors: Vec<Option<Error>>,
}

/// An input, or all of them, in batches.
pub type Batches = Box<dyn Iterator<Item = Result<Items, Failure>> + Send>;

impl Items {
    /// Appends an item. One without text keeps its place and gets its number.
    pub fn push(&mut self, item: Result<&[u8], Error>) {
        if let Err(error) = item {
            self.errors.resize(self.texts.len(), None);
            self.errors.push(Some(error));
        }
        self.texts.push(item.unwrap_or_default());
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all items together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts.bytes()
    }

    /// The bytes of every item; none where it is no text.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter()
    }

    /// Every item.
    pub fn iter(&self) -> impl Iterator<Item = Result<&[u8], Error>> {
        let errors = self.errors.iter().copied().chain(std::iter::repeat(None));
        self.texts.iter().zip(errors).map(|(text, error)| error.map_or(Ok(text), Err))
    }
}

impl From<Lines> for Items {
    fn from(texts: Lines) -> Self {
        Self { texts, errors: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_places() {
        let mut items = Items::default();
        let pushed: [Result<&[u8], Error>; 5] =
            [Ok(b"a"), Err(Error::NotAString), Ok(b""), Err(Error::UrlTooLong), Ok(b"b")];
        for item in pushed {
            items.push(item);
        }
        assert!(items.iter().eq(pushed));
        assert_eq!(items.len(), 5);
    }
}
