//! The command line: arguments, and the help that teaches them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use phishcnn_cli::args::{EXIT_CODES, ModelArg, ThreadsArg};

use crate::feedback::FeedbackCommand;
use crate::serve::ServeArgs;

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
    #[command(flatten)]
    Shared(phishcnn_cli::args::Command),
    Eval(EvalArgs),
    Serve(Box<ServeArgs>),
    #[command(subcommand)]
    Feedback(FeedbackCommand),
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
/// 0.1 % and 0.01 % with the threshold, counts and 95 % intervals ('not resolvable' where
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
