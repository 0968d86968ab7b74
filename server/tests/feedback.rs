//! Feedback: what is acknowledged is kept, once, whatever happens to the process or the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Service, available, code, phishcnn, run_with, stderr, stdout, text};
use serde_json::{Value, json};
use ureq::Agent;

fn client() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

fn serve(place: &str) -> Service {
    let mut command = phishcnn();
    command.env("PHISHCNN_FEEDBACK", place);
    Service::start_with(command)
}

fn post(agent: &Agent, service: &Service, path: &str, body: &Value) -> (u16, Value) {
    let mut response = agent.post(service.url(path)).send(body.to_string()).unwrap();
    (response.status().as_u16(), response.body_mut().read_json().unwrap_or_default())
}

fn export(place: &str, format: &str) -> String {
    let mut command = phishcnn();
    command.args(["feedback", "export", "--format", format, "--feedback", place]);
    let output = run_with(command, b"");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output).to_owned()
}

fn entries(place: &str) -> Vec<Value> {
    export(place, "ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A PostgreSQL server of its own in a temporary folder, reached by a Unix socket.
struct Postgres {
    folder: tempfile::TempDir,
    server: std::process::Child,
}

impl Postgres {
    fn start() -> Option<Self> {
        let bin = std::fs::read_dir("/usr/lib/postgresql").ok().and_then(|versions| {
            versions.filter_map(Result::ok).map(|v| v.path().join("bin")).max()
        });
        if !available("PostgreSQL", bin.is_some()) {
            return None;
        }
        let bin = bin?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        // The server refuses to run as root.
        let root = stdout(&Command::new("id").arg("-u").output().unwrap()).trim() == "0";
        let as_user = |program: PathBuf| {
            if !root {
                return Command::new(program);
            }
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", text(&program)]).current_dir("/");
            command
        };
        if root {
            let all = format!("chmod 755 {0} && chown -R postgres {0}", text(folder.path()));
            assert!(Command::new("sh").args(["-c", &all]).status().unwrap().success());
        }
        let made = as_user(bin.join("initdb"))
            .args(["-U", "phishcnn", "--auth=trust", "-D", text(&data)])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", stderr(&made));
        let server = as_user(bin.join("postgres"))
            .args(["-D", text(&data), "-k", text(folder.path()), "-h", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let socket = folder.path().join(".s.PGSQL.5432");
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(500));
        Some(Self { folder, server })
    }

    fn place(&self) -> String {
        let folder = text(self.folder.path()).replace('/', "%2F");
        format!("postgres://phishcnn@{folder}/postgres")
    }

    fn signal(&self, name: &str) {
        let file = self.folder.path().join("data/postmaster.pid");
        let id = std::fs::read_to_string(file).unwrap_or_default();
        if let Some(id) = id.lines().next() {
            let _ = Command::new("kill").args([&format!("-{name}"), id]).status();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that failed may have left it standing still.
        for id in backends(self) {
            let _ = Command::new("kill").args(["-CONT", &id]).status();
        }
        self.signal("QUIT");
        let _ = self.server.wait();
    }
}

/// The same for both stores.
fn everything_is_kept_as_said(place: &str) {
    let service = serve(place);
    let agent = client();
    let said = json!({ "url": "http://a.example/\u{0}ü", "truth": "phishing", "client": "one" });
    let (status, answer) = post(&agent, &service, "/v1/feedback", &said);
    assert_eq!((status, &answer["prediction_was_right"]), (200, &json!(false)), "{answer}");
    // The same client changes its mind; another one has its own say.
    let (status, _) = post(
        &agent,
        &service,
        "/v1/feedback",
        &json!({
        "url": "http://a.example/\u{0}ü", "truth": "legitimate", "client": "one", "comment": "sor\u{0}ry" }),
    );
    assert_eq!(status, 200);
    let two = json!({ "url": "http://a.example/\u{0}ü", "truth": "phishing", "client": "two" });
    assert_eq!(post(&agent, &service, "/v1/feedback", &two).0, 200);
    // The Python system's clients, of one address.
    let long = format!("http://b.example/{}", "x".repeat(60_000));
    let (status, answer) = post(&agent, &service, "/add", &json!({ "url": long, "label": "1" }));
    assert_eq!(status, 200, "{answer}");
    let wrong = json!({ "url": "http://c.example/\t", "label": true, "feedback": 0 });
    assert_eq!(post(&agent, &service, "/feedback/", &wrong).0, 200);

    let scored = post(&agent, &service, "/v1/score", &json!({ "url": "http://c.example/\t" })).1;
    let model = post_model(&agent, &service);
    let kept = entries(place);
    assert_eq!(kept.len(), 4, "{kept:?}");
    let by = |url: &str, feedback: u8| {
        let same = |e: &&Value| e["url"] == url && e["feedback"] == feedback;
        let found: Vec<_> = kept.iter().filter(same).collect();
        assert_eq!(found.len(), 1, "{url} {kept:?}");
        found[0].clone()
    };
    let changed = by("http://a.example/\u{0}ü", 1);
    assert_eq!((&changed["label"], &changed["origin"]), (&json!(0), &json!("/v1/feedback")));
    assert!(changed["note"].as_str().unwrap().starts_with("sor"));
    by("http://a.example/\u{0}ü", 0);
    assert_eq!(by(&long, 1)["label"], 1);
    let judged = by("http://c.example/\t", 0);
    assert_eq!(judged["label"], 1);
    for field in ["logit", "probability", "verdict"] {
        assert_eq!(judged[field], scored[field]);
    }
    assert_eq!(judged["model"], model);
    assert!(kept.iter().all(|e| e["client"].as_str().unwrap().len() == 32));

    // Rows for training: the truth, not the prediction.
    let month = &kept[0]["time"].as_str().unwrap()[..7];
    let rows = export(place, "tsv");
    assert!(rows.contains(&format!("1\t{long}\tfeedback\t{month}\t\t\n")), "{month}");
    assert!(rows.contains(&format!("0\thttp://c.example/%09\tfeedback\t{month}\t\t\n")));
    assert!(rows.lines().all(|row| row.split('\t').count() == 6));
    let mut command = phishcnn();
    command.args(["feedback", "export", "--since", "2100-01-01", "--feedback", place]);
    assert_eq!(stdout(&run_with(command, b"")), "");

    // The gauges are those of all that is stored, also after a restart.
    drop(service);
    let service = serve(place);
    let metrics = wait_for_metric(&agent, &service, "model_performance", "0.5");
    assert!(metrics.contains("\nphishcnn_feedback_precision 0.5\n"), "{metrics}");
    assert!(metrics.contains("\nfeedback_received_total 0\n"));
}

fn post_model(agent: &Agent, service: &Service) -> Value {
    let mut response = agent.get(service.url("/version")).call().unwrap();
    let version: Value = response.body_mut().read_json().unwrap();
    version["model"]["sha256"].clone()
}

fn wait_for_metric(agent: &Agent, service: &Service, name: &str, value: &str) -> String {
    let started = Instant::now();
    loop {
        let mut response = agent.get(service.url("/metrics")).call().unwrap();
        let metrics = response.body_mut().read_to_string().unwrap();
        if metrics.contains(&format!("\n{name} {value}\n")) {
            return metrics;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{name} {value}: {metrics}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn sqlite_keeps_everything_as_said() {
    let folder = tempfile::tempdir().unwrap();
    everything_is_kept_as_said(text(&folder.path().join("f.sqlite")));
}

#[test]
fn postgres_keeps_everything_as_said() {
    let Some(postgres) = Postgres::start() else { return };
    everything_is_kept_as_said(&postgres.place());
}

/// Kills the service three times while eight clients send; then compares what they were told with
/// what is there.
fn a_storm_loses_nothing(place: &str) {
    let acknowledged = Mutex::new(BTreeMap::new());
    let sent = AtomicUsize::new(0);
    for round in 0..3 {
        let mut service = serve(place);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (acknowledged, sent, stop) = (&acknowledged, &sent, &stop);
                let url = service.url("/v1/feedback");
                scope.spawn(move || {
                    let agent = client();
                    for i in 0.. {
                        let said = format!("http://r{round}-t{thread}-{}.example/", i / 2);
                        // Every URL twice: the second one repeats the first.
                        let body = json!({ "url": said, "truth": "phishing", "client": "c" });
                        sent.fetch_add(1, Ordering::Relaxed);
                        match agent.post(&url).send(body.to_string()) {
                            Ok(answer) if answer.status() == 200 => {
                                acknowledged.lock().unwrap().insert(said, ());
                            }
                            // Refusals are allowed, losses are not.
                            Ok(_) => {}
                            Err(_) => break,
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            // By what was stored rather than by the clock, so that each round has its storm.
            let goal = 300 * (round + 1);
            let started = Instant::now();
            while acknowledged.lock().unwrap().len() < goal {
                assert!(started.elapsed() < Duration::from_secs(60), "the storm is too slow");
                std::thread::sleep(Duration::from_millis(5));
            }
            service.child.kill().unwrap();
            service.child.wait().unwrap();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let mut kept = BTreeMap::new();
    for entry in entries(place) {
        *kept.entry(entry["url"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(kept.values().all(|&times| times == 1), "a row is there twice");
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 900);
    for url in acknowledged.keys() {
        assert!(kept.contains_key(url), "{url} was acknowledged and is lost");
    }
    println!(
        "{} sent, {} URLs acknowledged, {} kept",
        sent.into_inner(),
        acknowledged.len(),
        kept.len()
    );
}

#[test]
fn sqlite_survives_kill_9_in_a_storm() {
    let folder = tempfile::tempdir().unwrap();
    a_storm_loses_nothing(text(&folder.path().join("f.sqlite")));
}

#[test]
fn postgres_survives_kill_9_in_a_storm() {
    let Some(postgres) = Postgres::start() else { return };
    a_storm_loses_nothing(&postgres.place());
}

/// A database that goes away: predictions go on, feedback is refused, and taken again afterwards.
#[test]
fn without_its_database_only_feedback_is_refused() {
    let Some(postgres) = Postgres::start() else { return };
    let service = serve(&postgres.place());
    let agent = client();
    let said = |n: u32| json!({ "url": format!("http://n{n}.example/"), "truth": "phishing" });
    assert_eq!(post(&agent, &service, "/v1/feedback", &said(1)).0, 200);
    // The server stands still: it accepts and never answers.
    let ids = backends(&postgres);
    for id in &ids {
        Command::new("kill").args(["-STOP", id]).status().unwrap();
    }
    let (status, answer) = post(&agent, &service, "/v1/feedback", &said(2));
    for id in &ids {
        Command::new("kill").args(["-CONT", id]).status().unwrap();
    }
    assert_eq!((status, &answer["code"]), (503, &json!(502)), "{answer}");
    assert_eq!(post(&agent, &service, "/predict", &json!({ "data": ["a"] })).0, 200);
    assert_eq!(agent.get(service.url("/readyz")).call().unwrap().status(), 200);
    let started = Instant::now();
    while post(&agent, &service, "/v1/feedback", &said(3)).0 != 200 {
        assert!(started.elapsed() < Duration::from_secs(30), "feedback does not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
    let kept = entries(&postgres.place());
    for n in [1, 3] {
        assert!(kept.iter().any(|e| e["url"] == format!("http://n{n}.example/")), "{n}: {kept:?}");
    }
}

/// The processes that answer clients, the one that starts them, and the one that waits for it.
fn backends(postgres: &Postgres) -> Vec<String> {
    let file = postgres.folder.path().join("data/postmaster.pid");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let parent = text.lines().next().unwrap_or("0").to_owned();
    let children = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output().unwrap();
    let children = stdout(&children).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let waiting = postgres.server.id().to_string();
    children.into_iter().chain([parent, waiting]).collect()
}

/// A file system of one mebibyte, half of it taken: what is acknowledged before and after it was
/// full is there.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let works = Command::new("unshare").args(["-rm", "true"]).output();
    if !available("unshare with user namespaces", works.is_ok_and(|o| o.status.success())) {
        return;
    }
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs {disk} && head -c 500000 /dev/zero > {disk}/ballast
         {binary} serve --listen 127.0.0.1:0 --feedback {disk}/f.sqlite 2> {out}.log &
         echo $! > {out}.pid; wait
         {binary} feedback export --format ndjson --feedback {disk}/f.sqlite > {out}.rows",
        disk = text(&disk),
        binary = env!("CARGO_BIN_EXE_phishcnn"),
        out = text(&folder.path().join("out")),
    );
    let mut shell = Command::new("unshare").args(["-rm", "sh", "-c", &script]).spawn().unwrap();
    let file = |name: &str| folder.path().join(format!("out.{name}"));
    let address = wait_for_address(&file("log"));
    let agent = client();
    let mut acknowledged = Vec::new();
    let mut send = |n: usize| {
        let url = format!("http://n{n}.example/{}", "y".repeat(2000));
        let body = json!({ "url": url, "truth": "phishing", "client": "c" });
        let sent = agent.post(format!("http://{address}/v1/feedback")).send(body.to_string());
        let sent = sent.unwrap();
        let status = sent.status().as_u16();
        if status == 200 {
            acknowledged.push(url);
        } else {
            assert_eq!((status, &sent.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        }
        status
    };
    let full = (0..2000).find(|&n| send(n) != 200).expect("one mebibyte is full at some time");
    let predict = agent.post(format!("http://{address}/predict")).send(r#"{"data":["a"]}"#);
    assert_eq!(predict.unwrap().status(), 200);
    // Room again: the ballast goes.
    let id = std::fs::read_to_string(file("pid")).unwrap().trim().to_owned();
    let inside = PathBuf::from(format!("/proc/{id}/root")).join(disk.strip_prefix("/").unwrap());
    std::fs::remove_file(inside.join("ballast")).unwrap();
    let started = Instant::now();
    let mut n = full;
    while send(n) != 200 {
        n += 1;
        assert!(started.elapsed() < Duration::from_secs(20), "feedback does not come back");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
    shell.wait().unwrap();
    let rows = std::fs::read_to_string(file("rows")).unwrap();
    let kept: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for url in &acknowledged {
        assert_eq!(kept.iter().filter(|e| e["url"] == *url).count(), 1, "{} is lost", &url[..20]);
    }
    println!("full after {full}; {} acknowledged, {} kept", acknowledged.len(), kept.len());
}

fn wait_for_address(log: &Path) -> String {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Some((_, rest)) = text.rsplit_once(" on http://").filter(|(_, r)| r.ends_with('\n'))
        {
            return rest.trim().to_owned();
        }
        assert!(started.elapsed() < Duration::from_secs(10), "the service does not start: {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_python_systems_file_is_imported_once() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("training_data.csv");
    std::fs::write(&csv, "url,label,feedback\nhttp://a/,True,1\n\"http://b/?x=1,2\",0,0\nhttp://a/,True,1\nhttp://c/,maybe,1\n,1,1\nhttp://d/,1\n").unwrap();
    let place = folder.path().join("f.sqlite");
    let import = || {
        let mut command = phishcnn();
        command.args(["feedback", "import", text(&csv), "--date", "2024-05-06"]);
        command.args(["--feedback", text(&place)]);
        run_with(command, b"")
    };
    for _ in 0..2 {
        let output = import();
        assert_eq!(code(&output), 1);
        let said = stderr(&output);
        assert!(
            said.contains("row 5: label is \"maybe\"") && said.contains("row 6: 201"),
            "{said}"
        );
        assert!(
            said.contains("row 7: three columns") && said.contains("3 rows imported, 3 refused")
        );
    }
    assert_eq!(
        export(text(&place), "tsv").lines().collect::<std::collections::BTreeSet<_>>(),
        ["1\thttp://a/\tfeedback\t2024-05\t\t", "1\thttp://b/?x=1,2\tfeedback\t2024-05\t\t"].into()
    );
    assert_eq!(export(text(&place), "tsv").lines().count(), 3);
}

/// Requests as the Python system's app and service took them, byte for byte, and their answers.
#[test]
fn the_python_systems_clients_are_answered_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("f.sqlite");
    let service = serve(text(&place));
    let ask = |path: &str, body: &str| {
        let request = client().post(service.url(path)).header("Content-Type", "application/json");
        // The app's page sends a Django token.
        let mut response = request.header("X-CSRFToken", "t0ken").send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    let url = "https://a.example/";
    for (path, body, answer) in [
        ("/predict", r#"{"data": ["https://a.example/"]}"#, r#"{"prediction":[0]}"#),
        ("/check/", r#"{"test_url":"https://a.example/"}"#, r#"{"is_phishing":false}"#),
        (
            "/feedback/",
            r#"{"url":"https://a.example/","label":false,"feedback":1}"#,
            r#"{"message":"Feedback received successfully","feedback_result":1}"#,
        ),
        (
            "/feedback/",
            r#"{"url":"https://b.example/","label":1,"feedback":0}"#,
            r#"{"message":"Feedback received successfully","feedback_result":0}"#,
        ),
        (
            "/add",
            r#"{"url": "https://c.example/", "label": "1", "feedback": "a note"}"#,
            r#"{"msg":"Thank you for submitting:\nhttps://c.example/ with label 1"}"#,
        ),
        (
            "/add",
            r#"{"url": "https://d.example/", "label": 0, "feedback": 0}"#,
            r#"{"msg":"Thank you for submitting:\nhttps://d.example/ with label 0"}"#,
        ),
    ] {
        assert_eq!(ask(path, body), (200, answer.to_owned()), "{path} {body}");
    }
    for body in ["", "{", "[]", r#"{"url":"a","label":1}"#, r#"{"label":1,"feedback":1}"#] {
        let (status, answer) = ask("/feedback/", body);
        assert!(status == 400 && !answer.starts_with('{'), "{body}: {status} {answer}");
    }
    assert_eq!(ask("/predict", "{}").0, 400);
    let stored = entries(text(&place));
    let of = |url: &str| stored.iter().find(|row| row["url"] == url).unwrap();
    assert_eq!(stored.len(), 4);
    assert_eq!((&of(url)["label"], &of(url)["feedback"]), (&json!(0), &json!(1)));
    assert_eq!(of("https://b.example/")["feedback"], 0);
    assert_eq!(of("https://c.example/")["note"], "a note");
    // The document and its page are where they were.
    for path in ["/phishing_url_prediction.json", "/apidocs/"] {
        assert_eq!(client().get(service.url(path)).call().unwrap().status(), 200);
    }
}

#[test]
fn keys_guard_what_stores() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "# two\nfirst-key\nsecond-key\n").unwrap();
    let mut command = phishcnn();
    command.env("PHISHCNN_API_KEYS_FILE", &keys);
    command.env("PHISHCNN_FEEDBACK", folder.path().join("f.sqlite"));
    let service = Service::start_with(command);
    let body = json!({ "url": "a", "label": 1, "feedback": 1, "truth": "phishing" }).to_string();
    for path in ["/add", "/feedback/", "/v1/feedback"] {
        for (key, status) in [
            (None, 401),
            (Some("Bearer wrong"), 401),
            (Some("Bearer first-key2"), 401),
            (Some("Basic first-key"), 401),
            (Some("Bearer "), 401),
            (Some("Bearer second-key"), 200),
        ] {
            let mut request = client().post(service.url(path));
            if let Some(key) = key {
                request = request.header("Authorization", key);
            }
            assert_eq!(request.send(&body).unwrap().status(), status, "{path} {key:?}");
        }
    }
    assert_eq!(post(&client(), &service, "/predict", &json!({ "data": ["a"] })).0, 200);
    std::fs::write(&keys, "\n").unwrap();
    let mut command = phishcnn();
    command.args(["serve", "--api-keys-file", text(&keys)]);
    let output = run_with(command, b"");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("402: bad value"), "{}", stderr(&output));
}

#[test]
fn a_service_without_a_store_says_so() {
    let service = serve("none");
    let body = json!({ "url": "a", "truth": "phishing" });
    let (status, answer) = post(&client(), &service, "/v1/feedback", &body);
    assert_eq!((status, &answer["code"]), (503, &json!(502)));
    // A folder that is not there: the service starts and predicts all the same.
    let service = serve("/nowhere/f.sqlite");
    assert_eq!(post(&client(), &service, "/v1/feedback", &body).0, 503);
    assert_eq!(post(&client(), &service, "/predict", &json!({ "data": ["a"] })).0, 200);
}
