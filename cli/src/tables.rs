//! One column of CSV or of JSON lines, in batches.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder};
use phishcnn_core::Error;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::items::{Batches, Items};
use crate::lines::LineBatches;

/// A batch of CSV has so many rows, or fewer with so many bytes.
const ROWS: usize = 1024;
const BYTES: usize = 64 << 10;

/// The column of this name in CSV with a header. A row that is too short for it gets error 203.
pub(crate) fn csv_column(
    name: String,
    text: impl Read + Send + 'static,
    column: &str,
) -> Result<Batches, Failure> {
    let cannot = move |error: csv::Error| Failure::Input(format!("{name}: {error}"));
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text);
    let header = reader.byte_headers().map_err(&cannot)?;
    let Some(at) = header.iter().position(|name| name == column.as_bytes()) else {
        let names: Vec<_> = header.iter().map(crate::escape::visible).collect();
        let what = format!("no column {column}; the header has: {}", names.join(", "));
        return Err(Failure::setting(Error::BadValue, what));
    };
    let mut record = ByteRecord::new();
    Ok(Box::new(std::iter::from_fn(move || {
        csv_batch(&mut reader, &mut record, at).map_err(&cannot).transpose()
    })))
}

fn csv_batch(
    reader: &mut Reader<impl Read>,
    record: &mut ByteRecord,
    column: usize,
) -> csv::Result<Option<Items>> {
    let mut items = Items::default();
    while items.len() < ROWS && items.bytes() < BYTES && reader.read_byte_record(record)? {
        items.push(record.get(column).ok_or(Error::NotAString));
    }
    Ok(if items.is_empty() { None } else { Some(items) })
}

/// The value of this key in every line. A line without it, with another type, or that is no JSON
/// object gets error 203.
pub(crate) fn json_column(name: String, text: impl Read + Send + 'static, key: &str) -> Batches {
    let key = key.to_owned();
    Box::new(LineBatches::new(text).map(move |batch| {
        let lines = batch.map_err(|error| Failure::Input(format!("{name}: {error}")))?;
        let mut items = Items::default();
        for line in lines.iter() {
            let row: Option<Map<String, Value>> = serde_json::from_slice(line).ok();
            let url = row.as_ref().and_then(|row| row.get(&key)?.as_str());
            items.push(url.map(str::as_bytes).ok_or(Error::NotAString));
        }
        Ok(items)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(batches: Batches) -> Vec<Result<Vec<u8>, Error>> {
        let rows = |items: Items| items.iter().map(|i| i.map(<[u8]>::to_vec)).collect::<Vec<_>>();
        batches.flat_map(|batch| rows(batch.unwrap())).collect()
    }

    #[test]
    fn a_column_of_csv_with_short_rows_and_quotes() {
        let text = &b"\xef\xbb\xbfid,link\n1,a.example\n2\n3,\"b,\n\"\"c\",x\n\n4,\xff\n"[..];
        let rows = all(csv_column(String::new(), text, "link").unwrap());
        let expected = [
            Ok(b"a.example".to_vec()),
            Err(Error::NotAString),
            Ok(b"b,\n\"c".to_vec()),
            Ok(vec![0xff]),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn every_row_of_many_batches() {
        let text: String = (0..3000).map(|i| format!("{i}\n")).collect();
        let text = std::io::Cursor::new(format!("url\n{text}"));
        let rows = all(csv_column(String::new(), text, "url").unwrap());
        assert!(rows.iter().enumerate().all(|(i, row)| *row == Ok(i.to_string().into_bytes())));
        assert_eq!(rows.len(), 3000);
    }

    #[test]
    fn an_unknown_column_is_named_with_those_that_there_are() {
        let refused = csv_column(String::new(), &b"a,b\n"[..], "url").err();
        let Some(Failure::Usage(message)) = refused else { panic!("accepted") };
        assert!(message.starts_with("402") && message.ends_with("a, b"), "{message}");
    }

    #[test]
    fn a_key_of_json_lines() {
        let text =
            &b"{\"url\":\"a\\u0000\\n\"}\n{\"url\":null}\n{\"x\":1}\n[]\n\n{\"url\":\"\"}\n{"[..];
        let rows = all(json_column(String::new(), text, "url"));
        let no = Err(Error::NotAString);
        let expected = [Ok(b"a\0\n".to_vec()), no.clone(), no.clone(), no.clone(), no.clone()];
        assert_eq!(rows[..5], expected);
        assert_eq!(rows[5..], [Ok(vec![]), no]);
    }
}
