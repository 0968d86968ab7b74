//! The golden vectors of `tests/vectors`: written from the oracle, read by every surface's tests.

use crate::int8::backends;
use crate::scratch;
use crate::support::int8::{self, Int8Network};
use crate::support::model_file::{Architecture, Input, Layer, ModelFile, conv, dense};
use crate::support::network::Network;
use crate::support::tokens;
use phishcnn_core::{Error, MAX_URL_LEN, Model, Segment, as_bytes_mut};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Canonical forms are listed up to here.
const LISTED: usize = 256;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn models() -> [(&'static str, ModelFile); 2] {
    let layers = vec![
        conv(5, 12, "relu"),
        Layer::MaxPool { size: 2, ceil: true },
        Layer::Conv {
            kernel: 3,
            outputs: 12,
            same: true,
            dilation: 2,
            activation: "tanh",
            add: true,
        },
        Layer::Pool("max+avg"),
        dense(8, "relu"),
        dense(1, ""),
    ];
    let input = Input::Bytes { max: 64, tables: "bytes+parts" };
    let mut url_bytes = Architecture { input, width: 8, layers, output: "logit" }.build(23);
    url_bytes.set("phishcnn.name", "url-bytes-fixture");
    url_bytes.set("phishcnn.thresholds", "phishing=1.09 suspicious=0.9");
    let layers = vec![
        Layer::Conv {
            kernel: 5,
            outputs: 8,
            same: false,
            dilation: 1,
            activation: "relu",
            add: false,
        },
        Layer::MaxPool { size: 4, ceil: false },
        Layer::Flatten,
        dense(6, "sigmoid"),
        dense(2, ""),
    ];
    let input = Input::Chars { length: 48, canonical: false };
    let mut keras =
        Architecture { input, width: 8, layers, output: "sigmoid2 positive=1" }.build(4);
    keras.set("phishcnn.name", "keras-char-fixture");
    keras.set("phishcnn.thresholds", "phishing=0.072 suspicious=0.005");
    [("url-bytes", url_bytes), ("keras-char", keras)]
}

/// Of the last layers of the int8 models: a power of two, so that the logit has every bit of the sum.
const SCALE: f32 = 1.0 / (1 << 20) as f32;

/// Together every step that `docs/model-file.md` lists; in the first, more positions than a tile.
fn int8_models() -> [(&'static str, ModelFile); 2] {
    let layers = vec![
        conv(5, 32, "relu"),
        Layer::MaxPool { size: 2, ceil: true },
        conv(3, 16, "tanh"),
        Layer::Conv {
            kernel: 3,
            outputs: 16,
            same: true,
            dilation: 2,
            activation: "relu",
            add: true,
        },
        Layer::Pool("max+avg"),
        dense(8, "relu"),
        dense(8, ""),
        dense(1, ""),
    ];
    let input = Input::Bytes { max: 300, tables: "bytes+parts+trigrams" };
    let mut url_bytes = int8::build(&Architecture { input, width: 8, layers, output: "logit" }, 1);
    url_bytes.set("phishcnn.name", "int8-url-bytes-fixture");
    url_bytes.tensor_mut("d7.scale").data = SCALE.to_le_bytes().into();
    let layers = vec![
        Layer::Conv {
            kernel: 5,
            outputs: 16,
            same: false,
            dilation: 1,
            activation: "",
            add: false,
        },
        Layer::MaxPool { size: 4, ceil: false },
        Layer::Flatten,
        dense(8, "sigmoid"),
        dense(2, ""),
    ];
    let input = Input::Chars { length: 48, canonical: false };
    let mut keras =
        int8::build(&Architecture { input, width: 8, layers, output: "sigmoid2 positive=1" }, 1);
    keras.set("phishcnn.name", "int8-keras-char-fixture");
    keras.tensor_mut("d4.scale").data = [SCALE.to_le_bytes(); 2].concat();
    [("int8-url-bytes", url_bytes), ("int8-keras-char", keras)]
}

/// A text, how often another follows it.
fn urls() -> Vec<(Vec<u8>, &'static str, usize)> {
    let plain = [
        "",
        " \t\r\n",
        "http://",
        "https://:443/",
        "/",
        ".",
        "@",
        "#",
        "a",
        "\0",
        "http://example.com",
        "https://www.Example.COM:443/",
        "EXAMPLE.com.",
        "  example.com\n",
        "http://example.com/",
        "http://example.com//",
        "http://example.com?",
        "http://example.com#",
        "http://example.com:8080/Login.php?user=A&next=%2Fhome#top",
        "http://example.com:080/",
        "http://example.com:/x",
        "http://www.com/",
        "http://www.www.example.com/",
        "http://shop.example.co.uk/cart",
        "http://a.b.c.d.example.com.au/",
        "https://paypa1-login.web.app/",
        "https://evil.github.io/paypal.com/",
        "https://github.io/",
        "https://x.ipfs.dweb.link/#victim@example.org",
        "http://a..b.com/",
        "http://.com/",
        "http://user:pass@example.com/",
        "http://paypal.com@evil.example/",
        "http://a@b@evil.example/",
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@evil.example/",
        "http://u@.com",
        "u@",
        "http://paypal.com\\@evil.example/",
        "http:\\\\example.com\\a",
        "http://example.com\\..\\x",
        "http://10.0.0.1/a",
        "http://0x7f.1/",
        "http://127.0x1:81/",
        "http://[2001:DB8::1]:8080/a",
        "http://[::1]",
        "::1",
        "ftp://Files.Example.com/A",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "http://http://example.com",
        "HTTPS://HTTPS://x.y/",
        "mailto://A@B.com",
        "http://xn--pypal-4ve.com/",
        "http://pаypal.com/",
        "http://пример.рф/путь",
        "http://example.com/é😀?q=€",
        "http://example.com/a b\tc",
        "http://example.com/a\0b",
        "http://example.com/%00%zz%",
        "http://example.com/?a=1&b=2&&c",
        "http://example.com/a#b?c#d",
        "http://example.com/<script>alert('1')</script>",
    ];
    let mut urls: Vec<_> = plain.iter().map(|u| (u.as_bytes().to_vec(), "", 0)).collect();
    urls.push((b"http://X\xff.com/\xfe\x80".to_vec(), "", 0));
    urls.push((b"\xe2\x82http://example.com/\xf0\x9f".to_vec(), "", 0));
    urls.push((b"http://example.com/".to_vec(), "a", 45));
    urls.push((b"http://example.com/".to_vec(), "ab", 27));
    urls.push((b"".to_vec(), "sub.", 80));
    urls.push((b"http://example.com/?q=".to_vec(), "\u{e9}", 200));
    urls.push((b"http://example.com/".to_vec(), "x", MAX_URL_LEN - 19));
    urls.push((b"http://example.com/".to_vec(), "x", MAX_URL_LEN - 18));
    urls.push((b"http://example.com/".to_vec(), "/..", 34_000));
    urls
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        write!(s, "{b:02x}").unwrap();
        s
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|c| std::str::from_utf8(c).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A URL, and how a vector tells it.
fn told((start, text, times): &(Vec<u8>, &str, usize)) -> (Vec<u8>, Value) {
    let url = [&start[..], text.repeat(*times).as_bytes()].concat();
    let mut vector = match std::str::from_utf8(start) {
        Ok(text) => json!({"url": text}),
        Err(_) => json!({"url_hex": hex(start)}),
    };
    if *times > 0 {
        vector["repeat"] = json!({"text": text, "times": times});
    }
    (url, vector)
}

/// The URL of a vector.
fn url(vector: &Value) -> Vec<u8> {
    let mut url = match &vector["url_hex"] {
        Value::String(hex) => unhex(hex),
        _ => vector["url"].as_str().unwrap().into(),
    };
    if let Value::Object(repeat) = &vector["repeat"] {
        let times = repeat["times"].as_u64().unwrap() as usize;
        url.extend(repeat["text"].as_str().unwrap().repeat(times).bytes());
    }
    url
}

/// What the oracle says about a URL.
fn vector(network: &Network, url: &(Vec<u8>, &str, usize)) -> Value {
    let (url, mut vector) = told(url);
    let (read, truncated) = match network.tokens(&url) {
        Ok(found) => found,
        Err(code) => {
            vector["error"] = code.into();
            return vector;
        }
    };
    let canonical = tokens::canonical(&url).unwrap();
    let listed = &canonical[..canonical.len().min(LISTED)];
    let values: Vec<u8> = listed.iter().map(|b| b.value).collect();
    let parts: String = listed.iter().map(|b| char::from(b'0' + b.part)).collect();
    vector["canonical_length"] = canonical.len().into();
    vector["canonical_hex"] = hex(&values).into();
    vector["parts"] = parts.into();
    vector["ids"] = read.iter().map(|t| t.id).collect();
    vector["truncated"] = truncated.into();
    let logit = network.logit(&read);
    vector["logit"] = logit.into();
    vector["probability"] = network.probability(logit).into();
    vector["verdict"] = network.verdict(logit).into();
    vector["segments"] = network
        .explain(&url)
        .unwrap()
        .into_iter()
        .map(|(s, e, p, c)| json!([s, e, p, c]))
        .collect();
    vector
}

fn document(name: &str, file: &ModelFile) -> Vec<Value> {
    let network = Network::read(&file.bytes());
    let vectors: Vec<Value> = urls().iter().map(|url| vector(&network, url)).collect();
    // No surface may differ in a verdict because of f32.
    for logit in vectors.iter().filter_map(|v| v["logit"].as_f64()) {
        assert_eq!(network.verdict(logit - 1e-3), network.verdict(logit + 1e-3), "{name} {logit}");
    }
    vectors
}

/// The same for integers: the last layer's sum.
fn int8_document(file: &ModelFile) -> Vec<Value> {
    let network = Int8Network::read(&file.bytes());
    let vector = |url| {
        let (url, mut vector) = told(url);
        match network.score(&url) {
            Ok(logit) => {
                let sum = logit / SCALE;
                assert!(sum.abs() < (1 << 24) as f32, "{sum} is not exact in f32");
                vector["sum"] = (sum as i32).into();
            }
            Err(code) => vector["error"] = code.into(),
        }
        vector
    };
    urls().iter().map(vector).collect()
}

fn documents() -> Vec<(&'static str, Vec<Value>, ModelFile)> {
    let floats = models().map(|(name, file)| (name, document(name, &file), file));
    let integers = int8_models().map(|(name, file)| (name, int8_document(&file), file));
    floats.into_iter().chain(integers).collect()
}

/// `cargo test -p phishcnn-core --test suite -- --ignored write_vectors`
#[test]
#[ignore = "no test: writes tests/vectors, when their format changes"]
fn write_vectors() {
    for (name, vectors, file) in documents() {
        std::fs::write(folder().join(format!("{name}.safetensors")), file.bytes()).unwrap();
        let rows: Vec<String> = vectors.iter().map(Value::to_string).collect();
        let text = format!(
            "{{\"model\":\"{name}.safetensors\",\"vectors\":[\n{}\n]}}\n",
            rows.join(",\n")
        );
        std::fs::write(folder().join(format!("{name}.json")), text).unwrap();
    }
}

fn read_vectors(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["vectors"].as_array().unwrap().clone()
}

/// Equal, but for the last bits of numbers that another `exp` may give.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-9,
            _ => a == b,
        },
    }
}

