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

#[test]
fn it_is_small() {
    if !released() {
        return;
    }
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
    // Told, not asserted: other work on the machine takes time.
    eprintln!(
        "median from start to first answer: {:?}; {} bytes resident",
        starts[4].0, starts[4].1
    );
}
