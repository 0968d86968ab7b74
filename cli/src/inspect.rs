//! `phishcnn model`: what a model file is, and whether it can be used.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::args::{CheckArgs, InfoArgs, ModelArg, ReportFormat};
use crate::failure::{Failure, Outcome};
use crate::model::{self, Loaded};

/// The length of a usual URL in tokens: the work of a score is given for it.
const USUAL_TOKENS: usize = 64;

/// What a model is.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info<'m> {
    name: &'m str,
    version: &'m str,
    /// Where the file came from: a path or `embedded`.
    source: &'m str,
    sha256: &'m str,
    input: &'m str,
    layers: &'m str,
    output: &'m str,
    parameters: usize,
    multiply_adds_at_64_tokens: u64,
    file_bytes: usize,
    scratch_bytes: usize,
    thresholds: Thresholds,
    calibration: Calibration,
    trained_until: Option<&'m str>,
    data_sha256: Option<&'m str>,
    metrics: Option<&'m str>,
    backend: &'static str,
}

/// Logits from which a verdict holds.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct Thresholds {
    phishing: f32,
    suspicious: f32,
}

/// probability = sigmoid(a · logit + b)
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct Calibration {
    a: f32,
    b: f32,
}

/// Says what a model is.
///
/// # Errors
/// When it cannot be used.
pub fn info(args: &InfoArgs) -> Result<Outcome, Failure> {
    let loaded = model::load(chosen(args.file.as_deref(), &args.model))?;
    let info = Info::new(loaded);
    let mut out = io::stdout().lock();
    match args.format {
        ReportFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &info)?;
            writeln!(out)?;
        }
        ReportFormat::Text => info.write_text(&mut out)?,
    }
    Ok(Outcome::Ok)
}

impl<'m> Info<'m> {
    /// Collects it.
    #[must_use]
    pub fn new(loaded: &'m Loaded) -> Self {
        let model = loaded.model();
        let metadata = model.metadata();
        let text = |key| metadata.get(key).unwrap_or_default();
        Self {
            name: model.name(),
            version: model.version(),
            source: &loaded.source,
            sha256: loaded.sha256(),
            input: text("phishcnn.input"),
            layers: model.layers(),
            output: text("phishcnn.output"),
            parameters: model.parameters(),
            multiply_adds_at_64_tokens: model.multiply_adds(USUAL_TOKENS),
            file_bytes: loaded.file().len(),
            scratch_bytes: model.scratch_len(),
            thresholds: Thresholds {
                phishing: model.thresholds().phishing,
                suspicious: model.thresholds().suspicious,
            },
            calibration: Calibration { a: model.calibration().a, b: model.calibration().b },
            trained_until: metadata.get("phishcnn.trained_until"),
            data_sha256: metadata.get("phishcnn.data_sha256"),
            metrics: metadata.get("phishcnn.metrics"),
            backend: model.backend().as_str(),
        }
    }

    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "name           {} {}", self.name, self.version)?;
        writeln!(out, "source         {}", self.source)?;
        writeln!(out, "SHA-256        {}", self.sha256)?;
        writeln!(out, "input          {}", self.input)?;
        writeln!(out, "layers         {}", self.layers.replace("; ", "\n               "))?;
        writeln!(out, "output         {}", self.output)?;
        writeln!(out, "parameters     {}", grouped(self.parameters as u64))?;
        writeln!(
            out,
            "multiply-adds  {} for {USUAL_TOKENS} tokens",
            grouped(self.multiply_adds_at_64_tokens)
        )?;
        writeln!(out, "file           {} bytes", grouped(self.file_bytes as u64))?;
        writeln!(out, "scratch        {} bytes", grouped(self.scratch_bytes as u64))?;
        writeln!(
            out,
            "thresholds     phishing from logit {}, suspicious from {}",
            self.thresholds.phishing, self.thresholds.suspicious
        )?;
        writeln!(
            out,
            "calibration    probability = sigmoid({} · logit + {})",
            self.calibration.a, self.calibration.b
        )?;
        let known = |value: Option<&'m str>| value.unwrap_or("not stated");
        writeln!(out, "trained until  {}", known(self.trained_until))?;
        writeln!(out, "data SHA-256   {}", known(self.data_sha256))?;
        let metrics = self.metrics.map(|m| m.replace(' ', "\n               "));
        writeln!(out, "metrics        {}", metrics.as_deref().unwrap_or("not stated"))?;
        writeln!(out, "backend        {}", self.backend)
    }
}

/// Digits in groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Loads a model and scores a few odd URLs.
///
/// # Errors
/// When the model fails.
pub fn check(args: &CheckArgs) -> Result<Outcome, Failure> {
    let loaded = model::load(chosen(args.file.as_deref(), &args.model))?;
    loaded.self_test().map_err(|why| Failure::Model(format!("model {}: {why}", loaded.source)))?;
    let model = loaded.model();
    let mut out = io::stdout().lock();
    writeln!(out, "ok: {} {} ({})", model.name(), model.version(), loaded.source)?;
    Ok(Outcome::Ok)
}

/// The file named as argument, else the one of `--model`.
fn chosen<'a>(file: Option<&'a Path>, model: &'a ModelArg) -> Option<&'a Path> {
    file.or(model.path())
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_in_threes() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(212_337), "212,337");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
