//! `phishcnn eval`: figures against a slow calculation from `score`, and every bad file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::Write;
use std::path::PathBuf;

use common::{code, phishcnn, run, run_with, stderr, stdout, text};
use serde_json::Value;
use tempfile::TempDir;

/// 60 rows with two columns more: (label, url, source, tags).
fn sample() -> Vec<(bool, String, &'static str)> {
    (0..60)
        .map(|i| {
            let tags = ["", "login", "login,bank", "shop"][i % 4];
            (i % 3 == 0, format!("http://host{i}.example/{}", "p/".repeat(i % 7)), tags)
        })
        .collect()
}

fn write(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn tsv(rows: &[(bool, String, &str)], words: bool) -> String {
    rows.iter()
        .map(|(phishing, url, tags)| {
            let label = match (phishing, words) {
                (true, true) => "phishing",
                (false, true) => "legitimate",
                (true, false) => "1",
                (false, false) => "0",
            };
            format!("{label}\t{url}\tsomewhere\t{tags}\n")
        })
        .collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(content).unwrap();
    packer.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn figures_of_pooled_packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample();
    let (a, rest) = sample.split_at(20);
    let (b, c) = rest.split_at(20);
    let header = format!("label\turl\tsource\ttags\n{}", tsv(a, true));
    let a = write(&folder, "a.tsv", header.as_bytes());
    // By content, not by name; and two frames or members put together are one file.
    let b = write(
        &folder,
        "b",
        &[gzip(tsv(&b[..5], false).as_bytes()), gzip(tsv(&b[5..], false).as_bytes())].concat(),
    );
    let c = write(
        &folder,
        "c.zst",
        &[zstd(tsv(&c[..5], true).as_bytes()), zstd(tsv(&c[5..], true).as_bytes())].concat(),
    );
    let report = folder.path().join("report.json");
    let arguments = [
        "eval",
        text(&a),
        text(&b),
        text(&c),
        "--slice-column",
        "4",
        "--json",
        text(&report),
        "--threads",
        "3",
    ];
    let output = run(arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("not resolvable"));
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();

    let urls: String = sample.iter().map(|row| format!("{}\n", row.1)).collect();
    let mut command = phishcnn();
    command.args(["score", "-", "--format", "ndjson"]);
    let scores: Vec<Value> = stdout(&run_with(command, urls.as_bytes()))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let logits: Vec<f64> = scores.iter().map(|s| s["logit"].as_f64().unwrap()).collect();

    assert_eq!((&report["phishing"], &report["legitimate"]), (&20.into(), &40.into()));
    // The area under the curve is the share of pairs in the right order.
    let mut right = 0.0;
    for (i, p) in sample.iter().enumerate().filter(|(_, row)| row.0) {
        for (j, _) in sample.iter().enumerate().filter(|(_, row)| !row.0) {
            right += match logits[i].total_cmp(&logits[j]) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
        assert!(p.0);
    }
    let auc = report["auc"].as_f64().unwrap();
    assert!((auc - right / 800.0).abs() < 1e-12, "{auc}");

    for verdicts in [&["phishing"][..], &["phishing", "suspicious"]] {
        let name = *verdicts.last().unwrap();
        let flagged =
            |s: &Value| verdicts.iter().any(|verdict| s["verdict"].as_str() == Some(verdict));
        let count = |phishing: bool, flag: bool| {
            let both = sample.iter().zip(&scores);
            both.filter(|(row, s)| row.0 == phishing && flagged(s) == flag).count()
        };
        let at = &report["thresholds"][name];
        let counts =
            [("tp", true, true), ("fp", false, true), ("fn", true, false), ("tn", false, false)];
        for (field, phishing, flag) in counts {
            assert_eq!(at[field], count(phishing, flag), "{name} {field}");
        }
    }
    assert_eq!(report["recall_at"][0]["resolvable"], false);
    assert!(report["recall_at"][0]["recall"].is_null());

    let slices: Vec<_> = report["slices"].as_array().unwrap().iter().collect();
    let names: Vec<_> = slices.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["(none)", "bank", "login", "shop"]);
    for slice in slices {
        let name = slice["name"].as_str().unwrap();
        let has = |tags: &str| {
            tags.split(',').any(|tag| tag == name) || (tags.is_empty() && name == "(none)")
        };
        let members = |phishing| sample.iter().filter(|r| r.0 == phishing && has(r.2)).count();
        assert_eq!(slice["phishing"], members(true), "{name}");
        assert_eq!(slice["legitimate"], members(false), "{name}");
    }
}

#[test]
fn a_slice_column_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let content = "label\turl\tkind\n1\ta.example\tx\n0\tb.example\ty\n";
    let path = write(&folder, "rows.tsv", content.as_bytes());
    let output = run(["eval", text(&path), "--slice-column", "kind", "--json", "-"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["slices"][0]["name"], "x");
    let unknown = run(["eval", text(&path), "--slice-column", "colour"]);
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("\"colour\""));
}

#[test]
fn rows_that_cannot_be_scored_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(100_000);
    let content = format!("1\ta.example\n0\t \n0\tb.example\n1\t{long}\n0\t\n");
    let path = write(&folder, "rows.tsv", content.as_bytes());
    let output = run(["eval", text(&path), "--json", "-"]);
    assert_eq!(code(&output), 1);
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(report["failed"]["count"], 3);
    assert_eq!(report["failed"]["by_code"]["201"], 2);
    assert_eq!(report["failed"]["rows"][1]["line"], 4);
    assert_eq!(report["failed"]["rows"][1]["code"], 202);
    assert_eq!((&report["phishing"], &report["legitimate"]), (&1.into(), &1.into()));
    let shown = run(["eval", text(&path)]);
    assert!(stdout(&shown).contains(&format!("{}:4: 202", text(&path))));
}

#[test]
fn bad_files_are_named_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("1\ta.example\nb.example\n", ":2: no tab"),
        ("1\ta.example\n\tb.example\n", ":2: a row without a label"),
        ("1\ta.example\n0\tb.example\nmaybe\tc.example\n", ":3: unknown label \"maybe\""),
        ("1\ta.example\n\n", ":2: no tab"),
    ];
    for (content, message) in cases {
        let path = write(&folder, "rows.tsv", content.as_bytes());
        let output = run(["eval", text(&path)]);
        assert_eq!(code(&output), 1, "{content:?}");
        assert!(output.stdout.is_empty());
        let expected = format!("{}{message}", text(&path));
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
    let cut = gzip(tsv(&sample(), false).as_bytes());
    let path = write(&folder, "cut.gz", &cut[..cut.len() / 2]);
    let output = run(["eval", text(&path)]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cut.gz"), "{}", stderr(&output));

    for missing in ["/no/such/file.tsv", text(folder.path())] {
        let output = run(["eval", missing]);
        assert_eq!(code(&output), 2);
        assert!(stderr(&output).contains(missing));
    }
}

#[test]
fn one_class_has_no_curve() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "rows.tsv", b"1\ta.example\n1\tb.example\n");
    let output = run(["eval", text(&path), "--json", "-"]);
    assert_eq!(code(&output), 0);
    let report: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert!(report["auc"].is_null() && report["expected_calibration_error"].is_null());
    assert!(report["thresholds"]["phishing"]["false_positive_rate"].is_null());
    assert_eq!(code(&run(["eval", text(&path)])), 0);
}
