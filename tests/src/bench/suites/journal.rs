//! What durability costs the order path, beside running without it and beside the bare disk, and how fast a journal is read back.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bench::machine::{CORES, Machine, number};
use crate::bench::results::Budget::{AtLeast, AtMost};
use crate::bench::{Context, Figure, Samples, Suite, median};
use crate::engine::{Engine, Settings};
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
        name: "journal.disk_one_core_p50_vs_fdatasync",
        unit: "ratio",
        budget: Some(AtMost(2.0)),
        about: "`disk`, one order in flight, all threads of the engine on one core, settings as they come: median answer time over that fdatasync",
    },
    Figure {
        name: "journal.disk_one_core_spin_p50_vs_fdatasync",
        unit: "ratio",
        budget: None,
        about: "the same with `idle = \"spin\"`",
    },
    Figure {
        name: "journal.neighbour_p99_9",
        unit: "ratio",
        budget: Some(AtMost(1.2)),
        about: "`process` at 100,000 orders/s, open loop: p99.9 of the answer time beside a neighbour that writes and syncs as fast as the \
                disk takes it, over the same without",
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
const ONE_IN_FLIGHT: &[&str] = &["--clients", "1", "--window", "1"];
const MODERATE: &[&str] = &["--clients", "8", "--rate", "100000"];
/// Long enough for several rounds of the neighbour through its file.
const NEIGHBOUR_SECONDS: u32 = 6;
/// How the engine waits when its threads share a core; none: as it comes.
const ONE_CORE: [(&str, Option<&str>); 2] = [
    ("journal.disk_one_core_p50_vs_fdatasync", None),
    ("journal.disk_one_core_spin_p50_vs_fdatasync", Some("spin")),
];
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
        latencies(context, &mut machine, &folder, &mut samples)?;
        one_core(context, &mut machine, &folder, &mut samples)?;
        if context.wants("journal.neighbour_p99_9") {
            let ratio = beside_a_neighbour(&machine, &folder)?;
            samples.entry("journal.neighbour_p99_9").or_default().push(ratio);
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

fn latencies(
    context: &Context<'_>,
    machine: &mut Machine,
    folder: &Path,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    for (name, load) in LATENCIES {
        if context.wants(name) || context.wants("journal.fdatasync_p50_us") {
            let (answer, bare) = beside_fdatasync(machine, folder, load, Machine::engine_with)?;
            samples.entry("journal.fdatasync_p50_us").or_default().push(bare / 1000.0);
            samples.entry(name).or_default().push(answer / bare);
        }
    }
    Ok(())
}

fn one_core(
    context: &Context<'_>,
    machine: &mut Machine,
    folder: &Path,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    for (name, idle) in ONE_CORE {
        if context.wants(name) {
            let start = |machine: &Machine, settings: Settings| {
                machine.engine_as_set(Settings { idle: idle.unwrap_or(settings.idle), ..settings })
            };
            let (answer, bare) = beside_fdatasync(machine, folder, ONE_IN_FLIGHT, start)?;
            samples.entry(name).or_default().push(answer / bare);
        }
    }
    Ok(())
}

/// Median answer time of `disk` at this load, and of a bare fdatasync, both on the core where the latter is faster, in ns.
fn beside_fdatasync(
    machine: &mut Machine,
    folder: &Path,
    load: &[&str],
    start: impl FnOnce(&Machine, Settings) -> anyhow::Result<Engine>,
) -> anyhow::Result<(f64, f64)> {
    let bare = move_beside_the_disk(machine, folder)?;
    let engine = start(machine, settings(machine, "disk", fresh(folder)?))?;
    let answer = number(&machine.load("xdp", SECONDS, load)?, &["latency_ns", "median"])?;
    drop(engine);
    machine.engine_core = CORES[0];
    Ok((answer, bare))
}

/// Moves the engine to the core on which a bare fdatasync is faster, and returns its median there: a thread that waits for the disk on
/// another core than the disk's interrupts is woken through that core.
fn move_beside_the_disk(machine: &mut Machine, folder: &Path) -> anyhow::Result<f64> {
    let mut bare = f64::INFINITY;
    for core in CORES {
        let p50 = fdatasync_p50_ns(folder, core)?;
        if p50 < bare {
            (bare, machine.engine_core) = (p50, core);
        }
    }
    Ok(bare)
}

/// The neighbour's share of the processor is taken from the generator's core: the engine has its own.
fn beside_a_neighbour(machine: &Machine, folder: &Path) -> anyhow::Result<f64> {
    let p99_9 = || -> anyhow::Result<f64> {
        let _engine = machine.engine_with(settings(machine, "process", fresh(folder)?))?;
        number(&machine.load("xdp", NEIGHBOUR_SECONDS, MODERATE)?, &["latency_ns", "p99_9"])
    };
    let alone = p99_9()?;
    let stop = AtomicBool::new(false);
    let core = CORES[0] + CORES[1] - machine.engine_core;
    let beside = std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| saturate_disk(&folder.with_extension("neighbour"), core, &stop));
        let beside = p99_9();
        stop.store(true, Ordering::Relaxed);
        let ended = neighbour.join().map_err(|_| anyhow::anyhow!("the neighbour panicked"))?;
        ended.and(beside)
    })?;
    Ok(beside / alone)
}

/// Writes a file over and over and syncs it, until told to stop: the disk always has something to write back.
fn saturate_disk(path: &Path, core: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    const WRITE: usize = 1 << 20;
    const WRITES_PER_SYNC: u64 = 8;
    const FILE_WRITES: u64 = 256;
    pin(core)?;
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    let bytes = vec![0x5a; WRITE];
    for index in (0..FILE_WRITES).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        file.write_all_at(&bytes, index * WRITE as u64)?;
        if index % WRITES_PER_SYNC == WRITES_PER_SYNC - 1 {
            file.sync_data()?;
        }
    }
    Ok(std::fs::remove_file(path)?)
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
