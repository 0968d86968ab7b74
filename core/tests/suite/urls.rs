//! Random URLs for property tests.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..60)
}

/// Bytes in which everything that the rules look at is frequent.
pub(crate) fn delimiters() -> impl Strategy<Value = Vec<u8>> {
    let pieces = &[
        ":",
        "/",
        "//",
        "://",
        "\\",
        "?",
        "#",
        "@",
        ".",
        "..",
        "&",
        "=",
        "www.",
        "WwW.",
        "http://",
        "HTTPS://",
        "ftp://",
        ":80",
        ":443",
        ":8080",
        "co",
        "uk",
        "com",
        "web",
        "app",
        "github",
        "io",
        "[",
        "]",
        "::1",
        "0x1f",
        "127",
        "0",
        " ",
        "\t",
        "\x0b",
        "\x0c",
        "\0",
        "é",
        "😀",
        "A",
        "z",
        "-",
        "+",
        "?1",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let piece = prop_oneof![
        8 => select(&pieces[..]).prop_map(|p| p.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|b| vec![b]),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

pub(crate) fn host() -> impl Strategy<Value = String> {
    let suffix = select(vec![
        "",
        ".com",
        ".co.uk",
        ".CO.jp",
        ".web.app",
        ".github.io",
        ".ipfs.dweb.link",
        ".uc.r.appspot.com",
        ".co.museum",
        ".a.run.app",
        ".xn--p1ai",
        ".co.u1",
        ".7",
        ".0xfF",
        ".0xg",
    ]);
    prop_oneof![
        8 => (vec("[a-zA-Z0-9-]{1,6}", 1..5), suffix).prop_map(|(l, s)| l.join(".") + s),
        1 => Just("10.0.0.1".to_string()),
        1 => Just("[2001:DB8::1]".to_string()),
    ]
}

/// What may follow a host; never white space at its end, nor exactly `/`.
pub(crate) fn rest() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[/?#\\\\][a-zA-Z0-9/.?#=&%@: \\\\é]{0,30}[a-z]",
        Just("//".to_string()),
        Just("?".to_string()),
    ]
}

/// URLs shaped like URLs.
pub(crate) fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let scheme =
        select(vec!["", "http://", "https://", "HTTP://", "ftp://", "Git+ssh://", "1a://"]);
    let user = prop_oneof![
        3 => Just(String::new()),
        1 => "[a-zA-Z0-9:@%é]{0,40}@",
    ];
    let end = select(vec!["", ".", "..", ":80", ":443", ":8080", ":", ".:80", ":080", ":80:80"]);
    let www = select(vec!["", "www.", "WWW."]);
    (scheme, user, www, host(), end, rest())
        .prop_map(|(s, u, w, h, e, r)| [s, &u, w, &h, e, &r].concat().into_bytes())
}

/// Any of the above.
pub(crate) fn any_url() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => bytes(), 3 => delimiters(), 3 => shaped()]
}
