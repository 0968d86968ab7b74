//! The log on standard error.

use std::io;

use tracing_subscriber::fmt;

use super::settings::{LogFormat, ServeArgs};

/// Starts logging; to be called once.
pub(crate) fn start(settings: &ServeArgs) {
    let log = fmt().with_writer(io::stderr).with_max_level(settings.log_level).with_target(false);
    match settings.log_format {
        LogFormat::Human => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
