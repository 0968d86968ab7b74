//! The canonical form of a URL: tokenizer `url-bytes/1`, first half.
//!
//! What collectors of URLs differ in (scheme, `www.`, case of the host, default port, a lone
//! slash) is removed; everything that an attacker chooses is kept. Nothing is copied: the
//! canonical form is a list of ranges of the input, so that every byte knows where it came from.
//!
//! 1. An input of over [`MAX_URL_LEN`] bytes is [`Error::UrlTooLong`]. ASCII white space is
//!    trimmed at both ends; then empty is [`Error::EmptyUrl`]. Any other bytes have a canonical form.
//! 2. `http://` or `https://` in any case is removed, once. Another `scheme://` is kept, as
//!    [`Part::Scheme`]. The authority ends at the first of `/ \ ? #`.
//! 3. User-info is what precedes the authority's last `@`; its last 32 bytes are kept. The host
//!    is lower-cased (ASCII), loses one trailing dot, then one leading `www.` if a dot remains.
//!    The port begins at the last `:` that only digits follow; `:80` and `:443` are removed.
//! 4. A rest of exactly `/` is removed; any other rest is kept byte for byte.

use crate::suffix;
use crate::{Error, MAX_URL_LEN};
use core::ops::Range;

/// What a byte of the URL belongs to. A delimiter belongs to the part that it opens.
/// The discriminant is the part id that models see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// A scheme other than http and https, with its `://`; also the token of an empty URL.
    #[default]
    Scheme = 0,
    /// What precedes the last `@` of the authority.
    UserInfo = 1,
    /// Labels in front of the registrable one.
    Subdomain = 2,
    /// The label that somebody registered; an IP address; a host of one label.
    Registrable = 3,
    /// The public suffix: `.com`, `.co.uk`, `.web.app`.
    Suffix = 4,
    /// A port other than 80 and 443, with its colon.
    Port = 5,
    /// The path.
    Path = 6,
    /// The query, from `?`.
    Query = 7,
    /// The fragment, from `#`.
    Fragment = 8,
}

impl Part {
    /// Number of part ids: rows of the tensor `embed.parts`.
    pub const COUNT: usize = 9;

    /// The part's name in JSON answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::UserInfo => "user_info",
            Self::Subdomain => "subdomain",
            Self::Registrable => "registrable_label",
            Self::Suffix => "public_suffix",
            Self::Port => "port",
            Self::Path => "path",
            Self::Query => "query",
            Self::Fragment => "fragment",
        }
    }

    pub(crate) const fn is_host(self) -> bool {
        matches!(self, Self::Subdomain | Self::Registrable | Self::Suffix)
    }

    /// Host names and schemes do not depend on case.
    const fn folds_case(self) -> bool {
        self.is_host() || matches!(self, Self::Scheme)
    }
}

/// One byte of the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Byte {
    /// Its value; ASCII lower case in scheme and host.
    pub value: u8,
    /// What it belongs to.
    pub part: Part,
    /// Its offset in the URL as given.
    pub at: usize,
}

/// Bytes of user-info that are kept.
const USER_INFO_MAX: usize = 32;

/// A run of bytes of one part, as offsets into the URL as given.
type Span = (Part, Range<usize>);

/// A URL's canonical form. Borrows the URL.
#[derive(Clone, Debug)]
pub struct Url<'a> {
    input: &'a [u8],
    /// Scheme, user-info, `@`, three of the host, port, path, query, fragment.
    spans: heapless::Vec<Span, 10>,
}

impl<'a> Url<'a> {
    /// Parses any bytes.
    ///
    /// # Errors
    /// [`Error::EmptyUrl`] and [`Error::UrlTooLong`].
    pub fn parse(input: &'a [u8]) -> Result<Self, Error> {
        if input.len() > MAX_URL_LEN {
            return Err(Error::UrlTooLong);
        }
        let trimmed = input.trim_ascii_end().len();
        let start = input.len() - input.trim_ascii_start().len();
        if start >= trimmed {
            return Err(Error::EmptyUrl);
        }
        let mut url = Self { input, spans: heapless::Vec::new() };
        let authority = url.scheme(start..trimmed)?;
        let end = url.find(authority.clone(), |b| matches!(b, b'/' | b'\\' | b'?' | b'#'));
        url.authority(authority.start..end)?;
        url.rest(end..trimmed)?;
        Ok(url)
    }

