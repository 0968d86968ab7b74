//! The service's settings: each is a flag and a `PHISHCNN_*` variable, refused loudly when wrong.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, ValueEnum};
use ipnet::IpNet;
use phishcnn_core::{Error, MAX_URL_LEN};
use tracing::Level;

use crate::feedback::FeedbackArg;
use phishcnn_cli::args::ModelArg;
use phishcnn_cli::failure::Failure;

const PREFIX: &str = "PHISHCNN_";

/// Variables that Kubernetes sets for a Service named `phishcnn`; they are no settings of ours.
const FROM_KUBERNETES: [&str; 2] = ["PHISHCNN_SERVICE_", "PHISHCNN_PORT"];

#[derive(Args)]
#[command(
    after_help = "\
Every setting is a flag and an environment variable; the flag wins. An unknown PHISHCNN_* variable
stops the start (401), a bad value too (402). Variables that Kubernetes makes for a Service of that
name (PHISHCNN_SERVICE_*, PHISHCNN_PORT*) are passed over.

Examples:
  phishcnn serve
  PHISHCNN_LISTEN=0.0.0.0:8000 phishcnn serve --model other.safetensors
  phishcnn serve --admin-listen 127.0.0.1:9000 --feedback postgres://phishcnn@db/feedback
  curl -d '{\"url\":\"https://example.com/login\"}' http://127.0.0.1:8000/v1/score

