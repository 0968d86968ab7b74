//! `phishcnn serve`: a real client against a real port.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{
    Service, assert_problem, client, code, phishcnn, post, post_raw, run, run_with, stderr, stdout,
};
use phishcnn_weights::COMPACT_SHA256;
use serde_json::{Value, json};

#[test]
fn one_url_scores_as_on_the_command_line() {
    let service = Service::start();
    for url in ["https://a.example/login", "http://\0\u{1}\u{7f}/ü", &"x".repeat(5000)] {
        let answer = post(&service, "/v1/score", &json!({ "url": url }));
        assert_eq!((answer.status, answer.kind.as_str()), (200, "application/json"));
        let mut command = phishcnn();
        command.args(["score", "-", "--format", "ndjson"]);
        let expected: Value =
            serde_json::from_str(stdout(&run_with(command, url.as_bytes()))).unwrap();
        assert_eq!(answer.body, expected);
    }
    let url = "https://a.example/login?x=1";
    let answer = post(&service, "/v1/explain", &json!({ "url": url }));
    let expected: Value =
        serde_json::from_str(stdout(&run(["explain", "--format", "json", url]))).unwrap();
    assert_eq!((answer.status, answer.body), (200, expected));
}

#[test]
fn bad_requests_get_their_number() {
    let service = Service::start();
    for path in ["/v1/score", "/v1/explain"] {
        let long = "a".repeat(100_000);
        for (body, status, code) in [
            (json!({ "url": "" }), 422, 201),
            (json!({ "url": " \t\n" }), 422, 201),
            (json!({ "url": long }), 422, 202),
            (json!({ "url": 5 }), 422, 203),
            (json!({ "url": null }), 422, 203),
            (json!({ "url": ["a"] }), 422, 203),
            (json!({ "address": "a" }), 400, 503),
            (json!(["a"]), 400, 503),
            (json!("a"), 400, 503),
        ] {
            assert_problem(&post(&service, path, &body), status, code);
        }
        let bodies: [&[u8]; 5] =
            [b"", b"{\"url\":", b"{\"url\":\"\xff\"}", b"{\"url\":\"\\ud800\"}", b"\0"];
        for body in bodies {
            assert_problem(&post_raw(&service, path, body), 400, 503);
        }
        assert_problem(&post_raw(&service, path, &vec![b' '; 3 << 20]), 413, 504);
    }
    assert_problem(&post(&service, "/nowhere", &json!({})), 404, 505);
    assert_problem(&post(&service, "/version", &json!({})), 405, 506);
    // After all that it still answers.
    assert_eq!(post(&service, "/v1/score", &json!({ "url": "a" })).status, 200);
}

#[test]
fn clients_of_the_python_service_keep_working() {
    let service = Service::start();
    let urls = ["http://a.example/", "https://login.b.example/verify", "c"];
    let answer = post(&service, "/predict", &json!({ "data": urls }));
    assert_eq!(answer.status, 200);
    let expected: Vec<u8> = urls
        .iter()
        .map(|url| {
            let scored = post(&service, "/v1/score", &json!({ "url": url })).body;
            u8::from(scored["verdict"] == "phishing")
        })
        .collect();
    assert_eq!(answer.body, json!({ "prediction": expected }));
    let empty = post(&service, "/predict", &json!({ "data": [] }));
    assert_eq!((empty.status, empty.body), (200, json!({ "prediction": [] })));

    assert_problem(&post(&service, "/predict", &json!({})), 400, 503);
    assert_problem(&post(&service, "/predict", &json!({ "data": "http://a/" })), 400, 503);
    assert_problem(&post_raw(&service, "/predict", b"data=a"), 400, 503);
    for (item, number) in [(json!(""), 201), (json!("a".repeat(100_000)), 202), (json!(7), 203)] {
        let answer = post(&service, "/predict", &json!({ "data": ["http://a/", item] }));
        assert_problem(&answer, 422, number);
        assert_eq!(answer.body["index"], 1);
    }
}