    /// The URL as given, as one span: what `keras-char` with `canonical=no` reads.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub(crate) fn raw(input: &'a [u8]) -> Result<Self, Error> {
        let mut url = Self::parse(input)?;
        url.spans.clear();
        url.push(Part::Path, 0..input.len())?;
        Ok(url)
    }

    /// The canonical form, byte by byte.
    pub fn bytes(&self) -> impl Iterator<Item = Byte> + Clone + '_ {
        self.spans.iter().flat_map(|(part, range)| {
            let bytes = self.slice(range.clone());
            (range.start..).zip(bytes).map(|(at, &b)| Byte {
                value: if part.folds_case() { b.to_ascii_lowercase() } else { b },
                part: *part,
                at,
            })
        })
    }

    /// Length of the canonical form in bytes; may be 0 (of `http://`, say).
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.iter().map(|(_, range)| range.len()).sum()
    }

    /// True when nothing remains in the canonical form.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts in order, as offsets into the URL as given; none is empty.
    pub fn spans(&self) -> impl Iterator<Item = (Part, Range<usize>)> + '_ {
        self.spans.iter().cloned()
    }

    pub(crate) fn slice(&self, range: Range<usize>) -> &'a [u8] {
        self.input.get(range).unwrap_or_default()
    }

    /// Offset of the first byte that `matches`, else the range's end.
    fn find(&self, range: Range<usize>, matches: impl Fn(u8) -> bool) -> usize {
        let found = self.slice(range.clone()).iter().position(|&b| matches(b));
        found.map_or(range.end, |i| range.start + i)
    }

    fn push(&mut self, part: Part, range: Range<usize>) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        self.spans.push((part, range)).map_err(|_| Error::Internal)
    }

    /// Consumes a scheme; answers what remains.
    fn scheme(&mut self, url: Range<usize>) -> Result<Range<usize>, Error> {
        let name = self.find(url.clone(), |b| !(b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
        let after = name + 3;
        let starts_with_letter =
            self.slice(url.clone()).first().is_some_and(u8::is_ascii_alphabetic);
        if !starts_with_letter || self.slice(name..url.end).get(..3) != Some(b"://") {
            return Ok(url);
        }
        let scheme = self.slice(url.start..name);
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            self.push(Part::Scheme, url.start..after)?;
        }
        Ok(after..url.end)
    }

    fn authority(&mut self, authority: Range<usize>) -> Result<(), Error> {
        let bytes = self.slice(authority.clone());
        let at = bytes.iter().rposition(|&b| b == b'@').map(|i| authority.start + i);
        let (host, port) =
            self.host_and_port(at.map_or(authority.start, |at| at + 1)..authority.end);
        let parts = suffix::split(self.slice(host.clone()));
        let (registrable, suffix) = (host.start + parts.registrable, host.start + parts.suffix);
        if let Some(at) = at {
            self.push(Part::UserInfo, authority.start.max(at.saturating_sub(USER_INFO_MAX))..at)?;
            let opened = match (parts.registrable, parts.suffix) {
                _ if host.is_empty() => Part::UserInfo,
                (0, 0) => Part::Suffix,
                (0, _) => Part::Registrable,
                _ => Part::Subdomain,
            };
            self.push(opened, at..at + 1)?;
        }
        self.push(Part::Subdomain, host.start..registrable)?;
        self.push(Part::Registrable, registrable..suffix)?;
        self.push(Part::Suffix, suffix..host.end)?;
        self.push(Part::Port, port)
    }

    /// Splits at the port and cleans both.
    fn host_and_port(&self, range: Range<usize>) -> (Range<usize>, Range<usize>) {
        let bytes = self.slice(range.clone());
        let digits = bytes.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let colon = (range.end - digits).saturating_sub(1);
        let has_port = colon >= range.start && self.slice(colon..colon + 1) == b":";
        let (mut host, mut port) = match has_port {
            true => (range.start..colon, colon..range.end),
            false => (range.clone(), range.end..range.end),
        };
        if matches!(self.slice(port.clone()), b":80" | b":443") {
            port.start = port.end;
        }
        if self.slice(host.clone()).ends_with(b".") {
            host.end -= 1;
        }
        let bytes = self.slice(host.clone());
        let www = bytes.get(..4).is_some_and(|b| b.eq_ignore_ascii_case(b"www."));
        if www && bytes.iter().skip(4).any(|&b| b == b'.') {
            host.start += 4;
        }
        (host, port)
    }

    fn rest(&mut self, rest: Range<usize>) -> Result<(), Error> {
        if self.slice(rest.clone()) == b"/" {
            return Ok(());
        }
        let fragment = self.find(rest.clone(), |b| b == b'#');
        let query = self.find(rest.start..fragment, |b| b == b'?');
        self.push(Part::Path, rest.start..query)?;
        self.push(Part::Query, query..fragment)?;
        self.push(Part::Fragment, fragment..rest.end)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    fn canonical(url: &[u8]) -> Vec<u8> {
        Url::parse(url).unwrap().bytes().map(|b| b.value).collect()
    }

    fn parts(url: &str) -> String {
        let parsed = Url::parse(url.as_bytes()).unwrap();
        parsed.bytes().map(|b| char::from(b'0' + b.part as u8)).collect()
    }

    #[test]
    fn canonical_forms() {
        for (url, want) in [
            ("http://Example.COM/", "example.com"),
            ("HTTPS://www.Example.com:443/Path?Q=A#F", "example.com/Path?Q=A#F"),
            (" \t\nexample.com:80\r\n", "example.com"),
            ("https://example.com:80", "example.com"),
            ("http://example.com:8080/", "example.com:8080"),
            ("http://example.com./a/", "example.com/a/"),
            ("www.com", "www.com"),
            ("www.com.", "www.com"),
            ("www.www.example.com", "www.example.com"),
            ("http://user:pw@www.Example.com/x", "user:pw@example.com/x"),
            ("http://a@b@evil.ru/", "a@b@evil.ru"),
            ("http://paypal.com\\@evil.ru/", "paypal.com\\@evil.ru/"),
            ("http://h.com//", "h.com//"),
            ("http://h.com?", "h.com?"),
            ("ftp://Host.com/A", "ftp://host.com/A"),
            ("http://http://x.com", "http://x.com"),
            ("http://[2001:DB8::1]:8080/a", "[2001:db8::1]:8080/a"),
            ("http://[::1]", "[::1]"),
            ("http://", ""),
            ("/", ""),
            ("https://:443/", ""),
            ("javascript:alert(1)", "javascript:alert(1)"),
            ("http://x.com/a\0b", "x.com/a\0b"),
            ("Ünï.com", "Ünï.com"),
        ] {
            let got = canonical(url.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), want, "{url}");
        }
        assert_eq!(canonical(b"http://X\xff.com/\xfe"), b"x\xff.com/\xfe");
    }

    #[test]
    fn user_info_keeps_its_last_32_bytes() {
        let long = "u".repeat(40) + "END";
        let got = canonical(std::format!("http://{long}@h.com").as_bytes());
        assert_eq!(got, [&long.as_bytes()[11..], b"@h.com"].concat());
    }

    #[test]
    fn part_ids() {
        for (url, want) in [
            ("http://mail.google.co.uk:81/p?q#f", "22223333333444444555667788"),
            ("http://u@a.b.com", "122334444"),
            ("http://u@b.com", "1334444"),
            ("u@", "11"),
            ("10.0.0.1/x", "3333333366"),
            ("ftp://h.com", "00000034444"),
            ("h.com#a?b", "344448888"),
        ] {
            assert_eq!(parts(url), want, "{url}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(Url::parse(b"").err(), Some(Error::EmptyUrl));
        assert_eq!(Url::parse(b" \t\r\n\x0c").err(), Some(Error::EmptyUrl));
        assert!(Url::parse(&[b'a'; MAX_URL_LEN]).is_ok());
        assert_eq!(Url::parse(&[b'a'; MAX_URL_LEN + 1]).err(), Some(Error::UrlTooLong));
    }

    #[test]
    fn offsets_point_into_the_url_as_given() {
        let url = b"  HTTP://WWW.Shop.Example.com:80/Cart";
        for byte in Url::parse(url).unwrap().bytes() {
            assert!(byte.value.eq_ignore_ascii_case(&url[byte.at]));
            assert!(byte.part != Part::Path || byte.value == url[byte.at]);
        }
    }
}
