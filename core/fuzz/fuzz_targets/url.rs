//! Any bytes as a URL: canonical form, tokens and segments as the oracle has them.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use phishcnn_core::tokens::{CharTable, Input, Tokens};
use phishcnn_core::url::Url;
use support::model_file::characters;
use support::tokens as oracle;

const MAX: usize = 40;

fuzz_target!(|url: &[u8]| {
    let canonical = Url::parse(url).map_err(|e| e.code()).map(|url| {
        let byte = |b: phishcnn_core::url::Byte| oracle::Byte {
            value: b.value,
            part: b.part as u8,
            at: b.at,
        };
        url.bytes().map(byte).collect::<Vec<_>>()
    });
    assert_eq!(canonical, oracle::canonical(url));

    let chars = characters();
    let table: Vec<u8> = chars.iter().flat_map(|c| c.to_le_bytes()).collect();
    let table = CharTable::new(&table).expect("a table");
    let tokens = |input| {
        let tokens = Tokens::new(url, input, table).map_err(|e| e.code())?;
        let token = |t: phishcnn_core::tokens::Token| oracle::Token {
            id: t.id.into(),
            part: t.part as u8,
            at: (t.at != usize::MAX).then_some(t.at),
        };
        Ok((tokens.iter().map(token).collect(), tokens.truncated()))
    };
    assert_eq!(tokens(Input::UrlBytes { max: MAX }), oracle::url_bytes(url, MAX));
    for canonical in [false, true] {
        let got = tokens(Input::KerasChar { length: MAX, canonical });
        assert_eq!(got, oracle::keras_char(url, MAX, canonical, &chars));
    }

    // A scheme, white space, and (where nothing follows the host) a lone slash change nothing.
    let Ok(canonical) = canonical else { return };
    let text = url.trim_ascii();
    if canonical.first().is_none_or(|b| b.part > 0) && !text.windows(3).any(|w| w == b"://") {
        let same = |varied: &[u8]| {
            let varied = Url::parse(varied).expect("not empty");
            let values = varied.bytes().map(|b| (b.value, b.part as u8));
            assert!(values.eq(canonical.iter().map(|b| (b.value, b.part))));
        };
        same(&[b" hTTps://", text, b"\n"].concat());
        if !text.iter().any(|b| b"/\\?#".contains(b)) {
            same(&[b"http://", text, b"/"].concat());
        }
    }
});
