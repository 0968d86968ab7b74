//! `phishcnn eval`: how good a model is on labelled URLs.

mod metrics;
mod report;
mod rows;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use phishcnn_cli::failure::{Failure, Outcome};
use phishcnn_cli::model::{self, Loaded, Scorer};
use phishcnn_cli::{parallel, score};
use phishcnn_core::Error;

use crate::cli::EvalArgs;
use metrics::Scored;
use report::{Collected, Report};
use rows::{Row, RowBatch, SliceColumn};

/// The slice of rows whose slice column is empty.
const NO_SLICE: &str = "(none)";

pub(crate) fn run(args: &EvalArgs) -> Result<Outcome, Failure> {
    let loaded = model::load(args.model.path())?;
    let bar = score::progress_bar(io::stdout().is_terminal());
    let slices = args.slice_column.as_deref().map(SliceColumn::parse).transpose()?;
    let batches = rows::open(&args.files, slices, &bar)?;

    let mut collected = Collected::default();
    let worker = || {
        let mut scorer = Scorer::new(loaded);
        move |batch| score_batch(loaded, &mut scorer, batch?)
    };
    let sink = |batch: Result<Vec<ScoredRow>, Failure>| {
        for row in batch? {
            collect(&mut collected, row);
        }
        Ok(())
    };
    parallel::in_order(batches, args.threads.count(), worker, sink)?;
    bar.finish_and_clear();

    let files = args.files.iter().map(|f| f.display().to_string()).collect();
    let failed = collected.failed.count > 0;
    let report = Report::new(loaded, files, collected);
    match &args.json {
        Some(path) if path == Path::new("-") => {
            write_json(&report, &mut io::stdout().lock())?;
        }
        path => {
            report.write_table(&mut io::stdout().lock())?;
            if let Some(path) = path {
                let file = File::create(path)
                    .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
                write_json(&report, &mut BufWriter::new(file))?;
            }
        }
    }
    Ok(if failed { Outcome::SomeInputsFailed } else { Outcome::Ok })
}

fn write_json(report: &Report, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// One row after scoring, with what a report needs of it.
struct ScoredRow {
    result: Result<Scored, Unscored>,
    slices: Vec<String>,
}

struct Unscored {
    file: String,
    line: u64,
    error: Error,
}

fn score_batch(
    loaded: &Loaded,
    scorer: &mut Scorer<'_>,
    batch: RowBatch,
) -> Result<Vec<ScoredRow>, Failure> {
    let mut scored = Vec::with_capacity(batch.lines.len());
    for (number, line) in (batch.first_line..).zip(batch.lines.iter()) {
        if batch.header && number == 1 {
            continue;
        }
        let row = Row::parse(line, batch.slice_column)
            .map_err(|why| Failure::Input(format!("{}:{number}: {why}", batch.file)))?;
        let result = match scorer.score(row.url) {
            Ok(score) => Ok(Scored {
                phishing: row.phishing,
                logit: score.logit,
                probability: loaded.model().probability(score.logit, 0.5),
            }),
            Err(error) => Err(Unscored { file: batch.file.clone(), line: number, error }),
        };
        let slices = match batch.slice_column {
            None => Vec::new(),
            Some(_) if row.slices.is_empty() => vec![NO_SLICE.to_owned()],
            Some(_) => {
                row.slices.split(|&b| b == b',').map(phishcnn_cli::escape::visible).collect()
            }
        };
        scored.push(ScoredRow { result, slices });
    }
    Ok(scored)
}

fn collect(collected: &mut Collected, row: ScoredRow) {
    match row.result {
        Ok(scored) => {
            for slice in row.slices {
                let members = collected.slices.entry(slice).or_default();
                // A value written twice in one cell is still one row.
                if members.last() != Some(&collected.rows.len()) {
                    members.push(collected.rows.len());
                }
            }
            collected.rows.push(scored);
        }
        Err(Unscored { file, line, error }) => collected.failed.add(&file, line, error),
    }
}
