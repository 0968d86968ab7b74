//! `phishcnn feedback export`: rows for training, or everything that is kept.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use phishcnn_core::Error;
use serde::Serialize;

use super::{Entry, FeedbackArg};
use phishcnn_cli::failure::{Failure, Outcome, note};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Rows for training: label (what the URL is), url, source `feedback`, month, group, tags
    Tsv,
    /// One JSON object per line with everything that is kept
    Ndjson,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  phishcnn feedback export --since 2025-10-01 > feedback.tsv
  phishcnn feedback export --feedback postgres://phishcnn@db/feedback --format ndjson

Exit codes: 0 ok · 1 the store cannot be read · 2 usage")]
/// Write the feedback to standard output, oldest first
///
/// In TSV the label is 1 for phishing and 0 for the rest, as the people said: the prediction
/// where they called it right, its opposite where they called it wrong. A tab, line feed or
/// carriage return inside a URL becomes %09, %0A or %0D, as rows cannot hold them.
pub(crate) struct ExportArgs {
    /// Only from this day on (UTC)
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    since: Option<Date>,
    /// Form of the rows
    #[arg(long, value_enum, default_value = "tsv")]
    format: ExportFormat,
    #[command(flatten)]
    feedback: FeedbackArg,
}

pub(super) fn date(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("{}: a day, as in 2025-10-01", Error::BadValue))
}

/// Midnight at the begin of a day, UTC.
pub(super) fn midnight(day: Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(day.into()).unwrap_or(Timestamp::MIN)
}

pub(super) fn run(args: &ExportArgs) -> Result<Outcome, Failure> {
    let mut store = args.feedback.feedback.open_now()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut changed = 0_u64;
    store.read(args.since.map_or(Timestamp::UNIX_EPOCH, midnight), &mut |entry| {
        match args.format {
            ExportFormat::Tsv => {
                let url = one_cell(&entry.url);
                changed += u64::from(matches!(url, Cow::Owned(_)));
                write!(out, "{}\t", u8::from(entry.truth()))?;
                out.write_all(&url)?;
                writeln!(out, "\tfeedback\t{}\t\t", entry.date().strftime("%Y-%m"))?;
            }
            ExportFormat::Ndjson => {
                serde_json::to_writer(&mut out, &EntryJson::new(&entry))?;
                writeln!(out)?;
            }
        }
        Ok(())
    })?;
    out.flush()?;
    if changed > 0 {
        note(&format!("{changed} URLs had tabs or line ends, which were written as %09, %0A, %0D"));
    }
    Ok(Outcome::Ok)
}

fn one_cell(url: &[u8]) -> Cow<'_, [u8]> {
    if !url.iter().any(|b| matches!(b, b'\t' | b'\n' | b'\r')) {
        return Cow::Borrowed(url);
    }
    let mut cell = Vec::with_capacity(url.len() + 2);
    for &byte in url {
        match byte {
            b'\t' => cell.extend(b"%09"),
            b'\n' => cell.extend(b"%0A"),
            b'\r' => cell.extend(b"%0D"),
            other => cell.push(other),
        }
    }
    Cow::Owned(cell)
}

#[derive(Serialize)]
struct EntryJson<'e> {
    time: String,
    url: Cow<'e, str>,
    label: u8,
    feedback: u8,
    client: &'e str,
    origin: &'e str,
    model: Option<&'e str>,
    logit: Option<f32>,
    probability: Option<f32>,
    verdict: Option<&'e str>,
    note: Option<&'e str>,
}

impl<'e> EntryJson<'e> {
    fn new(entry: &'e Entry) -> Self {
        let scored = entry.scored.as_ref();
        Self {
            time: entry.time.to_string(),
            url: String::from_utf8_lossy(&entry.url),
            label: entry.label.into(),
            feedback: entry.right.into(),
            client: &entry.client,
            origin: &entry.origin,
            model: scored.map(|s| s.model.as_str()),
            logit: scored.map(|s| s.logit),
            probability: scored.map(|s| s.probability),
            verdict: scored.map(|s| s.verdict.as_str()),
            note: entry.note.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::one_cell;

    #[test]
    fn a_url_is_one_cell() {
        assert_eq!(&*one_cell(b"http://a/\xff\0"), b"http://a/\xff\0");
        assert_eq!(&*one_cell(b"a\tb\r\nc"), b"a%09b%0D%0Ac");
    }
}
