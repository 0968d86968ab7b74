//! What the tests share: the built binary, and a running service.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

/// The binary that is tested: this build's, or the one that `SERVICE_BINARY` names.
pub(crate) fn binary() -> OsString {
    std::env::var_os("SERVICE_BINARY").unwrap_or(env!("CARGO_BIN_EXE_phishcnn").into())
}

/// The binary, free of the settings of whoever runs the tests.
pub(crate) fn phishcnn() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PHISHCNN_") {
            command.env_remove(name);
        }
    }
    // Tests of feedback name a store of their own.
    command.env("PHISHCNN_FEEDBACK", "none");
    command
}

/// Runs to the end with `input` on standard input.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that fails early does not read its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs to the end with these arguments.
pub(crate) fn run<const N: usize>(arguments: [&str; N]) -> Output {
    let mut command = phishcnn();
    command.args(arguments);
    run_with(command, b"")
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `phishcnn serve` on a free port, killed at the end of the test.
pub(crate) struct Service {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    /// That of the admin listener, where there is one.
    pub(crate) admin: String,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with(phishcnn())
    }

    /// `command` may carry further environment.
    pub(crate) fn start_with(mut command: Command) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        // The public address comes last; before it may be that of an admin listener.
        let address = loop {
            if stderr.read_line(&mut log).unwrap() == 0 {
                panic!("the service did not start: {log}");
            }
            let line = log.lines().last().unwrap_or_default();
            if let Some((_, address)) =
                line.rsplit_once(" on http").filter(|_| line.contains(" serves "))
            {
                let address = address.trim_start_matches('s').trim_start_matches("://");
                break address.trim_end_matches(['"', '}']).to_owned();
            }
        };
        let admin = log.lines().find(|line| line.contains("metrics, probes and models on"));
        let admin = admin.and_then(|line| line.rsplit_once("http://")).map(|(_, a)| a.to_owned());
        Self { child, stderr, address, admin: admin.unwrap_or_default() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The text at `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        let address = if self.admin.is_empty() { &self.address } else { &self.admin };
        let mut response = client().get(format!("http://{address}/metrics")).call().unwrap();
        response.body_mut().read_to_string().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end and gives the rest of the log.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        (status, log)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn client() -> Agent {
    Agent::config_builder().http_status_as_error(false).build().into()
}

/// What came back for a JSON request.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: Value,
}

pub(crate) fn post_raw(service: &Service, path: &str, body: &[u8]) -> Answer {
    let mut response = client().post(service.url(path)).send(body).unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.body_mut().read_json().unwrap();
    Answer { status: response.status().as_u16(), kind, body }
}

pub(crate) fn post(service: &Service, path: &str, body: &Value) -> Answer {
    post_raw(service, path, body.to_string().as_bytes())
}

#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: u16, code: u64) {
    assert_eq!((answer.status, &answer.body["code"]), (status, &code.into()), "{}", answer.body);
    assert_eq!(answer.kind, "application/problem+json");
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["title"].is_string());
}

/// The value of the metric with this name and these labels.
pub(crate) fn metric(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.rsplit_once(' ').is_some_and(|l| l.0 == name));
    line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Bytes of memory that the service holds.
pub(crate) fn resident(service: &Service) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// A bare connection that fails a test rather than wait for ever.
pub(crate) fn connect(service: &Service) -> TcpStream {
    let stream = TcpStream::connect(&service.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Whether everything that the tests can use was installed (`make service`): then what is missing
/// is a failure, and otherwise the test is passed over.
pub(crate) fn available(what: &str, there: bool) -> bool {
    assert!(there || std::env::var_os("SERVICE_TESTS").is_none(), "{what} is missing");
    if !there {
        eprintln!("passed over: {what} is missing");
    }
    there
}
