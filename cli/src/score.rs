//! `phishcnn score`: many URLs in, one line out for each.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use phishcnn_core::{Error, Score, Verdict};

use crate::args::{InputFormat, ScoreArgs};
use crate::compressed::unpack;
use crate::failure::{Failure, Outcome};
use crate::items::{Batches, Items};
use crate::lines::{LineBatches, Lines};
use crate::model::{self, Scorer};
use crate::parquet::Parquet;
use crate::{output, parallel, tables};

/// Scores every input.
///
/// # Errors
/// When an input, the model or the output cannot be used.
pub fn run(args: &ScoreArgs, parquet: &dyn Parquet) -> Result<Outcome, Failure> {
    let loaded = model::load(args.model.path())?;
    let bar = progress_bar(args.output.is_none() && io::stdout().is_terminal());
    let batches = open_all(args, parquet, &bar)?;
    let base_rate = args.base_rate;
    let mut sink = output::open(args.format, args.output.as_deref(), parquet)?;
    let mut outcome = Outcome::Ok;
    let worker = || {
        let mut scorer = Scorer::new(loaded);
        move |batch: Result<Items, Failure>| {
            let items = batch?;
            let score = |url: Result<&[u8], Error>| {
                let mut score = scorer.score(url?)?;
                score.probability = loaded.model().probability(score.logit, base_rate);
                Ok(score)
            };
            let scores: Vec<_> = items.iter().map(score).collect();
            Ok((items, scores))
        }
    };
    parallel::in_order(
        batches,
        args.threads.count(),
        worker,
        |scored: Result<(Items, Vec<Result<Score, Error>>), Failure>| {
            let (items, scores) = scored?;
            if scores.iter().any(Result::is_err) {
                outcome = Outcome::SomeInputsFailed;
            }
            sink.write(&items, &scores)
        },
    )?;
    sink.finish()?;
    bar.finish_and_clear();
    Ok(outcome)
}

/// Bytes read so far, on a terminal unless results appear there.
#[must_use]
pub fn progress_bar(results_on_terminal: bool) -> ProgressBar {
    if results_on_terminal || !io::stderr().is_terminal() {
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
fn open_all(
    args: &ScoreArgs,
    parquet: &dyn Parquet,
    bar: &ProgressBar,
) -> Result<Batches, Failure> {
    let standard_input = [OsString::from("-")];
    let inputs = match args.inputs.as_slice() {
        [] if io::stdin().is_terminal() => {
            return Err(Failure::Usage("nothing to score: give URLs, a file, or -".to_owned()));
        }
        [] => &standard_input,
        inputs => inputs,
    };
    let mut batches: Batches = Box::new(std::iter::empty());
    for input in inputs {
        let next: Batches = if input == "-" {
            let form = form(args, None)?;
            from_reader("standard input".to_owned(), bar.wrap_read(io::stdin()), form, args)?
        } else if names_a_file(input) {
            let path = Path::new(input);
            let name = path.display().to_string();
            let cannot = |error| Failure::Usage(format!("{name}: {error}"));
            let file = File::open(path).map_err(cannot)?;
            let about = file.metadata().map_err(cannot)?;
            if about.is_dir() {
                return Err(Failure::Usage(format!("{name}: is a directory")));
            }
            bar.inc_length(about.len());
            match form(args, Some(path))? {
                InputFormat::Parquet => {
                    let bar = bar.clone();
                    let rows = parquet.read(path, column(args))?;
                    Box::new(rows.map(move |batch| {
                        batch.map(|(items, bytes)| {
                            bar.inc(bytes);
                            items
                        })
                    }))
                }
                form => from_reader(name, bar.wrap_read(file), form, args)?,
            }
        } else {
            Box::new(std::iter::once(Ok(Lines::one(input.as_encoded_bytes()).into())))
        };
        batches = Box::new(batches.chain(next));
    }
    Ok(batches)
}

fn column(args: &ScoreArgs) -> &str {
    args.column.as_deref().unwrap_or("url")
}

/// The form of a file, or of standard input.
fn form(args: &ScoreArgs, file: Option<&Path>) -> Result<InputFormat, Failure> {
    let named = file.and_then(output::named_form);
    match (args.input, named) {
        (Some(InputFormat::Parquet), _) if file.is_none() => Err(Failure::setting(
            Error::BadValue,
            "--input parquet: Parquet is read from files, not from standard input",
        )),
        (Some(form), _) => Ok(form),
        (None, Some("parquet")) => Ok(InputFormat::Parquet),
        (None, _) if args.column.is_none() => Ok(InputFormat::Text),
        (None, Some("csv")) => Ok(InputFormat::Csv),
        (None, Some("jsonl" | "ndjson")) => Ok(InputFormat::Ndjson),
        (None, _) => {
            let name = file.map_or("standard input".into(), |file| file.display().to_string());
            Err(Failure::setting(
                Error::BadValue,
                format!("--column: say with --input what kind of table {name} is"),
            ))
        }
    }
}

fn names_a_file(input: &OsStr) -> bool {
    let bytes = input.as_encoded_bytes();
    [&b"/"[..], b"./", b"../"].iter().any(|start| bytes.starts_with(start))
        || Path::new(input).exists()
}

fn from_reader(
    name: String,
    reader: impl Read + Send + 'static,
    form: InputFormat,
    args: &ScoreArgs,
) -> Result<Batches, Failure> {
    let text = unpack(reader).map_err(|error| Failure::Input(format!("{name}: {error}")))?;
    Ok(match form {
        InputFormat::Csv => tables::csv_column(name, text, column(args))?,
        InputFormat::Ndjson => tables::json_column(name, text, column(args)),
        _ => Box::new(LineBatches::new(text).map(move |batch| {
            batch.map(Items::from).map_err(|error| Failure::Input(format!("{name}: {error}")))
        })),
    })
}

/// The escape sequence that colours a verdict.
pub fn tint(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Benign => "\x1b[32m",
        Verdict::Suspicious => "\x1b[33m",
        Verdict::Phishing => "\x1b[1;31m",
    }
}
