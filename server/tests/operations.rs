//! `phishcnn serve` as it is run: packed bodies, limits, TLS, changes of the model, other protocols.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    Service, assert_problem, client, code, connect, metric, phishcnn, post, post_raw, resident,
    run, run_with, stderr, stdout, text,
};
use phishcnn_weights::{COMPACT, COMPACT_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;

fn with(settings: &[(&str, &str)]) -> Service {
    let mut command = phishcnn();
    command.envs(settings.iter().map(|(name, value)| (format!("PHISHCNN_{name}"), value)));
    Service::start_with(command)
}

/// The built-in model with other metadata.
fn model_with(metadata: &[(&str, &str)]) -> Vec<u8> {
    let (len, rest) = COMPACT.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(len.try_into().unwrap()) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    for (key, value) in metadata {
        header["__metadata__"][*key] = json!(value);
    }
    let mut header = header.to_string();
    while !header.len().is_multiple_of(16) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn built_in_version() -> String {
    let output = run(["model", "info", "--format", "json"]);
    let info: Value = serde_json::from_str(stdout(&output)).unwrap();
    info["version"].as_str().unwrap().to_owned()
}

/// To which every URL is phishing.
fn suspicious_of_all() -> Vec<u8> {
    model_with(&[
        ("phishcnn.thresholds", "phishing=-1000 suspicious=-1000"),
        ("phishcnn.version", "9.9.9"),
    ])
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8], window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post_packed(service: &Service, path: &str, encoding: &str, body: &[u8]) -> (u16, Value) {
    let request = client().post(service.url(path)).header("Content-Encoding", encoding);
    let mut response = request.send(body).unwrap();
    (response.status().as_u16(), response.body_mut().read_json().unwrap())
}

#[test]
fn packed_bodies_are_unpacked() {
    let service = Service::start();
    let body = json!({ "url": "https://a.example/ü" }).to_string();
    let expected = post_raw(&service, "/v1/score", body.as_bytes()).body;
    let (one, two) = body.as_bytes().split_at(9);
    for (encoding, packed) in [
        ("gzip", gzip(body.as_bytes())),
        ("GZip", gzip(body.as_bytes())),
        ("gzip", [gzip(one), gzip(two)].concat()),
        ("zstd", zstd(body.as_bytes(), 20)),
        ("zstd", [zstd(one, 20), zstd(two, 20)].concat()),
        ("identity", body.clone().into_bytes()),
    ] {
        let answer = post_packed(&service, "/v1/score", encoding, &packed);
        assert_eq!(answer, (200, expected.clone()), "{encoding}");
    }
    for (encoding, body, status, number) in [
        ("gzip", body.as_bytes().to_vec(), 400, 503),
        ("gzip", gzip(body.as_bytes())[..30].to_vec(), 400, 503),
        ("zstd", zstd(body.as_bytes(), 20)[..20].to_vec(), 400, 503),
        ("br", body.as_bytes().to_vec(), 415, 508),
        ("gzip, gzip", gzip(&gzip(body.as_bytes())), 415, 508),
    ] {
        let (got, problem) = post_packed(&service, "/v1/score", encoding, &body);
        assert_eq!((got, &problem["code"]), (status, &json!(number)), "{encoding}: {problem}");
    }
}

/// Gigabytes of spaces in a few kilobytes.
#[test]
fn bombs_are_refused_where_the_limit_is() {
    let service = Service::start();
    post(&service, "/v1/score", &json!({ "url": "a" }));
    let before = resident(&service);
    let blank = vec![b' '; 64 << 20];
    for (encoding, bomb) in [("gzip", gzip(&blank)), ("zstd", zstd(&blank, 23))] {
        assert!(bomb.len() < 100_000);
        for path in ["/v1/score", "/predict", "/v1/feedback", "/v2/models/phishcnn-compact/infer"] {
            let (status, problem) = post_packed(&service, path, encoding, &bomb);
            assert_eq!(status, 413, "{path}: {problem}");
        }
    }
    // A window of 128 MiB would be kept for as long as a stream lasts.
    let lines = b"\"a\"\n".repeat(8 << 20);
    let (_, answer) = post_packed(&service, "/v1/score", "zstd", &zstd(&lines, 27));
    assert_eq!(answer["code"], 503, "{answer}");
    let grown = resident(&service).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more");
}

#[test]
fn the_rate_limit_is_the_python_systems() {
    let service = with(&[("RATE_LIMIT", "10/min"), ("TRUSTED_PROXIES", "127.0.0.0/8")]);
    // How many requests pass before one is refused, for the client that the proxy names.
    let passing = |path: &str, client_address: &str| {
        for passed in 0..20 {
            let request = client().post(service.url(path));
            let mut response = request
                .header("X-Forwarded-For", client_address)
                .send(r#"{"data":["a"],"url":"a"}"#)
                .unwrap();
            if response.status() == 429 {
                let wait: u64 =
                    response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((1..=7).contains(&wait), "{wait}");
                let problem: Value = response.body_mut().read_json().unwrap();
                assert_eq!((&problem["code"], &problem["status"]), (&json!(501), &json!(429)));
                return passed;
            }
            assert_eq!(response.status(), 200);
        }
        panic!("never refused");
    };
    // A slow machine gets one request back every six seconds.
    assert!((10..=12).contains(&passing("/predict", "192.0.2.1")));
    assert!((10..=12).contains(&passing("/predict", "192.0.2.2")), "another client");
    assert!((10..=12).contains(&passing("/v1/score", "192.0.2.1")), "another route");
    assert!(passing("/predict", "192.0.2.1") <= 2);
    // What is asked by operators and browsers is not limited.
    for _ in 0..30 {
        for path in ["/healthz", "/metrics", "/"] {
            assert_eq!(client().get(service.url(path)).call().unwrap().status(), 200);
        }
    }
    // Nobody vouches for this one: all are the same client.
    let service = with(&[("RATE_LIMIT", "10/min")]);
    let forged = |i| {
        let request = client().post(service.url("/predict"));
        request.header("X-Forwarded-For", format!("192.0.2.{i}")).send(r#"{"data":[]}"#).unwrap()
    };
    let refused = (0..30).filter(|i| forged(*i).status() == 429).count();
    assert!(refused >= 15, "{refused}");
}

#[test]
fn tls_is_spoken_by_a_client_that_knows_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["phishcnn.example".to_owned()]).unwrap();
    let cert = file(&folder, "cert.pem", made.cert.pem().as_bytes());
    let key = file(&folder, "key.pem", made.signing_key.serialize_pem().as_bytes());
    let service = with(&[
        ("TLS_CERT", text(&cert)),
        ("TLS_KEY", text(&key)),
        ("ADMIN_LISTEN", "127.0.0.1:0"),
        ("HEADER_TIMEOUT", "500ms"),
    ]);
    let mut known = rustls::RootCertStore::empty();
    known.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(known)
        .with_no_client_auth();
    let ask = |service: &Service, name: &'static str| {
        let name = name.try_into().unwrap();
        let tls = rustls::ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        let mut stream = rustls::StreamOwned::new(tls, connect(service));
        let body = r#"{"data":["a"]}"#;
        let head = "POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length:";
        write!(stream, "{head} {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    // A client that never greets does not stay.
    let mut silent = connect(&service);
    let answer = ask(&service, "phishcnn.example").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("prediction"), "{answer}");
    assert!(ask(&service, "other.example").is_err());
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 0);
    // Plain HTTP gets no answer in plain text, and the admin listener stays as it is.
    let mut plain = connect(&service);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = vec![];
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    let ready = client().get(format!("http://{}/readyz", service.admin)).call().unwrap();
    assert_eq!(ready.status(), 200);

    // A client for whom there is no room is told so, encrypted too.
    let full =
        with(&[("TLS_CERT", text(&cert)), ("TLS_KEY", text(&key)), ("MAX_CONNECTIONS", "1")]);
    let answer = loop {
        // After a second this one would make room.
        let _silent = connect(&full);
        match ask(&full, "phishcnn.example") {
            Ok(answer) if !answer.starts_with("HTTP/1.1 200") => break answer,
            _ => {}
        }
    };
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");

    let other = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let wrong = file(&folder, "wrong.pem", other.signing_key.serialize_pem().as_bytes());
    for arguments in [
        vec!["--tls-cert", text(&cert), "--tls-key", text(&wrong)],
        vec!["--tls-cert", text(&key), "--tls-key", text(&key)],
        vec!["--tls-cert", "/nowhere", "--tls-key", text(&key)],
        vec!["--tls-cert", text(&cert)],
    ] {
        let mut command = phishcnn();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(&arguments);
        let output = run_with(command, b"");
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
    }
}

fn sha256_in_use(service: &Service) -> String {
    let mut response = client().get(service.url("/version")).call().unwrap();
    let version: Value = response.body_mut().read_json().unwrap();
    version["model"]["sha256"].as_str().unwrap().to_owned()
}

fn reloads(service: &Service, result: &str) -> f64 {
    metric(&service.metrics(), &format!("phishcnn_model_reloads_total{{result=\"{result}\"}}"))
        .unwrap_or(0.0)
}

#[test]
fn a_hangup_reads_the_model_again_unless_it_fails_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "model.safetensors", COMPACT);
    let service = with(&[("MODEL", text(&path)), ("SHADOW", text(&path))]);
    let predict = || post(&service, "/predict", &json!({ "data": ["https://a.example/"] })).body;
    let hang_up = |result: &str| {
        let before = reloads(&service, result);
        service.signal("HUP");
        let started = Instant::now();
        while reloads(&service, result) == before {
            assert!(started.elapsed() < Duration::from_secs(30), "no reload that is {result}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(
        (sha256_in_use(&service).as_str(), predict()),
        (COMPACT_SHA256, json!({ "prediction": [0] }))
    );
    // Bad in every way that a file can be bad; among them one that loads and scores wrongly.
    let golden = model_with(&[("phishcnn.golden", "77 https://a.example/")]);
    for bad in [&b""[..], &COMPACT[..COMPACT.len() - 1], &golden] {
        std::fs::write(&path, bad).unwrap();
        hang_up("failed");
        assert_eq!(
            (sha256_in_use(&service).as_str(), predict()),
            (COMPACT_SHA256, json!({ "prediction": [0] }))
        );
    }
    std::fs::remove_file(&path).unwrap();
    hang_up("failed");
    std::fs::write(&path, suspicious_of_all()).unwrap();
    hang_up("ok");
    assert_ne!(sha256_in_use(&service), COMPACT_SHA256);
    assert_eq!(predict(), json!({ "prediction": [1] }));
    let metrics = service.metrics();
    let models: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("phishcnn_model_info{")).collect();
    assert_eq!(models.len(), 2, "{models:?}");
    let is = |role: &str, version: &str| {
        models.iter().any(|line| line.contains(role) && line.contains(version))
    };
    assert!(
        is("role=\"live\"", "\"9.9.9\"") && is("role=\"shadow\"", &built_in_version()),
        "{models:?}"
    );
}

