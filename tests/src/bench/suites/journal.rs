//! What durability costs the order path, beside running without it and beside the bare disk, and how fast a journal is read back.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bench::machine::{CORES, Machine, number};
use crate::bench::results::Budget::{AtLeast, AtMost};
use crate::bench::{Context, Figure, Samples, Suite, median};
use crate::engine::Settings;
use crate::process::pin;

const SECONDS: u32 = 3;
/// Long enough that reading the journal takes much longer than starting to.
const RECORDING_SECONDS: u32 = 8;
const FDATASYNC_TIME: Duration = Duration::from_millis(500);
/// What the budget asks the disk to sustain; the latency is taken at this load.
const DISK_RATE: &str = "500000";

const FIGURES: &[Figure] = &[
    Figure {
        name: "journal.process_cost",
        unit: "ratio",
        budget: Some(AtMost(0.05)),
        about: "throughput lost by `durability = \"process\"` against `\"memory\"`, one order per datagram",
    },
    Figure {
        name: "journal.process_cost_batched",
        unit: "ratio",
        budget: None,
        about: "the same with as many orders as fit a datagram, where an order costs least",
    },
    Figure {
        name: "journal.disk_orders_per_second",
        unit: "orders/s",
        budget: Some(AtLeast(500_000.0)),
        about: "`durability = \"disk\"`: every answer waits for an fdatasync that covers it",
    },
    Figure {
        name: "journal.disk_p50_vs_fdatasync",
        unit: "ratio",
        budget: Some(AtMost(2.0)),
        about: "median answer time at 500,000 orders/s (open loop, bursts of 28 from 8 clients in turn) over a bare fdatasync of 4 KiB in \
                the same folder; the engine on the core where that is faster",
    },
    Figure {
        name: "journal.disk_p50_vs_fdatasync_one_by_one",
        unit: "ratio",
        budget: None,
        about: "the same with the orders equally spaced: nearly 500,000 datagrams/s beside the disk on the engine's core",
    },
    Figure {
        name: "journal.fdatasync_p50_us",
        unit: "us",
        budget: None,
        about: "that bare fdatasync, on the core where it is faster: the one that takes the disk's interrupts",
    },
    Figure {
        name: "recovery.records_per_second",
        unit: "records/s",
        budget: Some(AtLeast(2_000_000.0)),
        about: "records read, checked and applied by `pitlane replay`, one order each, without a snapshot",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Journal",
        method: "The engine over AF_XDP as above, its journal in `target/bench` (the repository's file system).",
        figures: FIGURES,
        run,
    }
}

const ONE_PER_DATAGRAM: &[&str] = &["--clients", "1", "--window", "256", "--per-datagram", "1"];
const BATCHED: &[&str] = &["--clients", "1", "--window", "1024", "--per-datagram", "28"];
const DEEP: &[&str] = &["--clients", "8", "--window", "1000", "--per-datagram", "28"];
const SPACED: &[&str] = &["--clients", "8", "--rate", DISK_RATE];
const BURSTS: &[&str] = &["--clients", "8", "--rate", DISK_RATE, "--per-datagram", "28", "--burst", "28"];
/// Medians over a bare fdatasync.
const LATENCIES: [(&str, &[&str]); 2] =
    [("journal.disk_p50_vs_fdatasync", BURSTS), ("journal.disk_p50_vs_fdatasync_one_by_one", SPACED)];

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let mut machine = Machine::new(context)?;
    let folder = context.repository.join("target/bench/journal");
    let mut samples = Samples::new();
    for _ in 0..context.rounds {
        for (name, load) in
            [("journal.process_cost", ONE_PER_DATAGRAM), ("journal.process_cost_batched", BATCHED)]
        {
            if name.starts_with(context.only) || name == context.only {
                let memory = rate(&machine, "memory", &folder, load)?;
                let process = rate(&machine, "process", &folder, load)?;
                samples.entry(name).or_default().push(1.0 - process / memory);
            }
        }
        if context.wants("journal.disk_orders_per_second") {
            let rate = rate(&machine, "disk", &folder, DEEP)?;
            samples.entry("journal.disk_orders_per_second").or_default().push(rate);
        }
        for (name, load) in LATENCIES {
            if !context.wants(name) && !context.wants("journal.fdatasync_p50_us") {
                continue;
            }
            // A thread that waits for the disk on another core than the disk's interrupts is woken through that core.
            let mut bare = f64::INFINITY;
            for core in CORES {
                let p50 = fdatasync_p50_ns(&folder, core)?;
                if p50 < bare {
                    (bare, machine.engine_core) = (p50, core);
                }
            }
            samples.entry("journal.fdatasync_p50_us").or_default().push(bare / 1000.0);
            let engine = machine.engine_with(settings(&machine, "disk", fresh(&folder)?))?;
            let p50 = number(&machine.load("xdp", SECONDS, load)?, &["latency_ns", "median"])?;
            drop(engine);
            machine.engine_core = CORES[0];
            samples.entry(name).or_default().push(p50 / bare);
        }
    }
    if context.wants("recovery.records_per_second") {
        let engine = machine.engine_with(
            settings(&machine, "process", fresh(&folder)?).with("journal", "snapshot_interval = 0"),
        )?;
        machine.load("xdp", RECORDING_SECONDS, ONE_PER_DATAGRAM)?;
        drop(engine);
        for _ in 0..context.rounds {
            let report = machine.replay(&folder)?;
            let rate = number(&report, &["records_replayed"])? / number(&report, &["seconds"])?;
            samples.entry("recovery.records_per_second").or_default().push(rate);
        }
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(samples)
}

fn settings(machine: &Machine, durability: &'static str, journal: PathBuf) -> Settings {
    Settings { durability, journal: Some(journal), ..Settings::on(&machine.pair.engine, "xdp") }
}

/// An empty folder.
fn fresh(folder: &Path) -> anyhow::Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

fn rate(machine: &Machine, durability: &'static str, folder: &Path, load: &[&str]) -> anyhow::Result<f64> {
    let _engine = machine.engine_with(settings(machine, durability, fresh(folder)?))?;
    number(&machine.load("xdp", SECONDS, load)?, &["orders_per_second"])
}

/// Median time of a 4 KiB write and fdatasync in a preallocated file, on a core.
fn fdatasync_p50_ns(folder: &Path, core: usize) -> anyhow::Result<f64> {
    let pinned = || {
        pin(core)?;
        fdatasync_p50_ns_here(folder)
    };
    std::thread::scope(|scope| scope.spawn(pinned).join())
        .map_err(|_| anyhow::anyhow!("fdatasync panicked"))?
}

fn fdatasync_p50_ns_here(folder: &Path) -> anyhow::Result<f64> {
    const PAGES: u64 = 256;
    let path = fresh(folder)?.join("fdatasync");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let page = [0x5a; 4096];
    for index in 0..PAGES {
        file.write_all_at(&page, index * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    let until = Instant::now() + FDATASYNC_TIME;
    for index in (0..PAGES).cycle() {
        let began = Instant::now();
        if began > until {
            break;
        }
        file.write_all_at(&page, index * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed().as_nanos() as f64);
    }
    std::fs::remove_file(&path)?;
    Ok(median(&times))
}
