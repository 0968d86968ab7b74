//! `phishcnn score` and `phishcnn explain`, through the built binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{code, phishcnn, run, run_with, stderr, stdout, text};
use serde_json::Value;

fn score(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let mut command = phishcnn();
    command.arg("score").args(arguments);
    run_with(command, input)
}

fn rows(output: &std::process::Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn urls_as_arguments_in_order() {
    let output = run(["score", "--format", "ndjson", "https://b.example/", "a.example/x"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let rows = rows(&output);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["url"], "https://b.example/");
    assert_eq!(rows[1]["url"], "a.example/x");
    for row in rows {
        assert!(row["logit"].is_f64() && row["truncated"] == false);
        assert!((0.0..=1.0).contains(&row["probability"].as_f64().unwrap()));
        let verdict = row["verdict"].as_str().unwrap();
        assert!(["benign", "suspicious", "phishing"].contains(&verdict));
        assert_eq!(row.as_object().unwrap().len(), 5);
    }
}

/// Every kind of bad line gives exactly one row, in its place.
#[test]
fn one_result_or_one_numbered_error_per_line() {
    let mut input = b"https://a.example/\n\n   \t\nhttp://nul.example/\0\x01\x1b[31m\n".to_vec();
    input.extend_from_slice(b"http://\xff\xfe.example/\xc3\n");
    input.extend(std::iter::repeat_n(b'a', 100_000));
    input.extend_from_slice(b"\nhttp://crlf.example/\r\nhttps://long.example/");
    input.extend(std::iter::repeat_n(b'x', 1000));
    for threads in ["1", "3"] {
        let output = score(&["-", "--format", "ndjson", "--threads", threads], &input);
        assert_eq!(code(&output), 1);
        let rows = rows(&output);
        let codes: Vec<_> = rows.iter().map(|row| row["error"]["code"].as_u64()).collect();
        let expected = [None, Some(201), Some(201), None, None, Some(202), None, None];
        assert_eq!(codes, expected);
        assert_eq!(rows[1]["error"]["message"], "empty URL");
        assert_eq!(rows[3]["url"], "http://nul.example/\0\u{1}\u{1b}[31m");
        assert_eq!(rows[4]["url"], "http://\u{fffd}\u{fffd}.example/\u{fffd}");
        assert_eq!(rows[5]["url"].as_str().unwrap().len(), 100_000);
        assert_eq!(rows[6]["url"], "http://crlf.example/");
        assert_eq!(rows[7]["truncated"], true);
    }
}

/// Mostly lines that are too long, so that there are many batches, of unequal work.
#[test]
fn lines_keep_their_order_on_many_threads() {
    let line =
        |i: usize| format!("{i}.ex/{}\n", "x".repeat(if i.is_multiple_of(9) { 1 } else { 70_000 }));
    let input: String = (0..150).map(line).collect();
    let output = score(&["--format", "ndjson", "--threads", "4"], input.as_bytes());
    let urls: String =
        rows(&output).iter().map(|row| format!("{}\n", row["url"].as_str().unwrap())).collect();
    assert!(urls == input);
}

#[test]
fn an_answer_comes_before_the_input_ends() {
    let mut child = phishcnn()
        .args(["score", "-", "--format", "ndjson"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for url in ["a.example", "b.example"] {
        writeln!(stdin, "{url}").unwrap();
        assert!(answers.next().unwrap().unwrap().contains(url));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = phishcnn()
        .args(["score", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"a.example\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output)), (0, ""));
}

#[test]
fn tsv_and_csv_carry_the_same_rows() {
    let input = b"http://a.example/?x=\"1\",2\tz\\\n\nhttp://\xff.example/\n";
    let tsv = score(&["-", "--format", "tsv"], input);
    let csv = score(&["-", "--format", "csv"], input);
    assert_eq!((code(&tsv), code(&csv)), (1, 1));

    let header = b"url\tlogit\tprobability\tverdict\ttruncated\terror\n";
    assert!(tsv.stdout.starts_with(header));
    let tsv: Vec<Vec<Vec<u8>>> = tsv.stdout[header.len()..]
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split(|&b| b == b'\t').map(<[u8]>::to_vec).collect())
        .collect();
    let mut reader = csv::Reader::from_reader(&csv.stdout[..]);
    let csv: Vec<Vec<Vec<u8>>> = reader
        .byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect();
    assert_eq!((tsv.len(), csv.len()), (3, 3));
    assert_eq!(tsv[0][0], b"http://a.example/?x=\"1\",2\\tz\\\\");
    assert_eq!(csv[0][0], b"http://a.example/?x=\"1\",2\tz\\");
    assert_eq!(csv[2][0], b"http://\xff.example/");
    for (a, b) in tsv.iter().zip(&csv) {
        assert_eq!(a.len(), 6);
        assert_eq!(a[1..], b[1..]);
    }
    assert_eq!(tsv[1][5], b"201: empty URL");
}

#[test]
fn text_for_people_holds_nothing_that_acts_on_a_terminal() {
    let output = score(&["-"], b"http://a.example/\x1b]0;owned\x07\x9b\xe2\x80\xae\n");
    let shown = stdout(&output);
    assert!(shown.contains("http://a.example/\\u{1b}]0;owned\\u{7}\\x9b\\u{202e}"), "{shown}");
    assert!(!shown.trim_end().contains(char::is_control));
}

#[test]
fn an_argument_is_a_file_only_if_it_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.example");
    std::fs::write(&list, "in-the-file.example\n").unwrap();
    let mut command = phishcnn();
    let arguments = ["score", "list.example", "no-such-file.example", "--format", "ndjson"];
    command.current_dir(&folder).args(arguments);
    let output = run_with(command, b"");
    let urls: Vec<_> = rows(&output).iter().map(|row| row["url"].clone()).collect();
    assert_eq!(urls, ["in-the-file.example", "no-such-file.example"]);

    for missing in ["./missing.txt", "/no/such/file", text(folder.path())] {
        let output = run(["score", "a.example", missing]);
        assert_eq!(code(&output), 2, "{missing}");
        assert!(output.stdout.is_empty() && stderr(&output).contains(missing));
    }
}

#[test]
fn the_base_rate_shifts_probabilities_only() {
    let at = |rate| {
        let output = run(["score", "--format", "ndjson", "--base-rate", rate, "http://a.example/"]);
        rows(&output)[0].clone()
    };
    let (half, rare) = (at("0.5"), at("0.001"));
    assert_eq!((&half["logit"], &half["verdict"]), (&rare["logit"], &rare["verdict"]));
    let log_odds = |row: &Value| {
        let p = row["probability"].as_f64().unwrap();
        (p / (1.0 - p)).ln()
    };
    let shift = (0.001_f64 / 0.999).ln();
    // exp of the probability is good to about 1e-3.
    assert!((log_odds(&rare) - log_odds(&half) - shift).abs() < 0.01);
    for wrong in ["0", "1", "-1", "NaN", "x"] {
        let output = run(["score", &format!("--base-rate={wrong}"), "a.example"]);
        assert_eq!(code(&output), 2, "{wrong}");
    }
}

#[test]
fn explain_points_at_the_bytes_of_the_url_as_given() {
    let url = "HTTPS://www.Login.bücher.example:8080/a/b?c=d#e";
    let output = run(["explain", "--format", "json", url]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
    let scored = rows(&run(["score", "--format", "ndjson", url]))[0].clone();
    for field in ["url", "logit", "probability", "verdict", "truncated"] {
        assert_eq!(answer[field], scored[field], "{field}");
    }
    let segments = answer["segments"].as_array().unwrap();
    assert!(!segments.is_empty());
    let mut last = 0;
    for segment in segments {
        let at = |field: &str| segment[field].as_u64().unwrap() as usize;
        assert!(last <= at("start") && at("start") < at("end"));
        last = at("end");
        assert_eq!(segment["text"], url[at("start")..at("end")]);
        assert!(segment["contribution"].is_f64() && segment["part"].is_string());
    }
    assert_eq!(last, url.len());

    let shown = run(["explain", url]);
    assert!(stdout(&shown).contains("fragment") && !shown.stdout.contains(&0x1b));
    let empty = run(["explain", " "]);
    assert_eq!(code(&empty), 1);
    assert!(stderr(&empty).contains("201: empty URL"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&["score", "--format", "xml", "a"][..], &["nonsense"], &["explain"], &[]] {
        let mut command = phishcnn();
        command.args(arguments);
        assert_eq!(code(&run_with(command, b"")), 2, "{arguments:?}");
    }
}

#[test]
fn help_teaches() {
    for command in ["score", "explain", "eval", "serve"] {
        let output = run([command, "--help"]);
        let help = stdout(&output);
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{command}");
        assert!(help.contains("--model"), "{command}");
    }
    assert!(stdout(&run(["--help"])).contains("Exit codes:"));
    assert!(stdout(&run(["--version"])).contains(env!("CARGO_PKG_VERSION")));
}
