//! The report of an evaluation: what is in it, as a table and as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use phishcnn_core::Error;
use serde::Serialize;

use super::metrics::{Confusion, RecallAt, Roc, Scored, expected_calibration_error, wilson};
use phishcnn_cli::inspect::grouped;
use phishcnn_cli::model::Loaded;

/// Rows that could not be scored are all counted; so many of them are listed.
const LISTED_FAILURES: usize = 100;

/// Everything the files gave.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) rows: Vec<Scored>,
    /// Indices of `rows` by value of the slice column.
    pub(crate) slices: BTreeMap<String, Vec<usize>>,
    pub(crate) failed: Failed,
}

/// The rows that could not be scored.
#[derive(Default, Serialize)]
pub(crate) struct Failed {
    pub(crate) count: u64,
    by_code: BTreeMap<u16, u64>,
    rows: Vec<FailedRow>,
}

#[derive(Serialize)]
struct FailedRow {
    file: String,
    line: u64,
    code: u16,
    message: &'static str,
}

impl Failed {
    pub(crate) fn add(&mut self, file: &str, line: u64, error: Error) {
        self.count += 1;
        *self.by_code.entry(error.code()).or_default() += 1;
        if self.rows.len() < LISTED_FAILURES {
            let (code, message) = (error.code(), error.message());
            self.rows.push(FailedRow { file: file.to_owned(), line, code, message });
        }
    }
}

#[derive(Serialize)]
pub(crate) struct Report {
    model: ModelId,
    files: Vec<String>,
    phishing: u64,
    legitimate: u64,
    failed: Failed,
    auc: Option<f64>,
    average_precision: Option<f64>,
    expected_calibration_error: Option<f64>,
    recall_at: [RecallAt; 3],
    thresholds: AtThresholds<Judged>,
    slices: Vec<Slice>,
}

#[derive(Serialize)]
struct ModelId {
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
}

/// One value for each threshold of the model.
#[derive(Serialize)]
struct AtThresholds<T> {
    phishing: T,
    suspicious: T,
}

/// The confusion at a threshold, with its two rates.
#[derive(Serialize)]
struct Judged {
    threshold: f32,
    #[serde(flatten)]
    counts: Confusion,
    recall: Option<f64>,
    recall_interval: Option<[f64; 2]>,
    false_positive_rate: Option<f64>,
    false_positive_rate_interval: Option<[f64; 2]>,
}

impl Judged {
    fn new<'a>(threshold: f32, rows: impl Iterator<Item = &'a Scored>) -> Self {
        let counts = Confusion::at(threshold, rows);
        Self {
            threshold,
            counts,
            recall: counts.recall(),
            recall_interval: wilson(counts.tp, counts.tp + counts.fn_),
            false_positive_rate: counts.false_positive_rate(),
            false_positive_rate_interval: wilson(counts.fp, counts.fp + counts.tn),
        }
    }
}

/// The rows of one value of the slice column.
#[derive(Serialize)]
struct Slice {
    name: String,
    phishing: u64,
    legitimate: u64,
    thresholds: AtThresholds<Judged>,
}

impl Report {
    pub(crate) fn new(loaded: &'static Loaded, files: Vec<String>, collected: Collected) -> Self {
        let Collected { rows, slices, failed } = collected;
        let thresholds = loaded.model().thresholds();
        let slices = slices
            .into_iter()
            .map(|(name, members)| {
                let rows = || members.iter().filter_map(|&i| rows.get(i));
                let phishing = rows().filter(|row| row.phishing).count() as u64;
                Slice {
                    name,
                    phishing,
                    legitimate: members.len() as u64 - phishing,
                    thresholds: AtThresholds {
                        phishing: Judged::new(thresholds.phishing, rows()),
                        suspicious: Judged::new(thresholds.suspicious, rows()),
                    },
                }
            })
            .collect();
        let roc = Roc::new(&rows);
        let phishing = rows.iter().filter(|row| row.phishing).count() as u64;
        Self {
            model: ModelId {
                name: loaded.model().name(),
                version: loaded.model().version(),
                sha256: loaded.sha256(),
            },
            files,
            phishing,
            legitimate: rows.len() as u64 - phishing,
            failed,
            auc: roc.auc(),
            average_precision: roc.average_precision(),
            expected_calibration_error: expected_calibration_error(&rows),
            recall_at: [0.01, 0.001, 0.0001].map(|rate| roc.recall_at(rate)),
            thresholds: AtThresholds {
                phishing: Judged::new(thresholds.phishing, rows.iter()),
                suspicious: Judged::new(thresholds.suspicious, rows.iter()),
            },
            slices,
        }
    }