#[test]
fn operators_may_put_a_model_and_clients_may_not() {
    let service = with(&[("ADMIN_LISTEN", "127.0.0.1:0")]);
    let put = |address: &str, model: &[u8]| {
        let mut response =
            client().put(format!("http://{address}/admin/model")).send(model).unwrap();
        let status = response.status().as_u16();
        (status, response.body_mut().read_json::<Value>().unwrap())
    };
    assert_eq!(put(&service.address, &suspicious_of_all()).0, 404);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(client().get(service.url(path)).call().unwrap().status(), 404, "{path}");
    }
    let (status, problem) = put(&service.admin, b"no model");
    assert_eq!((status, &problem["code"]), (422, &json!(101)), "{problem}");
    let golden = model_with(&[("phishcnn.golden", "77 https://a.example/")]);
    let (status, problem) = put(&service.admin, &golden);
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("phishcnn.golden"), "{problem}");
    assert_eq!(put(&service.admin, &vec![0; (64 << 20) + 1]).0, 413);
    assert_eq!(sha256_in_use(&service), COMPACT_SHA256);
    // Requests under way see one model or the other, never anything else.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut seen = std::collections::BTreeSet::new();
            let urls = vec!["https://a.example/"; 200];
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = post(&service, "/predict", &json!({ "data": urls }));
                assert_eq!(answer.status, 200);
                let ones = answer.body["prediction"].as_array().unwrap();
                let ones = ones.iter().filter(|one| **one == json!(1)).count();
                assert!(ones == 0 || ones == 200, "{ones} of one request by another model");
                seen.insert(ones);
            }
            seen
        });
        for i in 0..10 {
            let model = if i % 2 == 0 { suspicious_of_all() } else { COMPACT.to_vec() };
            let (status, answer) = put(&service.admin, &model);
            assert_eq!((status, &answer["name"]), (200, &json!("phishcnn-compact")));
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(asking.join().unwrap().len(), 2);
    });
    assert_eq!(sha256_in_use(&service), COMPACT_SHA256);
}

