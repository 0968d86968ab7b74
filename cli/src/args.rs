//! Arguments of the shared commands, and the help that teaches them.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::OsStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// What every exit code means, for the end of a command line's help.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  everything was scored
  1  some inputs failed; each has its numbered error where its result would stand
  2  wrong arguments or settings
  3  the model cannot be used (a number 1xx and the offending item say why)";

#[derive(Parser)]
#[command(name = "phishcnn", version, propagate_version = false, after_help = EXIT_CODES)]
/// Tells phishing URLs from honest ones, from the address alone
///
/// A small character-level neural network reads the URL and answers with a logit, a probability
/// and a verdict: benign, suspicious or phishing. Nothing is fetched, nothing leaves this machine.
/// The model is one .safetensors file; a compact one is built in.
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of every surface.
#[derive(Subcommand)]
#[allow(missing_docs, reason = "the help of a command stands at its arguments")]
pub enum Command {
    Score(ScoreArgs),
    Explain(ExplainArgs),
    #[command(subcommand)]
    Model(ModelCommand),
}

/// `--model`.
#[derive(Args)]
#[command(about = None, long_about = None)]
pub struct ModelArg {
    /// Model file (.safetensors) to use instead of the built-in compact model
    // An OsString, so that an empty value is refused with the same number everywhere.
    #[arg(long, value_name = "FILE", env = "PHISHCNN_MODEL", hide_env_values = true,
          value_parser = OsStringValueParser::new())]
    model: Option<OsString>,
}

impl ModelArg {
    /// The file that the user names.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.model.as_ref().map(Path::new)
    }
}

/// `--threads`.
#[derive(Args)]
#[command(about = None, long_about = None)]
pub struct ThreadsArg {
    /// Worker threads [default: one per processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl ThreadsArg {
    /// The number that the user names, or one per processor.
    #[must_use]
    pub fn count(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(crate::parallel::default_threads)
    }
}

/// How scores are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScoreFormat {
    /// For people: verdict, probability, logit, URL; coloured on a terminal
    Text,
    /// Tab-separated with a header; tab, line end and backslash in a URL become \t \n \r \\
    Tsv,
    /// One JSON object per line: url, logit, probability, verdict, truncated, or url and error
    Ndjson,
    /// Comma-separated with a header
    Csv,
    /// Apache Parquet into the file of --output; only in the Python wheel, with PyArrow
    Parquet,
}

/// How URLs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// One URL per line
    Text,
    /// Comma-separated with a header that names the column
    Csv,
    /// One JSON object per line; the column is a key
    Ndjson,
    /// Apache Parquet; only in the Python wheel, with PyArrow
    Parquet,
}

#[derive(Args)]
#[command(
    after_help = "\
Examples:
  phishcnn score https://example.com/login
  phishcnn score urls.txt --format csv > scores.csv
  zcat proxy.log.gz | cut -f 7 | phishcnn score - --format ndjson --base-rate 0.001
  phishcnn score mails.csv.zst --column link --output scores.ndjson.gz

Exit codes: 0 all scored · 1 some inputs failed · 2 usage · 3 model unusable",
    verbatim_doc_comment
)]
/// Score URLs, one result or one numbered error per input line
///
/// What is scored:
///   -              the lines of standard input
///   /…, ./…, ../…  always a file of URLs
///   anything else  a file when one of that name exists, otherwise a URL
/// Without arguments the lines of standard input are scored, unless it is a terminal.
/// Files have one URL per line, unless --column or --input says that they are tables; they may be
/// packed with gzip or zstd. Lines are bytes: any content is scored or gets its number, and so does
/// a row of a table that has no text in its column. Results keep the order of the inputs and appear
/// as soon as they are known.
pub struct ScoreArgs {
    /// URLs, files of URLs, or - for standard input
    #[arg(value_name = "URL|FILE|-")]
    pub inputs: Vec<OsString>,
    /// Files and standard input are tables: the name of the column with the URLs
    /// [default for tables: url]
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Form of files and standard input [default: text; with --column what the file's name says:
    /// .csv, .jsonl, .ndjson; always for .parquet]
    #[arg(long, value_enum, value_name = "FORM")]
    pub input: Option<InputFormat>,
    /// Form of the results [default: what the name of --output says, else text]
    #[arg(long, value_enum)]
    pub format: Option<ScoreFormat>,
    /// Write the results to this file, packed when its name ends in .gz or .zst
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Expected share of phishing among the URLs, between 0 and 1: shifts the probabilities,
    /// never the verdicts
    #[arg(long, value_name = "P", default_value = "0.5", value_parser = base_rate)]
    pub base_rate: f32,
    /// How many at once.
    #[command(flatten)]
    pub threads: ThreadsArg,
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
}

/// A share between 0 and 1, both excluded.
///
/// # Errors
/// What is wanted instead.
pub fn base_rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(p) if p > 0.0 && p < 1.0 => Ok(p),
        _ => Err("a number between 0 and 1, both excluded".to_owned()),
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn explain https://example.com/login
  phishcnn explain --format json 'https://example.com/a?b=c'

Exit codes: 0 ok · 1 the URL cannot be scored · 2 usage · 3 model unusable")]
/// Show which parts of a URL speak for phishing
///
/// The contribution of a part is how much the logit falls when that part is hidden from the model:
/// positive pushes towards phishing, negative away from it. Contributions need not add up.
pub struct ExplainArgs {
    /// The URL
    pub url: OsString,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
}

/// Inspect a model file
#[derive(Subcommand)]
#[allow(missing_docs, reason = "the help of a command stands at its arguments")]
pub enum ModelCommand {
    Info(InfoArgs),
    Check(CheckArgs),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn model info
  phishcnn model info other.safetensors --format json")]
/// Say what a model is: layers, sizes, memory, digest, thresholds
pub struct InfoArgs {
    /// Model file [default: --model, or the built-in model]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn model check other.safetensors

Exit codes: 0 usable · 2 usage · 3 not usable")]
/// Load a model file with every check and score a few odd URLs
pub struct CheckArgs {
    /// Model file [default: --model, or the built-in model]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The model.
    #[command(flatten)]
    pub model: ModelArg,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
