//! `url-bytes/1` and `keras-char/1`, written from the rules with plain vectors.

use std::collections::HashSet;
use std::sync::LazyLock;

/// One byte of the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Byte {
    pub value: u8,
    pub part: u8,
    /// Offset in the URL as given.
    pub at: usize,
}

/// One position of the network's input; no `at` for padding and the lone mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: u32,
    pub part: u8,
    pub at: Option<usize>,
}

static SUFFIXES: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("../../src/suffixes.txt").lines().collect());

/// A byte and its offset in the URL as given.
type At = (u8, usize);

/// The canonical form, or 201 or 202.
pub fn canonical(url: &[u8]) -> Result<Vec<Byte>, u16> {
    if url.len() > 65_536 {
        return Err(202);
    }
    let mut text: Vec<At> = url.iter().copied().zip(0..).collect();
    while text.last().is_some_and(|(b, _)| b" \t\n\r\x0c".contains(b)) {
        text.pop();
    }
    while text.first().is_some_and(|(b, _)| b" \t\n\r\x0c".contains(b)) {
        text.remove(0);
    }
    if text.is_empty() {
        return Err(201);
    }
    let mut out = Vec::new();

    // Scheme: a letter, then letters, digits, `+`, `-`, `.`, then `://`.
    if let Some(colon) = text.windows(3).position(|w| values(w) == b"://") {
        let name = String::from_utf8_lossy(&values(&text[..colon])).to_ascii_lowercase();
        let is_scheme = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if is_scheme {
            let rest = text.split_off(colon + 3);
            if name != "http" && name != "https" {
                emit(&mut out, &lower(&text), 0);
            }
            text = rest;
        }
    }

    let end = text.iter().position(|(b, _)| b"/\\?#".contains(b)).unwrap_or(text.len());
    let rest = text.split_off(end);
    authority(text, &mut out);

    if values(&rest) != b"/" {
        let mut part = 6;
        for (b, at) in rest {
            if b == b'#' {
                part = 8;
            } else if b == b'?' && part == 6 {
                part = 7;
            }
            emit(&mut out, &[(b, at)], part);
        }
    }
    Ok(out)
}

fn authority(mut text: Vec<At>, out: &mut Vec<Byte>) {
    let mut at_sign = None;
    if let Some(i) = text.iter().rposition(|(b, _)| *b == b'@') {
        let mut host = text.split_off(i);
        at_sign = Some(host.remove(0));
        emit(out, &text[text.len().saturating_sub(32)..], 1);
        text = host;
    }
    let mut port = Vec::new();
    if let Some(i) = text.iter().rposition(|(b, _)| *b == b':')
        && text[i + 1..].iter().all(|(b, _)| b.is_ascii_digit())
    {
        port = text.split_off(i);
    }
    if values(&port) == b":80" || values(&port) == b":443" {
        port.clear();
    }
    let mut host = lower(&text);
    if host.last().is_some_and(|(b, _)| *b == b'.') {
        host.pop();
    }
    if values(&host).starts_with(b"www.") && values(&host[4..]).contains(&b'.') {
        host.drain(..4);
    }
    let parts = host_parts(&host);
    // The `@` opens whatever part follows it; nothing after it, and it stays with the user-info.
    if let Some(at_sign) = at_sign {
        emit(out, &[at_sign], parts.first().copied().unwrap_or(1));
    }
    for (byte, part) in host.iter().zip(parts) {
        emit(out, &[*byte], part);
    }
    emit(out, &port, 5);
}

/// The part id of each byte of a host.
fn host_parts(host: &[At]) -> Vec<u8> {
    let host = values(host);
    let labels: Vec<&[u8]> = host.split(|b| *b == b'.').collect();
    let n = labels.len();
    let last = labels[n - 1];
    let number = !last.is_empty() && last.iter().all(u8::is_ascii_digit)
        || last.strip_prefix(b"0x").is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if n == 1 || number || host.starts_with(b"[") {
        return vec![3; host.len()];
    }
    let suffix_labels = (2..n).rev().find(|&k| is_suffix(&labels[n - k..])).unwrap_or(1);
    let mut parts = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        let part = match n - suffix_labels {
            suffix if i >= suffix => 4,
            suffix if i == suffix - 1 => 3,
            _ => 2,
        };
        // The dot in front of a label belongs to it.
        parts.extend(vec![part; label.len() + usize::from(i > 0)]);
    }
    parts
}

