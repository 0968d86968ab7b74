//! Which parts of a URL moved its score.
//!
//! A segment's contribution is logit(URL) − logit(same tokens with that segment's bytes set to
//! the mask id): positive pushes towards phishing. Contributions do not sum to the logit.

use crate::url::{Part, Url};
use crate::{Error, Model, Score};
use core::ops::Range;

/// A piece of a URL: user-info, a host label, a port, a path segment, a query parameter, a
/// fragment. Its opening delimiter belongs to it. (Laid out as C sees it.)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Segment {
    /// Offset of the first byte in the URL as given.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
    /// The part that it belongs to.
    pub part: Part,
    /// Change of the logit that the segment makes.
    pub contribution: f32,
}

impl Model<'_> {
    /// Scores a URL and each of its segments that the model reads; answers how many segments
    /// it wrote into `out`. Costs one scoring for each.
    ///
    /// # Errors
    /// As [`score`](Model::score), and [`Error::OutputTooSmall`] when `out` is too short;
    /// [`max_segments`](Model::max_segments) always suffice.
    pub fn explain(
        &self,
        url: &[u8],
        scratch: &mut [u8],
        out: &mut [Segment],
    ) -> Result<(Score, usize), Error> {
        let tokens = self.tokens(url)?;
        let logit = self.logit(&tokens, 0..0, scratch)?;
        let canonical = Url::parse(url)?;
        let mut out = out.iter_mut();
        let mut count = 0;
        // Tokens are in the URL's order: the model reads one stretch of it.
        let first = tokens.iter().map(|t| t.at).find(|&at| at != usize::MAX);
        let last = tokens.iter().map(|t| t.at).last();
        for (part, range) in segments(&canonical) {
            if first.is_none_or(|at| range.end <= at) || last.is_none_or(|at| at < range.start) {
                continue;
            }
            let without = self.logit(&tokens, range.clone(), scratch)?;
            let segment = out.next().ok_or(Error::OutputTooSmall)?;
            let (start, end) = (range.start, range.end);
            *segment = Segment { start, end, part, contribution: logit - without };
            count += 1;
        }
        Ok((self.judge(logit, tokens.truncated()), count))
    }
}

/// The segments of a canonical form, in order, none empty.
fn segments<'u>(url: &'u Url<'_>) -> impl Iterator<Item = (Part, Range<usize>)> + 'u {
    let mut at_sign = None;
    url.spans().flat_map(move |(part, span)| {
        let mut rest = span;
        // An `@` stands alone in front of the host, and belongs to the label that it opens.
        let mut opening = at_sign.take();
        if part.is_host() && url.slice(rest.clone()) == b"@" {
            at_sign = Some(rest.start);
            rest.start = rest.end;
        }
        core::iter::from_fn(move || {
            let bytes = url.slice(rest.clone());
            let length = 1 + bytes.get(1..)?.iter().take_while(|&&b| !opens(part, b)).count();
            let segment = opening.take().unwrap_or(rest.start)..rest.start + length;
            rest.start = segment.end;
            Some((part, segment))
        })
    })
}

/// Whether a byte opens a new segment of its part.
fn opens(part: Part, byte: u8) -> bool {
    match part {
        Part::Subdomain | Part::Suffix => byte == b'.',
        Part::Path => matches!(byte, b'/' | b'\\'),
        Part::Query => byte == b'&',
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn cuts_a_url_into_segments() {
        let url = "https://u:p@www.a.b.shop.co.uk:81/x/y?k=1&l=2#f";
        let parsed = Url::parse(url.as_bytes()).unwrap();
        let texts: Vec<String> = segments(&parsed).map(|(_, r)| url[r].into()).collect();
        assert_eq!(
            texts,
            ["u:p", "@www.a", ".b", ".shop", ".co", ".uk", ":81", "/x", "/y", "?k=1", "&l=2", "#f"]
        );
    }

    #[test]
    fn ip_hosts_are_one_segment() {
        let parsed = Url::parse(b"http://10.0.0.1//").unwrap();
        let parts: Vec<Part> = segments(&parsed).map(|(part, _)| part).collect();
        assert_eq!(parts, [Part::Registrable, Part::Path, Part::Path]);
    }
}
