//! Clients that mean harm, crowds, and endurance: others are answered, and memory stays flat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Service, client, connect, metric, phishcnn, post, resident};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// `make service` takes longer.
fn thorough() -> bool {
    std::env::var_os("SERVICE_TESTS").is_some()
}

/// Whether somebody else gets an answer; a client tries again where it is told to.
fn others_are_answered(service: &Service) {
    for _ in 0..3 {
        let started = Instant::now();
        loop {
            let request = client().post(service.url("/predict")).send(r#"{"data":["a"]}"#);
            if request.is_ok_and(|response| response.status() == 200) {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no answer to others");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// As many open files as the system lets this test have.
fn open_files() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    limit.maximum.map_or(usize::MAX, |most| most as usize)
}

/// Connections are opened, each says a little, none ever ends its request.
#[test]
fn ten_thousand_connections_leave_room() {
    let crowd = if thorough() { 10_000 } else { 2_000 };
    if open_files() < crowd + 100 {
        eprintln!("passed over: fewer than {crowd} open files are allowed");
        return;
    }
    let says = [
        &b""[..],
        b"POST /predict HTTP/1.1\r\nX-Slow: ",
        b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{\"da",
        b"POST /v1/score/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n\
          Transfer-Encoding: chunked\r\n\r\n4\r\n\"a\"\n\r\n",
    ];
    for most in ["960", "20000"] {
        let mut command = phishcnn();
        command.env("PHISHCNN_MAX_CONNECTIONS", most);
        if most == "20000" {
            // Time must take none of them away.
            command.env("PHISHCNN_HEADER_TIMEOUT", "5min").env("PHISHCNN_BODY_TIMEOUT", "5min");
            command.env("PHISHCNN_IDLE_TIMEOUT", "5min").env("PHISHCNN_REQUEST_TIMEOUT", "5min");
        }
        let service = Service::start_with(command);
        others_are_answered(&service);
        let before = resident(&service);
        let mut open = Vec::with_capacity(crowd);
        for i in 0..crowd {
            let mut stream = connect(&service);
            // Those that were told to come back later are closed already.
            let _ = stream.write_all(says[i % says.len()]);
            open.push(stream);
            if i % 2500 == 2499 {
                others_are_answered(&service);
            }
        }
        others_are_answered(&service);
        let metrics = service.metrics();
        let connections = metric(&metrics, "phishcnn_connections").unwrap();
        let gone = ["evicted", "refused"]
            .map(|how| metric(&metrics, &format!("phishcnn_connections_{how}_total")).unwrap());
        if most == "960" {
            // Those that are being sent away are still open.
            let room = gone[0] + gone[1] >= crowd as f64 - 960.0;
            assert!(connections <= 960.0 + 256.0 && room, "{connections}, {gone:?}");
        } else {
            assert!(connections >= crowd as f64 && gone == [0.0; 2], "{connections}, {gone:?}");
        }
        let grown = resident(&service).saturating_sub(before);
        // About what one connection with a begun stream takes, times all.
        assert!(grown < crowd * (32 << 10), "{grown} bytes more for {crowd} connections");
        drop(open);
        others_are_answered(&service);
    }
}

/// Many more clients at once than there is room for: every one is answered, the excess by 503.
#[test]
fn who_finds_no_room_is_told_to_come_back() {
    let crowd = if thorough() { 2_000 } else { 500 };
    if open_files() < crowd + 100 {
        eprintln!("passed over: fewer than {crowd} open files are allowed");
        return;
    }
    let mut command = phishcnn();
    command.env("PHISHCNN_MAX_CONNECTIONS", "50");
    let service = Service::start_with(command);
    let (mut served, mut told) = (0, 0);
    for _ in 0..3 {
        let ask = |_| {
            let mut stream = connect(&service);
            let _ = stream.write_all(
                b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{\"data\":[\"a\"]}",
            );
            stream
        };
        let streams: Vec<_> = (0..crowd).map(ask).collect();
        for stream in streams {
            let (head, body) = answer(stream);
            if head.starts_with("HTTP/1.1 200 ") {
                assert_eq!(body["prediction"].as_array().unwrap().len(), 1);
                served += 1;
            } else {
                assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
                assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
                assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
                assert_eq!(body["code"], 501);
                told += 1;
            }
        }
        others_are_answered(&service);
    }
    assert_eq!(served + told, 3 * crowd);
    assert!(served >= 50 && told >= crowd, "{served} served, {told} told");
}

/// Reads one answer and no more.
fn answer(stream: TcpStream) -> (String, Value) {
    let (mut stream, mut head) = (std::io::BufReader::new(stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        let read = std::io::BufRead::read_line(&mut stream, &mut head).unwrap();
        assert!(read > 0, "broken off after {head:?}");
    }
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// Heads that come byte by byte, more of them than the service has room for.
#[test]
fn slow_heads_do_not_keep_others_out() {
    let mut command = phishcnn();
    command.env("PHISHCNN_MAX_CONNECTIONS", "100").env("PHISHCNN_HEADER_TIMEOUT", "2s");
    let service = Service::start_with(command);
    let stop = AtomicBool::new(false);
    let told = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut slow: Vec<TcpStream> = vec![];
                while !stop.load(Ordering::Relaxed) {
                    slow.resize_with(50, || {
                        let mut stream = connect(&service);
                        stream.set_nonblocking(true).unwrap();
                        let _ = stream.write_all(b"GET /predict HTTP/1.1\r\n");
                        stream
                    });
                    slow.retain_mut(|stream| {
                        let mut answer = [0; 512];
                        match stream.read(&mut answer) {
                            Ok(read) => {
                                let answer = String::from_utf8_lossy(&answer[..read]);
                                let known = ["", "HTTP/1.1 408 ", "HTTP/1.1 503 "];
                                assert!(known.iter().any(|k| answer.starts_with(k)), "{answer}");
                                told.fetch_add(usize::from(read > 0), Ordering::Relaxed);
                                false
                            }
                            Err(_) => stream.write_all(b"x").is_ok(),
                        }
                    });
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        for _ in 0..if thorough() { 10 } else { 3 } {
            others_are_answered(&service);
            std::thread::sleep(Duration::from_millis(500));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(told.load(Ordering::Relaxed) > 100);
}

/// Pieces of requests, put together by chance: whatever comes back is an HTTP error or nothing.
#[test]
fn malformed_requests_do_no_harm() {
    let pieces: [&[u8]; 24] = [
        b"POST /predict HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET http://a/ HTTP/9.9\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"Host: a\r\n",
        b"Host: a\r\nHost: b\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: zstd\r\n",
        b"Content-Type: application/x-ndjson\r\n",
        b"Expect: 100-continue\r\n",
        b"X-Forwarded-For: \xff\xfe, ,,::\r\ntraceparent: 00-\r\nX-Request-Id: \t\r\n",
        b"\r\n",
        b"\r\n{\"data\":[\"a\"]}",
        b"5\r\n{\"dat\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"\x28\xb5\x2f\xfd\x04\xff\xff\xff",
        b"\0\0\0\0",
    ];
    let mut command = phishcnn();
    command.env("PHISHCNN_BODY_TIMEOUT", "300ms").env("PHISHCNN_HEADER_TIMEOUT", "300ms");
    let service = Service::start_with(command);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 32) as usize % below
    };
    for _ in 0..if thorough() { 3000 } else { 500 } {
        let request: Vec<u8> =
            (0..=next(8)).flat_map(|_| pieces[next(pieces.len())]).copied().collect();
        let mut stream = connect(&service);
        let _ = stream.write_all(&request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let shown = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || shown.starts_with("HTTP/1."), "{request:?}: {shown}");
        assert!(!shown.contains("HTTP/1.1 500"), "{request:?}: {shown}");
    }
    others_are_answered(&service);
    let metrics = service.metrics();
    assert_eq!(metric(&metrics, "phishcnn_requests_in_flight"), Some(1.0));
}

/// Sends `lines` while it reads, and checks each answer's place. Gives the most memory held.
fn stream_lines(service: &Service, lines: usize, packed: bool) -> usize {
    let mut stream = connect(service);
    let encoding = if packed { "Content-Encoding: gzip\r\n" } else { "" };
    write!(
        stream,
        "POST /v1/score/batch HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{encoding}\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let mut to = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let mut piece = String::new();
        let mut send = |bytes: &[u8]| {
            write!(to, "{:x}\r\n", bytes.len()).unwrap();
            to.write_all(bytes).unwrap();
            to.write_all(b"\r\n").unwrap();
        };
        let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        for i in 0..lines {
            piece += &format!("{{\"url\":\"https://host-{i}.example/path/{i}?q\"}}\n");
            if piece.len() > 16_000 || i + 1 == lines {
                if packed {
                    encoder.write_all(piece.as_bytes()).unwrap();
                    let bytes = std::mem::take(encoder.get_mut());
                    if !bytes.is_empty() {
                        send(&bytes);
                    }
                } else {
                    send(piece.as_bytes());
                }
                piece.clear();
            }
        }
        if packed {
            send(&encoder.finish().unwrap());
        }
        to.write_all(b"0\r\n\r\n").unwrap();
    });
    // The answer's chunks are cut at any place: their frames are taken out first.
    let (mut seen, mut most, mut line) = (0, 0, vec![]);
    let mut answer = std::io::BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        std::io::BufRead::read_line(&mut answer, &mut head).unwrap();
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    loop {
        let mut size = String::new();
        std::io::BufRead::read_line(&mut answer, &mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        answer.read_exact(&mut chunk).unwrap();
        if size == 0 {
            break;
        }
        for &byte in &chunk[..size] {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            if seen % 1000 == 0 {
                let result: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(result["url"], format!("https://host-{seen}.example/path/{seen}?q"));
                assert!(result["verdict"].is_string());
                most = most.max(resident(service));
            }
            seen += 1;
            line.clear();
        }
    }
    writer.join().unwrap();
    assert_eq!((seen, line.len()), (lines, 0));
    most
}

#[test]
fn a_long_stream_takes_no_memory() {
    let lines = if thorough() { 300_000 } else { 20_000 };
    let service = Service::start();
    let before = stream_lines(&service, 2_000, true);
    for (packed, lines) in [(false, lines), (true, lines / 5)] {
        let most = stream_lines(&service, lines, packed);
        let grown = most.saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more in {lines} lines");
    }
    let scored = metric(&service.metrics(), "prediction_time_count");
    assert_eq!(scored, Some(2_000.0 + 1.2 * lines as f64));
}

/// All that the service does, as fast as it does it: memory after the first quarter is memory at
/// the end. `make soak` does so for three minutes, in which as much comes as in a busy hour.
#[test]
fn memory_stays_flat() {
    let asked = std::env::var("SOAK_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let time = Duration::from_secs(asked.unwrap_or(if thorough() { 40 } else { 4 }));
    let folder = tempfile::tempdir().unwrap();
    let mut command = phishcnn();
    command.env("PHISHCNN_FEEDBACK", folder.path().join("f.sqlite"));
    command.env("PHISHCNN_ADMIN_LISTEN", "127.0.0.1:0").env("PHISHCNN_RATE_LIMIT", "100000000/s");
    let service = Service::start_with(command);
    let (started, requests) = (Instant::now(), AtomicUsize::new(0));
    let settled = std::thread::scope(|scope| {
        for thread in 0..4 {
            let (service, requests) = (&service, &requests);
            scope.spawn(move || {
                let client = client();
                let long = format!("https://a.example/{}", "x/".repeat(10_000));
                let mut i = 0;
                while started.elapsed() < time {
                    i += 1;
                    let url = format!("https://t{thread}.example/{}", i % 100);
                    let (path, body) = match i % 12 {
                        // Costs a hundred times what others do.
                        0 if i % 240 == 0 => ("/v1/explain", json!({ "url": long })),
                        1 if i % 60 == 1 => ("/v1/explain", json!({ "url": url })),
                        2 => ("/v1/feedback", json!({ "url": url, "truth": "phishing" })),
                        3 => ("/v1/score/batch", json!({ "urls": vec![&url; 30] })),
                        4 => ("/v1/score", json!({ "url": 5 })),
                        5 => (&*format!("/nowhere/{i}"), json!({})),
                        6 => ("/v1/score", json!({ "url": long })),
                        _ => ("/predict", json!({ "data": [url] })),
                    };
                    let response = if i % 5 == 0 {
                        // A connection of its own.
                        ureq::post(service.url(path))
                            .config()
                            .http_status_as_error(false)
                            .build()
                            .send(body.to_string())
                    } else {
                        client.post(service.url(path)).send(body.to_string())
                    };
                    let mut response = response.unwrap();
                    assert!(response.status().as_u16() < 500, "{path}");
                    response.body_mut().read_to_vec().unwrap();
                    if i % 50 == 0 {
                        // Gone in the middle of a request.
                        let _ = connect(service)
                            .write_all(b"POST /predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{");
                        service.metrics();
                    }
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time / 4);
        let models = [phishcnn_weights::COMPACT; 3];
        for model in models {
            let put = client().put(format!("http://{}/admin/model", service.admin));
            assert_eq!(put.send(model).unwrap().status(), 200);
        }
        resident(&service)
    });
    let (end, requests) = (resident(&service), requests.into_inner());
    assert!(requests > 100, "{requests}");
    assert!(end < settled + (4 << 20), "from {settled} to {end} bytes in {requests} requests");
    eprintln!("{requests} requests: from {} to {} KiB", settled >> 10, end >> 10);
    assert_eq!(post(&service, "/predict", &json!({ "data": ["a"] })).status, 200);
}