Exit codes: 0 stopped by SIGTERM or SIGINT · 1 requests were cut off at the end · 2 settings
(401 unknown, 402 bad value, 403 address in use) · 3 model unusable",
    verbatim_doc_comment
)]
/// Answer over HTTP: a page for people, JSON for programs
///
/// The routes, their errors and the metrics are described in server/README.md, the API also at
/// /apidocs/ of a running service. Errors are application/problem+json with a number in `code`.
/// SIGTERM or SIGINT: /readyz turns 503, new connections are refused, requests under way are
/// finished. SIGHUP: the model file is read again. URLs are not logged unless --log-urls is given.
pub(crate) struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", env = "PHISHCNN_LISTEN", hide_env_values = true,
          default_value = "127.0.0.1:8000", value_parser = host_and_port)]
    pub(crate) listen: String,
    /// Address for /metrics, probes and the change of the model, which then leave the public one
    #[arg(long, value_name = "HOST:PORT", env = "PHISHCNN_ADMIN_LISTEN", hide_env_values = true,
          value_parser = host_and_port)]
    pub(crate) admin_listen: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArg,
    /// Second model that scores the same URLs; only metrics tell what it thinks
    #[arg(long, value_name = "FILE", env = "PHISHCNN_SHADOW", hide_env_values = true,
          value_parser = file)]
    pub(crate) shadow: Option<PathBuf>,
    /// Expected share of phishing among the URLs, between 0 and 1: shifts the probabilities,
    /// never the verdicts
    #[arg(long, value_name = "P", env = "PHISHCNN_BASE_RATE", hide_env_values = true,
          default_value = "0.5", value_parser = base_rate)]
    pub(crate) base_rate: f32,
    #[command(flatten)]
    pub(crate) feedback: FeedbackArg,

    /// Form of the log on standard error
    #[arg(long, env = "PHISHCNN_LOG_FORMAT", hide_env_values = true, default_value = "human",
          value_parser = log_format, help_heading = "Log")]
    pub(crate) log_format: LogFormat,
    /// Least level that is logged: error, warn, info, debug (every request) or trace
    #[arg(long, value_name = "LEVEL", env = "PHISHCNN_LOG_LEVEL", hide_env_values = true,
          default_value = "info", value_parser = level, help_heading = "Log")]
    pub(crate) log_level: Level,
    /// Log the URLs that are scored: true or false
    #[arg(long, value_name = "BOOL", env = "PHISHCNN_LOG_URLS", hide_env_values = true,
          default_value = "false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = boolean, help_heading = "Log")]
    pub(crate) log_urls: bool,

    /// Largest request body in bytes, unpacked; streams of lines may be longer
    #[arg(long, value_name = "BYTES", env = "PHISHCNN_MAX_BODY", hide_env_values = true,
          default_value = "2097152", value_parser = positive, help_heading = "Limits")]
    pub(crate) max_body: usize,
    /// Most URLs in one request; streams of lines may have more
    #[arg(long, value_name = "N", env = "PHISHCNN_MAX_URLS", hide_env_values = true,
          default_value = "10000", value_parser = positive, help_heading = "Limits")]
    pub(crate) max_urls: usize,
    /// Longest URL in bytes, up to the 65536 of the model
    #[arg(long, value_name = "BYTES", env = "PHISHCNN_MAX_URL_LENGTH", hide_env_values = true,
          default_value = "65536", value_parser = url_length, help_heading = "Limits")]
    pub(crate) max_url_length: usize,
    /// Requests that are worked on at the same time; more are answered 503
    #[arg(long, value_name = "N", env = "PHISHCNN_MAX_CONCURRENCY", hide_env_values = true,
          default_value = "64", value_parser = positive, help_heading = "Limits")]
    pub(crate) max_concurrency: usize,
    /// Open connections; at the limit the one that idles longest makes room
    #[arg(long, value_name = "N", env = "PHISHCNN_MAX_CONNECTIONS", hide_env_values = true,
          default_value = "960", value_parser = positive, help_heading = "Limits")]
    pub(crate) max_connections: usize,
    /// Requests of one client to one route, as in 10/min (s, min or h); more are answered 429
    #[arg(long, value_name = "N/UNIT", env = "PHISHCNN_RATE_LIMIT", hide_env_values = true,
          value_parser = rate, help_heading = "Limits")]
    pub(crate) rate_limit: Option<Rate>,
    /// Networks whose X-Forwarded-For is believed, as in 10.0.0.0/8,::1/128
    #[arg(long, value_name = "NET,…", env = "PHISHCNN_TRUSTED_PROXIES", hide_env_values = true,
          value_delimiter = ',', value_parser = network, help_heading = "Limits")]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// From a request's first byte to the end of its head, as in 500ms, 10s or 2min
    #[arg(long, value_name = "TIME", env = "PHISHCNN_HEADER_TIMEOUT", hide_env_values = true,
          default_value = "10s", value_parser = duration, help_heading = "Times")]
    pub(crate) header_timeout: Duration,
    /// For the whole body; between two pieces of a stream; for a client to take some of an answer
    #[arg(long, value_name = "TIME", env = "PHISHCNN_BODY_TIMEOUT", hide_env_values = true,
          default_value = "10s", value_parser = duration, help_heading = "Times")]
    pub(crate) body_timeout: Duration,
    /// From a request's head to its answer's
    #[arg(long, value_name = "TIME", env = "PHISHCNN_REQUEST_TIMEOUT", hide_env_values = true,
          default_value = "30s", value_parser = duration, help_heading = "Times")]
    pub(crate) request_timeout: Duration,
    // Longer than the 60 seconds for which proxies usually keep theirs: closing first would fail
    // the request that a proxy just sends.
    /// A connection without a request is closed after this time
    #[arg(long, value_name = "TIME", env = "PHISHCNN_IDLE_TIMEOUT", hide_env_values = true,
          default_value = "75s", value_parser = duration, help_heading = "Times")]
    pub(crate) idle_timeout: Duration,
    /// Between /readyz turning 503 and the end of new connections, for load balancers to notice
    #[arg(long, value_name = "TIME", env = "PHISHCNN_SHUTDOWN_DELAY", hide_env_values = true,
          default_value = "0s", value_parser = duration, help_heading = "Times")]
    pub(crate) shutdown_delay: Duration,
    /// What requests under way get then
    #[arg(long, value_name = "TIME", env = "PHISHCNN_SHUTDOWN_TIMEOUT", hide_env_values = true,
          default_value = "10s", value_parser = duration, help_heading = "Times")]
    pub(crate) shutdown_timeout: Duration,

    /// File of API keys, one a line; routes that store then need `Authorization: Bearer KEY`
    #[arg(long, value_name = "FILE", env = "PHISHCNN_API_KEYS_FILE", hide_env_values = true,
          value_parser = file, help_heading = "Security")]
    pub(crate) api_keys_file: Option<PathBuf>,
    /// Certificate chain (PEM) for HTTPS on the public address
    #[arg(long, value_name = "FILE", env = "PHISHCNN_TLS_CERT", hide_env_values = true,
          value_parser = file, requires = "tls_key", help_heading = "Security")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "PHISHCNN_TLS_KEY", hide_env_values = true,
          value_parser = file, requires = "tls_cert", help_heading = "Security")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Human,
    /// One JSON object per line
    Json,
}

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) requests: NonZeroU32,
    pub(crate) per: Duration,
}