fn is_suffix(labels: &[&[u8]]) -> bool {
    let name = String::from_utf8_lossy(&labels.join(&b'.')).into_owned();
    let (front, country) = name.rsplit_once('.').unwrap();
    let two_letters = country.len() == 2 && country.chars().all(|c| c.is_ascii_alphabetic());
    SUFFIXES.contains(&*name) || two_letters && SUFFIXES.contains(&*format!("{front}.??"))
}

fn values(text: &[At]) -> Vec<u8> {
    text.iter().map(|(b, _)| *b).collect()
}

fn lower(text: &[At]) -> Vec<At> {
    text.iter().map(|(b, at)| (b.to_ascii_lowercase(), *at)).collect()
}

fn emit(out: &mut Vec<Byte>, text: &[At], part: u8) {
    out.extend(text.iter().map(|&(value, at)| Byte { value, part, at }));
}

/// Tokens of `url-bytes/1 max=max`, and whether there were more bytes.
pub fn url_bytes(url: &[u8], max: usize) -> Result<(Vec<Token>, bool), u16> {
    let bytes = canonical(url)?;
    if bytes.is_empty() {
        return Ok((vec![Token { id: 256, part: 0, at: None }], false));
    }
    let token = |b: &Byte| Token { id: b.value.into(), part: b.part, at: Some(b.at) };
    Ok((bytes.iter().take(max).map(token).collect(), bytes.len() > max))
}

/// Tokens of `keras-char/1`: what Keras' character tokenizer and `pad_sequences` give.
/// `chars` holds the code point of each id.
pub fn keras_char(
    url: &[u8],
    length: usize,
    is_canonical: bool,
    chars: &[u32],
) -> Result<(Vec<Token>, bool), u16> {
    let bytes = canonical(url)?;
    let (text, offsets): (Vec<u8>, Vec<usize>) = if is_canonical {
        bytes.iter().map(|b| (b.value, b.at)).unzip()
    } else {
        url.iter().copied().zip(0..).unzip()
    };
    let id = |wanted: u32| chars.iter().position(|&c| c == wanted);
    let unknown = id(super::model_file::UNKNOWN).unwrap();
    let mut found = Vec::new();
    let mut i = 0;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            found.push((id(c.into()).unwrap_or(unknown), offsets[i]));
            i += c.len_utf8();
        }
        for _ in chunk.invalid() {
            found.push((unknown, offsets[i]));
            i += 1;
        }
    }
    let padding = Token { id: 0, part: 0, at: None };
    let mut tokens = vec![padding; length.saturating_sub(found.len())];
    let kept = &found[found.len().saturating_sub(length)..];
    tokens.extend(kept.iter().map(|&(id, at)| Token { id: id as u32, part: 0, at: Some(at) }));
    Ok((tokens, found.len() > length))
}

/// What explaining covers: user-info, host labels, the port, path segments, query parameters,
/// the fragment. A start, an end behind the last byte, and a part.
pub fn segments(url: &[u8]) -> Vec<(usize, usize, u8)> {
    let bytes = canonical(url).unwrap();
    let authority_at = bytes
        .iter()
        .enumerate()
        .take_while(|(_, b)| b.part < 6)
        .filter(|(_, b)| b.value == b'@')
        .map(|(i, _)| i)
        .last();
    let mut out: Vec<(usize, usize, u8)> = Vec::new();
    for (i, b) in bytes.iter().enumerate() {
        let opens = match b.part {
            2 | 4 => b.value == b'.',
            6 => b"/\\".contains(&b.value),
            7 => b.value == b'&',
            _ => false,
        };
        // An `@` begins a segment, and the label behind it goes on with that.
        let is_at = authority_at == Some(i);
        let behind_at = authority_at.is_some_and(|at| i == at + 1);
        match out.last_mut() {
            Some(last) if last.2 == b.part && !is_at && (behind_at || !opens) => last.1 = b.at + 1,
            _ => out.push((b.at, b.at + 1, b.part)),
        }
    }
    out
}
