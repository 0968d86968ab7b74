//! What benchmarks and the instruction guard share: model files and made-up URLs.

use std::path::{Path, PathBuf};

/// The f32 model that every surface embeds, or its int8 form, as `make -C benches models` has it.
#[must_use]
pub fn model_file(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: `make models` first", path.display()))
}

/// Where the models to measure lie: `BENCH_MODELS`, else `benches/models`.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("BENCH_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from)
}

/// A URL whose canonical form has `length` bytes: the same on every machine.
#[must_use]
pub fn url(length: usize) -> Vec<u8> {
    let text = "login.example-bank.co.uk/secure/verify?session=a81f&next=/account/";
    let mut url: Vec<u8> = text.bytes().cycle().take(length).collect();
    if let Some(last) = url.last_mut() {
        *last = b'x';
    }
    url
}
