//! `phishcnn`: scores URLs for phishing on the command line and over HTTP.

mod cli;
mod eval;
mod feedback;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use phishcnn_cli::failure;
use phishcnn_cli::parquet::NoParquet;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Shared(command) => phishcnn_cli::run(&command, &NoParquet),
        Command::Eval(args) => eval::run(&args),
        Command::Feedback(command) => feedback::run(&command),
        Command::Serve(args) => serve::run(*args),
    };
    ExitCode::from(failure::exit_code(result))
}
