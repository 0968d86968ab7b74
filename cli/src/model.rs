//! The model a command works with, and the scratch memory it scores in.

use std::fmt::Write;
use std::path::Path;
use std::sync::OnceLock;

use phishcnn_core::{Block, Error, Model, Score, Segment, as_bytes, as_bytes_mut};
use self_cell::self_cell;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// Where the bytes of a model file are; aligned, as the core borrows its numbers in place.
enum File {
    Embedded,
    /// The memory, and how many of its bytes are the file.
    Read(CacheLines, usize),
}

impl File {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Embedded => phishcnn_weights::COMPACT,
            Self::Read(memory, len) => as_bytes(memory.blocks()).get(..*len).unwrap_or_default(),
        }
    }
}

/// Memory that begins with a cache line. The core asks for a [`Block`]'s alignment alone, but a
/// vector that lies in two cache lines costs two loads: a fifth of the time of a score.
#[derive(Default)]
struct CacheLines(Vec<Block>);

impl CacheLines {
    const LINE: usize = 64;
    const SPARE: usize = Self::LINE / size_of::<Block>() - 1;

    fn new(bytes: usize) -> Self {
        Self(vec![Block::ZERO; bytes.div_ceil(size_of::<Block>()) + Self::SPARE])
    }

    fn start(&self) -> usize {
        self.0.as_ptr().align_offset(Self::LINE).min(self.0.len())
    }

    fn blocks(&self) -> &[Block] {
        self.0.get(self.start()..).unwrap_or_default()
    }

    fn blocks_mut(&mut self) -> &mut [Block] {
        let start = self.start();
        self.0.get_mut(start..).unwrap_or_default()
    }
}

self_cell! {
    struct InPlace {
        owner: File,
        #[covariant]
        dependent: Model,
    }
}

/// A model and the file that it borrows from.
pub struct Loaded {
    cell: InPlace,
    /// Where it came from: a path or `embedded`.
    pub source: String,
    sha256: OnceLock<String>,
}

impl Loaded {
    /// Loads `path`, or the embedded compact model.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        match path {
            None => Self::in_place(File::Embedded, "embedded".to_owned()),
            Some(path) => {
                let source = path.display().to_string();
                let bytes = std::fs::read(path)
                    .map_err(|error| Failure::Model(format!("model {source}: {error}")))?;
                Self::from_bytes(&bytes, source)
            }
        }
    }

    /// Loads a model file from memory; `source` says where it came from.
    pub fn from_bytes(bytes: &[u8], source: String) -> Result<Self, Failure> {
        let mut memory = CacheLines::new(bytes.len());
        for (to, from) in as_bytes_mut(memory.blocks_mut()).iter_mut().zip(bytes) {
            *to = *from;
        }
        Self::in_place(File::Read(memory, bytes.len()), source)
    }

    fn in_place(file: File, source: String) -> Result<Self, Failure> {
        let cell = InPlace::try_new(file, |file| {
            Model::load(file.bytes())
                .map_err(|error| Failure::Model(format!("model {source}: {error}")))
        })?;
        Ok(Self { cell, source, sha256: OnceLock::new() })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model<'_> {
        self.cell.borrow_dependent()
    }

    /// The whole file, as read.
    pub fn file(&self) -> &[u8] {
        self.cell.borrow_owner().bytes()
    }

    /// SHA-256 of the file in hexadecimal: the model's identity on every surface.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| hex(&Sha256::digest(self.file())))
    }

    /// Scores odd URLs, and the model's own golden vectors where it carries some.
    ///
    /// # Errors
    /// What went wrong, with the URL's number or the vector.
    pub fn self_test(&self) -> Result<(), String> {
        let long = [b"http://a.example/".to_vec(), vec![b'%'; 60_000]].concat();
        let odd: [&[u8]; 8] = [
            b"a",
            b"https://www.example.com/",
            b"http://user:secret@192.0.2.1:8080/a/b.php?c=d&e#f",
            b"http://[2001:db8::1]/",
            b"://",
            b"\0\xff\xfe",
            "http://пример.example/путь".as_bytes(),
            &long,
        ];
        let mut scorer = Scorer::new(self);
        for url in odd {
            let scored = scorer.score(url).and_then(|score| scorer.explain(url).map(|_| score));
            let score = scored.map_err(|error| format!("scoring a test URL: {error}"))?;
            if !(score.logit.is_finite() && score.probability.is_finite()) {
                return Err("scoring a test URL: 901: a score is not a finite number".to_owned());
            }
        }
        for (expected, url) in golden(self.model().metadata().get(GOLDEN).unwrap_or_default())? {
            let score = scorer
                .score(url.as_bytes())
                .map_err(|error| format!("{GOLDEN}: {error}: {url}"))?;
            let off = (f64::from(score.logit) - expected).abs();
            if off.is_nan() || off > GOLDEN_TOLERANCE {
                return Err(format!("{GOLDEN}: {url} has logit {}, not {expected}", score.logit));
            }
        }
        Ok(())
    }
}

