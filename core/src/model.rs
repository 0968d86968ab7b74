//! A model: its file's description, and scoring.

use crate::file::{File, Metadata};
use crate::float::Float;
use crate::int8::Int8;
use crate::kernel::{Backend, Kernels};
use crate::layers::{Activation, Layers};
use crate::text::split_once;
use crate::tokens::{Input, Token, Tokens};
use crate::{Error, LoadError, network};
use core::mem::size_of;
use core::ops::Range;
use micromath::F32Ext;

/// What a score means for the user. Decided by comparing logits with the model's thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// Below both thresholds.
    Benign = 0,
    /// At or above the threshold of FPR 1 % on validation data.
    Suspicious = 1,
    /// At or above the threshold of FPR 0.1 % on validation data.
    Phishing = 2,
}

impl Verdict {
    /// The word in answers of every surface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Suspicious => "suspicious",
            Self::Phishing => "phishing",
        }
    }
}

/// The score of one URL.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The network's output; always finite. Higher is more like phishing.
    pub logit: f32,
    /// Calibrated probability of phishing at base rate 0.5, in \[0, 1\].
    pub probability: f32,
    /// The logit against the model's thresholds.
    pub verdict: Verdict,
    /// The URL was longer than the model reads.
    pub truncated: bool,
}

/// Raw logits from which a verdict holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// From here on: phishing.
    pub phishing: f32,
    /// From here on: suspicious. Not above `phishing`.
    pub suspicious: f32,
}

/// probability = sigmoid(a · logit + b), fitted at base rate 0.5 (Platt scaling).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Slope; positive.
    pub a: f32,
    /// Offset.
    pub b: f32,
}

/// Most scratch memory that a model may ask for, so that a hostile file cannot exhaust a host.
const SCRATCH_MAX: usize = 16 << 20;

/// How one logit comes out of the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// `logit`: the only output.
    Logit,
    /// `sigmoid2 positive=P`: the positive output's own logit.
    Sigmoid2 { positive: usize },
    /// `softmax2 positive=P`: the positive output's logit minus the other one.
    Softmax2 { positive: usize },
}

impl Output {
    fn parse(line: &str) -> Option<Self> {
        match line {
            "logit" => Some(Self::Logit),
            "sigmoid2 positive=0" => Some(Self::Sigmoid2 { positive: 0 }),
            "sigmoid2 positive=1" => Some(Self::Sigmoid2 { positive: 1 }),
            "softmax2 positive=0" => Some(Self::Softmax2 { positive: 0 }),
            "softmax2 positive=1" => Some(Self::Softmax2 { positive: 1 }),
            _ => None,
        }
    }

    const fn outputs(self) -> usize {
        match self {
            Self::Logit => 1,
            Self::Sigmoid2 { .. } | Self::Softmax2 { .. } => 2,
        }
    }

    fn logit(self, [a, b]: [f32; 2]) -> f32 {
        match self {
            Self::Logit | Self::Sigmoid2 { positive: 0 } => a,
            Self::Sigmoid2 { .. } => b,
            Self::Softmax2 { positive: 0 } => a - b,
            Self::Softmax2 { .. } => b - a,
        }
    }
}

/// A model, borrowing its file. Cheap to share between threads; each brings its own scratch.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    metadata: Metadata<'a>,
    name: &'a str,
    version: &'a str,
    layer_line: &'a str,
    input: Input,
    layers: Layers<'a>,
    output: Output,
    calibration: Calibration,
    thresholds: Thresholds,
    scratch_len: usize,
    parameters: usize,
    kernels: Kernels,
}

