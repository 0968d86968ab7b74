//! Splitting of text at an ASCII byte, and numbers. `str::split` and `split_once` of the standard
//! library have panic paths that the optimiser cannot remove; these have none.

/// As `str::split_once`.
pub(crate) fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == separator)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// As `str::split`.
pub(crate) fn split(text: &str, separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

/// The iterator of [`split`].
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (piece, rest) = match split_once(rest, self.separator) {
            Some((piece, rest)) => (piece, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(piece)
    }
}

/// A decimal number without sign or leading zeros: one way only to write it. (`str::parse`
/// takes `+1` and `01`.)
pub(crate) fn number(digits: &str) -> Option<usize> {
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    digits.bytes().try_fold(0_usize, |n, b| {
        let digit = char::from(b).to_digit(10)?;
        n.checked_mul(10)?.checked_add(usize::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_the_standard_library() {
        for text in ["", "a", " ", "a b", " a  b ", "ü b"] {
            assert!(split(text, b' ').eq(text.split(' ')), "{text:?}");
            assert_eq!(split_once(text, b' '), text.split_once(' '), "{text:?}");
        }
    }
}
