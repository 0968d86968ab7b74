//! How a command ends: the exit codes, in one place.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use phishcnn_core::Error;

/// A command that reached its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Ok,
    /// Exit code 1: every failed input was reported where its result would stand.
    SomeInputsFailed,
}

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// An input that could not be read to its end; exit code 1.
    Input(String),
    /// Wrong arguments or settings; exit code 2.
    Usage(String),
    /// The model cannot be used; exit code 3.
    Model(String),
    /// Nobody can receive the output.
    Output(io::Error),
}

impl Failure {
    /// A failure that carries one of the public numbers: `402: bad value: …`.
    pub fn setting(error: Error, what: impl Display) -> Self {
        Self::Usage(format!("{error}: {what}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Says on standard error what went wrong and gives the exit code.
pub fn exit_code(result: Result<Outcome, Failure>) -> u8 {
    let (message, code) = match result {
        Ok(Outcome::Ok) => return 0,
        Ok(Outcome::SomeInputsFailed) => return 1,
        // The reader (`head`, a closed pager) has seen enough: not a failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return 0;
        }
        Err(Failure::Output(error)) => (format!("cannot write the output: {error}"), 1),
        Err(Failure::Input(message)) => (message, 1),
        Err(Failure::Usage(message)) => (message, 2),
        Err(Failure::Model(message)) => (message, 3),
    };
    note(&format!("error: {message}"));
    code
}

/// One line on standard error; a closed standard error is no reason to fail.
pub fn note(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Whether standard output takes colour: a terminal, and the user has not set `NO_COLOR`.
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
