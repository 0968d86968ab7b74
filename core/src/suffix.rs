//! Where a host name's public suffix and registrable label begin.
//!
//! The table `suffixes.txt` is a small part of the idea of the Public Suffix List
//! (<https://publicsuffix.org>): common multi-label suffixes, and hosting platforms whose
//! customers own the label in front. `co.??` stands for `co` under any two-letter country code.
//! A host that matches nothing has its last label as suffix. The table is part of the
//! tokenizer `url-bytes/1`: changing a line changes scores, so it needs a new tokenizer version.

const TABLE: &[u8] = include_bytes!("suffixes.txt");
const ENTRIES: usize = count_lines();
/// Offset of each line of `TABLE`; the lines are sorted bytewise.
static STARTS: [u16; ENTRIES] = line_starts();
/// No suffix of the table has more labels.
const MAX_LABELS: usize = 4;

const fn count_lines() -> usize {
    let (mut i, mut n) = (0, 0);
    while i < TABLE.len() {
        n += (TABLE[i] == b'\n') as usize;
        i += 1;
    }
    n
}

const fn line_starts() -> [u16; ENTRIES] {
    assert!(TABLE.len() < u16::MAX as usize);
    let mut starts = [0; ENTRIES];
    let (mut i, mut n) = (0, 1);
    while i < TABLE.len() && n < ENTRIES {
        if TABLE[i] == b'\n' {
            starts[n] = (i + 1) as u16;
            n += 1;
        }
        i += 1;
    }
    starts
}

/// The parts of a host: sub-domains `..registrable`, registrable label `registrable..suffix`,
/// public suffix `suffix..`. A dot belongs to the part that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostParts {
    pub(crate) registrable: usize,
    pub(crate) suffix: usize,
}

/// Splits a host (any case; no user-info, port or trailing dot).
///
/// IP addresses and hosts of one label are all registrable label.
pub(crate) fn split(host: &[u8]) -> HostParts {
    let whole = HostParts { registrable: 0, suffix: host.len() };
    if is_ip(host) {
        return whole;
    }
    // Offsets of the last dots, from the right.
    let mut dots = heapless::Vec::<usize, { MAX_LABELS + 1 }>::new();
    for (i, &b) in host.iter().enumerate().rev() {
        if b == b'.' && dots.push(i).is_err() {
            break;
        }
    }
    let Some(&last) = dots.first() else {
        return whole;
    };
    let mut suffix = last;
    for &dot in dots.iter().take(MAX_LABELS).skip(1) {
        let tail = host.get(dot + 1..).unwrap_or_default();
        if contains(tail) {
            suffix = dot;
        }
    }
    let registrable = dots.iter().copied().find(|&dot| dot < suffix).unwrap_or(0);
    HostParts { registrable, suffix }
}

/// IPv6 literals, and hosts whose last label is a number, which a browser reads as IPv4
/// (WHATWG URL, "ends in a number checker").
fn is_ip(host: &[u8]) -> bool {
    let last = host.rsplit(|&b| b == b'.').next().unwrap_or_default();
    let hex = match last {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    host.starts_with(b"[") || hex || (!last.is_empty() && last.iter().all(u8::is_ascii_digit))
}

fn contains(tail: &[u8]) -> bool {
    let lower = tail.iter().map(u8::to_ascii_lowercase);
    let country = match tail {
        [.., b'.', a, b] => a.is_ascii_alphabetic() && b.is_ascii_alphabetic(),
        _ => false,
    };
    let label = tail.len().saturating_sub(2);
    find(lower.clone()) || (country && find(lower.take(label).chain(*b"??")))
}

/// Binary search of one line of the table.
fn find(name: impl Iterator<Item = u8> + Clone) -> bool {
    STARTS
        .binary_search_by(|&start| {
            let line = TABLE.get(start as usize..).unwrap_or_default();
            line.iter().copied().take_while(|&b| b != b'\n').cmp(name.clone())
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn table_is_sorted_small_and_within_the_label_limit() {
        let lines: Vec<&str> = core::str::from_utf8(TABLE).unwrap().lines().collect();
        assert!(lines.is_sorted_by(|a, b| a < b));
        assert!(TABLE.len() + 2 * ENTRIES <= 6 * 1024);
        assert!(lines.iter().all(|l| (2..=MAX_LABELS).contains(&l.split('.').count())));
        assert!(lines.iter().all(|l| find(l.bytes())));
    }

    #[test]
    fn splits_hosts() {
        for (host, registrable, suffix) in [
            ("google.com", "google", ".com"),
            ("mail.google.com", ".google", ".com"),
            ("www.bbc.co.uk", ".bbc", ".co.uk"),
            ("BBC.CO.UK", "BBC", ".CO.UK"),
            ("evil.web.app", "evil", ".web.app"),
            ("a.b.evil.ipfs.dweb.link", ".evil", ".ipfs.dweb.link"),
            ("p.uc.r.appspot.com", "p", ".uc.r.appspot.com"),
            ("github.io", "github", ".io"),
            ("co.uk", "co", ".uk"),
            ("x.co.museum", ".co", ".museum"),
            ("localhost", "localhost", ""),
            ("10.0.0.1", "10.0.0.1", ""),
            ("127.0x1", "127.0x1", ""),
            ("[2001:db8::1]", "[2001:db8::1]", ""),
            ("", "", ""),
            (".", "", "."),
            ("a..b", ".", ".b"),
        ] {
            let parts = split(host.as_bytes());
            let got = (&host[parts.registrable..parts.suffix], &host[parts.suffix..]);
            assert_eq!(got, (registrable, suffix), "{host}");
        }
    }
}