impl<'a> Model<'a> {
    /// Reads a model file in place: weights are borrowed, at any alignment, never copied.
    ///
    /// # Errors
    /// 101 to 106 and 108 of [`Error`], with the offending tensor, metadata key or layer.
    pub fn load(file: &'a [u8]) -> Result<Self, LoadError<'a>> {
        // Borrowed from the results, not moved out of them: stacks may be small.
        let file = File::read(file);
        let file = file.as_ref().map_err(|error| *error)?;
        let required = |key: &'static str| {
            file.metadata.get(key).ok_or(LoadError::new(Error::MetadataMissing, key))
        };
        let unsupported = |key: &'static str| LoadError::new(Error::Unsupported, key);
        if required("phishcnn.format")? != "1" {
            return Err(unsupported("phishcnn.format"));
        }
        let name = required("phishcnn.name")?;
        let version = required("phishcnn.version")?;
        let input = Input::parse(required("phishcnn.input")?);
        let input = input.map_err(|_| unsupported("phishcnn.input"))?;
        let layer_line = required("phishcnn.layers")?;
        let output = Output::parse(required("phishcnn.output")?);
        let output = output.ok_or(unsupported("phishcnn.output"))?;
        let calibration = calibration(required("phishcnn.calibration")?);
        let calibration = calibration.ok_or(unsupported("phishcnn.calibration"))?;
        let thresholds = thresholds(required("phishcnn.thresholds")?);
        let thresholds = thresholds.ok_or(unsupported("phishcnn.thresholds"))?;
        let layers = Layers::read(layer_line, input, output == Output::Logit, file);
        let read = layers.as_ref().map_err(|error| *error)?;
        if read.last() != Some((output.outputs(), Activation::Linear)) {
            return Err(LoadError::new(Error::Shape, "phishcnn.output"));
        }
        let scratch_len = match read.int8 {
            true => network::scratch_len::<Int8>(read),
            false => network::scratch_len::<Float>(read),
        };
        let scratch_len = scratch_len.filter(|&n| n <= SCRATCH_MAX);
        let scratch_len = scratch_len.ok_or(LoadError::new(Error::Unsupported, layer_line))?;
        let weights = file.tensors.iter().filter(|t| t.name != "chars");
        let parameters = weights.map(|t| t.data.len() / t.dtype.size()).sum();
        layers.map(|layers| Self {
            metadata: file.metadata,
            name,
            version,
            layer_line,
            input,
            layers,
            output,
            calibration,
            thresholds,
            scratch_len,
            parameters,
            kernels: Kernels::detect(),
        })
    }

