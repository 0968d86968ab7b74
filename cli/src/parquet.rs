//! Parquet, which a surface may bring along: a reader of its own would be larger than all the rest
//! of the program. The wheel brings PyArrow's, where that is installed.

use std::path::Path;

use phishcnn_core::{Error, Score};

use crate::failure::Failure;
use crate::items::Items;

/// What a surface can do with Parquet.
pub trait Parquet {
    /// The cells of one column.
    ///
    /// # Errors
    /// When there is no such file or column.
    fn read(&self, file: &Path, column: &str) -> Result<ParquetBatches, Failure>;

    /// A new file with the results.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&self, file: &Path) -> Result<Box<dyn Sink>, Failure>;
}

/// Items, and how many bytes of the file these were, for the progress bar.
pub type ParquetBatches = Box<dyn Iterator<Item = Result<(Items, u64), Failure>> + Send>;

/// Takes results in the order of the input.
pub trait Sink {
    /// Writes the results of some items.
    ///
    /// # Errors
    /// When the output cannot take them.
    fn write(&mut self, items: &Items, scores: &[Result<Score, Error>]) -> Result<(), Failure>;

    /// Writes what is still held back.
    ///
    /// # Errors
    /// As for `write`.
    fn finish(&mut self) -> Result<(), Failure>;
}

/// The binary's answer.
pub struct NoParquet;

impl NoParquet {
    fn refuse(file: &Path) -> Failure {
        let file = file.display();
        let what = format!("{file}: Parquet needs the command of the Python wheel, with PyArrow");
        Failure::setting(Error::BadValue, what)
    }
}

impl Parquet for NoParquet {
    fn read(&self, file: &Path, _: &str) -> Result<ParquetBatches, Failure> {
        Err(Self::refuse(file))
    }

    fn write(&self, file: &Path) -> Result<Box<dyn Sink>, Failure> {
        Err(Self::refuse(file))
    }
}
