//! `make attack`: how long clients wait to log in while strangers flood the engine with wrong logins, and when a thousand of them come back
//! at once after a crash. Loopback, no root, the default password hash. Fails when one of docs/security.md's figures is missed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netio::random::seed_from_environment;
use nix::sys::signal::Signal;
use pitlane_tests::attack::{Fleet, Flood, Manners, default_hash};
use pitlane_tests::client::{Client, user};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::binary;

const FLOOD_RATE: u64 = 10_000;
const FLOOD_DURATION: Duration = Duration::from_secs(20);
const LOGIN_MAX: Duration = Duration::from_secs(2);
const CLIENTS: usize = 1000;
const COMEBACK_MAX: Duration = Duration::from_secs(5);
/// A login that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const FLEET_PATIENCE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> anyhow::Result<ExitCode> {
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    say(&format!("PITLANE_SEED={seed}"));
    let password_hash = default_hash(&binary("pitlane"), PASSWORD)?;
    let settings = Settings { accounts: CLIENTS, idle: "park", password_hash, ..Settings::default() };
    let missed = [flood(settings.clone(), seed)?, comeback(&settings)?].concat();
    for line in &missed {
        say(&format!("MISSED {line}"));
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// To standard error, where progress belongs.
fn say(line: &str) {
    eprintln!("{line}");
}

/// Logins one after the other while the flood goes on: of clients that were never there, of those that were, and of those that were
/// and know of no challenges.
fn flood(settings: Settings, seed: u64) -> anyhow::Result<Vec<String>> {
    let engine = Engine::start(&binary("pitlane"), settings)?;
    let mut known = 900..1000;
    for account in known.clone() {
        log_in(&engine, account, true)?;
    }
    let flood = Flood::start(engine.address(), FLOOD_RATE, CLIENTS, seed)?;
    let began = Instant::now();
    let mut unknown = 1..900;
    let mut waits: [Vec<Duration>; 3] = [const { Vec::new() }; 3];
    while began.elapsed() < FLOOD_DURATION {
        let kind = waits.iter().map(Vec::len).sum::<usize>() % 3;
        let account = if kind == 0 { unknown.next() } else { known.next() };
        waits[kind].push(log_in(&engine, account.context("too few accounts")?, kind < 2)?);
        std::thread::sleep(PAUSE);
    }
    let rate = flood.sent() as f64 / began.elapsed().as_secs_f64();
    drop(flood);
    say(&format!("flood: {rate:.0} spoofed logins a second for {:.1} s", began.elapsed().as_secs_f64()));
    let mut missed = Vec::new();
    let names = ["never there before", "there before", "there before, and of no challenges"];
    for (name, waits) in names.iter().zip(&mut waits) {
        waits.sort();
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        say(&format!("  clients {name}: {} logins, median {median:.1?}, longest {longest:.1?}", waits.len()));
        if longest > LOGIN_MAX {
            missed.push(format!("flood, clients {name}: a login took {longest:.1?}, {LOGIN_MAX:?} allowed"));
        }
    }
    for (metric, count) in engine.metrics()? {
        if metric.starts_with("pitlane_login") {
            say(&format!("  {metric} {count}"));
        }
    }
    if rate < 0.95 * FLOOD_RATE as f64 {
        missed.push(format!("flood: {rate:.0} logins a second were sent, not {FLOOD_RATE}"));
    }
    Ok(missed)
}

fn log_in(engine: &Engine, account: usize, answers_challenges: bool) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut client = Client::connect(engine.address())?;
    client.answers_challenges = answers_challenges;
    client
        .try_login(&user(account), PASSWORD, PATIENCE)
        .map_err(|error| anyhow::anyhow!("account {account} was kept out: {error:?}"))?;
    let took = began.elapsed();
    client.logout()?;
    Ok(took)
}

/// A thousand clients, the engine killed, started again: until the last one is back.
fn comeback(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let journal = Folder::new("attack")?;
    let memory = std::path::PathBuf::from(format!("/dev/shm/pitlane-attack-{}", std::process::id()));
    std::fs::create_dir_all(&memory)?;
    let settings =
        Settings { durability: "process", journal: Some(journal.path.clone()), ..settings.clone() }
            .with("session", format!("remember_logins_in = {memory:?}"));
    let mut missed = Vec::new();
    let mut fleet = None;
    for (name, bound) in [
        ("first login of all", None),
        ("back after a crash", Some(COMEBACK_MAX)),
        ("back after a crash, the file in memory gone", None),
    ] {
        if bound.is_none() && fleet.is_some() {
            std::fs::remove_dir_all(&memory)?;
            std::fs::create_dir_all(&memory)?;
        }
        let mut engine = Engine::start(&binary("pitlane"), settings.clone())?;
        let fleet = fleet.get_or_insert(Fleet::new(engine.address(), CLIENTS, PASSWORD)?);
        fleet.lose();
        let took = fleet.log_in(Manners::Own, FLEET_PATIENCE)?;
        let took = took.with_context(|| format!("{name}: {} of {CLIENTS} came in", fleet.count()))?;
        fleet.idle(Duration::from_secs(1))?;
        let timeouts = engine.metric(&["pitlane_session_timeouts_total"])?;
        say(&format!("{CLIENTS} clients, {name}: {took:.1?}, {timeouts} sessions lost"));
        if timeouts > 0.0 || bound.is_some_and(|bound| took > bound) {
            missed.push(format!("{name}: {took:.1?} and {timeouts} sessions lost, {bound:?} allowed"));
        }
        engine.process.signal(Signal::SIGKILL)?;
        engine.process.wait(PATIENCE)?;
        ensure!(fleet.count() == CLIENTS, "clients fell out again");
    }
    std::fs::remove_dir_all(&memory)?;
    Ok(missed)
}
