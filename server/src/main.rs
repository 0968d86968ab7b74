//! `phishcnn`: scores URLs for phishing on the command line and over HTTP.

mod cli;
mod compressed;
mod escape;
mod eval;
mod explain;
mod failure;
mod feedback;
mod inspect;
mod json;
mod lines;
mod model;
mod parallel;
mod score;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ModelCommand};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Score(args) => score::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Model(ModelCommand::Info(args)) => inspect::info(&args),
        Command::Model(ModelCommand::Check(args)) => inspect::check(&args),
        Command::Feedback(command) => feedback::run(&command),
        Command::Serve(args) => serve::run(*args),
    };
    failure::exit_code(result)
}
