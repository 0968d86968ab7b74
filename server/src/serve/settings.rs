//! The service's settings: flags and `PHISHCNN_*` variables, refused loudly when wrong.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Command};
use phishcnn_core::Error;

use crate::cli::ServeArgs;
use crate::failure::Failure;

const PREFIX: &str = "PHISHCNN_";

/// Variables that Kubernetes sets for a Service named `phishcnn`; they are no settings of ours.
const FROM_KUBERNETES: [&str; 2] = ["PHISHCNN_SERVICE_", "PHISHCNN_PORT"];

/// Checked settings.
pub(crate) struct Settings<'a> {
    /// `HOST:PORT`
    pub(crate) listen: &'a str,
    pub(crate) model: Option<&'a Path>,
}

pub(crate) fn check(args: &ServeArgs) -> Result<Settings<'_>, Failure> {
    no_unknown_variable(std::env::vars_os().map(|(name, _)| name))?;
    let bad = |name, why| Failure::setting(Error::BadValue, format!("{name}: {why}"));
    let listen = args.listen.to_str().filter(|text| is_host_and_port(text));
    let listen = listen.ok_or_else(|| {
        bad("PHISHCNN_LISTEN or --listen", "HOST:PORT is needed, as in 127.0.0.1:8000")
    })?;
    let model = args.model.path();
    if model.is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(bad("PHISHCNN_MODEL or --model", "is empty"));
    }
    Ok(Settings { listen, model })
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn no_unknown_variable(names: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let known = known_variables();
    for name in names {
        let text = name.to_string_lossy();
        let ours = text.starts_with(PREFIX) && !FROM_KUBERNETES.iter().any(|k| text.starts_with(k));
        if ours && !known.contains(&name) {
            let known: Vec<_> = known.iter().map(|k| k.to_string_lossy()).collect();
            return Err(Failure::setting(
                Error::UnknownSetting,
                format!("{text} (known: {})", known.join(", ")),
            ));
        }
    }
    Ok(())
}

/// The variables of the command line's own definition, so that there is one list.
fn known_variables() -> Vec<OsString> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    command.get_arguments().filter_map(|arg| arg.get_env()).map(OsStr::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> bool {
        no_unknown_variable([OsString::from(name)].into_iter()).is_err()
    }

    #[test]
    fn variables() {
        assert_eq!(known_variables(), ["PHISHCNN_LISTEN", "PHISHCNN_MODEL"]);
        for fine in [
            "PHISHCNN_LISTEN",
            "PHISHCNN_MODEL",
            "PHISHCNN_SERVICE_HOST",
            "PHISHCNN_SERVICE_PORT_HTTP",
            "PHISHCNN_PORT",
            "PHISHCNN_PORT_8000_TCP_ADDR",
            "PATH",
            "PHISHCNN",
        ] {
            assert!(!refused(fine), "{fine}");
        }
        for wrong in ["PHISHCNN_LISTN", "PHISHCNN_", "PHISHCNN_SERVICE", "PHISHCNN_listen"] {
            assert!(refused(wrong), "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        for fine in ["127.0.0.1:8000", "[::1]:0", "localhost:80"] {
            assert!(is_host_and_port(fine), "{fine}");
        }
        for wrong in ["", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:b"] {
            assert!(!is_host_and_port(wrong), "{wrong}");
        }
    }
}
