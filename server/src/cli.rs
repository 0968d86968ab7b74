//! The command line: arguments, and the help that teaches them.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::OsStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::feedback::FeedbackCommand;
use crate::serve::ServeArgs;

const EXIT_CODES: &str = "\
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
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Score(ScoreArgs),
    Explain(ExplainArgs),
    Eval(EvalArgs),
    #[command(subcommand)]
    Model(ModelCommand),
    Serve(Box<ServeArgs>),
    #[command(subcommand)]
    Feedback(FeedbackCommand),
}

#[derive(Args)]
pub(crate) struct ModelArg {
    /// Model file (.safetensors) to use instead of the built-in compact model
    // An OsString, so that an empty value is refused with the same number everywhere.
    #[arg(long, value_name = "FILE", env = "PHISHCNN_MODEL", hide_env_values = true,
          value_parser = OsStringValueParser::new())]
    model: Option<OsString>,
}

impl ModelArg {
    pub(crate) fn path(&self) -> Option<&Path> {
        self.model.as_ref().map(Path::new)
    }
}

#[derive(Args)]
pub(crate) struct ThreadsArg {
    /// Worker threads [default: one per processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl ThreadsArg {
    pub(crate) fn count(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(crate::parallel::default_threads)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScoreFormat {
    /// For people: verdict, probability, logit, URL; coloured on a terminal
    Text,
    /// Tab-separated with a header; tab, line end and backslash in a URL become \t \n \r \\
    Tsv,
    /// One JSON object per line: url, logit, probability, verdict, truncated, or url and error
    Ndjson,
    /// Comma-separated with a header
    Csv,
}

#[derive(Args)]
#[command(
    after_help = "\
Examples:
  phishcnn score https://example.com/login
  phishcnn score urls.txt --format csv > scores.csv
  zcat proxy.log.gz | cut -f 7 | phishcnn score - --format ndjson --base-rate 0.001

Exit codes: 0 all scored · 1 some inputs failed · 2 usage · 3 model unusable",
    verbatim_doc_comment
)]
/// Score URLs, one result or one numbered error per input line
///
/// What is scored:
///   -              the lines of standard input
///   /…, ./…, ../…  always a file of URLs, one per line
///   anything else  a file when one of that name exists, otherwise a URL
/// Without arguments the lines of standard input are scored, unless it is a terminal.
/// Files may be packed with gzip or zstd. Lines are bytes: any content is scored or gets its
/// number. Results keep the order of the inputs and appear as soon as they are known.
pub(crate) struct ScoreArgs {
    /// URLs, files of URLs, or - for standard input
    #[arg(value_name = "URL|FILE|-")]
    pub(crate) inputs: Vec<OsString>,
    /// Form of the results
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ScoreFormat,
    /// Expected share of phishing among the URLs, between 0 and 1: shifts the probabilities,
    /// never the verdicts
    #[arg(long, value_name = "P", default_value = "0.5", value_parser = base_rate)]
    pub(crate) base_rate: f32,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) model: ModelArg,
}

pub(crate) fn base_rate(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(p) if p > 0.0 && p < 1.0 => Ok(p),
        _ => Err("a number between 0 and 1, both excluded".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
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
pub(crate) struct ExplainArgs {
    /// The URL
    pub(crate) url: OsString,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
    #[command(flatten)]
    pub(crate) model: ModelArg,
}

#[derive(Args)]
#[command(
    after_help = "\
Examples:
  phishcnn eval test.tsv.gz
  phishcnn eval phishing.tsv honest.tsv --json - > report.json
  phishcnn eval test.tsv.gz --slice-column 6

Exit codes: 0 ok · 1 rows that could not be read or scored · 2 usage, missing file · 3 model unusable",
    verbatim_doc_comment
)]
/// Measure the model on labelled URLs
///
/// Rows are label<TAB>url, further columns are ignored; labels are 0 or legitimate, 1 or phishing.
/// A first line whose first column is `label` is a header. All files are pooled; gzip and zstd are
/// unpacked. A row without a known label stops the evaluation; a row whose URL cannot be scored
/// is listed with its number and left out.
///
/// Reported: area under the ROC curve; average precision; recall at false-positive rates of 1 %,
/// 0.1 % and 0.01 % with the threshold, counts and Wilson 95 % intervals ('not resolvable' where
/// fewer than 20 false positives are expected); the confusion at the model's two thresholds; the
/// expected calibration error (15 bins, classes weighted equally).
pub(crate) struct EvalArgs {
    /// Files of rows label<TAB>url
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Also report each value of this column: its number (from 1) or its name in the header;
    /// a cell may hold several values, separated by commas
    #[arg(long, value_name = "N|NAME")]
    pub(crate) slice_column: Option<String>,
    /// Write the report as JSON to this file, or to standard output (-) instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: ThreadsArg,
    #[command(flatten)]
    pub(crate) model: ModelArg,
}

/// Inspect a model file
#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    Info(InfoArgs),
    Check(CheckArgs),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn model info
  phishcnn model info other.safetensors --format json")]
/// Say what a model is: layers, sizes, memory, digest, thresholds
pub(crate) struct InfoArgs {
    /// Model file [default: --model, or the built-in model]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
    #[command(flatten)]
    pub(crate) model: ModelArg,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn model check other.safetensors

Exit codes: 0 usable · 2 usage · 3 not usable")]
/// Load a model file with every check and score a few odd URLs
pub(crate) struct CheckArgs {
    /// Model file [default: --model, or the built-in model]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArg,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
