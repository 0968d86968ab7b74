//! Scores a URL with a character-level CNN that is read in place from a `.safetensors` file.
#![no_std]
#![forbid(unsafe_code)]

mod error;
mod suffix;
pub mod tokens;
pub mod url;

pub use error::{Error, LoadError};

/// Version of this library and of everything built from it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Longest URL that gets a score, in bytes.
pub const MAX_URL_LEN: usize = 65_536;
