//! `phishcnn explain`: which parts of a URL speak for phishing.

use std::io::{self, Write};

use phishcnn_core::{Score, Segment};

use crate::args::{ExplainArgs, ReportFormat};
use crate::escape::visible;
use crate::failure::{self, Failure, Outcome};
use crate::json::ExplainJson;
use crate::model::{self, Scorer};
use crate::score::tint;

/// Length of the longest bar, in characters.
const BAR: f32 = 20.0;

/// Explains one URL.
///
/// # Errors
/// When the model or the URL cannot be used.
pub fn run(args: &ExplainArgs) -> Result<Outcome, Failure> {
    let loaded = model::load(args.model.path())?;
    let url = args.url.as_encoded_bytes();
    let (score, segments) = match Scorer::new(loaded).explain(url) {
        Ok(explained) => explained,
        Err(error) => return Err(Failure::Input(format!("{error}: {}", visible(url)))),
    };
    let mut out = io::stdout().lock();
    match args.format {
        ReportFormat::Json => {
            serde_json::to_writer_pretty(&mut out, &ExplainJson::new(url, &score, &segments))?;
            writeln!(out)?;
        }
        ReportFormat::Text => write_text(&mut out, url, &score, &segments, failure::colour())?,
    }
    Ok(Outcome::Ok)
}

fn write_text(
    out: &mut impl Write,
    url: &[u8],
    score: &Score,
    segments: &[Segment],
    colour: bool,
) -> io::Result<()> {
    let paint = |code: &'static str| if colour { code } else { "" };
    let off = paint("\x1b[0m");
    let on = paint(tint(score.verdict));
    let verdict = score.verdict.as_str();
    writeln!(
        out,
        "{on}{verdict}{off}   probability {:.4}   logit {:+.3}\n",
        score.probability, score.logit
    )?;

    let longest = segments.iter().map(|s| s.contribution.abs()).fold(0.0, f32::max);
    let share = |s: &Segment| if longest > 0.0 { s.contribution / longest } else { 0.0 };
    let text = |from: usize, to: usize| visible(url.get(from..to).unwrap_or_default());

    let mut shown = 0;
    for s in segments {
        // Only what clearly matters is highlighted.
        let code = match share(s) {
            x if x >= 0.25 => paint("\x1b[41;97m"),
            x if x <= -0.25 => paint("\x1b[42;30m"),
            _ => "",
        };
        let off = if code.is_empty() { "" } else { off };
        write!(out, "{}{code}{}{off}", text(shown, s.start), text(s.start, s.end))?;
        shown = s.end;
    }
    writeln!(out, "{}", text(shown, url.len()))?;
    if score.truncated {
        writeln!(out, "(only the start of the URL was read)")?;
    }
    writeln!(out)?;

    let name_width = segments.iter().map(|s| s.part.as_str().len()).max().unwrap_or(0);
    for s in segments {
        let length = (share(s).abs() * BAR).round() as usize;
        let (code, block) = if s.contribution > 0.0 {
            (paint("\x1b[31m"), "█")
        } else {
            (paint("\x1b[32m"), "░")
        };
        let gap = " ".repeat(BAR as usize - length.min(BAR as usize));
        writeln!(
            out,
            "{:>+8.3}  {code}{}{off}{gap}  {:name_width$}  {}",
            s.contribution,
            block.repeat(length),
            s.part.as_str(),
            text(s.start, s.end)
        )?;
    }
    writeln!(out, "\n█ pushes towards phishing, ░ away from it; the numbers need not add up")
}
