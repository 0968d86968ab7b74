//! `phishcnn feedback import`: the CSV files of the Python system.

use std::path::PathBuf;

use clap::Args;
use csv::StringRecord;
use jiff::Timestamp;
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::export::{date, midnight};
use super::{Entry, FeedbackArg};
use phishcnn_cli::failure::{Failure, Outcome, note};
use phishcnn_cli::model::hex;

/// Rows in one commit.
const BATCH: usize = 1000;

#[derive(Args)]
#[command(after_help = "\
Example:
  phishcnn feedback import training_data.csv

Exit codes: 0 all imported · 1 some rows were not, each is named · 2 usage, missing file")]
/// Read feedback that the Python system kept: CSV with the columns url, label, feedback
///
/// `label` is what was predicted, `feedback` whether that was right; both 0, 1, true or false. A
/// header is passed over. The rows carry no time: they get the day of --date, else of the file.
/// Importing a file again, for the same day, changes nothing.
pub(crate) struct ImportArgs {
    /// The CSV file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The day of the rows [default: when the file was last changed]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<Date>,
    #[command(flatten)]
    feedback: FeedbackArg,
}

pub(super) fn run(args: &ImportArgs) -> Result<Outcome, Failure> {
    let name = args.file.display();
    let missing = |error| Failure::Usage(format!("{name}: {error}"));
    let text = std::fs::read(&args.file).map_err(missing)?;
    let time = match args.date {
        Some(day) => midnight(day),
        None => {
            let changed = std::fs::metadata(&args.file).and_then(|about| about.modified());
            Timestamp::try_from(changed.map_err(missing)?).unwrap_or(Timestamp::UNIX_EPOCH)
        }
    };
    let digest = hex(&Sha256::digest(&text));
    let mut store = args.feedback.feedback.open_now()?;
    let mut rows =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
    let (mut batch, mut imported, mut refused) = (Vec::new(), 0_u64, 0_u64);
    let mut row = StringRecord::new();
    let mut number = 0_u64;
    loop {
        number += 1;
        let parsed = match rows.read_record(&mut row) {
            Ok(false) => break,
            Ok(true) if number == 1 && row.get(0) == Some("url") => continue,
            Ok(true) => parse(&row),
            Err(error) => Err(error.to_string()),
        };
        match parsed {
            Ok((url, label, right)) => batch.push(Entry {
                url: url.as_bytes().to_vec(),
                label,
                right,
                // The file does not tell who said it: every row counts as a client of its own.
                client: format!("import {digest} {number}"),
                time,
                origin: "import".to_owned(),
                scored: None,
                note: None,
            }),
            Err(why) => {
                refused += 1;
                note(&format!("{name}: row {number}: {why}"));
            }
        }
        if batch.len() == BATCH {
            store.write(&batch).map_err(super::StoreError::failure)?;
            imported += batch.len() as u64;
            batch.clear();
        }
    }
    store.write(&batch).map_err(super::StoreError::failure)?;
    imported += batch.len() as u64;
    note(&format!("{imported} rows imported, {refused} refused"));
    Ok(if refused == 0 { Outcome::Ok } else { Outcome::SomeInputsFailed })
}

/// URL, label, feedback.
fn parse(row: &StringRecord) -> Result<(&str, bool, bool), String> {
    let (Some(url), Some(label), Some(right)) = (row.get(0), row.get(1), row.get(2)) else {
        return Err("three columns are needed: url, label, feedback".to_owned());
    };
    if url.trim().is_empty() {
        return Err(phishcnn_core::Error::EmptyUrl.to_string());
    }
    let boolean = |name, text: &str| match text.trim() {
        "0" | "false" | "False" => Ok(false),
        "1" | "true" | "True" => Ok(true),
        other => Err(format!("{name} is {other:?}: 0, 1, true or false is needed")),
    };
    Ok((url, boolean("label", label)?, boolean("feedback", right)?))
}
