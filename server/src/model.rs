//! The model a command works with, and the scratch memory it scores in.

use std::path::Path;

use phishcnn_core::{Block, Error, Model, Score, Segment};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// A model that lives as long as the process.
pub(crate) struct Loaded {
    pub(crate) model: Model<'static>,
    /// The whole file, as read.
    pub(crate) file: &'static [u8],
    /// Where it came from: a path or `embedded`.
    pub(crate) source: String,
}

impl Loaded {
    /// SHA-256 of the file in hexadecimal: the model's identity on every surface.
    pub(crate) fn sha256(&self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(self.file) {
            hex.push_str(&format!("{byte:02x}"));
        }
        hex
    }
}

/// Loads `path`, or the embedded compact model.
///
/// The result is never freed: a process works with one model until it ends, and threads that
/// outlive a command's borrow may then hold it.
pub(crate) fn load(path: Option<&Path>) -> Result<&'static Loaded, Failure> {
    let (file, source) = match path {
        None => (phishcnn_weights::COMPACT, "embedded".to_owned()),
        Some(path) => (read_aligned(path)?, path.display().to_string()),
    };
    let model =
        Model::load(file).map_err(|error| Failure::Model(format!("model {source}: {error}")))?;
    Ok(Box::leak(Box::new(Loaded { model, file, source })))
}

/// Reads a file to memory at a multiple of 16 bytes, as the core borrows its numbers in place.
fn read_aligned(path: &Path) -> Result<&'static [u8], Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::Model(format!("model {}: {error}", path.display())))?;
    let blocks = vec![Block::ZERO; bytes.len().div_ceil(16)];
    let aligned = phishcnn_core::as_bytes_mut(Box::leak(blocks.into_boxed_slice()));
    let (file, _) = aligned.split_at_mut(bytes.len());
    file.copy_from_slice(&bytes);
    Ok(file)
}

/// One thread's working memory, made once and used for every URL.
pub(crate) struct Scorer {
    model: &'static Model<'static>,
    scratch: Vec<Block>,
}

impl Scorer {
    pub(crate) fn new(loaded: &'static Loaded) -> Self {
        let model = &loaded.model;
        Self { model, scratch: vec![Block::ZERO; model.scratch_len().div_ceil(16)] }
    }

    pub(crate) fn score(&mut self, url: &[u8]) -> Result<Score, Error> {
        self.model.score(url, phishcnn_core::as_bytes_mut(&mut self.scratch))
    }

    pub(crate) fn explain(&mut self, url: &[u8]) -> Result<(Score, Vec<Segment>), Error> {
        let mut segments = vec![Segment::default(); self.model.max_segments()];
        let scratch = phishcnn_core::as_bytes_mut(&mut self.scratch);
        let (score, count) = self.model.explain(url, scratch, &mut segments)?;
        segments.truncate(count);
        Ok((score, segments))
    }
}
