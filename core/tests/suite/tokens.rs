use crate::support::model_file::characters;
use crate::support::tokens as oracle;
use crate::urls;
use phishcnn_core::tokens::{CharTable, Input, Tokens};
use phishcnn_core::url::Url;
use proptest::prelude::*;

type Found = Result<(Vec<oracle::Token>, bool), u16>;

fn core_tokens(url: &[u8], input: Input, table: &[u8]) -> Found {
    let table =
        if table.is_empty() { CharTable::default() } else { CharTable::new(table).unwrap() };
    let tokens = Tokens::new(url, input, table).map_err(|e| e.code())?;
    let found: Vec<_> = tokens
        .iter()
        .map(|t| oracle::Token {
            id: t.id.into(),
            part: t.part as u8,
            at: (t.at != usize::MAX).then_some(t.at),
        })
        .collect();
    assert_eq!(found.len(), tokens.count());
    Ok((found, tokens.truncated()))
}

fn check(url: &[u8], max: usize) -> Result<(), TestCaseError> {
    let got = Url::parse(url).map_err(|e| e.code()).map(|url| {
        let bytes =
            url.bytes().map(|b| oracle::Byte { value: b.value, part: b.part as u8, at: b.at });
        let bytes: Vec<_> = bytes.collect();
        assert_eq!((url.len(), url.is_empty()), (bytes.len(), bytes.is_empty()));
        bytes
    });
    prop_assert_eq!(got, oracle::canonical(url));
    let got = core_tokens(url, Input::UrlBytes { max }, &[]);
    prop_assert_eq!(got, oracle::url_bytes(url, max));
    let chars = characters();
    let table: Vec<u8> = chars.iter().flat_map(|c| c.to_le_bytes()).collect();
    for canonical in [false, true] {
        let got = core_tokens(url, Input::KerasChar { length: max, canonical }, &table);
        prop_assert_eq!(got, oracle::keras_char(url, max, canonical, &chars));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_as_the_oracle_has_them(url in urls::any_url(), max in 1_usize..80) {
        check(&url, max)?;
    }

    /// What collectors of URLs differ in changes nothing.
    #[test]
    fn invariances(
        user in prop_oneof![Just(""), Just("User:pw@"), Just("a@b@")],
        host in urls::host().prop_filter("www.", |h| !h.to_ascii_lowercase().starts_with("www.")),
        rest in urls::rest(),
        scheme in prop::sample::select(vec!["", "http://", "https://", "hTTp://", "HTTPS://"]),
        www in prop::sample::select(vec!["", "www.", "WWW.", "wWw."]),
        port in prop::sample::select(vec!["", ":80", ":443"]),
        dot in prop::sample::select(vec!["", "."]),
        space in prop::sample::select(vec!["", " ", "\t\r\n \x0c"]),
        case in any::<u64>(),
    ) {
        let tokens = |url: &str| -> Vec<(u8, u8)> {
            Url::parse(url.as_bytes()).unwrap().bytes().map(|b| (b.value, b.part as u8)).collect()
        };
        let flipped: String = (0..).zip(host.chars()).map(|(i, c)| match case >> (i % 64) & 1 {
            0 => c.to_ascii_lowercase(),
            _ => c.to_ascii_uppercase(),
        }).collect();
        let www = if host.contains('.') { www } else { "" };
        let slash = if rest.is_empty() { "/" } else { &rest };
        let varied = format!("{space}{scheme}{user}{www}{flipped}{dot}{port}{slash}{space}");
        prop_assert_eq!(tokens(&varied), tokens(&format!("{user}{host}{rest}")), "{}", varied);
    }
}

#[test]
fn long_urls() {
    for length in [65_535, 65_536, 65_537] {
        let url = format!("http://h.com/{}", "é/?".repeat(length)).into_bytes();
        check(&url[..length], 256).unwrap();
    }
    check(&[b' '; 65_536], 256).unwrap();
    check(&[b' '; 65_537], 256).unwrap();
}

#[test]
fn every_byte_value_everywhere() {
    for b in 0..=255 {
        for url in [
            vec![b],
            [b"http://", &[b][..], b".com/"].concat(),
            [b"u", &[b][..], b"@h.com"].concat(),
            [b"h.com:8", &[b][..]].concat(),
            [b"h.com/", &[b, b][..], b"x?", &[b], b"#", &[b]].concat(),
        ] {
            check(&url, 20).unwrap();
        }
    }
}

#[test]
fn every_suffix_of_the_table() {
    for line in include_str!("../../src/suffixes.txt").lines() {
        let suffix = line.replace("??", "zw");
        for host in
            [suffix.clone(), format!("x.{suffix}"), format!("a.x.{suffix}"), format!("x{suffix}")]
        {
            check(host.as_bytes(), 64).unwrap();
            check(host.to_uppercase().as_bytes(), 64).unwrap();
        }
    }
}
