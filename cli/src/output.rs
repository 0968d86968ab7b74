//! How and where `score` writes its results.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use phishcnn_core::{Error, Score};

use crate::args::ScoreFormat;
use crate::compressed::Packer;
use crate::escape::visible;
use crate::failure::{self, Failure};
use crate::items::Items;
use crate::json::{FailedJson, ScoreJson};
use crate::parquet::{Parquet, Sink};
use crate::score::tint;

/// The form that a file's name stands for: its extension, not counting `.gz` and `.zst`.
pub(crate) fn named_form(file: &Path) -> Option<&str> {
    let packed = file.extension().is_some_and(|end| end == "gz" || end == "zst");
    let name = if packed { Path::new(file.file_stem()?) } else { file };
    name.extension()?.to_str()
}

/// Opens the output: `file`, or standard output.
pub(crate) fn open(
    format: Option<ScoreFormat>,
    file: Option<&Path>,
    parquet: &dyn Parquet,
) -> Result<Box<dyn Sink>, Failure> {
    let named = match file.and_then(named_form) {
        Some("parquet") => ScoreFormat::Parquet,
        Some("csv") => ScoreFormat::Csv,
        Some("tsv") => ScoreFormat::Tsv,
        Some("jsonl" | "ndjson") => ScoreFormat::Ndjson,
        _ => ScoreFormat::Text,
    };
    match (format.unwrap_or(named), file) {
        (ScoreFormat::Parquet, Some(file)) => parquet.write(file),
        (ScoreFormat::Parquet, None) => Err(Failure::setting(
            Error::BadValue,
            "--format parquet: Parquet is written to a file, name one with --output",
        )),
        (format, Some(file)) => {
            let cannot = |error| Failure::Usage(format!("{}: {error}", file.display()));
            let out = Packer::new(File::create(file).map_err(cannot)?, file);
            Ok(Box::new(Rows::start(format, out, false)?))
        }
        (format, None) => {
            let out = Packer::Plain(Box::new(io::stdout()));
            Ok(Box::new(Rows::start(format, out, io::stdout().is_terminal())?))
        }
    }
}

/// Writes results in a form of text.
struct Rows {
    format: ScoreFormat,
    /// Whether the output is a terminal: then what is hostile is made visible.
    terminal: bool,
    colour: bool,
    buffer: Vec<u8>,
    out: Packer,
}

const COLUMNS: [&str; 6] = ["url", "logit", "probability", "verdict", "truncated", "error"];

impl Rows {
    fn start(format: ScoreFormat, out: Packer, terminal: bool) -> Result<Self, Failure> {
        let colour = terminal && failure::colour();
        let mut rows = Self { format, terminal, colour, buffer: vec![], out };
        match format {
            ScoreFormat::Tsv => writeln!(rows.out, "{}", COLUMNS.join("\t"))?,
            ScoreFormat::Csv => writeln!(rows.out, "{}", COLUMNS.join(","))?,
            _ => {}
        }
        Ok(rows)
    }
}

impl Sink for Rows {
    fn write(&mut self, items: &Items, scores: &[Result<Score, Error>]) -> Result<(), Failure> {
        let out = &mut self.buffer;
        out.clear();
        let rows = items.texts().zip(scores);
        match self.format {
            ScoreFormat::Csv => {
                let mut out = csv::Writer::from_writer(out);
                for (url, score) in rows {
                    if self.terminal {
                        out.write_field(visible(url))?;
                    } else {
                        out.write_field(url)?;
                    }
                    out.write_record(fields(score))?;
                }
                out.flush()?;
            }
            ScoreFormat::Tsv => {
                for (url, score) in rows {
                    if self.terminal {
                        out.extend_from_slice(visible(url).as_bytes());
                    } else {
                        write_tsv_field(out, url)?;
                    }
                    for field in fields(score) {
                        write!(out, "\t{field}")?;
                    }
                    writeln!(out)?;
                }
            }
            ScoreFormat::Ndjson => {
                for (url, score) in rows {
                    match score {
                        Ok(s) => serde_json::to_writer(&mut *out, &ScoreJson::new(url, s))?,
                        Err(error) => {
                            serde_json::to_writer(&mut *out, &FailedJson::new(url, *error))?;
                        }
                    }
                    writeln!(out)?;
                }
            }
            ScoreFormat::Text | ScoreFormat::Parquet => {
                for (url, score) in rows {
                    write_text(out, url, score, self.colour)?;
                }
            }
        }
        self.out.write_all(&self.buffer)?;
        // Whoever waits at the other end of a slow pipe sees each answer at once.
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.out.finish()?)
    }
}

fn write_text(
    out: &mut impl Write,
    url: &[u8],
    score: &Result<Score, Error>,
    colour: bool,
) -> io::Result<()> {
    let shown = visible(url);
    match score {
        Ok(s) => {
            let (on, off) = if colour { (tint(s.verdict), "\x1b[0m") } else { ("", "") };
            let more = if s.truncated { "  [only the start was read]" } else { "" };
            writeln!(
                out,
                "{on}{:<10}{off}  {:.4}  {:>+8.3}  {shown}{more}",
                s.verdict.as_str(),
                s.probability,
                s.logit
            )
        }
        Err(error) => writeln!(out, "{:<28}  {shown}", format!("error {error}")),
    }
}

/// The columns after the URL.
fn fields(score: &Result<Score, Error>) -> [String; 5] {
    match score {
        Ok(s) => [
            s.logit.to_string(),
            s.probability.to_string(),
            s.verdict.as_str().to_owned(),
            s.truncated.to_string(),
            String::new(),
        ],
        Err(error) => {
            [String::new(), String::new(), String::new(), String::new(), error.to_string()]
        }
    }
}

/// The URL's own bytes, except those that would end the field.
fn write_tsv_field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    for &byte in bytes {
        match byte {
            b'\t' => out.write_all(b"\\t")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            b'\\' => out.write_all(b"\\\\")?,
            other => out.write_all(&[other])?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_form() {
        for (name, form) in [
            ("a.csv", Some("csv")),
            ("a.b.ndjson.gz", Some("ndjson")),
            ("dir.csv/a.jsonl.zst", Some("jsonl")),
            ("a.gz", None),
            ("a", None),
            (".csv", None),
        ] {
            assert_eq!(named_form(Path::new(name)), form, "{name}");
        }
    }
}
