//! Opens text files, unpacking gzip and Zstandard as they are read.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The text in `source`. What is packed is known by its first bytes, whatever the file's name.
pub(crate) fn unpack(mut source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
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
}
