//! What the tests share: the built binary, and a running service.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};

/// The built binary, free of the settings of whoever runs the tests.
pub(crate) fn phishcnn() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_phishcnn"));
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

/// Whether everything that the tests can use was installed (`make service`): then what is missing
/// is a failure, and otherwise the test is passed over.
pub(crate) fn available(what: &str, there: bool) -> bool {
    assert!(there || std::env::var_os("SERVICE_TESTS").is_none(), "{what} is missing");
    if !there {
        eprintln!("passed over: {what} is missing");
    }
    there
}