#[test]
fn a_shadow_model_is_counted_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shadow = file(&folder, "shadow.safetensors", &suspicious_of_all());
    let (alone, shadowed) = (Service::start(), with(&[("SHADOW", text(&shadow))]));
    let mut live = [0.0; 3];
    for i in 0..50 {
        let body = json!({ "url": format!("https://login-{i}.example/verify/{i}") });
        let answer = post(&shadowed, "/v1/score", &body).body;
        assert_eq!(answer, post(&alone, "/v1/score", &body).body);
        let names = ["benign", "suspicious", "phishing"];
        live[names.iter().position(|name| answer["verdict"] == *name).unwrap()] += 1.0;
    }
    let started = Instant::now();
    loop {
        let metrics = shadowed.metrics();
        let counts = ["benign", "suspicious", "phishing"].map(|verdict| {
            let name = "phishcnn_shadow_urls_total";
            let name = format!("{name}{{live=\"{verdict}\",shadow=\"phishing\"}}");
            metric(&metrics, &name).unwrap_or(0.0)
        });
        if counts == live {
            assert_eq!(metric(&metrics, "phishcnn_shadow_skipped_total"), Some(0.0));
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{counts:?}, not {live:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut command = phishcnn();
    let broken = file(&folder, "broken.safetensors", b"broken");
    command.args(["serve", "--listen", "127.0.0.1:0", "--shadow", text(&broken)]);
    assert_eq!(code(&run_with(command, b"")), 3);
}

/// Requests and answers as the protocol's document has them.
#[test]
fn the_open_inference_protocol() {
    let service = Service::start();
    let get = |path: &str| {
        let mut response = client().get(service.url(path)).call().unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap_or_default())
    };
    let model = "/v2/models/phishcnn-compact";
    assert_eq!(get("/v2/health/live"), (200, json!({ "live": true })));
    assert_eq!(get("/v2/health/ready"), (200, json!({ "ready": true })));
    assert_eq!(get("/v2").1["name"], "phishcnn");
    assert_eq!(get(&format!("{model}/ready")).0, 200);
    let version = built_in_version();
    assert_eq!(get(&format!("{model}/versions/{version}/ready")).0, 200);
    let (status, about) = get(model);
    assert_eq!((status, &about["versions"]), (200, &json!([version])));
    assert_eq!(about["inputs"], json!([{ "name": "url", "datatype": "BYTES", "shape": [-1] }]));
    assert_eq!(about["outputs"][0]["datatype"], "FP32");

    let urls = ["https://a.example/", "http://b.example/login", "c", "d"];
    let expected: Vec<f32> = urls
        .iter()
        .map(|url| {
            let scored = post(&service, "/v1/score", &json!({ "url": url })).body;
            scored["probability"].as_f64().unwrap() as f32
        })
        .collect();
    let infer = |shape: Value, data: Value| {
        let input = json!({ "name": "url", "datatype": "BYTES", "shape": shape, "data": data });
        post(&service, &format!("{model}/infer"), &json!({ "id": "42", "inputs": [input] }))
    };
    let nested = json!([[urls[0], urls[1]], [urls[2], urls[3]]]);
    for (shape, data) in [
        (json!([4]), json!(urls)),
        (json!([4, 1]), json!(urls.map(|url| [url]))),
        (json!([2, 2]), nested),
    ] {
        let answer = infer(shape.clone(), data);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            (&answer.body["id"], &answer.body["model_name"]),
            (&json!("42"), &json!("phishcnn-compact"))
        );
        let output = &answer.body["outputs"][0];
        assert_eq!((&output["name"], &output["shape"]), (&json!("probability"), &shape));
        let got: Vec<f32> = serde_json::from_value(output["data"].clone()).unwrap();
        assert_eq!(got, expected);
    }
    for (answer, status) in [
        (infer(json!([3]), json!(urls)), 400),
        (infer(json!([]), json!(urls)), 400),
        (infer(json!([-1]), json!(urls)), 400),
        (infer(json!([2]), json!(["a", ""])), 422),
        (infer(json!([1]), json!([7])), 422),
        (post(&service, &format!("{model}/infer"), &json!({ "inputs": [] })), 400),
        (post(&service, "/v2/models/other/infer", &json!({ "inputs": [] })), 404),
        (post(&service, &format!("{model}/versions/9/infer"), &json!({ "inputs": [] })), 404),
    ] {
        assert_eq!((answer.status, answer.body["error"].is_string()), (status, true));
    }
}

