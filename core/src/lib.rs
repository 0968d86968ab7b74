//! PhishCNN's core: scores a URL with a character-level CNN that is read in place from a
//! `.safetensors` file. No `std`, no allocation, no panic; `unsafe` only in kernels.
//!
//! A URL's way, one file a step: bytes → canonical form ([`url`]) → tokens ([`tokens`]) →
//! layers (`network`, with the arithmetic in `float`, `int8` and `kernel`) → score and verdict
//! ([`Model`]).
//! A model's way: bytes → tensors and metadata ([`mod@file`]) → layers (`layers`) → [`Model`].
//!
//! ```no_run
//! # let file: &[u8] = &[];
//! let model = phishcnn_core::Model::load(file)?;
//! let mut scratch = vec![phishcnn_core::Block::ZERO; model.scratch_len() / 16];
//! let score = model.score(b"http://example.com/", phishcnn_core::as_bytes_mut(&mut scratch))?;
//! println!("{} {}", score.verdict.as_str(), score.probability);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

mod error;
mod explain;
pub mod file;
mod float;
mod int8;
mod kernel;
mod layers;
mod model;
mod network;
mod ngrams;
mod scratch;
mod suffix;
mod text;
pub mod tokens;
mod trigrams;
pub mod url;

pub use error::{Error, LoadError};
pub use explain::Segment;
pub use kernel::Backend;
pub use model::{Calibration, Model, Score, Thresholds, Verdict};
pub use scratch::{Block, as_bytes, as_bytes_mut};
pub use url::Part;

/// Version of this library and of everything built from it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest URL that gets a score, in bytes.
pub const MAX_URL_LEN: usize = 65_536;
