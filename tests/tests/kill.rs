//! The real engine killed with SIGKILL at random moments under load, and started again on its journal: the clients reconnect, and every request
//! is answered, once. Not the loss of power, which no test can cause here: the simulation has it.
//!
//! `PITLANE_TEST_KILLS` sets the number of kills, `PITLANE_SEED` the moments.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netio::random::{Random, seed_from_environment};
use nix::sys::signal::Signal;
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::skip::can_make_hosts;
use pitlane_tests::veth::{Host, VethPair};
use serde_json::Value;

/// Of each test, when nothing else is asked for.
const KILLS: u64 = 3;
/// One load generator lives through this many: then everything is counted up, and the next begins on the same journal.
const KILLS_PER_RUN: u64 = 10;
const CLIENTS: usize = 4;
/// An engine starts in a second or two; on a busy machine in many.
const PATIENCE: Duration = Duration::from_secs(90);

fn kills() -> u64 {
    std::env::var("PITLANE_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

/// Where an engine and its clients are.
struct Place<'a> {
    settings: Settings,
    hosts: Option<(&'a Host, &'a Host)>,
}

impl Place<'_> {
    fn start(&self) -> Engine {
        let program = binary("pitlane");
        let settings = self.settings.clone();
        let engine = match self.hosts {
            Some((host, _)) => Engine::start_on(host, &program, settings),
            None => Engine::start(&program, settings),
        };
        engine.expect("the engine starts on what it left behind")
    }

    fn load(&self, report: &Path, seed: u64) -> Process {
        let program = binary("pitlane-loadgen");
        let mut command = match self.hosts {
            Some((_, host)) => {
                let mut command = host.command(&program);
                command.args(["run", "--port", "xdp", "--interface", &host.interface]);
                command
            }
            None => {
                let mut command = Command::new(&program);
                command.arg("run");
                command
            }
        };
        command
            .args(["--target", &self.settings.address(0).to_string(), "--password", PASSWORD])
            .args([
                "--clients",
                &CLIENTS.to_string(),
                "--rate",
                "1000",
                "--warmup",
                "0s",
                "--duration",
                "3600s",
            ])
            .args(["--reconnect", "--silence", "2s", "--drain", "60s", "--connect-timeout", "60s", "--quiet"])
            .args(["--idle", "park", "--seed", &seed.to_string()])
            .arg("--json")
            .arg(report)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Process::new(command.spawn().expect("the load generator"))
    }
}

/// Kills the engine again and again, and counts up after each load generator's life.
fn survive(durability: &'static str, settings: Settings, hosts: Option<(&Host, &Host)>) {
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("PITLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = Folder::new("kill").expect("a folder");
    let settings = Settings {
        durability,
        journal: Some(folder.path.join("journal")),
        idle: "park",
        ..settings
            .with("journal", "segment_bytes = 4194304")
            .with("journal", "snapshot_interval = 2000\nretain_segments = true")
    };
    let place = Place { settings, hosts };
    let mut engine = place.start();
    let mut left = kills();
    while left > 0 {
        let report = folder.path.join("report.json");
        let mut load = place.load(&report, random.next_u64() >> 1);
        for _ in 0..left.min(KILLS_PER_RUN) {
            left -= 1;
            std::thread::sleep(Duration::from_millis(random.between(100, 3_500)));
            engine.process.crash().expect("killed");
            engine = place.start();
            assert!(load.ended().expect("a process").is_none(), "the load generator gave up (seed {seed})");
        }
        // Long enough to notice the silence and log in again.
        std::thread::sleep(Duration::from_secs(4));
        load.signal(Signal::SIGINT).expect("a signal");
        let status = load.wait(PATIENCE).expect("the load generator ends");
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        let count = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(u64::MAX);
        eprintln!(
            "{durability}: {} orders, {} reconnections, {left} kills left",
            count("/orders"),
            count("/transport/reconnections")
        );
        for what in ["/lost", "/duplicated", "/unknown_answers", "/outside_measurement/cleanup_lost"] {
            assert_eq!(count(what), 0, "{what} (seed {seed}): {status}\n{}", engine.log_text());
        }
        assert!(status.success(), "{status} (seed {seed}): {text}");
        assert!(count("/orders") > 0 && count("/transport/reconnections") > 0, "{text}");
        // It cancelled everything that was open: what rests now was made by a request that came twice.
        // Shards publish their counters ten times a second.
        std::thread::sleep(Duration::from_millis(500));
        let resting = engine.metric(&["resting_orders"]).expect("metrics");
        assert_eq!(resting, 0.0, "orders that nobody entered (seed {seed})");
    }
    engine.process.terminate(PATIENCE).expect("a clean end");
    verify(&folder.path.join("journal"), seed);
}

/// The journal as a whole leads to the states that its snapshots say.
fn verify(journal: &Path, seed: u64) {
    let output = Command::new(binary("pitlane")).args(["replay", "--verify"]).arg(journal).output();
    let output = output.expect("pitlane replay");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {said}");
}

#[test]
fn killed_engines_lose_nothing_with_durability_process_over_udp() {
    survive("process", Settings::default(), None);
}

#[test]
fn killed_engines_lose_nothing_with_durability_disk_over_udp() {
    survive("disk", Settings::default(), None);
}

#[test]
fn killed_engines_lose_nothing_over_af_xdp() {
    if !can_make_hosts("killed engines over AF_XDP") {
        return;
    }
    let pair = VethPair::new(1).expect("a veth pair");
    let hosts = Some((&pair.engine, &pair.client));
    survive("process", Settings::on(&pair.engine, "xdp"), hosts);
    survive("disk", Settings::on(&pair.engine, "xdp"), hosts);
}
