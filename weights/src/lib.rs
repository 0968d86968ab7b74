//! The embedded default model of PhishCNN, and its constants.
//!
//! The file is `weights/models/phishcnn-compact.safetensors`; its card lies beside it.
#![no_std]
#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/constants.rs"));

/// Flash sections are read fastest at an aligned address, and a vector that lies in two cache lines
/// costs two loads; `include_bytes!` alone promises no alignment.
#[repr(C, align(64))]
struct Aligned([u8; COMPACT_LEN]);

static FILE: Aligned = Aligned(*include_bytes!("../models/phishcnn-compact.safetensors"));

/// The model file, aligned to 64 bytes.
pub static COMPACT: &[u8] = &FILE.0;
