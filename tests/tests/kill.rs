//! The real engine ended under load, by SIGKILL at random moments or by a full disk, and started again on its journal: the clients reconnect,
//! and every request is answered, once. Not the loss of power, which no test can cause here: the simulation has it.
//!
//! `PITLANE_TEST_KILLS` sets the number of kills, `PITLANE_SEED` the moments.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use netio::random::{Random, seed_from_environment};
use nix::sys::signal::Signal;
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::skip::{can_make_hosts, skipped};
use pitlane_tests::veth::{Host, VethPair};
use serde_json::Value;

/// Of each test, when nothing else is asked for.
const KILLS: u64 = 3;
/// One load generator lives through this many: then everything is counted up, and the next begins on the same journal.
const KILLS_PER_RUN: u64 = 20;
/// Of an engine's life: from before anybody has noticed that there is a new one, to well under load again.
const LIFE_MS: (u64, u64) = (50, 1_500);
/// Under load answers come every few milliseconds; whoever hears nothing for so long logs in anew.
const SILENCE: &str = "400ms";
/// Long enough to notice the silence and log in again.
const RECOVERY: Duration = Duration::from_millis(1_500);
const CLIENTS: usize = 4;
/// Orders per second of all clients.
const RATE: u64 = 1_000;
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

    fn load(&self, report: &Path, seed: u64, rate: u64) -> Process {
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
                &rate.to_string(),
                "--warmup",
                "0s",
                "--duration",
                "3600s",
            ])
            .args([
                "--reconnect",
                "--silence",
                SILENCE,
                "--drain",
                "60s",
                "--connect-timeout",
                "60s",
                "--quiet",
                "--delivery-only",
            ])
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
        let mut load = place.load(&report, random.next_u64() >> 1, RATE);
        for _ in 0..left.min(KILLS_PER_RUN) {
            left -= 1;
            std::thread::sleep(Duration::from_millis(random.between(LIFE_MS.0, LIFE_MS.1)));
            engine.process.crash().expect("killed");
            engine = place.start();
            assert!(load.ended().expect("a process").is_none(), "the load generator gave up (seed {seed})");
        }
        eprintln!("{durability}: {left} kills left");
        account(&mut load, &report, &engine, seed);
    }
    engine.process.terminate(PATIENCE).expect("a clean end");
    verify(&folder.path.join("journal"), seed);
}

/// Ends the load, and counts up: nothing lost, nothing double, and nothing left of what nobody entered.
fn account(load: &mut Process, report: &Path, engine: &Engine, seed: u64) {
    std::thread::sleep(RECOVERY);
    load.signal(Signal::SIGINT).expect("a signal");
    let status = load.wait(PATIENCE).expect("the load generator ends");
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let count = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(u64::MAX);
    eprintln!("{} orders, {} reconnections", count("/orders"), count("/transport/reconnections"));
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

/// Over AF_XDP, between two hosts of this test.
fn survive_over_af_xdp(durability: &'static str) {
    if !can_make_hosts("killed engines over AF_XDP") {
        return;
    }
    let pair = VethPair::new(1).expect("a veth pair");
    survive(durability, Settings::on(&pair.engine, "xdp"), Some((&pair.engine, &pair.client)));
}

#[test]
fn killed_engines_lose_nothing_with_durability_process_over_af_xdp() {
    survive_over_af_xdp("process");
}

#[test]
fn killed_engines_lose_nothing_with_durability_disk_over_af_xdp() {
    survive_over_af_xdp("disk");
}

/// A file system in memory of a size of its own, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf, size: &str) -> SmallDisk {
        std::fs::create_dir_all(&path).expect("a folder");
        let disk = SmallDisk(path);
        disk.mount(&format!("size={size}"));
        disk
    }

    fn mount(&self, options: &str) {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "pitlane-test"]).arg(&self.0);
        assert!(command.status().expect("mount").success(), "mount -o {options}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The disk fills up under load: the engine says so and ends, and goes on where it was when there is room.
fn stop_on_a_full_disk(durability: &'static str) {
    if !nix::unistd::geteuid().is_root() {
        return skipped("a full disk", "not root: no file system of its own");
    }
    let folder = Folder::new("full").expect("a folder");
    let disk = SmallDisk::new(folder.path.join("journal"), "6m");
    let settings = Settings {
        durability,
        journal: Some(disk.0.clone()),
        idle: "park",
        ..Settings::default().with("journal", "segment_bytes = 1048576")
    };
    let place = Place { settings, hosts: None };
    let mut engine = place.start();
    let report = folder.path.join("report.json");
    // Some 2 MB of records per second.
    let mut load = place.load(&report, 1, 20 * RATE);
    let status = engine.process.wait(PATIENCE).expect("the engine ends by itself");
    let log = engine.log_text();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("disk full: cannot allocate segment"), "{log}");
    disk.mount("remount,size=256m");
    let mut engine = place.start();
    account(&mut load, &report, &engine, 1);
    engine.process.terminate(PATIENCE).expect("a clean end");
    verify(&disk.0, 1);
}

#[test]
fn a_full_disk_ends_the_engine_and_loses_nothing_with_durability_process() {
    stop_on_a_full_disk("process");
}

#[test]
fn a_full_disk_ends_the_engine_and_loses_nothing_with_durability_disk() {
    stop_on_a_full_disk("disk");
}

#[test]
fn a_read_only_disk_is_named_at_the_start() {
    if !nix::unistd::geteuid().is_root() {
        return skipped("a read-only disk", "not root: no file system of its own");
    }
    let folder = Folder::new("read-only").expect("a folder");
    let disk = SmallDisk::new(folder.path.join("journal"), "6m");
    disk.mount("remount,ro");
    let settings = Settings { durability: "process", journal: Some(disk.0.clone()), ..Settings::default() };
    let said = Engine::start(&binary("pitlane"), settings).err().expect("no engine").to_string();
    assert!(said.contains("read-only"), "{said}");
}
