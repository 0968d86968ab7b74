//! Model files: `model info`, `model check`, and what an unusable file does to every command.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::path::PathBuf;

use common::{code, run, stderr, stdout, text};
use phishcnn_weights::{COMPACT, COMPACT_SCRATCH_LEN, COMPACT_SHA256};
use serde_json::Value;
use tempfile::TempDir;

fn file(folder: &TempDir, content: &[u8]) -> PathBuf {
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn info_of_the_embedded_model() {
    let output = run(["model", "info", "--format", "json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let info: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(info["sha256"], COMPACT_SHA256);
    assert_eq!(info["file_bytes"], COMPACT.len());
    assert_eq!(info["scratch_bytes"], COMPACT_SCRATCH_LEN);
    assert!(info["thresholds"]["phishing"].as_f64() >= info["thresholds"]["suspicious"].as_f64());

    let shown = run(["model", "info"]);
    assert!(stdout(&shown).contains(COMPACT_SHA256) && stdout(&shown).contains("multiply-adds"));
}

#[test]
fn the_embedded_model_from_a_file_scores_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, COMPACT);
    let urls = ["score", "--format", "ndjson", "https://a.example/b", "c.example"];
    let other = [&urls[..], &["--model", text(&path)]].concat();
    let other: [&str; 7] = other.try_into().unwrap();
    assert_eq!(stdout(&run(urls)), stdout(&run(other)));
    let checked = run(["model", "check", text(&path)]);
    assert_eq!(code(&checked), 0);
    assert!(stdout(&checked).starts_with("ok: "));
}

#[test]
fn an_unusable_model_is_exit_code_3_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut nan = include_bytes!("../../core/tests/vectors/url-bytes.safetensors").to_vec(); // f32
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut padded = COMPACT.to_vec();
    padded.extend_from_slice(&[0; 16]);
    let cases: [(&[u8], &str); 6] = [
        (b"", "101"),
        (b"not a model at all, just some text", "10"),
        (&COMPACT[..COMPACT.len() - 4], "103"),
        (&COMPACT[..100], "10"),
        (&nan, "106"),
        (&padded, "103"),
    ];
    for (content, number) in cases {
        let path = file(&folder, content);
        let model = text(&path);
        for output in [
            run(["model", "check", model]),
            run(["model", "info", model]),
            run(["score", "a.example", "--model", model]),
            run(["explain", "a.example", "--model", model]),
            run(["eval", model, "--model", model]),
            run(["serve", "--listen", "127.0.0.1:0", "--model", model]),
        ] {
            assert_eq!(code(&output), 3, "{}", stderr(&output));
            assert!(output.stdout.is_empty());
            let message = stderr(&output);
            assert!(message.contains(&format!("{model}: {number}")), "{number}: {message}");
        }
    }
    let missing = run(["model", "check", "/no/such/model"]);
    assert_eq!(code(&missing), 3);
    assert!(stderr(&missing).contains("/no/such/model"));
}
