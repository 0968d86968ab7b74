//! The commands that the binary and the Python wheel share: `score`, `explain`, `model`. One file a
//! command; `args` has their arguments. The service uses the same model, JSON and line reader.
#![forbid(unsafe_code)]

pub mod args;
pub mod compressed;
pub mod escape;
pub mod explain;
pub mod failure;
pub mod inspect;
pub mod items;
pub mod json;
pub mod lines;
pub mod model;
mod output;
pub mod parallel;
pub mod parquet;
pub mod score;
mod tables;

use args::{Command, ModelCommand};
use failure::{Failure, Outcome};
use parquet::Parquet;

/// Runs a command.
///
/// # Errors
/// Why it ended early; [`failure::exit_code`] says so to the user.
pub fn run(command: &Command, parquet: &dyn Parquet) -> Result<Outcome, Failure> {
    match command {
        Command::Score(args) => score::run(args, parquet),
        Command::Explain(args) => explain::run(args),
        Command::Model(ModelCommand::Info(args)) => inspect::info(args),
        Command::Model(ModelCommand::Check(args)) => inspect::check(args),
    }
}
