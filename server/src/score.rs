//! `phishcnn score`: many URLs in, one line out for each.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use phishcnn_core::{Error, Score, Verdict};

use crate::cli::{ScoreArgs, ScoreFormat};
use crate::compressed::unpack;
use crate::escape::visible;
use crate::failure::{self, Failure, Outcome};
use crate::json::{FailedJson, ScoreJson};
use crate::lines::{LineBatches, Lines};
use crate::model::{self, Scorer};
use crate::parallel;

type Batches = Box<dyn Iterator<Item = Result<Lines, Failure>> + Send>;

pub(crate) fn run(args: &ScoreArgs) -> Result<Outcome, Failure> {
    let loaded = model::load(args.model.path())?;
    let bar = progress_bar();
    let batches = open_all(&args.inputs, &bar)?;
    let base_rate = args.base_rate;
    let mut rows = Rows::start(args.format, BufWriter::new(io::stdout().lock()))?;
    let mut outcome = Outcome::Ok;
    let worker = || {
        let mut scorer = Scorer::new(loaded);
        move |batch: Result<Lines, Failure>| {
            let lines = batch?;
            let scores: Vec<_> = lines
                .iter()
                .map(|url| {
                    let mut score = scorer.score(url)?;
                    score.probability = loaded.model().probability(score.logit, base_rate);
                    Ok(score)
                })
                .collect();
            Ok((lines, scores))
        }
    };
    let sink = |scored: Result<(Lines, Vec<Result<Score, Error>>), Failure>| {
        let (lines, scores) = scored?;
        for (url, score) in lines.iter().zip(&scores) {
            if score.is_err() {
                outcome = Outcome::SomeInputsFailed;
            }
            rows.write(url, score)?;
        }
        // Whoever waits at the other end of a slow pipe sees each answer at once.
        rows.flush()
    };
    parallel::in_order(batches, args.threads.count(), worker, sink)?;
    bar.finish_and_clear();
    Ok(outcome)
}

/// Bytes read so far, on a terminal whose other half is not the results themselves.
pub(crate) fn progress_bar() -> ProgressBar {
    if io::stdout().is_terminal() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    ) {
        bar.set_style(style);
    }
    bar
}

/// All inputs as one sequence of batches. Every file is opened before the first line is scored,
/// so that a wrong name fails at once.
fn open_all(inputs: &[OsString], bar: &ProgressBar) -> Result<Batches, Failure> {
    let standard_input = [OsString::from("-")];
    let inputs = match inputs {
        [] if io::stdin().is_terminal() => {
            return Err(Failure::Usage("nothing to score: give URLs, a file, or -".to_owned()));
        }
        [] => &standard_input,
        inputs => inputs,
    };
    let mut batches: Batches = Box::new(std::iter::empty());
    for input in inputs {
        let next: Batches = if input == "-" {
            from_reader("standard input".to_owned(), bar.wrap_read(io::stdin()))?
        } else if names_a_file(input) {
            let name = input.display().to_string();
            let cannot = |error| Failure::Usage(format!("{name}: {error}"));
            let file = File::open(input).map_err(cannot)?;
            let about = file.metadata().map_err(cannot)?;
            if about.is_dir() {
                return Err(Failure::Usage(format!("{name}: is a directory")));
            }
            bar.inc_length(about.len());
            from_reader(name, bar.wrap_read(file))?
        } else {
            Box::new(std::iter::once(Ok(Lines::one(input.as_encoded_bytes()))))
        };
        batches = Box::new(batches.chain(next));
    }
    Ok(batches)
}

fn names_a_file(input: &OsStr) -> bool {
    let bytes = input.as_encoded_bytes();
    [&b"/"[..], b"./", b"../"].iter().any(|start| bytes.starts_with(start))
        || Path::new(input).exists()
}

fn from_reader(name: String, reader: impl Read + Send + 'static) -> Result<Batches, Failure> {
    let cannot = move |error| Failure::Input(format!("{name}: {error}"));
    let text = unpack(reader).map_err(&cannot)?;
    Ok(Box::new(LineBatches::new(text).map(move |batch| batch.map_err(&cannot))))
}

/// Writes results in the chosen form.
enum Rows<W: Write> {
    Text { out: W, colour: bool },
    Tsv { out: W, terminal: bool },
    Ndjson { out: W },
    Csv { out: Box<csv::Writer<W>>, terminal: bool },
}

const COLUMNS: [&str; 6] = ["url", "logit", "probability", "verdict", "truncated", "error"];

impl<W: Write> Rows<W> {
    fn start(format: ScoreFormat, mut out: W) -> Result<Self, Failure> {
        let terminal = io::stdout().is_terminal();
        Ok(match format {
            ScoreFormat::Text => Self::Text { out, colour: failure::colour() },
            ScoreFormat::Tsv => {
                writeln!(out, "{}", COLUMNS.join("\t"))?;
                Self::Tsv { out, terminal }
            }
            ScoreFormat::Ndjson => Self::Ndjson { out },
            ScoreFormat::Csv => {
                let mut out = Box::new(csv::Writer::from_writer(out));
                out.write_record(COLUMNS)?;
                Self::Csv { out, terminal }
            }
        })
    }

    fn write(&mut self, url: &[u8], score: &Result<Score, Error>) -> Result<(), Failure> {
        match self {
            Self::Text { out, colour } => {
                let shown = visible(url);
                match score {
                    Ok(s) => {
                        let (on, off) =
                            if *colour { (tint(s.verdict), "\x1b[0m") } else { ("", "") };
                        let more = if s.truncated { "  [only the start was read]" } else { "" };
                        writeln!(
                            out,
                            "{on}{:<10}{off}  {:.4}  {:>+8.3}  {shown}{more}",
                            s.verdict.as_str(),
                            s.probability,
                            s.logit
                        )?;
                    }
                    Err(error) => writeln!(out, "{:<28}  {shown}", format!("error {error}"))?,
                }
            }
            Self::Tsv { out, terminal } => {
                if *terminal {
                    out.write_all(visible(url).as_bytes())?;
                } else {
                    write_tsv_field(out, url)?;
                }
                for field in fields(score) {
                    write!(out, "\t{field}")?;
                }
                writeln!(out)?;
            }
            Self::Ndjson { out } => {
                match score {
                    Ok(score) => serde_json::to_writer(&mut *out, &ScoreJson::new(url, score))?,
                    Err(error) => serde_json::to_writer(&mut *out, &FailedJson::new(url, *error))?,
                }
                writeln!(out)?;
            }
            Self::Csv { out, terminal } => {
                if *terminal {
                    out.write_field(visible(url))?;
                } else {
                    out.write_field(url)?;
                }
                out.write_record(fields(score))?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Text { out, .. } | Self::Tsv { out, .. } | Self::Ndjson { out } => out.flush()?,
            Self::Csv { out, .. } => out.flush()?,
        }
        Ok(())
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

/// The escape sequence that colours a verdict.
pub(crate) fn tint(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Benign => "\x1b[32m",
        Verdict::Suspicious => "\x1b[33m",
        Verdict::Phishing => "\x1b[1;31m",
    }
}