#[test]
fn any_page_may_ask() {
    let service = Service::start();
    let response = client()
        .post(service.url("/predict"))
        .header("Origin", "https://elsewhere.example")
        .send(r#"{"data":["a"]}"#)
        .unwrap();
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let preflight = client()
        .options(service.url("/v1/score"))
        .header("Origin", "https://elsewhere.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type")
        .call()
        .unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET,POST");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "*");
}

#[test]
fn health_and_version() {
    let service = Service::start();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client().get(service.url(path)).call().unwrap().status(), 200);
    }
    let mut response = client().get(service.url("/version")).call().unwrap();
    let version: Value = response.body_mut().read_json().unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["model"]["sha256"], COMPACT_SHA256);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let service = Service::start();
    let mut response = client().get(service.url("/")).call().unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    let page = response.body_mut().read_to_string().unwrap();
    assert!(page.contains(COMPACT_SHA256) && page.contains(env!("CARGO_PKG_VERSION")));
    assert!(!page.contains('{') && !page.contains("<a "), "filled in, and without links");
    let mut names = vec![];
    for attribute in ["src=\"", "href=\""] {
        names.extend(page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()));
    }
    assert!(names.len() >= 3);
    for name in names {
        assert!(!name.contains("//"), "{name}");
        let mut response = client().get(service.url(&format!("/{name}"))).call().unwrap();
        assert_eq!(response.status(), 200, "{name}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let content = response.body_mut().read_to_string().unwrap();
        let content = content.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import"] {
            assert!(!content.contains(forbidden), "{name}: {forbidden}");
        }
    }
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let service = Service::start();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let service = &service;
            scope.spawn(move || {
                let client = client();
                for i in 0..20 {
                    let url = format!("t{thread}-{i}.example");
                    let body = json!({ "url": url }).to_string();
                    let mut response = client.post(service.url("/v1/score")).send(body).unwrap();
                    let answer: Value = response.body_mut().read_json().unwrap();
                    assert_eq!(answer["url"], url);
                }
            });
        }
    });
}

#[test]
fn urls_are_not_logged() {
    let service = Service::start();
    for url in ["http://secret-token.example/?key=secret-token", ""] {
        for path in ["/v1/score", "/v1/explain", "/predict?u=secret-token"] {
            post(&service, path, &json!({ "url": url, "data": [url] }));
        }
    }
    service.signal("INT");
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(0));
    assert!(!log.contains("secret-token"), "{log}");
}

#[test]
fn logs_are_json_and_hold_urls_when_asked() {
    let mut command = phishcnn();
    command.env("PHISHCNN_LOG_FORMAT", "json").env("PHISHCNN_LOG_URLS", "true");
    command.env("PHISHCNN_LOG_LEVEL", "debug");
    let service = Service::start_with(command);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let url = "http://a.example/\u{202e}\n?q=\"x\"";
    let asked = client()
        .post(service.url("/v1/score"))
        .header("X-Request-Id", "abc-123")
        .header("traceparent", trace)
        .send(json!({ "url": url }).to_string());
    assert_eq!(asked.unwrap().status(), 200);
    service.signal("INT");
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(0));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    let of = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap();
    let scored = of("scored");
    assert!(scored["logit"].is_number() && scored["verdict"].is_string());
    // What would act on a terminal is shown by its number.
    let shown = scored["url"].as_str().unwrap();
    assert!(shown.starts_with("http://a.example/") && shown.is_ascii() && !shown.contains('\n'));
    let answered = of("answered");
    for (field, value) in [
        ("route", json!("/v1/score")),
        ("method", json!("POST")),
        ("status", json!(200)),
        ("id", json!("abc-123")),
        ("trace", json!("0af7651916cd43dd8448eb211c80319c")),
    ] {
        assert_eq!(answered[field], value, "{field}");
    }
    assert!(answered["micros"].is_number());
}

