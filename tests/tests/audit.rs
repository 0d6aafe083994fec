//! `pitlane admin` against a running engine, and the record of what was asked: dry runs, refusals, and commands whose sender hung up.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pitlane_tests::client::{Client, PATIENCE};
use pitlane_tests::engine::{ADMIN_TOKEN, Engine, Folder, Settings};
use pitlane_tests::process::binary;

const PRICE: u64 = 1_500_000;

struct Audited {
    engine: Engine,
    file: PathBuf,
    _folder: Folder,
}

fn start() -> Audited {
    let folder = Folder::new("audit").expect("a folder");
    let file = folder.path.join("audit.jsonl");
    let settings = Settings::default().with("admin", format!("audit_file = {file:?}"));
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    Audited { engine, file, _folder: folder }
}

impl Audited {
    /// What `pitlane admin` said, and how it ended.
    fn admin(&self, token: &str, words: &str) -> Output {
        let url = format!("http://127.0.0.1:{}", self.engine.settings.admin_port);
        let mut command = Command::new(binary("pitlane"));
        command.env("PITLANE_ADMIN_TOKEN", token).env("USER", "ann").args(["admin", "--url", &url]);
        command.args(words.split(' ')).output().expect("pitlane admin")
    }

    fn done(&self, words: &str) -> String {
        let output = self.admin(ADMIN_TOKEN, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn refused(&self, token: &str, words: &str) -> String {
        let output = self.admin(token, words);
        assert!(!output.status.success(), "{words} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.file).expect("the audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

#[test]
fn what_is_typed_is_done_and_recorded() {
    let audited = start();
    let mut client = Client::open(audited.engine.address(), 1).expect("a session");
    assert_eq!(
        audited.done("--dry-run kill --everyone"),
        "shard 0: would be done: kill switch everyone engaged=true\n"
    );
    client.enter_accepted(1, b'B', 1, PRICE).expect("a dry run changes nothing");
    assert_eq!(audited.done("halt --symbol AAPL"), "shard 0: done: trading state symbol=AAPL state=halted\n");
    assert!(client.enter_accepted(2, b'B', 1, PRICE).is_err(), "halted");
    assert!(audited.refused(ADMIN_TOKEN, "halt --symbol GONE").contains("GONE"));
    // The shard's own refusals, without and with a change to refuse.
    for words in ["--dry-run kill --firm TYPO", "kill --firm TYPO"] {
        assert!(audited.refused(ADMIN_TOKEN, words).contains("firm TYPO does not exist"), "{words}");
    }
    assert!(audited.refused("wrong", "resume --everyone").contains("401"));
    assert!(audited.refused(ADMIN_TOKEN, "halt --symbl AAPL").contains("--symbl"), "clap knows the table");
    let records = audited.records();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (record["command"].as_str().expect("text"), record["status"].as_u64(), &record["authorized"])
        })
        .collect();
    let (yes, no) = (serde_json::json!(true), serde_json::json!(false));
    assert_eq!(
        seen,
        [
            ("kill?everyone=true&dry_run=true", Some(200), &yes),
            ("halt?symbol=AAPL", Some(200), &yes),
            ("halt?symbol=GONE", Some(400), &yes),
            ("kill?firm=TYPO&dry_run=true", Some(400), &yes),
            ("kill?firm=TYPO", Some(400), &yes),
            ("resume?everyone=true", Some(401), &no),
        ]
    );
    assert!(records.iter().all(|record| record["says_it_is"] == "ann"), "{records:?}");
    let text = std::fs::read_to_string(&audited.file).expect("the audit log");
    assert!(!text.contains(ADMIN_TOKEN) && !audited.engine.log_text().contains(ADMIN_TOKEN));
    assert_eq!(std::fs::metadata(&audited.file).expect("a file").permissions().mode() & 0o777, 0o600);
}

/// What is not understood of a dry run must not become the command.
#[test]
fn a_slip_in_a_dry_run_does_nothing() {
    let audited = start();
    let mut client = Client::open(audited.engine.address(), 1).expect("a session");
    for query in ["dry_run=yes", "dry_run=", "dry_run=true&dry_run=false", "dryrun=true", "dry-run=true"] {
        let (status, body) = audited.engine.post(&format!("/commands/kill?everyone=true&{query}")).expect("");
        assert_eq!(status, 400, "{query}: {body}");
    }
    client.enter_accepted(1, b'B', 1, PRICE).expect("nobody was killed");
}

#[test]
fn a_command_whose_sender_hung_up_is_recorded() {
    let audited = start();
    let address = SocketAddr::from(([127, 0, 0, 1], audited.engine.settings.admin_port));
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).expect("connected");
        write!(
            stream,
            "POST /commands/halt?symbol=AAPL HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
        )
        .expect("sent");
        stream.shutdown(Shutdown::Both).expect("hung up");
    }
    // Some are gone before they are read; each that reached the shard is in the file.
    let said = |text: &str| audited.engine.log_text().matches(text).count();
    let deadline = Instant::now() + PATIENCE;
    while audited.records().len() < said("operator command") {
        assert!(Instant::now() < deadline, "{} of {}", audited.records().len(), said("operator command"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A full disk must not stop a kill switch; but it is said.
#[test]
fn a_command_that_cannot_be_recorded_is_done_and_says_so() {
    let audited = start();
    std::fs::remove_file(&audited.file).expect("removed");
    std::fs::create_dir(&audited.file).expect("something in its place");
    let (status, body) = audited.engine.post("/commands/halt?symbol=AAPL").expect("an answer");
    assert!(status == 200 && body.contains("done") && body.contains("NOT in the audit log"), "{body}");
    assert_eq!(audited.engine.metric(&["pitlane_audit_failures_total"]).expect("metrics") as u64, 1);
}

#[test]
fn an_engine_that_is_not_there_is_said_so() {
    let folder = Folder::new("audit").expect("a folder");
    let port = pitlane_tests::engine::free_port();
    let output = Command::new(binary("pitlane"))
        .current_dir(&folder.path)
        .env("PITLANE_ADMIN_TOKEN", "secret-of-mine")
        .args(["admin", "--url", &format!("http://127.0.0.1:{port}"), "close"])
        .output()
        .expect("pitlane admin");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("NOT done: nothing listens"), "{said}");
    assert!(!said.contains("secret-of-mine"));
}
