//! The golden vectors over HTTP: `core/tests/vectors`, in f32 and in integers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::path::Path;

use common::{Service, assert_problem, phishcnn, post, text};
use serde_json::{Value, json};

const PARTS: [&str; 9] = [
    "scheme",
    "user_info",
    "subdomain",
    "registrable_label",
    "public_suffix",
    "port",
    "path",
    "query",
    "fragment",
];

/// The vectors that JSON can carry, with their URLs.
fn vectors(file: &Path) -> Vec<(String, Value)> {
    let document: Value =
        serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
    let rows = document["vectors"].as_array().unwrap().iter();
    let sent = rows.filter_map(|row| {
        let mut url = row["url"].as_str()?.to_owned();
        if let Value::Object(repeat) = &row["repeat"] {
            let times = usize::try_from(repeat["times"].as_u64().unwrap()).unwrap();
            url.push_str(&repeat["text"].as_str().unwrap().repeat(times));
        }
        Some((url, row.clone()))
    });
    sent.collect()
}

fn near(found: &Value, expected: &Value, by: f64) -> bool {
    (found.as_f64().unwrap() - expected.as_f64().unwrap()).abs() <= by
}

#[test]
fn answers_are_those_of_the_oracle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/vectors");
    for name in ["url-bytes", "keras-char", "int8-url-bytes", "int8-keras-char"] {
        let file = folder.join(name).with_extension("safetensors");
        let mut command = phishcnn();
        command.env("PHISHCNN_MODEL", text(&file));
        let service = Service::start_with(command);
        let vectors = vectors(&file);
        assert!(vectors.len() > 50, "{}", vectors.len());
        for (url, row) in vectors {
            let score = post(&service, "/v1/score", &json!({ "url": url }));
            let explained = post(&service, "/v1/explain", &json!({ "url": url }));
            if let Some(code) = row["error"].as_u64() {
                assert_problem(&score, 422, code);
                assert_problem(&explained, 422, code);
                continue;
            }
            let (score, explained) = (score.body, explained.body);
            let case = format!("{name} {row}: {score}");
            assert_eq!(score["url"], *url, "{case}");
            if let Some(sum) = row["sum"].as_i64() {
                // A power of two below it: nothing is rounded, and nothing may differ, once the
                // shortest decimal of an f32 is one again.
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_precision_loss,
                    reason = "24 bits"
                )]
                let (found, sum) = (score["logit"].as_f64().unwrap() as f32, sum as f32);
                assert!(found.to_bits() == (sum / 1_048_576.0).to_bits(), "{case}");
                continue;
            }
            assert!(near(&score["logit"], &row["logit"], 1e-4), "{case}");
            assert!(near(&score["probability"], &row["probability"], 1e-3), "{case}");
            assert_eq!(score["verdict"], row["verdict"], "{case}");
            assert_eq!(score["truncated"], row["truncated"], "{case}");
            let segments = explained["segments"].as_array().unwrap();
            let expected = row["segments"].as_array().unwrap();
            assert_eq!(segments.len(), expected.len(), "{case}");
            for (found, expected) in segments.iter().zip(expected) {
                assert_eq!(
                    (&found["start"], &found["end"]),
                    (&expected[0], &expected[1]),
                    "{case}"
                );
                let part = usize::try_from(expected[2].as_u64().unwrap()).unwrap();
                assert_eq!(found["part"], PARTS[part], "{case}");
                assert!(near(&found["contribution"], &expected[3], 2e-4), "{case}");
            }
        }
    }
}
