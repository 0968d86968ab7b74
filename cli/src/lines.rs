//! Lines of bytes, in batches, with bounded memory.

use std::io::{self, BufRead, BufReader, Read};

/// What is kept of one line, in bytes. Far above the longest URL, so that what is cut was error
/// 202 anyway, and a file without line ends cannot fill the memory.
const MAX_LINE: usize = 1 << 20;

/// What one read asks for, in bytes; a batch holds about as much.
const BUFFER: usize = 64 << 10;

/// Some consecutive lines, without their line ends.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    /// A single line.
    #[must_use]
    pub fn one(line: &[u8]) -> Self {
        Self { bytes: line.to_vec(), ends: vec![line.len()] }
    }

    /// Appends a line.
    pub fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all lines together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of every line.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let line = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            line
        })
    }
}

/// Cuts a reader into batches of lines. A batch is what one read delivered, at least one line:
/// files come in large batches, and a slow pipe gets each answer at once.
pub struct LineBatches<R> {
    reader: BufReader<R>,
}

impl<R: Read> LineBatches<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, source) }
    }

    /// Appends one line; `false` at the end of the input.
    fn read_line(&mut self, lines: &mut Lines) -> io::Result<bool> {
        let start = lines.bytes.len();
        let mut any = false;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                if !any {
                    return Ok(false);
                }
                break;
            }
            any = true;
            let newline = buffer.iter().position(|&b| b == b'\n');
            let part = buffer.get(..newline.unwrap_or(buffer.len())).unwrap_or_default();
            let room = MAX_LINE - (lines.bytes.len() - start);
            lines.bytes.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            let used = part.len() + usize::from(newline.is_some());
            self.reader.consume(used);
            if newline.is_some() {
                break;
            }
        }
        // Lines of Windows files.
        if lines.bytes.len() > start && lines.bytes.last() == Some(&b'\r') {
            lines.bytes.pop();
        }
        lines.ends.push(lines.bytes.len());
        Ok(true)
    }
}

impl<R: Read> Iterator for LineBatches<R> {
    type Item = io::Result<Lines>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut lines = Lines::default();
        loop {
            match self.read_line(&mut lines) {
                Ok(true) if self.reader.buffer().contains(&b'\n') => {}
                Ok(true) => return Some(Ok(lines)),
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Vec<u8>> {
        LineBatches::new(input)
            .flat_map(|batch| batch.unwrap().iter().map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn lines_of_any_bytes() {
        assert_eq!(all(b""), Vec::<Vec<u8>>::new());
        assert_eq!(all(b"\n"), [b""]);
        assert_eq!(all(b"a\r\n\n\xff\0\nlast"), [&b"a"[..], b"", b"\xff\0", b"last"]);
    }

    #[test]
    fn a_line_longer_than_the_buffer_stays_one_line() {
        let mut input = vec![b'a'; 3 * BUFFER];
        input.extend_from_slice(b"\nb\n");
        let lines = all(&input);
        assert_eq!((lines.len(), lines[0].len(), &lines[1][..]), (2, 3 * BUFFER, &b"b"[..]));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let lines = all(&vec![b'a'; 2 * MAX_LINE]);
        assert_eq!((lines.len(), lines[0].len()), (1, MAX_LINE));
    }
}