    /// The same model on other kernels, for tests and measurements; `None` when this machine
    /// cannot run them.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Option<Self> {
        Some(Self { kernels: Kernels::new(backend)?, ..self })
    }

    /// Scores one URL, given as any bytes.
    ///
    /// `scratch` needs 16-byte alignment (see [`Block`](crate::Block)) and at least
    /// [`scratch_len`](Self::scratch_len) bytes; its content does not matter.
    ///
    /// # Errors
    /// [`Error::EmptyUrl`], [`Error::UrlTooLong`], [`Error::Misaligned`],
    /// [`Error::ScratchTooSmall`]; [`Error::NonFinite`] when huge weights overflow into the logit.
    /// (Only the logit is looked at: a NaN that a relu or a maximum drops inside the network is not
    /// reported.)
    pub fn score(&self, url: &[u8], scratch: &mut [u8]) -> Result<Score, Error> {
        let tokens = Tokens::new(url, self.input, self.layers.embedding.table)?;
        let logit = self.logit(&tokens, 0..0, scratch)?;
        Ok(self.judge(logit, tokens.truncated()))
    }

    /// The tokens that the model reads of a URL.
    ///
    /// # Errors
    /// [`Error::EmptyUrl`] and [`Error::UrlTooLong`].
    pub fn tokens<'u>(&'u self, url: &'u [u8]) -> Result<Tokens<'u>, Error> {
        Tokens::new(url, self.input, self.layers.embedding.table)
    }

    pub(crate) fn judge(&self, logit: f32, truncated: bool) -> Score {
        Score {
            logit,
            probability: self.probability(logit, 0.5),
            verdict: self.verdict(logit),
            truncated,
        }
    }

    fn outputs(
        &self,
        tokens: impl Iterator<Item = Token>,
        scratch: &mut [u8],
    ) -> Result<[f32; 2], Error> {
        match self.layers.int8 {
            true => network::run(Int8(self.kernels), &self.layers, tokens, scratch),
            false => network::run(Float(self.kernels), &self.layers, tokens, scratch),
        }
    }

    /// The logit with the tokens from a range of the URL hidden.
    pub(crate) fn logit(
        &self,
        tokens: &Tokens<'_>,
        hidden: Range<usize>,
        scratch: &mut [u8],
    ) -> Result<f32, Error> {
        if !scratch.as_ptr().addr().is_multiple_of(size_of::<crate::Block>()) {
            return Err(Error::Misaligned);
        }
        let scratch = scratch.get_mut(..self.scratch_len).ok_or(Error::ScratchTooSmall)?;
        let mask = self.input.mask_id();
        let hide = |token: Token| match hidden.contains(&token.at) {
            true => Token { id: mask, ..token },
            false => token,
        };
        let read = || tokens.iter().map(hide);
        // Where nothing is hidden, without a look at each token; but that is the network's code twice.
        let outputs = match network::SMALL || !hidden.is_empty() {
            true => self.outputs(read(), scratch)?,
            false => self.outputs(tokens.iter(), scratch)?,
        };
        let mut logit = self.output.logit(outputs);
        if let Some(ngrams) = &self.layers.ngrams {
            logit += ngrams.logit(read()).ok_or(Error::Internal)?;
        }
        if logit.is_finite() { Ok(logit) } else { Err(Error::NonFinite) }
    }

    /// Calibrated probability of phishing where a share of `base_rate` (0 to 1, exclusive) of
    /// all URLs is phishing; 0.5 is how it was calibrated.
    ///
    /// The absolute error against exact arithmetic is below 1e-3 (micromath's `exp`), which is
    /// why verdicts compare logits.
    #[must_use]
    pub fn probability(&self, logit: f32, base_rate: f32) -> f32 {
        let prior = if base_rate == 0.5 { 0.0 } else { libm::logf(base_rate / (1.0 - base_rate)) };
        sigmoid(self.calibration.a * logit + self.calibration.b + prior)
    }

    /// The verdict of a logit.
    #[must_use]
    pub fn verdict(&self, logit: f32) -> Verdict {
        if logit >= self.thresholds.phishing {
            Verdict::Phishing
        } else if logit >= self.thresholds.suspicious {
            Verdict::Suspicious
        } else {
            Verdict::Benign
        }
    }

    /// Bytes of scratch memory that scoring needs.
    #[must_use]
    pub const fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// The same where there is no operating system: tiles are smaller there.
    #[must_use]
    pub fn bare_metal_scratch_len(&self) -> usize {
        let length = match self.layers.int8 {
            true => network::scratch_len_of::<Int8>(&self.layers, network::SMALL_TILE),
            false => network::scratch_len_of::<Float>(&self.layers, network::SMALL_TILE),
        };
        length.unwrap_or(self.scratch_len)
    }

    /// Most segments that [`explain`](Self::explain) finds in a URL.
    #[must_use]
    pub const fn max_segments(&self) -> usize {
        self.input.max_tokens()
    }

    /// The model's name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The model's semantic version.
    #[must_use]
    pub const fn version(&self) -> &'a str {
        self.version
    }

    /// How a URL becomes tokens.
    #[must_use]
    pub const fn input(&self) -> Input {
        self.input
    }

    /// The metadata line `phishcnn.layers`: layers separated by `; `.
    #[must_use]
    pub const fn layers(&self) -> &'a str {
        self.layer_line
    }

    /// Calibration of the probability.
    #[must_use]
    pub const fn calibration(&self) -> Calibration {
        self.calibration
    }

    /// Thresholds of the verdict.
    #[must_use]
    pub const fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// All metadata of the file.
    #[must_use]
    pub const fn metadata(&self) -> Metadata<'a> {
        self.metadata
    }

    /// Number of weights.
    #[must_use]
    pub const fn parameters(&self) -> usize {
        self.parameters
    }

    /// Multiply-adds for an input of so many tokens.
    #[must_use]
    pub fn multiply_adds(&self, tokens: usize) -> u64 {
        self.layers.multiply_adds(tokens)
    }

    /// The kernels that scoring runs on.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.kernels.backend()
    }
}

