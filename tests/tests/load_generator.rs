//! `pitlane-loadgen` as its users meet it: the real binary, its exit status and its reports. What the engine does is other suites' subject.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};
use serde_json::Value;

/// What a run may take beyond its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A generator under way.
struct Generator {
    process: Process,
    folder: Folder,
}

/// How a generator ended.
struct Ended {
    status: ExitStatus,
    /// What it printed.
    said: String,
    /// The JSON file; null if it wrote none.
    report: Value,
}

impl Generator {
    /// `pitlane-loadgen COMMAND --target ENGINE ... --json FILE`.
    fn start(engine: &Engine, command: &str, words: &[&str]) -> Generator {
        let folder = Folder::new("loadgen").expect("folder");
        let log = std::fs::File::create(folder.path.join("log")).expect("log");
        let process = Command::new(binary("pitlane-loadgen"))
            .arg(command)
            .args(["--target", &engine.address().to_string(), "--password", PASSWORD, "--quiet"])
            .args(["--idle", "yield", "--json"])
            .arg(folder.path.join("report.json"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("pitlane-loadgen");
        Generator { process: Process::new(process), folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    fn wait(mut self) -> Ended {
        let status = self.process.wait(PATIENCE).expect("the generator ends");
        let said = std::fs::read_to_string(self.file("log")).unwrap_or_default();
        let report = std::fs::read_to_string(self.file("report.json"))
            .map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"));
        Ended { status, said, report }
    }
}

fn engine(symbols: &[String]) -> Engine {
    let settings = Settings { symbols: symbols.to_vec(), ..Settings::default() };
    Engine::start(&binary("pitlane"), settings).expect("engine")
}

fn apple() -> Vec<String> {
    vec!["AAPL".to_owned()]
}

#[test]
fn a_closed_loop_over_many_instruments_sends_until_its_time_is_over() {
    let symbols: Vec<String> = (1..=100).map(|number| format!("S{number:03}")).collect();
    let engine = engine(&symbols);
    let words = ["--clients", "1", "--window", "34", "--symbols", "S001..S100", "--warmup", "500ms"];
    let ended = Generator::start(&engine, "run", &[&words[..], &["--duration", "1500ms"]].concat()).wait();
    assert!(ended.report["orders"].as_u64() > Some(0), "{}", ended.said);
    assert_eq!(
        (&ended.report["stopped"], &ended.report["lost"]),
        (&Value::Null, &0.into()),
        "{}",
        ended.said
    );
}

#[test]
fn an_engine_that_dies_leaves_a_report_of_what_was_measured() {
    let mut engine = engine(&apple());
    let words = ["--clients", "2", "--rate", "500", "--warmup", "0s", "--duration", "60s", "--silence", "1s"];
    let generator = Generator::start(&engine, "run", &words);
    let seen = engine.await_metric(&["pitlane_messages_total"], 200.0, PATIENCE).expect("metrics");
    assert!(seen >= 200.0, "{seen} messages");
    engine.process.crash().expect("crash");
    let Ended { status, said, report } = generator.wait();
    assert_ne!(status.code(), Some(0), "{said}");
    assert!(said.contains("nothing was heard of the engine"), "{said}");
    let failure = report["failure"].as_str().unwrap_or_default();
    assert!(failure.contains("nothing was heard of the engine"), "{said}");
    assert!(report["answered"].as_u64() >= Some(100) && report["latency_ns"]["median"].as_u64() > Some(0));
    let number = |name: &str| report[name].as_u64().expect("a number");
    assert_eq!(number("answered") + number("lost"), number("orders"));
    assert!(number("lost") > 0, "what was under way when it died: {said}");
}