    pub(crate) fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        let sha: String = self.model.sha256.chars().take(16).collect();
        writeln!(out, "{} {} ({sha}…)", self.model.name, self.model.version)?;
        writeln!(
            out,
            "{} phishing, {} legitimate, {} not scored\n",
            grouped(self.phishing),
            grouped(self.legitimate),
            grouped(self.failed.count)
        )?;
        writeln!(out, "area under the ROC curve    {}", plain(self.auc))?;
        writeln!(out, "average precision           {}", plain(self.average_precision))?;
        writeln!(out, "expected calibration error  {}", plain(self.expected_calibration_error))?;

        writeln!(
            out,
            "\n{:>8}  {:>8}  {:>17}  {:>9}  {:>9}  {:>9}",
            "at FPR", "recall", "95 % interval", "threshold", "tp", "fp"
        )?;
        for at in &self.recall_at {
            write!(out, "{:>8}", format!("{} %", at.false_positive_rate * 100.0))?;
            match (at.resolvable, at.tp, at.fp) {
                (true, Some(tp), Some(fp)) => writeln!(
                    out,
                    "  {:>8}  {:>17}  {:>9}  {:>9}  {:>9}",
                    percent(at.recall),
                    interval(at.recall_interval),
                    at.threshold.map_or("-".to_owned(), |t| format!("{t:.3}")),
                    grouped(tp),
                    grouped(fp)
                )?,
                _ => writeln!(out, "  not resolvable (under 20 expected false positives)")?,
            }
        }

        writeln!(
            out,
            "\n{:<10}  {:>9}  {:>8}  {:>17}  {:>8}  {:>17}  {:>9}  {:>9}  {:>9}  {:>9}",
            "verdict",
            "threshold",
            "recall",
            "95 % interval",
            "FPR",
            "95 % interval",
            "tp",
            "fp",
            "fn",
            "tn"
        )?;
        for (name, at) in
            [("phishing", &self.thresholds.phishing), ("suspicious", &self.thresholds.suspicious)]
        {
            writeln!(
                out,
                "{name:<10}  {:>9.3}  {:>8}  {:>17}  {:>8}  {:>17}  {:>9}  {:>9}  {:>9}  {:>9}",
                at.threshold,
                percent(at.recall),
                interval(at.recall_interval),
                percent(at.false_positive_rate),
                interval(at.false_positive_rate_interval),
                grouped(at.counts.tp),
                grouped(at.counts.fp),
                grouped(at.counts.fn_),
                grouped(at.counts.tn)
            )?;
        }
        self.write_slices(out)?;
        self.write_failures(out)
    }

    fn write_slices(&self, out: &mut impl Write) -> io::Result<()> {
        if self.slices.is_empty() {
            return Ok(());
        }
        let width = self.slices.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(5);
        writeln!(
            out,
            "\n{:<width$}  {:>9}  {:>10}  {:>17}  {:>17}",
            "", "", "", "verdict phishing", "or suspicious"
        )?;
        writeln!(
            out,
            "{:<width$}  {:>9}  {:>10}  {:>8} {:>8}  {:>8} {:>8}",
            "slice", "phishing", "legitimate", "recall", "FPR", "recall", "FPR"
        )?;
        for slice in &self.slices {
            let (red, yellow) = (&slice.thresholds.phishing, &slice.thresholds.suspicious);
            writeln!(
                out,
                "{:<width$}  {:>9}  {:>10}  {:>8} {:>8}  {:>8} {:>8}",
                slice.name,
                grouped(slice.phishing),
                grouped(slice.legitimate),
                percent(red.recall),
                percent(red.false_positive_rate),
                percent(yellow.recall),
                percent(yellow.false_positive_rate)
            )?;
        }
        Ok(())
    }

    fn write_failures(&self, out: &mut impl Write) -> io::Result<()> {
        if self.failed.count > 0 {
            writeln!(out, "\nnot scored:")?;
        }
        for row in &self.failed.rows {
            writeln!(out, "  {}:{}: {}: {}", row.file, row.line, row.code, row.message)?;
        }
        let unlisted = self.failed.count - self.failed.rows.len() as u64;
        if unlisted > 0 {
            writeln!(out, "  and {} more", grouped(unlisted))?;
        }
        Ok(())
    }
}

fn plain(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |v| format!("{v:.4}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |v| format!("{:.2} %", v * 100.0))
}

fn interval(value: Option<[f64; 2]>) -> String {
    value
        .map_or("-".to_owned(), |[low, high]| format!("{:.2} … {:.2} %", low * 100.0, high * 100.0))
}
