//! `make compare BASE=COMMIT`: two versions of the engine in turns, under the same generator. What is judged is the ratio of their
//! readings within a round, so that whatever else the machine does falls on both; the middle round counts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use pitlane_tests::bench::machine::{Machine, number};
use pitlane_tests::bench::{Context, median, progress};
use pitlane_tests::engine::{Folder, Settings};

const ROUNDS: usize = 5;
const SECONDS: u32 = 3;
/// What a version may lose against the one before.
const TOLERANCE: f64 = 0.02;

struct Case {
    name: &'static str,
    port: &'static str,
    durability: &'static str,
    load: &'static [&'static str],
    read: &'static [&'static str],
    /// Whether more is better.
    rate: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "AF_XDP, one in flight: median round trip, ns",
        port: "xdp",
        durability: "memory",
        load: &["--clients", "1", "--window", "1"],
        read: &["latency_ns", "median"],
        rate: false,
    },
    Case {
        name: "AF_XDP, one order a datagram: orders/s",
        port: "xdp",
        durability: "memory",
        load: &["--clients", "1", "--window", "256", "--per-datagram", "1"],
        read: &["orders_per_second"],
        rate: true,
    },
    Case {
        name: "AF_XDP, full datagrams: orders/s",
        port: "xdp",
        durability: "memory",
        load: &["--clients", "1", "--window", "1024", "--per-datagram", "28"],
        read: &["orders_per_second"],
        rate: true,
    },
    Case {
        name: "AF_XDP, full datagrams, journal `process`: orders/s",
        port: "xdp",
        durability: "process",
        load: &["--clients", "1", "--window", "1024", "--per-datagram", "28"],
        read: &["orders_per_second"],
        rate: true,
    },
    Case {
        name: "kernel UDP, one in flight: median round trip, ns",
        port: "udp",
        durability: "memory",
        load: &["--clients", "1", "--window", "1"],
        read: &["latency_ns", "median"],
        rate: false,
    },
    Case {
        name: "kernel UDP, ten clients, 256 in flight: orders/s",
        port: "udp",
        durability: "memory",
        load: &["--clients", "10", "--window", "256"],
        read: &["orders_per_second"],
        rate: true,
    },
];

fn main() -> anyhow::Result<ExitCode> {
    let before = std::env::args_os().nth(1).map(PathBuf::from);
    let before = before.context("expected the folder that holds the `pitlane` to compare with")?;
    let only = std::env::args().nth(2).unwrap_or_default();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.name.contains(&only)).collect();
    anyhow::ensure!(!cases.is_empty(), "no comparison has {only:?} in its name");
    let rounds = std::env::var("PITLANE_BENCH_ROUNDS").map_or(Ok(ROUNDS), |text| text.parse())?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let context = Context { only: "", rounds, repository: &repository };
    let after = context.release_binary("pitlane")?;
    let versions = [before.join("pitlane"), after];
    let mut machine = Machine::new(&context)?;
    let folder = Folder::new("compare")?;
    let mut ratios = vec![Vec::new(); cases.len()];
    let mut readings = vec![[Vec::new(), Vec::new()]; cases.len()];
    for round in 0..rounds {
        for (at, case) in cases.iter().enumerate() {
            let mut both = [0.0; 2];
            // The version that goes first alternates.
            for turn in 0..2 {
                let version = (round + turn) % 2;
                both[version] = measure(&mut machine, &versions[version], case, &folder.path)?;
                readings[at][version].push(both[version]);
            }
            let [old, new] = both;
            ratios[at].push(if case.rate { old / new } else { new / old });
        }
        progress(&format!("round {} of {rounds}", round + 1));
    }
    progress(&format!("{:<54} {:>12} {:>12}  cost (lowest .. highest)", "", "before", "after"));
    let mut worse = false;
    for (at, case) in cases.iter().enumerate() {
        let cost = median(&ratios[at]);
        worse |= cost > 1.0 + TOLERANCE;
        progress(&format!(
            "{:<54} {:>12.0} {:>12.0}  {cost:.3} ({:.3} .. {:.3}){}",
            case.name,
            median(&readings[at][0]),
            median(&readings[at][1]),
            ratios[at].iter().copied().fold(f64::INFINITY, f64::min),
            ratios[at].iter().copied().fold(0.0, f64::max),
            if cost > 1.0 + TOLERANCE { "  WORSE" } else { "" },
        ));
    }
    Ok(if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(machine: &mut Machine, engine: &Path, case: &Case, folder: &Path) -> anyhow::Result<f64> {
    machine.run_engine_of(engine);
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let journal = (case.durability != "memory").then(|| folder.to_owned());
    // Keys that the older version does not know are left out.
    let settings = Settings {
        durability: case.durability,
        journal,
        sandbox: "",
        ..Settings::on(&machine.pair.engine, case.port).with("network", "udp_offload = false")
    };
    let _engine = machine.engine_with(settings)?;
    number(&machine.load(case.port, SECONDS, case.load)?, case.read)
}
