//! The core against its oracles (`tests/support`), the reference reader and its promises.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod explain;
#[cfg(unix)]
mod guarded;
mod int8;
mod reader;
mod tokens;
mod urls;
mod vectors;

use phishcnn_core::{Block, Model};

fn scratch(model: &Model<'_>) -> Vec<Block> {
    vec![Block::ZERO; model.scratch_len().div_ceil(16)]
}