/// Reads to the end; a reset is an end too.
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = vec![];
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn slow_clients_are_told_so() {
    let service =
        with(&[("HEADER_TIMEOUT", "400ms"), ("BODY_TIMEOUT", "400ms"), ("IDLE_TIMEOUT", "400ms")]);
    let sent = |bytes: &[u8]| {
        let mut stream = connect(&service);
        stream.write_all(bytes).unwrap();
        rest(&mut stream)
    };
    assert_eq!(sent(b""), "");
    for slow in ["G", "POST /predict HTTP/1.1\r\nHost: a\r\n"] {
        let answer = sent(slow.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":507"), "{answer}");
    }
    let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n";
    let answer = sent(format!("POST /predict {head}\r\n{{").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":507"), "{answer}");
    // A stream has its answer already: the end of it says what was wrong.
    let kind = "Content-Type: application/x-ndjson\r\n";
    let answer = sent(format!("POST /v1/score/batch {head}{kind}\r\n\"a\"\n\"b").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"code\":507"), "{answer}");
}

/// A client that sends lines for ever and reads none of the answers.
#[test]
fn an_answer_before_the_body_does_not_break_the_connection() {
    let service = Service::start();
    let mut stream = connect(&service);
    let body = vec![b' '; 3 << 20];
    for (path, status) in [("/nowhere", "404"), ("/v1/score", "413")] {
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(&body).unwrap();
        assert_eq!(next_status(&mut stream), status, "{path}");
    }
    stream.write_all(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(next_status(&mut stream), "200");
}

/// Of the next answer, which is read whole.
fn next_status(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).unwrap();
    head[9..12].to_owned()
}

