//! The order book alone: figures that the book's own benchmark programs measure, taken over from their reports.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::results::Budget::{AtLeast, AtMost};
use crate::bench::{Context, Figure, Samples, Suite};
use crate::engine::Folder;

const FIGURES: &[Figure] = &[
    Figure {
        name: "book.messages_per_second",
        unit: "messages/s",
        budget: Some(AtLeast(10e6)),
        about: "mixed flow on a busy instrument, 10,000 resting orders, one thread",
    },
    Figure {
        name: "book.p50_ns",
        unit: "ns",
        budget: None,
        about: "time of one message at a steady 1,000,000/s, median",
    },
    Figure { name: "book.p99_ns", unit: "ns", budget: None, about: "the same, 99th percentile" },
    Figure {
        name: "book.p99_9_ns",
        unit: "ns",
        budget: Some(AtMost(999.0)),
        about: "the same, 99.9th percentile",
    },
    Figure {
        name: "book.p99_9_empty_loop_ns",
        unit: "ns",
        budget: None,
        about: "the same of an empty loop, in turns: what the machine does to any program",
    },
    Figure {
        name: "book.p99_9_by_message_ns",
        unit: "ns",
        budget: None,
        about: "`book.p99_9_ns` with each message's median time over nine identical runs: what the book does slowly recurs, a stall of the machine does not",
    },
    Figure {
        name: "book.allocations",
        unit: "per 250,000 messages",
        budget: Some(AtMost(0.0)),
        about: "heap allocations after warm-up, counted by the allocator",
    },
    Figure {
        name: "book.depth_cost",
        unit: "ratio",
        budget: Some(AtMost(1.1)),
        about: "dearest over cheapest message, 10 to 1,000,000 resting orders, activity near the touch",
    },
    Figure {
        name: "book.depth_cost_uniform_cancels",
        unit: "ratio",
        budget: None,
        about: "the same with cancels spread uniformly over all resting orders: a cache miss each, for what it is",
    },
    Figure {
        name: "book.instrument_cost",
        unit: "ratio",
        budget: Some(AtMost(1.1)),
        about: "dearest over cheapest message, 1 to 10,000 instruments, activity distributed as in real flow; warmed as a shard does it",
    },
    Figure {
        name: "book.instrument_cost_uniform",
        unit: "ratio",
        budget: None,
        about: "the same with every instrument equally active",
    },
    Figure {
        name: "book.vs_matchcore",
        unit: "ratio",
        budget: Some(AtLeast(1.0)),
        about: "times faster than matchcore on the identical flow, in turns, in that of throughput and p50 to p99.99 where it is least so",
    },
    Figure {
        name: "book.vs_orderbook_rs",
        unit: "ratio",
        budget: Some(AtLeast(1.0)),
        about: "the same over orderbook-rs",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Order book alone",
        method: "`cargo bench -p pitlane-book --bench book-bench`, and `cargo run --release --manifest-path book/bench-rivals/Cargo.toml` for the \
                 comparison with the\npublished crates `matchcore` and `orderbook-rs`; both print more than is kept here.",
        figures: FIGURES,
        run,
    }
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let folder = Folder::new("book-bench")?;
    let mut samples = Samples::new();
    let alone = FIGURES.iter().filter(|figure| !figure.name.starts_with("book.vs_"));
    if alone.clone().any(|figure| figure.name.starts_with(context.only)) {
        let report = folder.path.join("book.json");
        let mut command = cargo(context.repository);
        command
            .args(["bench", "-q", "-p", "pitlane-book", "--bench", "book-bench", "--", "--json"])
            .arg(&report);
        collect(&mut samples, command, &report)?;
    }
    if context.wants("book.vs_") {
        let report = folder.path.join("rivals.json");
        let target = context.repository.join("target/bench-rivals");
        let mut command = cargo(context.repository);
        command
            .args([
                "run",
                "-q",
                "--release",
                "--manifest-path",
                "book/bench-rivals/Cargo.toml",
                "--target-dir",
            ])
            .arg(target)
            .args(["--", "--json"])
            .arg(&report);
        collect(&mut samples, command, &report)?;
    }
    Ok(samples)
}

fn cargo(repository: &Path) -> Command {
    let mut command = Command::new("cargo");
    // What it prints is progress; the report is the result.
    command.current_dir(repository).stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr()));
    command
}

/// Runs the program and keeps the figures that are ours from its report: name -> {value, unit, budget, rounds}.
fn collect(samples: &mut Samples, mut command: Command, report: &Path) -> anyhow::Result<()> {
    let status = command.status()?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
    let results = report["results"].as_object().context("the report has no results")?;
    for figure in FIGURES {
        if let Some(result) = results.get(figure.name) {
            let rounds: Vec<f64> =
                result["rounds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            samples.insert(figure.name, rounds);
        }
    }
    Ok(())
}
