//! Versions, and the texts of numbers: the core's, with the NUL that C wants behind them.

use crate::{phishcnn_status, phishcnn_verdict};
use core::ffi::c_char;
use phishcnn_core::{Error, Part, Verdict};

/// No verdict.
pub(crate) const UNKNOWN: phishcnn_verdict = -1;

/// Longest text and its NUL, in bytes.
const WIDTH: usize = 64;

/// A text with NULs behind it. Computed by the compiler, which refuses a text that is too long.
struct Text([u8; WIDTH]);

impl Text {
    const fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() < WIDTH);
        let mut padded = [0; WIDTH];
        let mut i = 0;
        while i < bytes.len() {
            padded[i] = bytes[i];
            i += 1;
        }
        Self(padded)
    }

    const fn as_ptr(&'static self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

static OK: Text = Text::new("ok");
static UNKNOWN_STATUS: Text = Text::new("unknown status");
static UNKNOWN_WORD: Text = Text::new("unknown");
static VERSION: Text = Text::new(phishcnn_core::VERSION);

static ERRORS: [Text; Error::ALL.len()] = {
    let mut texts = [const { Text::new("") }; Error::ALL.len()];
    let mut i = 0;
    while i < texts.len() {
        texts[i] = Text::new(Error::ALL[i].message());
        i += 1;
    }
    texts
};

static VERDICTS: [(Verdict, Text); 3] = [
    (Verdict::Benign, Text::new(Verdict::Benign.as_str())),
    (Verdict::Suspicious, Text::new(Verdict::Suspicious.as_str())),
    (Verdict::Phishing, Text::new(Verdict::Phishing.as_str())),
];

static PARTS: [(Part, Text); Part::COUNT] = [
    (Part::Scheme, Text::new(Part::Scheme.as_str())),
    (Part::UserInfo, Text::new(Part::UserInfo.as_str())),
    (Part::Subdomain, Text::new(Part::Subdomain.as_str())),
    (Part::Registrable, Text::new(Part::Registrable.as_str())),
    (Part::Suffix, Text::new(Part::Suffix.as_str())),
    (Part::Port, Text::new(Part::Port.as_str())),
    (Part::Path, Text::new(Part::Path.as_str())),
    (Part::Query, Text::new(Part::Query.as_str())),
    (Part::Fragment, Text::new(Part::Fragment.as_str())),
];

/// The library's version, such as "0.1.0". Compare it with PHISHCNN_VERSION, the header's.
#[unsafe(no_mangle)]
pub extern "C" fn phishcnn_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The library's version as one number: major * 1,000,000 + minor * 1,000 + patch, as
/// PHISHCNN_VERSION_NUMBER, the header's.
#[unsafe(no_mangle)]
pub extern "C" fn phishcnn_version_number() -> u32 {
    let mut numbers = [0_u32; 3];
    let mut at = 0;
    for byte in phishcnn_core::VERSION.bytes() {
        match (byte, numbers.get_mut(at)) {
            (b'0'..=b'9', Some(number)) => *number = *number * 10 + u32::from(byte - b'0'),
            (b'.', _) => at += 1,
            _ => break,
        }
    }
    let [major, minor, patch] = numbers;
    major * 1_000_000 + minor * 1_000 + patch
}

/// What a status means, in English; "unknown status" for a number that is none. Never NULL; valid
/// for ever.
#[unsafe(no_mangle)]
pub extern "C" fn phishcnn_status_text(status: phishcnn_status) -> *const c_char {
    if status == 0 {
        return OK.as_ptr();
    }
    let mut known = Error::ALL.iter().zip(&ERRORS);
    let known = known.find(|(error, _)| phishcnn_status::from(error.code()) == status);
    known.map_or(&UNKNOWN_STATUS, |(_, text)| text).as_ptr()
}

/// "benign", "suspicious", "phishing"; "unknown" for everything else. Never NULL; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn phishcnn_verdict_text(verdict: phishcnn_verdict) -> *const c_char {
    let known = VERDICTS.iter().find(|(known, _)| *known as phishcnn_verdict == verdict);
    known.map_or(&UNKNOWN_WORD, |(_, text)| text).as_ptr()
}

/// The name of a part of a URL, as in JSON answers; "unknown" for a number that is none. Never
/// NULL; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn phishcnn_part_text(part: u8) -> *const c_char {
    let known = PARTS.iter().find(|(known, _)| *known as u8 == part);
    known.map_or(&UNKNOWN_WORD, |(_, text)| text).as_ptr()
}
