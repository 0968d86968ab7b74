//! What benchmarks and the instruction guard share: model files and made-up URLs.

use std::path::{Path, PathBuf};

/// The f32 model that every surface embeds, or its int8 form, as `make -C benches models` has it.
#[must_use]
pub fn model_file(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: `make models` first", path.display()))
}

/// A file at the beginning of a cache line, as the embedded model lies in every artefact.
pub struct Aligned {
    memory: Vec<u8>,
    file: std::ops::Range<usize>,
}

impl Aligned {
    /// Copies it.
    #[must_use]
    pub fn new(file: &[u8]) -> Self {
        let mut memory = vec![0; file.len() + 63];
        let start = memory.as_ptr().align_offset(64);
        let file_range = start..start + file.len();
        memory[file_range.clone()].copy_from_slice(file);
        Self { memory, file: file_range }
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.file.clone()]
    }
}

/// Where the models to measure lie: `BENCH_MODELS`, else `benches/models`.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("BENCH_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), PathBuf::from)
}

/// Made-up URLs whose canonical form has `length` bytes, all different: the engine's time depends
/// on what it reads, and one URL again and again would teach the processor its every branch.
#[must_use]
pub fn urls(length: usize) -> Vec<Vec<u8>> {
    (0..64).map(|seed| url(length, seed)).collect()
}

/// One of them: the same on every machine.
fn url(length: usize, seed: u64) -> Vec<u8> {
    const HOSTS: [&str; 12] = [
        "login.example-bank",
        "shop.green-garden",
        "secure-paypa1",
        "mail.university",
        "my-blog",
        "cdn7.static-files",
        "account-verify.services",
        "news.daily-herald",
        "x1q9zk",
        "forum",
        "docs.open-source",
        "win-a-prize.now",
    ];
    const SUFFIXES: [&str; 8] =
        [".com", ".co.uk", ".web.app", ".ru", ".net", ".de", ".top", ".org"];
    const WORDS: [&str; 20] = [
        "secure",
        "account",
        "index.html",
        "wp-content",
        "images",
        "login.php",
        "2024",
        "articles",
        "verify?session=a81f",
        "search?q=blue+shoes",
        "id=99120",
        "en-gb",
        "user/~kim",
        "update",
        "product_id=17&ref=mail",
        "confirm#top",
        "static/js/app.9f3c.js",
        "signin",
        "help",
        "ABC123",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut pick = |from: &[&'static str]| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from[(state >> 33) as usize % from.len()]
    };
    let mut text = String::from(pick(&HOSTS)) + pick(&SUFFIXES);
    while text.len() < length {
        text = text + "/" + pick(&WORDS);
    }
    let mut url = text.into_bytes();
    url.truncate(length);
    // (A dot or a slash at the end might be removed.)
    if let Some(last) = url.last_mut() {
        *last = b'x';
    }
    url
}
