//! The released binary: one file, small, and little memory (`make service`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::process::Command;
use std::time::Instant;

use common::{Service, available, binary, client, phishcnn, resident, stdout};

/// The tests' own build is not what is released.
fn released() -> bool {
    available("SERVICE_BINARY", std::env::var_os("SERVICE_BINARY").is_some())
}

#[test]
fn it_needs_no_library() {
    if !released() {
        return;
    }
    let listed = Command::new("ldd").arg(binary()).output().unwrap();
    assert!(!stdout(&listed).contains("=>"), "{}", stdout(&listed));
    // Names are looked up without the C library's plug-ins, too.
    let mut command = phishcnn();
    command.env("PHISHCNN_ADMIN_LISTEN", "localhost:0");
    let service = Service::start_with(command);
    assert!(!service.admin.is_empty());
}

/// The number of MiB that each page states behind these words is this one, within a tenth.
fn assert_stated(pages: [(&str, &str); 2], bytes: u64) {
    for (page, words) in pages {
        let text = std::fs::read_to_string(page).unwrap();
        let (_, rest) = text.split_once(words).expect(page);
        let (number, _) = rest.split_once(" MiB").expect(page);
        let stated = number.parse::<u64>().expect(page) << 20;
        assert!(
            stated.abs_diff(bytes) <= bytes / 10,
            "{page}: {words}{number} MiB, but {bytes} bytes"
        );
    }
}

#[test]
fn it_is_small() {
    if !released() {
        return;
    }
    // As `make binary` leaves it.
    let bytes = std::fs::metadata(binary()).unwrap().len();
    assert_stated(
        [("../README.md", "The binary of "), ("README.md", "one static file of ")],
        bytes,
    );
    let folder = tempfile::tempdir().unwrap();
    let stripped = folder.path().join("phishcnn");
    let done = Command::new("strip").arg("-o").arg(&stripped).arg(binary()).status().unwrap();
    assert!(done.success());
    let bytes = std::fs::metadata(&stripped).unwrap().len();
    assert!(bytes <= 20 << 20, "{bytes} bytes");
    eprintln!("stripped: {bytes} bytes");
}

#[test]
fn it_rests_in_little_memory() {
    if !released() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut starts: Vec<_> = (0..9)
        .map(|i| {
            let mut command = phishcnn();
            command.env("PHISHCNN_FEEDBACK", folder.path().join(format!("{i}.sqlite")));
            let started = Instant::now();
            let service = Service::start_with(command);
            let answer = client().get(service.url("/healthz")).call().unwrap();
            let took = started.elapsed();
            assert_eq!(answer.status(), 200);
            let bytes = resident(&service);
            assert!(bytes <= 30 << 20, "{bytes} bytes at rest");
            (took, bytes)
        })
        .collect();
    starts.sort();
    let bytes = u64::try_from(starts[4].1).unwrap();
    assert_stated([("../README.md", "rests at "), ("README.md", "rests at ")], bytes);
    // Told, not asserted: other work on the machine takes time.
    eprintln!(
        "median from start to first answer: {:?}; {} bytes resident",
        starts[4].0, starts[4].1
    );
}