/// Between the signal and the end of new connections it is alive and answers, but not ready.
#[test]
fn it_stops_being_ready_before_it_stops() {
    let mut command = phishcnn();
    command.env("PHISHCNN_SHUTDOWN_DELAY", "5s");
    let service = Service::start_with(command);
    let status = |path: &str| client().get(service.url(path)).call().unwrap().status().as_u16();
    assert_eq!((status("/readyz"), status("/v2/health/ready")), (200, 200));
    service.signal("TERM");
    let stopped = Instant::now();
    while status("/readyz") == 200 {
        assert!(stopped.elapsed() < Duration::from_secs(4), "still ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((status("/readyz"), status("/v2/health/ready")), (503, 503));
    assert_eq!((status("/healthz"), status("/v2/health/live")), (200, 200));
    assert_eq!(post(&service, "/predict", &json!({ "data": ["a"] })).status, 200);
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A request whose body is still on its way when SIGTERM arrives.
#[test]
fn requests_under_way_are_finished() {
    let service = Service::start();
    let body = r#"{"url":"http://a.example/"}"#;
    let (first, rest) = body.split_at(10);
    let head = format!(
        "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{first}",
        body.len()
    );
    let mut connection = TcpStream::connect(&service.address).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    // A connection without a request must not hold up the end.
    let _idle = TcpStream::connect(&service.address).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    service.signal("TERM");
    let stopped = Instant::now();
    // New connections are refused.
    while TcpStream::connect(&service.address).is_ok() {
        assert!(stopped.elapsed() < Duration::from_secs(5), "still accepting");
        std::thread::sleep(Duration::from_millis(20));
    }
    connection.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"verdict\""), "{answer}");
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(stopped.elapsed() < Duration::from_secs(8));
}

/// A client that never ends its request is cut off at the shutdown timeout.
/// A client that has just come, or has just been answered, may have sent a request that nobody has
/// read yet: it is answered, and told that the connection ends.
#[test]
fn who_is_about_to_ask_is_answered() {
    let service = Service::start();
    let asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut new = TcpStream::connect(&service.address).unwrap();
    let mut kept = TcpStream::connect(&service.address).unwrap();
    kept.write_all(asked).unwrap();
    let mut answer = [0; 4096];
    let length = kept.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    service.signal("TERM");
    while TcpStream::connect(&service.address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for connection in [&mut new, &mut kept] {
        connection.write_all(asked).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn the_end_has_a_deadline() {
    let mut command = phishcnn();
    command.env("PHISHCNN_BODY_TIMEOUT", "1min").env("PHISHCNN_SHUTDOWN_TIMEOUT", "2s");
    let service = Service::start_with(command);
    let mut connection = TcpStream::connect(&service.address).unwrap();
    connection
        .write_all(b"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    service.signal("TERM");
    let stopped = Instant::now();
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!((1..6).contains(&stopped.elapsed().as_secs()));
}

#[test]
fn wrong_settings_stop_the_start() {
    let start = |name: &str, value: &str| {
        let mut command = phishcnn();
        command.args(["serve", "--listen", "127.0.0.1:0"]).env(name, value);
        run_with(command, b"")
    };
    let unknown = start("PHISHCNN_LISTN", "127.0.0.1:1");
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("401: unknown setting: PHISHCNN_LISTN"));
    let empty = start("PHISHCNN_MODEL", "");
    assert_eq!(code(&empty), 2);
    assert!(stderr(&empty).contains("402: bad value"));

    for wrong in ["8000", "127.0.0.1:99999", "", "127.0.0.1:x", "192.0.2.1:80"] {
        let mut command = phishcnn();
        command.arg("serve").env("PHISHCNN_LISTEN", wrong);
        let output = run_with(command, b"");
        assert_eq!(code(&output), 2, "{wrong}");
        assert!(stderr(&output).contains("402: bad value"), "{}", stderr(&output));
    }

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(["serve", "--listen", &address]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("403: address in use"), "{}", stderr(&output));

    let mut command = phishcnn();
    command.env("PHISHCNN_SERVICE_HOST", "10.0.0.1").env("PHISHCNN_PORT_8000_TCP", "tcp://x");
    drop(Service::start_with(command));
}
