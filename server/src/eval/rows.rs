//! Labelled rows from files: `label<TAB>url<TAB>…`.

use std::fs::File;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use phishcnn_cli::compressed::unpack;
use phishcnn_cli::failure::Failure;
use phishcnn_cli::lines::{LineBatches, Lines};

/// Which column gives the slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SliceColumn {
    /// Counted from 0.
    Number(usize),
    Name(String),
}

impl SliceColumn {
    /// `3` is the third column, anything else a name in the header.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text.parse::<usize>() {
            Ok(0) => Err(Failure::Usage("--slice-column: columns are counted from 1".to_owned())),
            Ok(number) => Ok(Self::Number(number - 1)),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// Consecutive rows of one file.
pub(crate) struct RowBatch {
    pub(crate) file: String,
    /// The number of the first line, from 1.
    pub(crate) first_line: u64,
    pub(crate) lines: Lines,
    /// The slice column of this file, from 0.
    pub(crate) slice_column: Option<usize>,
    /// Whether the first line is a header.
    pub(crate) header: bool,
}

/// One row, as written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) phishing: bool,
    pub(crate) url: &'a [u8],
    /// The content of the slice column.
    pub(crate) slices: &'a [u8],
}

impl<'a> Row<'a> {
    pub(crate) fn parse(line: &'a [u8], slice_column: Option<usize>) -> Result<Self, String> {
        let mut columns = line.split(|&b| b == b'\t');
        let label = columns.next().unwrap_or_default();
        let Some(url) = columns.next() else {
            return Err("no tab: a row is label<TAB>url".to_owned());
        };
        let phishing = match label {
            b"1" | b"phishing" => true,
            b"0" | b"legitimate" => false,
            b"" => return Err("a row without a label".to_owned()),
            other => {
                let other = phishcnn_cli::escape::visible(other.get(..40).unwrap_or(other));
                return Err(format!("unknown label {other:?}: 0, 1, legitimate or phishing"));
            }
        };
        let slices = match slice_column {
            None => &[][..],
            Some(n) => line
                .split(|&b| b == b'\t')
                .nth(n)
                .ok_or_else(|| format!("no column {}, which --slice-column asks for", n + 1))?,
        };
        Ok(Self { phishing, url, slices })
    }
}

fn is_header(line: &[u8]) -> bool {
    let name = line.split(|&b| b == b'\t').next().unwrap_or_default();
    name.eq_ignore_ascii_case(b"label")
}

/// The rows of all files, one after the other. Every file is opened first, so that a missing one
/// fails before the work begins.
pub(crate) fn open(
    files: &[PathBuf],
    slices: Option<SliceColumn>,
    bar: &ProgressBar,
) -> Result<impl Iterator<Item = Result<RowBatch, Failure>> + Send + 'static, Failure> {
    let mut opened = Vec::new();
    for path in files {
        opened.push(open_one(path, slices.clone(), bar)?);
    }
    Ok(opened.into_iter().flatten())
}

fn open_one(
    path: &Path,
    slices: Option<SliceColumn>,
    bar: &ProgressBar,
) -> Result<impl Iterator<Item = Result<RowBatch, Failure>> + Send + 'static, Failure> {
    let name = path.display().to_string();
    let missing = |error| Failure::Usage(format!("{name}: {error}"));
    let file = File::open(path).map_err(missing)?;
    let about = file.metadata().map_err(missing)?;
    if about.is_dir() {
        return Err(Failure::Usage(format!("{name}: is a directory")));
    }
    bar.inc_length(about.len());
    let text = unpack(bar.wrap_read(file)).map_err(missing)?;
    let mut line = 1;
    let mut slice_column = None;
    Ok(LineBatches::new(text).map(move |lines| {
        let lines = lines.map_err(|error| Failure::Input(format!("{name}:{line}: {error}")))?;
        let first = lines.iter().next().unwrap_or_default();
        let header = line == 1 && is_header(first);
        if line == 1 {
            slice_column = match &slices {
                None => None,
                Some(SliceColumn::Number(n)) => Some(*n),
                Some(SliceColumn::Name(wanted)) => {
                    Some(named(wanted, first, header).ok_or_else(|| {
                        Failure::Usage(format!("{name}:1: no header with a column {wanted:?}"))
                    })?)
                }
            };
        }
        let first_line = line;
        line += lines.len() as u64;
        Ok(RowBatch { file: name.clone(), first_line, lines, slice_column, header })
    }))
}

fn named(wanted: &str, first: &[u8], header: bool) -> Option<usize> {
    first.split(|&b| b == b'\t').position(|name| name == wanted.as_bytes()).filter(|_| header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_their_mistakes() {
        let row = Row::parse(b"1\thttp://a/\tsource\tx,y", Some(3)).unwrap();
        assert_eq!(row, Row { phishing: true, url: b"http://a/", slices: b"x,y" });
        assert!(!Row::parse(b"legitimate\t", None).unwrap().phishing);
        for (line, column, message) in [
            (&b"http://a/"[..], None, "no tab"),
            (b"", None, "no tab"),
            (b"\thttp://a/", None, "without a label"),
            (b"2\thttp://a/", None, "unknown label \"2\""),
            (b"1\thttp://a/", Some(2), "no column 3"),
        ] {
            let error = Row::parse(line, column).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn slice_columns() {
        assert_eq!(SliceColumn::parse("6").unwrap(), SliceColumn::Number(5));
        assert_eq!(SliceColumn::parse("tags").unwrap(), SliceColumn::Name("tags".to_owned()));
        assert!(SliceColumn::parse("0").is_err());
        assert_eq!(named("tags", b"label\turl\ttags", true), Some(2));
        assert_eq!(named("tags", b"label\turl", true), None);
    }
}