impl ServeArgs {
    /// What no single value tells.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        no_unknown_variable(std::env::vars_os().map(|(name, _)| name))?;
        if self.model.path().is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(Failure::setting(Error::BadValue, "PHISHCNN_MODEL or --model: is empty"));
        }
        Ok(())
    }
}

/// The text of error 402, to which clap adds the setting's name.
fn bad(why: &str) -> String {
    format!("{}: {why}", Error::BadValue)
}

fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    match parts.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(bad("HOST:PORT is needed, as in 127.0.0.1:8000")),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err(bad("the name of a file is needed")) } else { Ok(text.into()) }
}

fn base_rate(text: &str) -> Result<f32, String> {
    phishcnn_cli::args::base_rate(text).map_err(|why| bad(&why))
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    LogFormat::from_str(text, false).map_err(|_| bad("human or json"))
}

fn level(text: &str) -> Result<Level, String> {
    text.parse().map_err(|_| bad("error, warn, info, debug or trace"))
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| bad("true or false"))
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&n| n > 0 && n <= u32::MAX as usize);
    number.ok_or_else(|| bad("a whole number from 1 on"))
}

fn url_length(text: &str) -> Result<usize, String> {
    let length = positive(text).ok().filter(|&n| n <= MAX_URL_LEN);
    length.ok_or_else(|| bad("a number of bytes from 1 to 65536"))
}

fn rate(text: &str) -> Result<Rate, String> {
    let rate = || {
        let (requests, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(Rate { requests: requests.parse().ok()?, per: Duration::from_secs(seconds) })
    };
    rate().ok_or_else(|| bad("N/s, N/min or N/h, as in 10/min"))
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let one = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().ok().or_else(one).ok_or_else(|| bad("a network, as in 10.0.0.0/8, or an address"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parse = || {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at_checked(digits)?;
        let number: u32 = number.parse().ok()?;
        Some(match unit {
            "ms" => Duration::from_millis(number.into()),
            "s" => Duration::from_secs(number.into()),
            "min" => Duration::from_secs(u64::from(number) * 60),
            _ => return None,
        })
    };
    parse().ok_or_else(|| bad("a time, as in 500ms, 10s or 2min"))
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
        for fine in [
            "PHISHCNN_LISTEN",
            "PHISHCNN_MODEL",
            "PHISHCNN_FEEDBACK",
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
    fn every_flag_is_a_variable() {
        let command = ServeArgs::augment_args(Command::new("serve"));
        for arg in command.get_arguments() {
            let flag = arg.get_long().unwrap().to_uppercase().replace('-', "_");
            assert_eq!(arg.get_env().unwrap().to_str().unwrap(), format!("PHISHCNN_{flag}"));
        }
    }

    #[test]
    fn addresses() {
        for fine in ["127.0.0.1:8000", "[::1]:0", "localhost:80"] {
            assert!(host_and_port(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:b"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_rates_and_networks() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        let ten = Rate { requests: NonZeroU32::new(10).unwrap(), per: Duration::from_secs(60) };
        assert_eq!(rate("10/min"), Ok(ten));
        assert!(network("10.0.0.0/8").is_ok() && network("::1").is_ok());
        for wrong in ["", "10", "s", "1.5s", "-1s", "1h", "ü", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "10", "0/min", "10/day", "/min", "-1/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "10.0.0.0/33", "host"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
        assert!(url_length("65537").is_err() && url_length("65536").is_ok());
        assert!(positive("0").is_err() && positive("x").is_err());
    }
}