#[test]
fn committed_vectors_are_the_oracles() {
    for (name, fresh, file) in documents() {
        let committed = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
        assert!(committed == file.bytes(), "{name}: run write_vectors");
        let committed = read_vectors(name);
        assert_eq!(committed.len(), fresh.len());
        for (a, b) in committed.iter().zip(&fresh) {
            assert!(same(a, b), "{name}: run write_vectors\n{a}\n{b}");
        }
    }
}

/// As any surface would read them.
#[test]
fn the_core_meets_the_vectors() {
    for name in ["url-bytes", "keras-char"] {
        let file = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
        let model = Model::load(&file).unwrap();
        let mut scratch = scratch(&model);
        let scratch = as_bytes_mut(&mut scratch);
        let mut verdicts = std::collections::BTreeSet::new();
        for v in read_vectors(name) {
            let url = url(&v);
            let mut out = vec![Segment::default(); model.max_segments()];
            let got = model.explain(&url, scratch, &mut out);
            if let Some(code) = v["error"].as_u64() {
                assert_eq!(got.map_err(Error::code), Err(code as u16));
                assert_eq!(model.score(&url, scratch).map_err(Error::code), Err(code as u16));
                continue;
            }
            let (score, count) = got.unwrap();
            assert_eq!(model.score(&url, scratch), Ok(score));
            let near = |got: f32, want: &Value, tolerance: f64| {
                assert!((f64::from(got) - want.as_f64().unwrap()).abs() < tolerance, "{got} {v}");
            };
            near(score.logit, &v["logit"], 1e-4);
            near(score.probability, &v["probability"], 1e-3);
            assert_eq!(score.verdict.as_str(), v["verdict"]);
            assert_eq!(score.truncated, v["truncated"]);
            verdicts.insert(score.verdict);
            let ids: Vec<u16> = model.tokens(&url).unwrap().iter().map(|t| t.id).collect();
            assert_eq!(json!(ids), v["ids"]);
            let canonical = phishcnn_core::url::Url::parse(&url).unwrap();
            assert_eq!(v["canonical_length"], canonical.len());
            let (bytes, parts): (Vec<u8>, String) = canonical
                .bytes()
                .take(LISTED)
                .map(|b| (b.value, char::from(b'0' + b.part as u8)))
                .unzip();
            assert_eq!(
                (v["canonical_hex"].as_str(), v["parts"].as_str()),
                (Some(&*hex(&bytes)), Some(&*parts))
            );
            let segments = v["segments"].as_array().unwrap();
            assert_eq!(segments.len(), count);
            for (got, want) in out.iter().zip(segments) {
                assert_eq!(
                    json!([got.start, got.end, got.part as u8]),
                    json!([want[0], want[1], want[2]])
                );
                near(got.contribution, &want[3], 2e-4);
            }
        }
        assert_eq!(verdicts.len(), 3, "{name} shows all verdicts");
    }
}

/// To the bit, on every backend.
#[test]
fn the_core_meets_the_vectors_of_int8() {
    for (name, backend) in ["int8-url-bytes", "int8-keras-char"]
        .into_iter()
        .flat_map(|name| backends().into_iter().map(move |backend| (name, backend)))
    {
        let file = std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
        let model = Model::load(&file).unwrap().with_backend(backend).unwrap();
        let mut scratch = scratch(&model);
        let mut sums = std::collections::BTreeSet::new();
        for v in read_vectors(name) {
            let got = model.score(&url(&v), as_bytes_mut(&mut scratch));
            let got = got.map(|score| score.logit.to_bits()).map_err(Error::code);
            let want = match v["error"].as_u64() {
                Some(code) => Err(code as u16),
                None => Ok((v["sum"].as_i64().unwrap() as f32 * SCALE).to_bits()),
            };
            assert_eq!(got, want, "{name} {} {v}", backend.as_str());
            sums.insert(v["sum"].as_i64());
        }
        assert!(sums.len() > 40, "{name} says the same of everything: {sums:?}");
    }
}