/// Optional metadata of a model file: what it must answer, as `LOGIT URL LOGIT URL …`.
const GOLDEN: &str = "phishcnn.golden";

/// Largest difference from a golden logit: ten times what f32 backends differ by.
const GOLDEN_TOLERANCE: f64 = 1e-3;

fn golden(line: &str) -> Result<Vec<(f64, &str)>, String> {
    let mut words = line.split_ascii_whitespace();
    let mut vectors = Vec::new();
    while let Some(logit) = words.next() {
        let number = logit.parse().map_err(|_| format!("{GOLDEN}: {logit} is no number"))?;
        let url = words.next().ok_or_else(|| format!("{GOLDEN}: a logit without a URL"))?;
        vectors.push((number, url));
    }
    Ok(vectors)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The model of a command. It is never freed: a command works with one model until it ends, and
/// threads that outlive a command's borrow may then hold it.
pub fn load(path: Option<&Path>) -> Result<&'static Loaded, Failure> {
    Ok(Box::leak(Box::new(Loaded::load(path)?)))
}

/// Scratch memory that grows to what a model needs and is used for every URL.
#[derive(Default)]
pub struct Scratch(CacheLines);

impl Scratch {
    fn bytes(&mut self, len: usize) -> &mut [u8] {
        if size_of_val(self.0.blocks()) < len {
            self.0 = CacheLines::new(len);
        }
        as_bytes_mut(self.0.blocks_mut())
    }

    /// As [`Model::score`].
    ///
    /// # Errors
    /// As there.
    pub fn score(&mut self, model: &Model<'_>, url: &[u8]) -> Result<Score, Error> {
        model.score(url, self.bytes(model.scratch_len()))
    }

    /// As [`Model::explain`].
    ///
    /// # Errors
    /// As there.
    pub fn explain(
        &mut self,
        model: &Model<'_>,
        url: &[u8],
    ) -> Result<(Score, Vec<Segment>), Error> {
        let mut segments = vec![Segment::default(); model.max_segments()];
        let scratch = self.bytes(model.scratch_len());
        let (score, count) = model.explain(url, scratch, &mut segments)?;
        segments.truncate(count);
        Ok((score, segments))
    }
}

/// One thread's model and working memory.
pub struct Scorer<'a> {
    model: &'a Model<'a>,
    scratch: Scratch,
}

impl<'a> Scorer<'a> {
    /// A scorer of this model.
    #[must_use]
    pub fn new(loaded: &'a Loaded) -> Self {
        Self { model: loaded.model(), scratch: Scratch::default() }
    }

    /// As [`Model::score`].
    ///
    /// # Errors
    /// As there.
    pub fn score(&mut self, url: &[u8]) -> Result<Score, Error> {
        self.scratch.score(self.model, url)
    }

    /// As [`Model::explain`].
    ///
    /// # Errors
    /// As there.
    pub fn explain(&mut self, url: &[u8]) -> Result<(Score, Vec<Segment>), Error> {
        self.scratch.explain(self.model, url)
    }
}

#[cfg(test)]
mod tests {
    use super::{CacheLines, Loaded, golden};

    #[test]
    fn memory_begins_with_a_cache_line() {
        for bytes in [0, 1, 1000, 1 << 20] {
            let memory = CacheLines::new(bytes);
            assert!(memory.blocks().as_ptr().cast::<u8>().addr().is_multiple_of(64));
            assert!(size_of_val(memory.blocks()) >= bytes);
        }
        let embedded = Loaded::load(None).unwrap();
        assert!(embedded.file().as_ptr().addr().is_multiple_of(64));
    }

    #[test]
    fn golden_vectors() {
        assert_eq!(golden(""), Ok(vec![]));
        assert_eq!(golden("-1.5 a 2 http://b/"), Ok(vec![(-1.5, "a"), (2.0, "http://b/")]));
        assert!(golden("1").is_err() && golden("x http://b/").is_err());
    }
}
