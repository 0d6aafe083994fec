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
        budget: Some(AtMost(2.0)),
        about: "dearest over cheapest message, 1 to 10,000 instruments, activity distributed as in real flow; warmed as a shard does it",
    },
    Figure {
        name: "book.instrument_cost_uniform",
        unit: "ratio",
        budget: None,
        about: "the same with every instrument equally active",
    },
    Figure {
        name: "book.instructions_per_message",
        unit: "instructions",
        budget: Some(AtMost(230.0)),
        about: "counted by callgrind over 100,000 messages of the calm shape: the same number every time",
    },
    Figure {
        name: "book.instructions_per_message.swing",
        unit: "instructions",
        budget: None,
        about: "the same where the price goes 10 % up and down",
    },
    Figure {
        name: "book.instructions_per_message.swing_sparse",
        unit: "instructions",
        budget: None,
        about: "the same with references drawn from a million, no two neighbours alive",
    },
    Figure {
        name: "book.p50_ns_at_1m",
        unit: "ns",
        budget: None,
        about: "calm shape, Poisson arrivals at 1,000,000/s, from when a message was due until it is dealt with, reading the clock included",
    },
    Figure {
        name: "book.p50_ns_at_5m",
        unit: "ns",
        budget: Some(AtMost(60.0)),
        about: "the same at 5,000,000/s",
    },
    Figure { name: "book.p50_ns_at_8m", unit: "ns", budget: None, about: "the same at 8,000,000/s" },
    Figure {
        name: "book.p50_empty_loop_ns_at_5m",
        unit: "ns",
        budget: None,
        about: "`book.p50_ns_at_5m` without a book: what the clock and the loop take",
    },
    Figure {
        name: "book.bytes_per_order",
        unit: "bytes",
        budget: None,
        about: "of the tables, for each order there is room for",
    },
    Figure { name: "book.bytes_per_level", unit: "bytes", budget: None, about: "for each price level" },
    Figure {
        name: "book.bytes_per_instrument",
        unit: "bytes",
        budget: None,
        about: "for each instrument, without its levels",
    },
    Figure {
        name: "book.bytes_10000_instruments",
        unit: "bytes",
        budget: Some(AtMost(291_065_168.0)),
        about: "of a market for 10,000 instruments of 40 orders",
    },
    Figure {
        name: "book.line.sweep",
        unit: "ns/execution",
        budget: None,
        about: "an order that takes 1,000 others at one price",
    },
    Figure {
        name: "book.line.sweep_1000_levels",
        unit: "ns/execution",
        budget: None,
        about: "the same, each at another price",
    },
    Figure {
        name: "book.line.long_level",
        unit: "ns/message",
        budget: None,
        about: "enters and cancels anywhere in a level of 100,000 orders",
    },
    Figure {
        name: "book.line.any_price",
        unit: "ns/message",
        budget: None,
        about: "enters and cancels at prices from one tick to the largest",
    },
    Figure {
        name: "book.line.page_boundary",
        unit: "ns/message",
        budget: None,
        about: "the same at four ticks where two parts of the price index meet",
    },
    Figure { name: "book.line.one_price", unit: "ns/message", budget: None, about: "the same at one price" },
    Figure {
        name: "book.line.mass_cancel",
        unit: "ns/order",
        budget: None,
        about: "mass cancels of 1,000 orders each",
    },
    Figure {
        name: "book.line.10_of_16384_instruments",
        unit: "ns/message",
        budget: None,
        about: "real flow in ten busy instruments of 16,384",
    },
    Figure {
        name: "book.line.10_of_10_instruments",
        unit: "ns/message",
        budget: None,
        about: "the same without the others",
    },
    Figure {
        name: "book.worst_shape_messages_per_second",
        unit: "messages/s",
        budget: None,
        about: "calm, still, swing and crash with dense and sparse references: the slowest of the eight, time on the processor",
    },
    Figure {
        name: "book.worst_shape_before",
        unit: "messages/s",
        budget: None,
        about: "the same of the version of before, in turns with it every 20,000 messages",
    },
    Figure {
        name: "book.worst_shape_vs_before",
        unit: "ratio",
        budget: Some(AtLeast(1.7)),
        about: "the one over the other",
    },
    Figure {
        name: "book.vs_matchcore",
        unit: "ratio",
        budget: Some(AtLeast(2.5)),
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
                 comparison with the\npublished crates `matchcore` and `orderbook-rs`, `book/bench-before/Cargo.toml` for that with the version of before; all print more than is kept here.",
        figures: FIGURES,
        run,
    }
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let folder = Folder::new("book-bench")?;
    let mut samples = Samples::new();
    let beside = ["book.vs_", "book.worst_shape"];
    let mut alone =
        FIGURES.iter().filter(|figure| !beside.iter().any(|group| figure.name.starts_with(group)));
    if alone.any(|figure| figure.name.starts_with(context.only)) {
        let report = folder.path.join("book.json");
        let mut command = cargo(context.repository);
        command
            .args(["bench", "-q", "-p", "pitlane-book", "--bench", "book-bench", "--", "--json"])
            .arg(&report);
        collect(&mut samples, command, &report)?;
    }
    for (group, program) in [("book.vs_", "bench-rivals"), ("book.worst_shape", "bench-before")] {
        if context.wants(group) {
            let report = folder.path.join(format!("{program}.json"));
            let mut command = cargo(context.repository);
            command
                .args(["run", "-q", "--release", "--manifest-path"])
                .arg(format!("book/{program}/Cargo.toml"))
                .arg("--target-dir")
                .arg(context.repository.join("target").join(program))
                .args(["--", "--json"])
                .arg(&report);
            collect(&mut samples, command, &report)?;
        }
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
