//! Makes hostile text safe to look at.

use std::fmt::Write;

/// Shows bytes as one line of text in which nothing acts on a terminal or reorders the reader's
/// view: control, bidirectional and invisible characters appear as `\u{…}`, bytes that are not
/// UTF-8 as `\xNN`.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_deceptive(c) {
                text.extend(c.escape_unicode());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Control characters, line separators, and the format characters of Unicode Technical Report 36
/// (bidirectional overrides and isolates, zero-width characters, soft hyphen).
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn terminal_and_bidi_tricks_become_text() {
        assert_eq!(visible(b"a\x1b[31mb"), "a\\u{1b}[31mb");
        assert_eq!(visible("x\u{9b}y\u{202e}gpj".as_bytes()), "x\\u{9b}y\\u{202e}gpj");
        assert_eq!(visible(b"\xff\0\t"), "\\xff\\u{0}\\u{9}");
        assert_eq!(visible("bücher.example/ü".as_bytes()), "bücher.example/ü");
    }
}