/// 1 / (1 + exp(−z)). Beyond ±80 it is 0 or 1 to f32's eye, and micromath's `exp` gives up.
fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + F32Ext::exp(-z.clamp(-80.0, 80.0)))
}

/// `a b`, with a positive.
fn calibration(line: &str) -> Option<Calibration> {
    let (a, b) = split_once(line, b' ')?;
    let (a, b) = (decimal(a)?, decimal(b)?);
    (a > 0.0).then_some(Calibration { a, b })
}

/// `phishing=X suspicious=Y`, with X not below Y.
fn thresholds(line: &str) -> Option<Thresholds> {
    let (phishing, suspicious) = split_once(line, b' ')?;
    let phishing = decimal(phishing.strip_prefix("phishing=")?)?;
    let suspicious = decimal(suspicious.strip_prefix("suspicious=")?)?;
    (phishing >= suspicious).then_some(Thresholds { phishing, suspicious })
}

/// A decimal number without exponent, of at most 15 digits: then the digits and the power of
/// ten are exact in f64 and the quotient is the nearest f64, which is rounded once more, to f32.
/// (`str::parse` would bring in arbitrary precision, about 10 KiB of flash.)
fn decimal(text: &str) -> Option<f32> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match split_once(text, b'.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    if whole.is_empty() || whole.len() + fraction.len() > 15 {
        return None;
    }
    let (mut digits, mut scale) = (0_u64, 1_u64);
    for b in whole.bytes().chain(fraction.bytes()) {
        if !b.is_ascii_digit() {
            return None;
        }
        digits = digits * 10 + u64::from(b - b'0');
    }
    for _ in fraction.bytes() {
        scale *= 10;
    }
    let value = (digits as f64 / scale as f64) as f32;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_the_nearest_f64_as_f32() {
        for text in [
            "0",
            "1",
            "-1.5",
            "3.1415926",
            "0.1",
            "-0.0000001",
            "12345678.9",
            "2.7182817",
            "123456789012345",
            "-999999999999999",
            "12345678901234.5",
            "0.12345678901234",
            // So near the middle of two f32 that f64 rounds onto it: not the nearest f32.
            "6.18150782585144",
            "0.56473508477211",
        ] {
            let nearest = text.parse::<f64>().ok().map(|value| value as f32);
            assert_eq!(decimal(text).map(f32::to_bits), nearest.map(f32::to_bits), "{text}");
        }
        for bad in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "1e3",
            "+1",
            "inf",
            "nan",
            "1.2.3",
            " 1",
            "1234567890123456",
            "123456789012345.6",
            "0.123456789012345",
        ] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn probability_is_within_its_stated_error_and_in_range() {
        let mut worst = 0.0_f64;
        for i in -200_000..=200_000_i32 {
            let z = i as f32 / 1000.0;
            let got = sigmoid(z);
            assert!((0.0..=1.0).contains(&got));
            worst = worst.max((f64::from(got) - 1.0 / (1.0 + libm::exp(-f64::from(z)))).abs());
        }
        assert!(worst < 1e-3, "{worst}");
        for z in [f32::INFINITY, f32::MAX, -f32::MAX, f32::NEG_INFINITY] {
            assert!((0.0..=1.0).contains(&sigmoid(z)));
        }
    }

    #[test]
    fn metadata_lines() {
        assert_eq!(calibration("0.9 -0.25"), Some(Calibration { a: 0.9, b: -0.25 }));
        assert_eq!(calibration("0 1"), None);
        assert_eq!(calibration("1"), None);
        let expected = Thresholds { phishing: 4.5, suspicious: 2.0 };
        assert_eq!(thresholds("phishing=4.5 suspicious=2"), Some(expected));
        assert_eq!(thresholds("phishing=1 suspicious=2"), None);
        assert_eq!(thresholds("suspicious=2 phishing=4"), None);
    }
}
