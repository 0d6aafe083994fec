//! Where a benchmark runs: engine and generator as real processes, each pinned to a core, on two hosts joined by a veth pair or on loopback.
//! Knows the command lines of the binaries and the shape of their reports; knows no figure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::Context;
use crate::engine::{Engine, Folder, PASSWORD, Settings};
use crate::process::Process;
use crate::veth::{Host, VethPair};

/// The two cores: the engine has the first unless [`Machine::engine_core`] says otherwise, the generator the other.
pub const CORES: [usize; 2] = [0, 1];
const ECHO_PORT: u16 = 26_900;
/// A generator that has not ended by itself this long after its time has failed.
const GRACE: Duration = Duration::from_secs(60);

/// The two hosts and the binaries.
pub struct Machine {
    pub pair: VethPair,
    engine: PathBuf,
    loadgen: PathBuf,
    scratch: Folder,
    /// Which of [`CORES`] the engine has.
    pub engine_core: usize,
}

impl Machine {
    pub fn new(context: &Context<'_>) -> anyhow::Result<Machine> {
        anyhow::ensure!(nix::unistd::geteuid().is_root(), "needs root for the network namespaces and AF_XDP");
        Ok(Machine {
            engine: context.release_binary("pitlane")?,
            loadgen: context.release_binary("pitlane-loadgen")?,
            pair: VethPair::new(1).context("the veth pair")?,
            scratch: Folder::new("bench")?,
            engine_core: CORES[0],
        })
    }

    /// From now on the engine is this binary: another version, to compare with.
    pub fn run_engine_of(&mut self, binary: &Path) {
        self.engine = binary.to_owned();
    }

    /// The engine on its host and core, ready.
    pub fn engine(&self, port: &'static str) -> anyhow::Result<Engine> {
        let offload = format!("udp_offload = {}", port == "udp-joined");
        let settings = Settings::on(&self.pair.engine, kind(port)).with("network", offload);
        self.engine_with(settings)
    }

    pub fn engine_with(&self, settings: Settings) -> anyhow::Result<Engine> {
        // With `disk` the thread that syncs shares the engine's core, the generator having the other one.
        let idle = if settings.durability == "disk" { "yield" } else { "spin" };
        self.engine_as_set(Settings { cores: vec![self.engine_core], idle, ..settings })
    }

    /// The engine with these settings and no other, all its threads on its core.
    pub fn engine_as_set(&self, settings: Settings) -> anyhow::Result<Engine> {
        let command = pinned(&self.pair.engine, self.engine_core, &self.engine);
        Ok(Engine::start_as(command, Some(self.pair.engine.clone()), settings)?)
    }

    /// `pitlane echo`, the limit of a port.
    pub fn echo(&self, port: &'static str) -> anyhow::Result<Process> {
        let host = &self.pair.engine;
        let mut command = pinned(host, self.engine_core, &self.engine);
        command.args(["echo", "--port", kind(port), "--listen", &format!("{}:{ECHO_PORT}", host.ipv4)]);
        command.args(more_of(port, &host.interface));
        let log = std::fs::File::create(self.scratch.path.join("echo.log"))?;
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        // It has no admin port; the generator's own start-up retries until it answers.
        Ok(Process::new(process))
    }

    /// `pitlane-loadgen run` against the engine; its report.
    pub fn load(&self, port: &'static str, seconds: u32, more: &[&str]) -> anyhow::Result<Value> {
        let target = format!("{}:26400", self.pair.engine.ipv4);
        let mut words = vec!["run", "--target", &target, "--password", PASSWORD];
        words.extend(more);
        self.generate(port, seconds, &words)
    }

    /// `pitlane-loadgen echo` against `pitlane echo`; its report.
    pub fn echo_load(&self, port: &'static str, seconds: u32, more: &[&str]) -> anyhow::Result<Value> {
        let target = format!("{}:{ECHO_PORT}", self.pair.engine.ipv4);
        let mut words = vec!["echo", "--target", &target];
        words.extend(more);
        self.generate(port, seconds, &words)
    }

    /// `pitlane replay --json` of shard 0; its report.
    pub fn replay(&self, journal: &Path) -> anyhow::Result<Value> {
        let output = pinned(&self.pair.engine, self.engine_core, &self.engine)
            .arg("replay")
            .arg(journal)
            .arg("--json")
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "pitlane replay ({}): {complaint}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn generate(&self, port: &'static str, seconds: u32, words: &[&str]) -> anyhow::Result<Value> {
        let report = self.scratch.path.join("report.json");
        if report.exists() {
            std::fs::remove_file(&report)?;
        }
        let host = &self.pair.client;
        let client_core = CORES[0] + CORES[1] - self.engine_core;
        let mut command = pinned(host, client_core, &self.loadgen);
        command
            .args(words)
            .args(["--port", kind(port), "--duration", &format!("{seconds}s"), "--quiet"])
            // The machine's stalls are in both sides of every ratio: what is judged here is that nothing was lost or refused.
            .args(["--delivery-only", "--json"])
            .arg(&report);
        command.args(more_of(port, &host.interface));
        let log_path = self.scratch.path.join("loadgen.log");
        let log = std::fs::File::create(&log_path)?;
        let began = Instant::now();
        let mut process =
            Process::new(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        let status = process.wait(Duration::from_secs(u64::from(seconds)) + GRACE)?;
        let said = std::fs::read_to_string(&log_path).unwrap_or_default();
        anyhow::ensure!(
            status.success(),
            "pitlane-loadgen {} ({status}, {:?}):\n{said}",
            words.join(" "),
            began.elapsed()
        );
        let text = std::fs::read_to_string(&report)
            .with_context(|| format!("no report from the generator:\n{said}"))?;
        let report: Value = serde_json::from_str(&text)?;
        let lost = number(&report, &["lost"])?;
        anyhow::ensure!(
            lost == 0.0,
            "{lost} of the generator's requests were lost: a figure with losses is none"
        );
        Ok(report)
    }
}

/// What the programs call the port: `udp-joined` is kernel UDP too.
fn kind(port: &'static str) -> &'static str {
    if port == "xdp" { "xdp" } else { "udp" }
}

/// The arguments that belong to a port.
fn more_of<'a>(port: &str, interface: &'a str) -> Vec<&'a str> {
    match port {
        "xdp" => vec!["--interface", interface],
        "udp-joined" => Vec::new(),
        _ => vec!["--no-udp-offload"],
    }
}

fn pinned(host: &Host, core: usize, program: &Path) -> Command {
    let mut command = host.command("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A number of a report, by its path; an error that names it if it is not there.
pub fn number(report: &Value, path: &[&str]) -> anyhow::Result<f64> {
    let found = path.iter().fold(report, |value, key| &value[*key]);
    found.as_f64().with_context(|| format!("the report has no number {}", path.join(".")))
}