#[test]
fn who_does_not_read_is_cut_off() {
    let service = with(&[("HEADER_TIMEOUT", "400ms"), ("BODY_TIMEOUT", "1s")]);
    let mut stream = connect(&service);
    stream
        .write_all(
            b"POST /v1/score/batch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
              Content-Type: application/x-ndjson\r\n\r\n",
        )
        .unwrap();
    let lines = "\"https://a.example/\"\n".repeat(1000);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    // The time limit of the socket is an error of another kind.
    let error = std::iter::repeat_with(|| stream.write_all(chunk.as_bytes()));
    let error = error.take(10_000).find_map(Result::err).expect("cut off");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_eq!(post(&service, "/v1/score", &json!({ "url": "a" })).status, 200);
    let open = metric(&service.metrics(), "phishcnn_connections").unwrap();
    assert!(open <= 3.0, "{open}");
}

#[test]
fn limits_have_their_own_answers() {
    let service = with(&[("MAX_BODY", "1000"), ("MAX_URLS", "3"), ("MAX_URL_LENGTH", "100")]);
    let answer = |path: &str, body: Value| post(&service, path, &body);
    let long = "a".repeat(101);
    assert_problem(&answer("/v1/score", json!({ "url": long })), 422, 202);
    assert_problem(&answer("/predict", json!({ "data": ["a", "b", "c", "d"] })), 413, 510);
    assert_problem(&answer("/v1/score/batch", json!({ "urls": vec!["a"; 4] })), 413, 510);
    assert_problem(&answer("/predict", json!({ "data": ["a".repeat(1000)] })), 413, 504);
    // Streams may be longer in all but their lines.
    let lines = format!("{}\"{long}\"\n", "\"a\"\n".repeat(500));
    let mut response = client()
        .post(service.url("/v1/score/batch"))
        .header("Content-Type", "application/x-ndjson")
        .send(&lines)
        .unwrap();
    let answer = response.body_mut().read_to_string().unwrap();
    let last: Value = serde_json::from_str(answer.lines().last().unwrap()).unwrap();
    assert_eq!((answer.lines().count(), &last["error"]["code"]), (501, &json!(202)));
    // A head without end is refused before it takes memory.
    let mut stream = connect(&service);
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let answer = rest(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn request_ids_and_traces_go_through() {
    let service = Service::start();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = client()
        .post(service.url("/predict"))
        .header("X-Request-Id", "abc-123")
        .header("traceparent", trace)
        .send(r#"{"data":[]}"#)
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "abc-123");
    let answered = response.headers()["traceresponse"].to_str().unwrap();
    assert!(answered.starts_with(&trace[..36]) && !answered.contains("b7ad6b7169203331"));
    let response = client().get(service.url("/nowhere")).call().unwrap();
    assert!(response.headers()["x-request-id"].len() >= 16);
}

/// Names, types and values that the Python system's dashboards read, and ours.
#[test]
fn metrics_tell_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let reference = "length 16:0.5 +:0.5; logit 0:0.9 +:0.1";
    let model = file(&folder, "m.safetensors", &model_with(&[("phishcnn.reference", reference)]));
    let store = folder.path().join("feedback.sqlite");
    let service = with(&[("FEEDBACK", text(&store)), ("MODEL", text(&model))]);
    let urls: Vec<_> = (0..600).map(|i| format!("https://ü{i:03}.example/a?b#c")).collect();
    assert_eq!(post(&service, "/predict", &json!({ "data": urls })).status, 200);
    assert_eq!(post(&service, "/check/", &json!({ "test_url": "a" })).status, 200);
    assert_eq!(post(&service, "/check/", &json!({ "test_url": "" })).status, 422);
    for (url, feedback) in [("a", 1), ("b", 1), ("c", 0)] {
        let body = json!({ "url": url, "label": true, "feedback": feedback });
        assert_eq!(post(&service, "/feedback/", &body).status, 200);
    }
    let started = Instant::now();
    let metrics = loop {
        let metrics = service.metrics();
        if metric(&metrics, "model_performance") == Some(0.667) {
            break metrics;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{metrics}");
        std::thread::sleep(Duration::from_millis(100));
    };
    for (name, kind) in [
        ("feedback_received_total", "counter"),
        ("model_performance", "gauge"),
        ("url_length", "histogram"),
        ("prediction_time", "summary"),
    ] {
        assert!(metrics.contains(&format!("\n# TYPE {name} {kind}\n")), "{name}");
    }
    for (name, value) in [
        ("feedback_received_total", 3.0),
        // Feedback scores a URL once more, which is no prediction.
        ("prediction_time_count", 601.0),
        ("url_length_count", 601.0),
        ("url_length_sum", 600.0 * 26.0 + 1.0),
        ("url_length_bucket{le=\"24\"}", 1.0),
        ("url_length_bucket{le=\"32\"}", 601.0),
        ("phishcnn_requests_total{method=\"POST\",route=\"/check/\",status=\"200\"}", 1.0),
        ("phishcnn_requests_total{method=\"POST\",route=\"/check/\",status=\"422\"}", 1.0),
        ("phishcnn_request_duration_seconds_count{route=\"/predict\",status=\"200\"}", 1.0),
        ("phishcnn_batch_urls_sum", 602.0),
        ("phishcnn_batch_urls_count", 3.0),
        ("phishcnn_logit_count", 601.0),
        ("phishcnn_url_part_bytes_sum{part=\"query\"}", 600.0 * 2.0),
        ("phishcnn_feedback_precision", 2.0 / 3.0),
        ("phishcnn_feedback_store_up", 1.0),
        ("phishcnn_feedback_queue_depth", 0.0),
        // The request for the metrics themselves.
        ("phishcnn_requests_in_flight", 1.0),
        (concat!("phishcnn_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        let got = metric(&metrics, name).unwrap_or_else(|| panic!("no {name} in {metrics}"));
        assert!((got - value).abs() < 1e-9, "{name} is {got}, not {value}");
    }
    let seconds = metric(&metrics, "prediction_time_sum").unwrap();
    assert!(seconds > 0.0 && seconds < started.elapsed().as_secs_f64() + 60.0, "{seconds}");
    let verdicts: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("phishcnn_verdicts_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert!((verdicts - 601.0).abs() < 0.5);
    // All URLs but one are longer than 16, of which the reference has half: 0.5 ln 2 + …
    let drift = metric(&metrics, "phishcnn_input_drift_psi{feature=\"length\"}").unwrap();
    let share = 1.0 / 601.0_f64;
    let expected = (share - 0.5) * (share / 0.5).ln() + (0.5 - share) * ((1.0 - share) / 0.5).ln();
    assert!((drift - expected).abs() < 1e-6, "{drift}, not {expected}");
}
