//! Files packed with gzip or Zstandard, unpacked as they are read, packed as they are written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read, Write};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The text in `source`. What is packed is known by its first bytes, whatever the file's name.
///
/// # Errors
/// When its start cannot be read; a damaged file fails where the damage is read.
pub fn unpack(mut source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::with_capacity(ZSTD.len());
    source.by_ref().take(ZSTD.len() as u64).read_to_end(&mut first)?;
    let (gzip, zstd) = (first.starts_with(&GZIP), first.starts_with(&ZSTD));
    let whole = Cursor::new(first).chain(source);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(ZstdFrames {
            source: BufReader::new(whole),
            frame: FrameDecoder::new(),
            open: false,
        })
    } else {
        Box::new(whole)
    })
}

/// Reads frame after frame: a file may have many (parallel compressors, files put together), and
/// ruzstd's own reader would end silently after the first.
struct ZstdFrames<R: Read> {
    source: BufReader<Chain<Cursor<Vec<u8>>, R>>,
    frame: FrameDecoder,
    open: bool,
}

impl<R: Read> ZstdFrames<R> {
    /// Starts the next frame; `false` at the end of the file.
    fn start_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.open {
                if !self.start_frame()? {
                    return Ok(0);
                }
                self.open = true;
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            }
            let count = self.frame.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.open = false;
            let stored = self.frame.get_checksum_from_data();
            if stored.is_some() && stored != self.frame.get_calculated_checksum() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "Zstandard checksum differs",
                ));
            }
        }
    }
}

/// Text of one Zstandard frame.
const FRAME_TEXT: usize = 1 << 20;

/// An output, packed where its file's name says so.
pub enum Packer {
    /// Not packed.
    Plain(Box<dyn Write>),
    /// `.gz`
    Gzip(GzEncoder<File>),
    /// `.zst`: the file, and the text of the frame to come.
    Zstd(File, Vec<u8>),
}

impl Packer {
    /// Writes to `file`, in the form that its name asks for.
    #[must_use]
    pub fn new(file: File, name: &Path) -> Self {
        match name.extension().and_then(|end| end.to_str()) {
            Some("gz") => Self::Gzip(GzEncoder::new(file, flate2::Compression::default())),
            Some("zst") => Self::Zstd(file, vec![]),
            _ => Self::Plain(Box::new(file)),
        }
    }

    /// Writes what is still held back.
    ///
    /// # Errors
    /// When the file cannot take it.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.try_finish(),
            Self::Zstd(out, text) => {
                out.write_all(&compress_to_vec(text.as_slice(), CompressionLevel::Fastest))?;
                text.clear();
                Ok(())
            }
        }
    }
}

impl Write for Packer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(text),
            Self::Gzip(out) => out.write(text),
            Self::Zstd(_, waiting) => {
                waiting.extend_from_slice(text);
                if waiting.len() >= FRAME_TEXT {
                    self.finish()?;
                }
                Ok(text.len())
            }
        }
    }

    /// Packed files are not read while they grow, and packing pieces would make them larger.
    fn flush(&mut self) -> io::Result<()> {
        if let Self::Plain(out) = self { out.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'first\n' | zstd -c`, with its checksum in the last four bytes.
    const FRAME: [u8; 19] = *b"\x28\xb5\x2f\xfd\x04\x58\x31\x00\x00first\n\xc3\x16\xad\x2c";
    const FRAME_WITHOUT_CHECKSUM: [u8; 15] = *b"\x28\xb5\x2f\xfd\x00\x58\x31\x00\x00first\n";
    /// Three bytes for another program, as the format allows between frames.
    const SKIPPED: [u8; 11] = *b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";

    fn text(packed: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        unpack(Cursor::new(packed.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn text_that_is_not_packed() {
        for plain in ["", "a", "abcdef\n"] {
            assert_eq!(text(plain.as_bytes()).unwrap(), plain);
        }
    }

    #[test]
    fn all_frames_of_a_zstandard_file() {
        let file = [&FRAME[..], &SKIPPED, &FRAME_WITHOUT_CHECKSUM, &FRAME].concat();
        assert_eq!(text(&file).unwrap(), "first\nfirst\nfirst\n");
    }

    #[test]
    fn a_damaged_file_is_no_shorter_file() {
        let mut wrong = FRAME;
        wrong[10] ^= 1;
        assert!(text(&wrong).is_err());
        let two = [&FRAME[..], &FRAME].concat();
        assert!(text(&two[..two.len() - 5]).is_err());
        assert!(text(&[&FRAME[..], b"junk"].concat()).is_err());
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same() {
        let lines: String = (0..200_000).map(|i| format!("http://host{i}.example/\n")).collect();
        let directory = tempfile::tempdir().unwrap();
        for (name, magic) in [("a.gz", &GZIP[..]), ("a.zst", &ZSTD), ("a.txt", b"http")] {
            let path = directory.path().join(name);
            let mut packer = Packer::new(File::create(&path).unwrap(), &path);
            packer.write_all(lines.as_bytes()).unwrap();
            packer.flush().unwrap();
            packer.finish().unwrap();
            let packed = std::fs::read(&path).unwrap();
            assert!(packed.starts_with(magic));
            assert!(text(&packed).unwrap() == lines, "{name}");
        }
    }
}
